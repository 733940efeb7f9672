"""Documents in order: pages, what belongs together, and how far the order is final."""

import pytest

from edge_daemon.central import schema
from edge_daemon.central.feeds.documents import Choice, pages, related, settled
from edge_daemon.central.feeds.reach import Reach, scope_of
from edge_daemon.central.reading import EVERYTHING
from edge_daemon.errors import EXIT_NOT_FOUND, Fatal, Retryable
from tests.central.feeds.conftest import capture_of, run_body, said_body

KINDS = frozenset({"clinical"})


def test_pages_are_in_order_and_hold_only_the_scopes_documents(centre):
    mine, other = centre.box("A"), centre.box("B")
    for number in range(5):
        centre.send(mine, ("run", run_body(number)))
        centre.send(other, ("run", run_body(number)))
    scope = scope_of(centre.reader, Reach(clinic=mine.clinic_id))
    choice = Choice(frozenset({"run"}), KINDS, upto=centre.highest())
    found = list(pages(centre.reader, scope, choice, size=2))
    assert [len(page) for page in found] == [2, 2, 1]
    told = [one for page in found for one in page]
    assert [one.body["capture"] for one in told] == [capture_of(n) for n in range(5)]
    assert {one.clinic for one in told} == {"A"}
    assert [one.id for one in told] == sorted(one.id for one in told)


def test_no_question_looks_at_more_than_a_window_of_numbers(centre, monkeypatch):
    from edge_daemon.central.feeds import documents

    monkeypatch.setattr(documents, "WINDOW", 3)
    mine, other = centre.box("A"), centre.box("B")
    for number in range(10):
        centre.send(mine if number in (0, 8) else other, ("run", run_body(number)))
    scope = scope_of(centre.reader, Reach(clinic=mine.clinic_id))
    choice = Choice(frozenset({"run"}), KINDS, upto=centre.highest())
    found = [one for page in pages(centre.reader, scope, choice) for one in page]
    assert [one.body["capture"] for one in found] == [capture_of(0), capture_of(8)]


def test_what_is_of_a_result_is_found_and_nothing_else(centre):
    box, other = centre.box("A"), centre.box("B")
    centre.send(box, ("run", run_body(1)), ("note", said_body("note")), ("run", run_body(2)))
    centre.send(other, ("run", run_body(1)))
    choice = Choice(frozenset({"run"}), KINDS, upto=centre.highest())
    page = next(pages(centre.reader, EVERYTHING, choice))
    found = related(centre.reader, EVERYTHING, page[:1], upto=99, what=("run", "note"))
    (of_result,) = found.values()
    assert [one.what for one in of_result] == ["run", "note"]
    assert {one.device_id for one in of_result} == {box.id}


def test_a_clinic_or_chain_that_is_not_there_is_said(centre):
    for reach in (Reach(clinic=99), Reach(chain=99)):
        with pytest.raises(Fatal, match="there is no") as refused:
            scope_of(centre.reader, reach)
        assert refused.value.exit_code == EXIT_NOT_FOUND


def test_what_is_still_being_received_is_waited_for(centre):
    """A lower number may commit after a higher one was seen: PostgreSQL gives them out early."""
    if centre.store.engine.dialect.name != "postgresql":
        pytest.skip("SQLite receives one batch at a time")
    box = centre.box()
    centre.send(box, ("run", run_body(1)))
    first = centre.highest()
    slow = centre.store.engine.connect()
    row = {
        "clinic_id": box.clinic_id, "device_id": box.id, "epoch": "e", "seq": 1, "digest": "d",
        "type": "run.clinical", "schema": 1, "created_at": "", "clock_state": "", "body": "{}",
        "received_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    slow.execute(schema.documents.insert().values(**row))  # has its number, and does not commit
    centre.send(box, ("run", run_body(2)))
    assert centre.highest() == first + 2
    with pytest.raises(Retryable, match="open for"):
        settled(centre.reader, EVERYTHING, pause=lambda _: None, patience_s=0.2)
    looks = []

    def commit_meanwhile(_):
        looks.append(1)
        slow.rollback()

    assert settled(centre.reader, EVERYTHING, pause=commit_meanwhile) == first + 2
    assert looks
    slow.close()
    assert settled(centre.reader, EVERYTHING, after=first + 2) == first + 2


def wrong_bodies():
    """Documents whose digest is right, and that say something else than their type must."""
    run = run_body(1)
    yield "run", run | {"sample": None}
    yield "run", run | {"status": "fine"}
    yield "run", {key: value for key, value in run.items() if key != "measurements"}
    yield "run", run | {"measurements": [{"code": "RBC"}]}
    yield "run", run | {"number": "2"}
    yield "note", said_body("note", text=None)
    yield "correction", said_body("correction", changes={"species": ["cat"]})
    yield "mark", {"simulated": False}


def test_documents_that_are_none_are_left_out_and_hold_nothing_up(centre):
    box = centre.box()
    centre.send(box, *wrong_bodies())
    centre.send(box, ("run", run_body(3)), created_at="yesterday")
    centre.send(box, ("run", run_body(2)))
    left_out = []
    choice = Choice(frozenset({"run", "note", "correction", "mark"}), KINDS, upto=99)
    found = list(pages(centre.reader, EVERYTHING, choice, size=2, leave_out=left_out.append))
    assert [one.body["capture"] for page in found for one in page] == [capture_of(2)]
    assert len(left_out) == len(list(wrong_bodies())) + 1
    of_result = related(centre.reader, EVERYTHING, found[0], upto=99, what=("run",))
    assert len(of_result) == 1
