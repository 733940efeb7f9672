"""MLLP blocks, what is answered to them, and a real message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.simulator.wire import mllp_block
from edge_daemon.sources.framing import Deliver, Discard, Heard, Reply
from edge_daemon.sources.framing.hl7_answer import answer

MODEST = settings(deadline=None, max_examples=80)
RESULT = (
    b"MSH|^~\\&|Vet5|Clinic|LIS|PC|20261101101500||ORU^R01|17|P|2.3.1||||0||UNICODE\r"
    b"PID|1||7||bello^mueller\rOBX|1|NM|RBC||7.1|10*12/L|||||F\r"
)
ACCEPTED = b"MSH|^~\\&|LIS|PC|Vet5|Clinic|||ACK^R01|17|P|2.3.1||||||UNICODE\rMSA|AA|17\r"
UNREADABLE = Reply(mllp_block(b"MSH|^~\\&|||||||ACK\rMSA|AR||MSH segment unreadable\r"))

CONTENT = st.binary(max_size=120).map(lambda raw: raw.translate(None, b"\x0b\x1c"))


def test_a_message_is_delivered_then_acknowledged(line):
    one = line("mllp")
    assert one.feed(mllp_block(RESULT)) == [Deliver(RESULT), Reply(mllp_block(ACCEPTED))]
    assert one.framer.deadline is None
    assert one.close() == []


def test_messages_back_to_back(line):
    one = line("mllp")
    one.feed(mllp_block(RESULT) * 3)
    assert one.messages == [RESULT] * 3
    assert one.replies == mllp_block(ACCEPTED) * 3


def test_nothing_is_answered_before_the_end(line):
    one = line("mllp")
    block = mllp_block(RESULT)
    assert one.feed(*(bytes([b]) for b in block[:-1])) == []
    assert one.feed(block[-1:])[0] == Deliver(RESULT)


@pytest.mark.parametrize("kind", [b"OUL^R21", b"ORU", b"oru^r01"])
def test_results_are_kept(kind):
    decided = answer(RESULT.replace(b"ORU^R01", kind))
    assert decided.keep
    assert b"MSA|AA|17\r" in decided.reply


@pytest.mark.parametrize("kind", [b"QRY^Q02", b"ORM^O01", b"ADT^A01", b"ORUX^R01"])
def test_what_is_not_served_is_rejected_and_not_kept(line, kind):
    one = line("mllp")
    told = one.feed(mllp_block(RESULT.replace(b"ORU^R01", kind)))
    assert told[0] == Heard()
    assert b"\rMSA|AR|17|message type not served\r\x1c\r" in told[1].data
    assert one.messages == []


def test_a_heartbeat_is_answered_and_not_kept(line):
    one = line("mllp")
    told = one.feed(mllp_block(b"MSH|^~\\&|EHVT-50||||20261101||ZHB^H00|9|P|2.3.1\r"))
    assert told == [
        Heard(),
        Reply(mllp_block(b"MSH|^~\\&|||EHVT-50||||ACK^H00|9|P|2.3.1\rMSA|AA|9\r")),
    ]


def test_an_acknowledgement_is_never_acknowledged(line):
    one = line("mllp")
    assert one.feed(mllp_block(ACCEPTED)) == [Heard()]


def test_other_separators_are_used_as_sent():
    message = b"MSH!*~\\&!A!B!C!D!!!ORU*R01!5!P!2.5\rOBX!1\r"
    assert answer(message).reply == b"MSH!*~\\&!C!D!A!B!!!ACK*R01!5!P!2.5\rMSA!AA!5\r"


def test_line_feeds_between_segments_and_foreign_characters_are_left_alone(line):
    message = RESULT.replace(b"\r", b"\n").replace(b"bello", "bölló 犬".encode())
    one = line("mllp")
    one.feed(mllp_block(message))
    assert one.messages == [message]
    assert one.replies == mllp_block(ACCEPTED)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"MSH",
        b"MSH|",
        b"MSH|^~\\&|a|b|c|d|||",
        b"MSH|^~\\&|a|b|c|d||||7|P",
        b"MSHX^~\\&XaXbXcXdXXXORU^R01X1",
        b"MSH||a|b|c|d|||ORU^R01|1",
        b" MSH|^~\\&|||||||ORU^R01|1",
        b"PID|1\rMSH|^~\\&|||||||ORU^R01|1",
        b"MSH|^~\\&|||\r|||ORU^R01|1",
    ],
)
def test_what_cannot_be_read_is_kept_and_rejected(line, message):
    one = line("mllp")
    assert one.feed(mllp_block(message)) == [Deliver(message), UNREADABLE]


# Deviations


def test_without_carriage_return(line):
    strict, lenient = line("mllp"), line("mllp", {"without_carriage_return": True})
    stream = (mllp_block(RESULT)[:-1]) * 2
    lenient.feed(stream)
    assert lenient.messages == [RESULT] * 2
    assert lenient.troubles == []
    strict.feed(stream)
    assert strict.messages == []
    assert strict.feed(b"\r")[0] == Deliver(RESULT), "the second one does end"
    assert strict.actions[0] == Discard("frame", len(RESULT) + 2)


def test_without_carriage_return_one_may_still_come(line):
    one = line("mllp", {"without_carriage_return": True})
    one.feed(mllp_block(RESULT) * 2)
    assert one.messages == [RESULT] * 2
    assert one.troubles == []


def test_a_line_feed_behind_a_block_is_passed_over(line):
    one = line("mllp")
    one.feed((mllp_block(RESULT) + b"\n") * 2)
    one.close()
    assert one.messages == [RESULT] * 2
    assert one.troubles == []


def test_noise_between_blocks_is_told(line):
    one = line("mllp")
    one.feed(b"xyz", mllp_block(RESULT), b"\x1c\r", mllp_block(RESULT))
    assert one.messages == [RESULT] * 2
    assert one.actions[0] == Discard("noise", 3)
    assert one.troubles == ["noise", "noise"]


def test_noise_that_nothing_follows_is_told_after_a_second(line):
    one = line("mllp")
    assert one.feed(b"xyz") == []
    assert one.wait(0.9) == []
    assert one.wait(0.2) == [Discard("noise", 3)]
    assert one.framer.deadline is None


def test_a_block_in_a_block_replaces_it(line):
    one = line("mllp")
    told = one.feed(b"\x0bMSH|half", mllp_block(RESULT))
    assert told[:2] == [Discard("frame", 9), Deliver(RESULT)]


def test_a_block_that_stops_is_given_up_unanswered(line):
    one = line("mllp", {"silence_s": 10.0})
    one.feed(b"\x0bMSH|^~")
    assert one.wait(9.9) == []
    assert one.wait(0.2) == [Discard("silence", 7)]
    one.feed(mllp_block(RESULT))
    assert one.messages == [RESULT]


def test_a_connection_that_ends_in_a_block(line):
    one = line("mllp")
    one.feed(b"\x0bMSH|^~")
    assert one.close() == [Discard("silence", 7)]


@pytest.mark.parametrize("step", [1, 50, 10_000])
def test_a_message_over_the_limit_is_rejected_by_its_number(line, step):
    one = line("mllp", {"max_message": 1000})
    stream = mllp_block(RESULT + b"OBX|" + b"x" * 5000)
    for begin in range(0, len(stream), step):
        one.feed(stream[begin : begin + step])
        assert len(one.framer._buffer) <= 1001
    assert one.messages == []
    assert one.actions[0] == Discard("too_large", len(stream))
    assert b"MSA|AR|17|message too large" in one.replies
    one.feed(mllp_block(RESULT))
    assert one.messages == [RESULT]


def test_a_message_at_the_limit_is_taken(line):
    one = line("mllp", {"max_message": len(RESULT)})
    one.feed(mllp_block(RESULT))
    assert one.messages == [RESULT]
    one.feed(mllp_block(RESULT + b"x"))
    assert one.troubles == ["too_large"]


def test_over_the_limit_and_unreadable(line):
    one = line("mllp", {"max_message": 4})
    told = one.feed(mllp_block(b"xxxxx"))
    assert told == [Discard("too_large", 8), UNREADABLE]


def test_a_real_canine_report(line, corpus):
    message = (corpus / "hl7" / "urit5160_canine.hl7").read_bytes()
    one = line("mllp")
    one.feed(mllp_block(message))
    assert one.messages == [message]
    assert one.replies == mllp_block(
        b"MSH|^~\\&|LIS|PC|URIT|URIT-5160|||ACK^R01|4|P|2.3.1||||||UNICODE\rMSA|AA|4\r"
    )


# Properties


@MODEST
@given(content=CONTENT)
def test_any_content_comes_through(line, content):
    one = line("mllp")
    told = one.feed(mllp_block(content))
    delivered = [a.message for a in told if isinstance(a, Deliver)]
    assert delivered == [content] or isinstance(told[0], Heard)


@MODEST
@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from(
                [mllp_block(RESULT), b"\x0b", b"\x1c", b"\x1c\r", b"\r\n", b"\x0bMSH|"]
            ),
            st.binary(max_size=12),
        ),
        max_size=8,
    ),
    options=st.sampled_from([{}, {"without_carriage_return": True}, {"max_message": 40}]),
    cuts=st.lists(st.integers(0), max_size=8),
)
def test_any_split_tells_the_same_and_every_byte_is_accounted(
    same_however_split, parts, options, cuts
):
    stream = b"".join(parts)
    told = same_however_split("mllp", options, stream, cuts)
    kept = sum(len(a.message) + 3 for a in told if isinstance(a, Deliver))
    lost = sum(a.size for a in told if isinstance(a, Discard))
    if not any(isinstance(a, Heard) for a in told):
        silent = stream.count(b"\r") + stream.count(b"\n")
        assert len(stream) - silent <= kept + lost <= len(stream) + stream.count(b"\x1c")


@MODEST
@given(garbage=st.binary(max_size=80))
def test_the_message_after_garbage_is_read(line, garbage):
    one = line("mllp")
    one.feed(garbage, mllp_block(RESULT))
    assert one.messages[-1] == RESULT
