"""Feeds: in order, each until it is taken, once, through refusals and kills."""

from __future__ import annotations

import random
import ssl
import threading
from types import SimpleNamespace

import pytest

from edge_daemon.central.audit import Actor
from edge_daemon.central.authority import Authority
from edge_daemon.central.feeds.locks import alone
from edge_daemon.central.feeds.mllp import Address, Mllp, TroubleError
from edge_daemon.central.feeds.reach import Reach
from edge_daemon.central.feeds.roster import FeedRoster
from edge_daemon.central.feeds.sender import Sender
from edge_daemon.cli.central_feeds import _turn
from edge_daemon.errors import EdgeError, Fatal, Retryable
from tests.central.feeds.conftest import run_body, said_body
from tests.central.feeds.receiver import acknowledge, checked, receiving


class Always(random.Random):
    """The longest wait that chance could give."""

    def uniform(self, a, b):
        return b


@pytest.fixture
def roster(centre):
    return FeedRoster(centre.store.engine, Actor("ann", "command"))


@pytest.fixture
def deliver(centre, roster):
    """Give a feed a turn."""
    made = Sender(centre.store.engine, centre.reader, roster, rng=Always())

    def turn(name="lis", *, at_once=True):
        if at_once:
            roster.retry(name)
        return made.deliver(name)

    return turn


def test_results_corrections_and_notes_arrive_in_order_and_once(centre, roster, deliver):
    box = centre.box()
    centre.send(box, ("run", run_body(1)), ("run", run_body(2, status="review")))
    centre.send(box, ("run", run_body(3, simulated=True)))
    with receiving() as lis:
        roster.add("lis", "hl7", lis.url, Reach())
        deliver()
        centre.send(box, ("run", run_body(1, number=2, species="cat")), ("correction", said_body(
            "correction")))  # fmt: skip
        centre.send(box, ("note", said_body("note", capture=2)))
        deliver()
        deliver()
    assert [checked(lis.texts[key]) for key in lis.seen] == ["F", "P", "C", "P"]
    assert len(set(lis.seen)) == 4
    assert all("|P|2.5.1" in text.split("\r")[0] for text in lis.texts.values())
    assert all("|NE" not in text.split("\r")[0] for text in lis.texts.values())
    feed = roster.named("lis")
    assert (feed.sent, feed.code, feed.cursor) == (4, "", centre.highest())


def test_a_refusal_is_shown_waited_for_and_holds_what_follows(centre, roster, deliver):
    box = centre.box()
    centre.send(box, ("run", run_body(1)), ("run", run_body(2)))
    refuse = acknowledge("AE", "PID^1^3^207&unknown patient")
    with receiving(refuse) as lis:
        roster.add("lis", "hl7", lis.url, Reach())
        for _ in range(3):
            deliver()
        feed = roster.named("lis")
        assert (feed.code, feed.attempts, feed.sent) == ("AE", 3, 0)
        assert "unknown patient" in feed.message
        assert len(set(lis.seen)) == 1
        assert len(lis.seen) == 3
        deliver(at_once=False)  # waits
        assert len(lis.seen) == 3
        assert feed.retry_at is not None
        lis.answer = acknowledge("AR")
        deliver()
        assert roster.named("lis").code == "AR"
        lis.answer = acknowledge("AA")
        deliver()
    feed = roster.named("lis")
    assert (feed.code, feed.attempts, feed.sent) == ("", 0, 2)
    assert len(set(lis.seen)) == 2


def test_waiting_doubles_and_has_an_end(centre, roster):
    import datetime as dt

    feed = roster.add("lis", "hl7", "mllp://127.0.0.1:1", Reach())
    waits = []
    for _ in range(12):
        before = dt.datetime.now(dt.UTC)
        roster.trouble(feed, 1, "AE", "no", Always())
        feed = roster.named("lis")
        waits.append(round((feed.retry_at - before).total_seconds()))
    assert waits[:5] == [2, 4, 8, 16, 32]
    assert waits[-1] == 900


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda _text, _key: None, "unreachable"),
        (lambda _text, _key: acknowledge()("", "another"), "other_message"),
        (lambda _text, _key: b"\x0bHTTP/1.1 400 Bad Request\x1c\r", "no_acknowledgement"),
        (lambda _text, key: acknowledge("XX")("", key), "no_acknowledgement"),
    ],
)
def test_only_an_acknowledgement_of_this_message_retires_it(answer, code):
    with receiving(answer) as lis, Mllp(Address.parse(lis.url)) as line:
        with pytest.raises(TroubleError) as trouble:
            line.send(b"MSH|^~\\&|||||||ORU|42|P|2.5.1\r", "42")
        assert trouble.value.code == code


def test_a_receiver_that_says_nothing_is_given_up():
    with (
        receiving(lambda _text, _key: b"\x0b") as lis,
        Mllp(Address.parse(lis.url), answer_s=0.2) as line,
        pytest.raises(TroubleError) as no,
    ):
        line.send(b"MSH|^~\\&|||||||ORU|42|P|2.5.1\r", "42")
    assert no.value.code == "no_answer"


def test_tls_is_checked_and_never_left_out(tmp_path):
    Authority.create(tmp_path / "a", "clinic").certify_server(tmp_path / "a", ["127.0.0.1"])
    Authority.create(tmp_path / "b", "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "a" / "server.pem", tmp_path / "a" / "server.key")
    message = b"MSH|^~\\&|||||||ORU|42|P|2.5.1\r"
    with receiving(tls=context) as lis:
        with Mllp(Address.parse(lis.url), ca=tmp_path / "a" / "fleet.pem") as line:
            line.send(message, "42")
        other = Mllp(Address.parse(lis.url), ca=tmp_path / "b" / "fleet.pem")
        with other, pytest.raises(TroubleError) as refused:
            other.send(message, "42")
    assert refused.value.code == "not_trusted"
    assert lis.seen == ["42"]


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_hold_a_feed_and_are_said(
    centre, roster, deliver, tmp_path, content
):
    """The operator who set the feed up can read them; the user of the service may not."""
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)
    centre.send(centre.box(), ("run", run_body()))
    roster.add("lis", "hl7", "mllps://127.0.0.1:1", Reach(), ca=str(ca))
    deliver()
    feed = roster.named("lis")
    assert (feed.code, feed.cursor) == ("ca", 0)
    assert str(ca) in feed.message


def test_a_feed_that_stands_still_for_a_reason_nobody_thought_of_says_so(capsys):
    class Broken:
        def deliver(self, name):
            raise KeyError("sample")

    _turn(Broken(), None, SimpleNamespace(name="lis"))
    assert "lis: cannot be delivered: KeyError: 'sample'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["http://lis:1", "mllp://lis", "mllp://:1", "mllp://lis:99999"])
def test_an_address_that_is_none_is_said(text):
    with pytest.raises(Fatal, match="is no address"):
        Address.parse(text)


def test_one_process_delivers_a_feed(centre, roster, deliver):
    feed = roster.add("lis", "hl7", "mllp://127.0.0.1:1", Reach())
    with alone(centre.store.engine, feed.id, "lis"), pytest.raises(Retryable, match="another"):
        deliver()
    deliver()


def test_a_person_may_pass_a_message_over_and_no_other(centre, roster, deliver):
    box = centre.box()
    centre.send(box, ("run", run_body(1)), ("run", run_body(2)))
    refuse = acknowledge("AR")
    first = []

    def answer(text, key):
        first.append(key) if not first else None
        return refuse(text, key) if key == first[0] else acknowledge()(text, key)

    with receiving(answer) as lis:
        roster.add("lis", "hl7", lis.url, Reach())
        deliver()
        with pytest.raises(EdgeError, match="held up by document"):
            roster.skip("lis", 999, "mistake")
        roster.skip("lis", roster.named("lis").stuck_at, "no such patient")
        deliver()
    assert roster.named("lis").sent == 1
    assert len(lis.seen) == 2


def test_a_feed_sees_its_clinic_and_no_other(centre, roster, deliver):
    one, two = centre.box("One"), centre.box("Two")
    centre.send(one, ("run", run_body(1)))
    centre.send(two, ("run", run_body(2)))
    with receiving() as lis:
        roster.add("lis", "hl7", lis.url, Reach(clinic=two.clinic_id))
        deliver()
    (text,) = lis.texts.values()
    assert text.split("|")[3] == "Two"


@pytest.mark.parametrize("form", ["hl7", "fhir"])
def test_a_page_of_files_that_was_cut_off_is_written_as_it_was(
    centre, roster, deliver, tmp_path, form, monkeypatch
):
    box = centre.box()
    centre.send(box, ("run", run_body(1)), ("run", run_body(2)))
    out = tmp_path / "out"
    roster.add("lis", form, str(out), Reach())

    class KilledError(Exception):
        pass

    def killed(*_, **__):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(FeedRoster, "advance", killed)
        with pytest.raises(KilledError):
            deliver()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert len(before) == (2 if form == "hl7" else 1)
    centre.send(box, ("run", run_body(3)))
    deliver()
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert after.items() > before.items()
    assert len(after) - len(before) == 1
    assert roster.named("lis").sent == 3


def test_a_page_that_ends_within_a_batch_knows_the_whole_batch_again(
    centre, roster, deliver, tmp_path, monkeypatch
):
    """Cut off behind a control's run, it must not forget the mark that stands beside it."""
    monkeypatch.setattr("edge_daemon.central.feeds.sender._FILES", 2)
    kept = FeedRoster.intend
    box = centre.box()
    centre.send(box, ("run", run_body(1)), ("run", run_body(2)), ("mark", said_body("mark", 2)))
    out = tmp_path / "out"
    roster.add("lis", "hl7", str(out), Reach())

    def killed(*args):
        kept(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FeedRoster, "intend", killed)
        with pytest.raises(KeyboardInterrupt):
            deliver()
    deliver()
    assert ["S-1" in path.read_text() for path in out.iterdir()] == [True]


def test_a_folder_that_cannot_be_written_is_waited_for(centre, roster, deliver, tmp_path):
    centre.send(centre.box(), ("run", run_body(1)))
    place = tmp_path / "out"
    place.write_text("a file where the folder should be")
    roster.add("lis", "hl7", str(place), Reach())
    deliver()
    assert roster.named("lis").code == "folder"
    place.unlink()
    deliver()
    assert len(list(place.iterdir())) == 1


def test_a_page_of_files_that_a_person_passed_over_holds_up_nothing_that_follows(
    centre, roster, deliver, tmp_path
):
    box = centre.box()
    centre.send(box, ("run", run_body(1)))
    place = tmp_path / "out"
    place.write_text("a file where the folder should be")
    roster.add("lis", "hl7", str(place), Reach())
    deliver()
    roster.skip("lis", roster.named("lis").stuck_at, "sent by hand")
    place.unlink()
    centre.send(box, ("run", run_body(2)))
    deliver()
    assert ["S-2" in path.read_text() for path in place.iterdir()] == [True]


def test_a_message_whose_cursor_was_not_kept_is_repeated_with_its_id(centre, roster, monkeypatch):
    """What a kill between the acknowledgement and the commit does, at every message."""
    box = centre.box()
    for number in range(4):
        centre.send(box, ("run", run_body(number)))
    kept = FeedRoster.advance
    with receiving() as lis:
        roster.add("lis", "hl7", lis.url, Reach())
        for life in range(8):
            calls = []

            def advance(self, *args, _calls=calls, _life=life, **kwargs):
                _calls.append(1)
                if len(_calls) > _life % 2:
                    raise KeyboardInterrupt
                kept(self, *args, **kwargs)

            monkeypatch.setattr(FeedRoster, "advance", advance)
            sender = Sender(centre.store.engine, centre.reader, roster)
            with pytest.raises(KeyboardInterrupt) if life < 7 else _nothing():
                sender.deliver("lis")
                if not calls:
                    raise KeyboardInterrupt
        monkeypatch.setattr(FeedRoster, "advance", kept)
        Sender(centre.store.engine, centre.reader, roster).deliver("lis")
    unique = list(dict.fromkeys(lis.seen))
    assert len(unique) == 4
    assert [int(lis.texts[k].split("S-")[1][0]) for k in unique] == [0, 1, 2, 3]


def _nothing():
    from contextlib import suppress

    return suppress(KeyboardInterrupt)


def test_stopping_ends_between_two_messages(centre, roster):
    box = centre.box()
    for number in range(3):
        centre.send(box, ("run", run_body(number)))
    stop = threading.Event()
    with receiving() as lis:
        roster.add("lis", "hl7", lis.url, Reach())
        sender = Sender(centre.store.engine, centre.reader, roster, stopped=stop.is_set)
        stop.set()
        sender.deliver("lis")
        assert len(lis.seen) == 1
        stop.clear()
        sender.deliver("lis")
    assert len(lis.seen) == 3
