"""E1381, clause by clause, its deviations, and two real senders."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.simulator.wire import ENQ, EOT, astm_frame, astm_frames
from edge_daemon.sources.framing import Deliver, Discard, Heard, Reply
from edge_daemon.sources.framing.astm import AstmFramer

ACK, NAK = Reply(b"\x06"), Reply(b"\x15")
MESSAGE = b"H|\\^&|||sim\rP|1\rO|1|s1\rR|1|^^^RBC|7.1\rR|2|^^^PLT|300\rL|1|N\r"
FREE = {"without_session": True}
WIDE = {**FREE, "max_text": 65_536}
LOOSE = {**FREE, "without_line_feed": True, "without_carriage_return": True}

MODEST = settings(deadline=None, max_examples=80)
FIELD = st.binary(min_size=1, max_size=40).map(
    lambda raw: bytes(b for b in raw if b not in b"\r\n" and not 1 <= b <= 0x17)
)


@st.composite
def records(draw) -> bytes:
    middle = draw(st.lists(FIELD.map(lambda field: b"R|" + field), max_size=6))
    return b"".join(record + b"\r" for record in [b"H|1", *middle, b"L|1|N"])


def frames(**changes) -> list[bytes]:
    return astm_frames(MESSAGE, **changes)


@pytest.fixture
def open_line(line):
    """A line on which ENQ has just been acknowledged."""

    def make(**options):
        one = line("astm", options)
        assert one.feed(ENQ) == [Heard(), ACK]
        one.actions.clear()
        return one

    return make


# The regular course


def test_a_whole_transfer(open_line):
    one = open_line()
    *most, last = frames()
    for frame in most:
        assert one.feed(frame) == [ACK]
    assert one.feed(last) == [Deliver(MESSAGE), ACK]
    assert one.feed(EOT) == [Heard()]
    assert one.framer.deadline is None
    assert one.close() == []


def test_the_message_is_delivered_before_its_last_frame_is_acknowledged(open_line):
    one = open_line()
    told = one.feed(*frames())
    assert told.index(Deliver(MESSAGE)) == len(told) - 2
    assert told[-1] == ACK


def test_frame_numbers_go_from_one_to_seven_to_zero(open_line):
    one = open_line()
    text = b"H|1\r" + b"R|1\r" * 20 + b"L|1\r"
    sent = astm_frames(text)
    assert [frame[1:2] for frame in sent[:9]] == [*(b"%d" % n for n in (*range(1, 8), 0, 1))]
    one.feed(*sent)
    assert one.messages == [text]
    assert one.replies == b"\x06" * len(sent)


def test_two_messages_in_one_transfer_are_two(open_line):
    one = open_line()
    both = astm_frames(MESSAGE + MESSAGE.replace(b"s1", b"s2"))
    one.feed(*both, EOT)
    assert one.messages == [MESSAGE, MESSAGE.replace(b"s1", b"s2")]


@MODEST
@given(message=records(), sizes=st.tuples(st.integers(1, 240), st.integers(1, 240)))
def test_other_frames_give_the_same_bytes(line, message, sizes):
    for size in sizes:
        for by_record in (True, False):
            one = line("astm")
            one.feed(ENQ, *astm_frames(message, text_size=size, by_record=by_record), EOT)
            assert one.messages == [message]
            assert one.troubles == []


def test_a_record_without_its_own_cr_is_given_one(open_line):
    one = open_line()
    one.feed(astm_frame(1, b"H|1", last=True), astm_frame(2, b"L|1", last=True))
    assert one.messages == [b"H|1\rL|1\r"]


def test_what_looks_like_a_terminator_inside_a_record_is_none(open_line):
    one = open_line()
    one.feed(astm_frame(1, b"H|1\r", last=True), astm_frame(2, b"M|1|", last=False))
    assert one.feed(astm_frame(3, b"L|1\r", last=True)) == [ACK]
    assert one.feed(astm_frame(4, b"L|1|N\r", last=True))[0] == Deliver(b"H|1\rM|1|L|1\rL|1|N\r")


def test_etb_after_a_terminator_record_does_not_end_the_message(open_line):
    one = open_line()
    assert one.feed(astm_frame(1, b"H|1\rL|1\r", last=False)) == [ACK]


# Errors and their repair


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("a wrong character", lambda f: f.replace(b"sim", b"sjm")),
        ("a wrong check digit", lambda f: f[:-4] + b"00\r\n"),
        ("the number of another frame", lambda f: f.replace(b"\x021", b"\x022", 1)),
    ],
)
def test_a_wrong_sum_is_refused_and_the_repeat_taken(open_line, name, damage):
    one = open_line()
    first, *others = frames()
    broken = damage(first)
    assert one.feed(broken) == [Discard("checksum", len(first)), NAK]
    assert one.feed(first) == [ACK]
    one.feed(*others, EOT)
    assert one.messages == [MESSAGE]
    assert one.fragments == []


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("out of turn", astm_frame(2, b"H|1\r", last=True)),
        ("no digit", b"\x02xH|1\r\x03" + b"%02X\r\n" % (sum(b"xH|1\r\x03") % 256)),
        ("digit over 7", b"\x028H|1\r\x03" + b"%02X\r\n" % (sum(b"8H|1\r\x03") % 256)),
        ("a restricted character", astm_frame(1, b"H|\x11\r", last=True)),
        ("nothing in it", b"\x02\x0303\r\n"),
        ("line feed for the end", b"\x021H|1\r\n"),
        ("no hexadecimal digits", astm_frame(1, b"H|1\r", last=True)[:-4] + b"0g\r\n"),
        ("small hexadecimal digits", b"\x021H|1\r\x033c\r\n"),
        ("carriage return damaged", astm_frame(1, b"H|1\r", last=True)[:-2] + b"\x0c\n"),
    ],
)
def test_a_frame_that_breaks_the_grammar_is_refused_at_its_end(open_line, name, broken):
    one = open_line()
    assert one.feed(broken[:-1]) == []
    assert one.feed(broken[-1:]) == [Discard("frame", len(broken)), NAK]
    assert one.feed(astm_frame(1, b"H|1\r", last=True)) == [ACK]


def test_a_repeat_is_acknowledged_and_dropped(open_line):
    one = open_line()
    first, second, *others = frames()
    one.feed(first, second)
    assert one.feed(second) == [Discard("repeated", len(second)), ACK]
    one.feed(*others)
    assert one.feed(others[-1]) == [Discard("repeated", len(others[-1])), ACK]
    assert one.messages == [MESSAGE]


def test_another_text_under_the_same_number_is_no_repeat(open_line):
    one = open_line()
    one.feed(astm_frame(1, b"H|1\r", last=True))
    other = astm_frame(1, b"H|2\r", last=True)
    assert one.feed(other) == [Discard("frame", len(other)), NAK]


def test_a_sender_that_gives_up_leaves_an_incomplete_message(open_line):
    one = open_line()
    first, second, *_ = frames()
    broken = second.replace(b"P", b"Q")
    one.feed(first, *[broken] * 7)
    assert one.replies == b"\x06" + b"\x15" * 7
    assert one.feed(EOT) == [Deliver(b"H|\\^&|||sim\r", complete=False), Heard()]
    assert one.messages == []


def test_nothing_is_delivered_where_nothing_was_acknowledged(open_line):
    one = open_line()
    one.feed(frames()[0].replace(b"sim", b"xxx"))
    assert one.feed(EOT) == [Heard()]
    assert one.fragments == []


def test_enq_in_a_transfer_begins_again(open_line):
    one = open_line()
    one.feed(*frames()[:2])
    kept = Deliver(b"H|\\^&|||sim\rP|1\r", complete=False)
    assert one.feed(ENQ) == []
    assert one.wait(1) == [kept, Heard(), ACK]
    one.feed(*frames(), EOT)
    assert one.messages == [MESSAGE]


def test_enq_twice_is_answered_twice(open_line):
    one = open_line()
    assert one.feed(ENQ) == []
    assert one.wait(1) == [Heard(), ACK]
    one.feed(*frames())
    assert one.messages == [MESSAGE]


def test_a_first_byte_damaged_to_enq_does_not_acknowledge_its_frame(open_line):
    one = open_line()
    frame = astm_frame(1, MESSAGE, last=True)
    assert one.feed(ENQ, frame[1:]) == [Discard("frame", len(frame)), NAK]
    assert one.feed(frame) == [Deliver(MESSAGE), ACK]


# Time


def test_thirty_seconds_without_a_frame_end_the_transfer(open_line):
    one = open_line()
    one.feed(frames()[0])
    assert one.wait(29.9) == []
    assert one.wait(0.2) == [Deliver(b"H|\\^&|||sim\r", complete=False)]
    second = frames()[1]
    assert one.feed(second) == []
    told = [Discard("noise", len(second) - 3)]
    assert one.wait(2) == told, "the line is neutral; line ends are not worth telling"


def test_the_transfer_time_begins_again_with_every_frame(open_line):
    one = open_line()
    for frame in frames():
        assert one.wait(29) == []
        one.feed(frame)
    assert one.messages == [MESSAGE]


def test_an_enquiry_that_nothing_follows_is_forgotten(open_line):
    one = open_line()
    assert one.wait(31) == []
    assert one.framer.deadline is None
    assert one.feed(frames()[0]) == []


def test_a_frame_that_stops_is_refused_while_the_sender_still_waits(open_line):
    one = open_line()
    first, *others = frames()
    one.feed(first[:-3])
    assert one.wait(4.9) == []
    assert one.wait(0.2) == [Discard("silence", len(first) - 3), NAK]
    one.feed(first, *others)
    assert one.messages == [MESSAGE]


def test_a_late_feed_finds_the_time_out_first(open_line):
    one = open_line()
    one.feed(frames()[0])
    one.now += 60  # nobody ticked
    assert one.feed(ENQ)[0] == Deliver(b"H|\\^&|||sim\r", complete=False)


# Control characters out of place


@pytest.mark.parametrize("code", [ENQ, EOT])
def test_damage_that_looks_like_control_is_never_answered_inside_a_frame(open_line, code):
    """An acknowledgement here would be taken for that of the frame, and the frame lost."""
    one = open_line()
    first, *others = frames()
    broken = first[:5] + code + first[6:]
    assert one.feed(broken[:-1]) == []
    assert one.feed(broken[-1:]) == [Discard("checksum", len(broken)), NAK]
    one.feed(first, *others, EOT)
    assert one.messages == [MESSAGE]
    assert one.fragments == []


def test_a_sender_that_restarts_inside_a_frame_is_told_to_ask_again(open_line):
    one = open_line()
    first, second, *_ = frames()
    one.feed(first, second[:6], ENQ)
    assert one.wait(5) == [Discard("silence", 7), NAK]
    assert one.wait(10) == []
    one.feed(ENQ)
    assert one.wait(1) == [Deliver(b"H|\\^&|||sim\r", complete=False), Heard(), ACK]
    one.feed(*frames())
    assert one.messages == [MESSAGE]


def test_a_frame_inside_a_broken_frame_is_found(open_line):
    one = open_line()
    first = frames()[0]
    assert one.feed(first[:7], first) == [Discard("frame", 7), ACK]


def test_enquiry_and_frame_behind_a_false_beginning(line):
    one = line("astm", FREE)
    one.feed(b"\x02\x17\x02", ENQ, *frames(), EOT)
    assert one.messages == [MESSAGE]


def test_noise_between_frames_is_told_and_harmless(open_line):
    one = open_line()
    one.feed(b"\x00\xff\r\n\xfe", *frames(), EOT)
    assert one.messages == [MESSAGE]
    assert one.actions[0] == Discard("noise", 3), "line ends are not worth telling"


def test_frames_without_an_enquiry_are_not_answered(line):
    one = line("astm")
    one.feed(*frames())
    one.close()
    assert one.replies == b""
    assert one.messages == []
    assert set(one.troubles) == {"noise"}


# Sizes


def test_a_frame_over_its_limit_is_refused_at_its_end(open_line):
    one = open_line()
    frame = astm_frame(1, b"H" * 241, last=True)
    assert one.feed(frame[:-1]) == []
    assert one.feed(frame[-1:]) == [Discard("too_large", len(frame)), NAK]
    assert one.feed(astm_frame(1, b"H" * 240, last=True)) == [ACK]


def test_a_message_over_the_limit_is_not_acknowledged(open_line):
    one = open_line(max_message=300)
    one.feed(astm_frame(1, b"H" * 200 + b"\r", last=True))
    frame = astm_frame(2, b"R" * 100 + b"\r", last=True)
    assert one.feed(frame) == [Discard("too_large", len(frame)), NAK]
    assert one.feed(EOT)[0] == Deliver(b"H" * 200 + b"\r", complete=False)


def test_memory_stays_within_the_limits():
    framer = AstmFramer()
    framer.feed(ENQ + b"\x021", 0.0)
    for _ in range(200):
        framer.feed(b"x" * 10_000, 0.0)
        assert len(framer._buffer) < 300


# Named leniencies


def test_without_session_a_message_ends_with_its_terminator_record(line):
    one = line("astm", FREE)
    one.feed(*frames())
    assert one.messages == [MESSAGE]
    assert one.replies == b"\x06" * 6
    assert one.framer.deadline is None


def test_without_session_silence_ends_a_message(line):
    one = line("astm", FREE)
    one.feed(*frames()[:-1])
    assert one.wait(30)[0] == Deliver(MESSAGE[: -len(b"L|1|N\r")], complete=False)


def test_without_session_every_message_counts_from_one(line):
    one = line("astm", FREE)
    other = MESSAGE.replace(b"s1", b"s2")
    one.feed(*frames(), *astm_frames(other))
    assert one.messages == [MESSAGE, other]


def test_without_session_a_header_begins_anew_after_a_loss(line):
    other = MESSAGE.replace(b"sim", b"two")
    for sent in (1, 3, 5):
        one = line("astm", FREE)
        one.feed(*frames()[:sent], *astm_frames(other))
        assert one.messages == [other]
        assert len(one.fragments) == 1


def test_without_session_a_piece_that_looks_like_a_header_is_none(line):
    text = b"H|1\rM|1|" + b"x" * 1200 + b"HHHHH\rL|1\r"
    one = line("astm", FREE)
    sent = astm_frames(text, text_size=100)
    pieces = [i for i, f in enumerate(sent) if f[1:3] == b"1x"]
    assert pieces
    swapped = text.replace(b"x", b"H")
    one.feed(*astm_frames(swapped, text_size=100))
    assert one.messages == [swapped]
    assert one.fragments == []


def test_without_session_enquiries_are_still_answered(line):
    one = line("astm", FREE)
    assert one.feed(ENQ) == []
    assert one.wait(1) == [Heard(), ACK]
    one.feed(*frames())
    assert one.feed(EOT) == [Heard()]
    assert one.messages == [MESSAGE]


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        ({"without_line_feed": True}, b"\r"),
        ({"without_line_feed": True}, b"\r\n"),
        ({"without_carriage_return": True}, b""),
        ({"without_carriage_return": True}, b"\n"),
        ({"without_carriage_return": True}, b"\r\n"),
    ],
)
def test_lenient_endings(line, options, ending):
    one = line("astm", options)
    one.feed(ENQ, *(frame[:-2] + ending for frame in frames()), EOT)
    assert one.messages == [MESSAGE]
    assert one.troubles == []


@pytest.mark.parametrize("ending", [b"", b"\r", b"\n"])
def test_strict_endings(open_line, ending):
    one = open_line()
    one.feed(*(frame[:-2] + ending for frame in frames()))
    one.wait(60)
    assert one.messages == []
    assert set(one.troubles) <= {"frame", "silence", "noise"}
    assert b"\x06" not in one.replies


def test_one_huge_frame(line):
    message = b"H|1\r" + b"R|1|x\r" * 5_000 + b"L|1\r"
    frame = astm_frame(1, message, last=True)
    one = line("astm", {"max_text": 1 << 20})
    one.feed(ENQ, *(frame[i : i + 100] for i in range(0, len(frame), 100)), EOT)
    assert one.messages == [message]


# Real senders


def test_the_yumizen_transfer_is_read_whole(line, corpus):
    stream = (corpus / "astm" / "yumizen_h500_blood_framed.astm").read_bytes()
    for step in (1, 7, 247, 4096, len(stream)):
        one = line("astm", FREE)
        one.feed(*(stream[i : i + step] for i in range(0, len(stream), step)))
        one.close()
        assert one.replies == b"\x06" * 137
        assert one.troubles == []
        (message,) = one.messages
        assert message.startswith(b"H|\\^&|||H500^")
        assert message.endswith(b"\rL|1|N\r")
        assert not set(message) & set(b"\x02\x03\x17\n")


def test_the_yumizen_transfer_with_its_handshake_gives_the_same_bytes(line, corpus):
    stream = (corpus / "astm" / "yumizen_h500_blood_framed.astm").read_bytes()
    free, strict = line("astm", FREE), line("astm")
    free.feed(stream)
    strict.feed(ENQ, stream, EOT)
    assert strict.messages == free.messages
    assert strict.replies == b"\x06" * 138


def test_the_sysmex_transfer_needs_its_leniencies(line, corpus):
    stream = (corpus / "astm" / "sysmex_xn550.astm").read_bytes()
    needed = {"without_session": True, "without_line_feed": True, "max_text": 4096}
    one = line("astm", needed)
    one.feed(*(stream[i : i + 100] for i in range(0, len(stream), 100)))
    (message,) = one.messages
    assert message.startswith(b"H|\\^&|||    XN-550^")
    assert message.endswith(b"\rL|1|N\r")
    assert message.count(b"\rR|") == 41
    for name in needed:
        strict = line("astm", {key: value for key, value in needed.items() if key != name})
        strict.feed(stream)
        strict.wait(60)
        assert strict.messages == []


# Properties


@MODEST
@given(
    message=records(),
    options=st.sampled_from([{}, FREE, WIDE, LOOSE]),
    changes=st.lists(
        st.tuples(st.integers(0), st.integers(0, 2), st.binary(min_size=1, max_size=4)), max_size=4
    ),
    cuts=st.lists(st.integers(0), max_size=8),
)
def test_any_split_tells_the_same(same_however_split, message, options, changes, cuts):
    stream = b"".join([ENQ, *astm_frames(message, text_size=60), EOT]) * 2
    for place, gone, put in changes:
        at = place % len(stream)
        stream = stream[:at] + put + stream[at + gone :]
    same_however_split("astm", options, stream, cuts)


@MODEST
@given(stream=st.binary(max_size=200), cuts=st.lists(st.integers(0), max_size=8))
def test_garbage_is_never_a_message_and_the_next_one_is_read(same_however_split, stream, cuts):
    for options in ({}, FREE):
        told = same_however_split("astm", options, stream, cuts)
        assert not any(isinstance(action, Deliver) for action in told)


@MODEST
@given(garbage=st.binary(max_size=60))
def test_the_message_after_garbage_is_read(line, garbage):
    one = line("astm")
    one.feed(garbage)
    one.wait(5)
    one.feed(ENQ)
    one.wait(5)  # the sender waits for its answer; a false frame before it has stopped by now
    one.actions.clear()
    one.feed(*frames(), EOT)
    assert one.messages == [MESSAGE]
    assert one.replies == b"\x06" * 6


class Sender:
    """E1381's own sender, on a line that damages what it is told to."""

    def __init__(self, one, damage) -> None:
        self.one = one
        self.damage = damage

    def exchange(self, data: bytes) -> bytes:
        """Send, then wait up to 15 s for the answer (6.5.2)."""
        before = len(self.one.actions)
        self.one.feed(self.damage(data))
        self.one.wait(14.9)
        answers = [a.data for a in self.one.actions[before:] if isinstance(a, Reply)]
        return answers[-1] if answers else b""

    def send(self, message: bytes) -> bool:
        if self.exchange(ENQ) != b"\x06":
            return self.end(well=False)
        for frame in astm_frames(message):
            for _ in range(7):
                answer = self.exchange(frame)
                if answer != b"\x15":
                    break
            if answer != b"\x06":
                return self.end(well=False)
        return self.end(well=True)

    def end(self, *, well: bool) -> bool:
        self.one.feed(EOT)
        self.one.wait(10)
        return well


def test_one_damaged_byte_anywhere_costs_a_repeat_and_nothing_else(line):
    """Every byte of the transfer, changed to each byte that means something, and lost."""
    lengths = [len(frame) for frame in [ENQ, *frames()]]
    for target in range(sum(lengths)):
        for new in (b"\x02", b"\x03", b"\x04", b"\x05", b"\n", b"\r", b"\x17", b"\x06", b"7", b""):
            seen = 0

            def damage(data: bytes, new=new, target=target) -> bytes:
                nonlocal seen
                at = target - seen
                seen += len(data)
                return data[:at] + new + data[at + 1 :] if 0 <= at < len(data) else data

            one = line("astm")
            sender = Sender(one, damage)
            assert sender.send(MESSAGE) or sender.send(MESSAGE)
            assert one.messages == [MESSAGE], (target, new)


@pytest.mark.parametrize("lost", range(7))
def test_a_lost_answer_costs_a_second_transfer_of_the_same_bytes(line, lost):
    class Deaf(Sender):
        heard = -1

        def exchange(self, data: bytes) -> bytes:
            self.heard += 1
            answer = super().exchange(data)
            return b"" if self.heard == lost else answer

    one = line("astm")
    sender = Deaf(one, lambda data: data)
    assert not sender.send(MESSAGE)
    assert sender.send(MESSAGE)
    assert set(one.messages) == {MESSAGE}
    assert len(one.messages) == (2 if lost == 6 else 1)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32), rate=st.sampled_from([0.1, 0.4]))
def test_a_noisy_line_loses_nothing_and_invents_nothing(line, seed, rate):
    """One byte in a frame is lost, doubled or changed, which no sum of 8 bits can miss."""
    chance = random.Random(seed)

    def damage(data: bytes) -> bytes:
        if chance.random() > rate:
            return data
        at = chance.randrange(len(data))
        new = chance.choice([b"", data[at : at + 1] * 2, bytes([chance.randrange(256)])])
        return data[:at] + new + data[at + 1 :]

    one = line("astm")
    sender = Sender(one, damage)
    for number in range(3):
        message = MESSAGE.replace(b"s1", b"s%d" % number)
        tries = 0
        while not sender.send(message):
            tries += 1
            assert tries < 50
        assert one.messages[-1] == message
    assert len(set(one.messages)) == 3
