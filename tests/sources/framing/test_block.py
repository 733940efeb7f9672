"""SOH, STX, ETX and EOT with a sum."""

from __future__ import annotations

import functools
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.simulator.wire import block
from edge_daemon.sources.framing import Deliver, Discard, Reply

MODEST = settings(deadline=None, max_examples=80)
GOOD = block(b"01 RES", b"SNO\t1\tRBC\t7.1")
MESSAGE = b"01 RES\x02SNO\t1\tRBC\t7.1"
ANSWERED = {"acknowledge": "06", "refuse": "15"}
ACK, NAK = Reply(b"\x06"), Reply(b"\x15")
TEXT = st.binary(max_size=60).map(lambda raw: raw.translate(None, b"\x01\x02\x03"))


def test_a_block_is_delivered_with_its_head(line):
    one = line("block")
    assert one.feed(GOOD * 2) == [Deliver(MESSAGE)] * 2
    assert one.framer.deadline is None
    assert one.close() == []


def test_a_block_is_answered_after_it_is_delivered(line):
    one = line("block", ANSWERED)
    assert one.feed(GOOD[:-1]) == []
    assert one.feed(GOOD[-1:]) == [Deliver(MESSAGE), ACK]


@pytest.mark.parametrize("check", ["sum", "xor"])
@pytest.mark.parametrize("digits", [True, False])
@pytest.mark.parametrize("covers_start", [True, False])
@pytest.mark.parametrize("covers_etx", [True, False])
@pytest.mark.parametrize("trailer", [b"", b"\x04", b"\r\n"])
def test_every_way_to_close_a_block(line, check, digits, covers_start, covers_etx, trailer):
    options = {
        "head": False,
        "check": check,
        "digits": digits,
        "covers_start": covers_start,
        "covers_etx": covers_etx,
        "trailer": trailer.hex(),
    }
    for text in (b"", b"abc", b"kk", bytes(range(4, 256))):
        covered = b"\x02" * covers_start + text + b"\x03" * covers_etx
        value = sum(covered) % 256 if check == "sum" else functools.reduce(operator.xor, covered, 0)
        for written in [b"%02X" % value, b"%02x" % value] if digits else [bytes([value])]:
            one = line("block", options)
            one.feed(b"\x02" + text + b"\x03" + written + trailer)
            assert one.messages == [text]
            assert one.troubles == []


@pytest.mark.parametrize(
    ("trouble", "broken"),
    [
        ("checksum", GOOD.replace(b"7.1", b"7.2")),
        ("checksum", GOOD[:-2] + bytes([GOOD[-2] ^ 1]) + GOOD[-1:]),
        ("frame", GOOD[:-1] + b"\x05"),
        ("frame", b"\x01no text\x03" + bytes([sum(b"\x01no text\x03") % 256]) + b"\x04"),
        ("frame", block(b"two", b"te\x02xts")),
    ],
)
def test_a_broken_block_is_refused_and_the_repeat_taken(line, trouble, broken):
    one = line("block", ANSWERED)
    assert one.feed(broken) == [Discard(trouble, len(broken)), NAK]
    assert one.feed(GOOD) == [Deliver(MESSAGE), ACK]


def test_a_line_without_answers_gets_none(line):
    one = line("block")
    one.feed(GOOD.replace(b"7.1", b"7.2"), GOOD)
    assert one.messages == [MESSAGE]
    assert one.replies == b""


def test_a_block_in_a_block_replaces_it(line):
    one = line("block", ANSWERED)
    assert one.feed(GOOD[:9], GOOD) == [Discard("frame", 9), Deliver(MESSAGE), ACK]


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
def test_a_good_block_behind_any_beginning_of_one_is_read(line, cut):
    one = line("block", ANSWERED)
    one.feed(GOOD[:cut], GOOD)
    assert one.messages == [MESSAGE]
    assert one.wasted == cut


def test_noise_is_told_and_line_ends_are_not(line):
    one = line("block")
    one.feed(b"\xff\xfe", GOOD, b"\r\n", GOOD)
    assert one.actions == [Discard("noise", 2), Deliver(MESSAGE), Deliver(MESSAGE)]


def test_a_block_that_stops_is_refused(line):
    one = line("block", {**ANSWERED, "silence_s": 3.0})
    one.feed(GOOD[:9])
    assert one.wait(2.9) == []
    assert one.wait(0.2) == [Discard("silence", 9), NAK]
    one.feed(GOOD)
    assert one.messages == [MESSAGE]


def test_a_connection_that_ends_in_a_block(line):
    one = line("block", ANSWERED)
    one.feed(GOOD[:9])
    assert one.close() == [Discard("silence", 9)]


@pytest.mark.parametrize("step", [1, 50, 10_000])
def test_a_block_over_the_limit_is_refused(line, step):
    one = line("block", {**ANSWERED, "max_message": 100})
    stream = block(b"big", b"x" * 5000)
    for begin in range(0, len(stream), step):
        one.feed(stream[begin : begin + step])
        assert len(one.framer._buffer) <= 105
    assert one.actions == [Discard("too_large", len(stream)), NAK]
    one.feed(GOOD)
    assert one.messages == [MESSAGE]


@MODEST
@given(head=TEXT, text=TEXT)
def test_any_text_comes_through(line, head, text):
    one = line("block")
    one.feed(block(head, text))
    assert one.messages == [head + b"\x02" + text if head else text]


@MODEST
@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from([GOOD, GOOD[:7], b"\x01", b"\x02", b"\x03", b"\x01\x01\x03\x04"]),
            st.binary(max_size=12),
        ),
        max_size=8,
    ),
    options=st.sampled_from([{}, ANSWERED, {"head": False}, {"max_message": 10}]),
    cuts=st.lists(st.integers(0), max_size=8),
)
def test_any_split_tells_the_same_and_every_byte_is_accounted(
    same_however_split, parts, options, cuts
):
    stream = b"".join(parts)
    told = same_however_split("block", options, stream, cuts)
    kept = sum(len(a.message) + 4 for a in told if isinstance(a, Deliver))
    kept += sum(b"\x02" not in a.message for a in told if isinstance(a, Deliver)) * (
        options.get("head", True)
    )
    lost = sum(a.size for a in told if isinstance(a, Discard))
    silent = stream.count(b"\r") + stream.count(b"\n")
    assert len(stream) - silent <= kept + lost <= len(stream)


@MODEST
@given(garbage=st.binary(max_size=80))
def test_the_block_after_garbage_and_a_pause_is_read(line, garbage):
    one = line("block")
    one.feed(garbage)
    one.wait(5)
    one.feed(GOOD)
    assert one.messages[-1:] == [MESSAGE]


def test_every_single_wrong_byte_is_noticed(line):
    for place in range(len(GOOD)):
        for wrong in range(256):
            broken = GOOD[:place] + bytes([wrong]) + GOOD[place + 1 :]
            one = line("block")
            one.feed(broken)
            one.wait(5)
            assert one.messages == ([MESSAGE] if broken == GOOD else [])
