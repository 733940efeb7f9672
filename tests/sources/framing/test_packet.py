"""Binary packets: layouts, resynchronisation, answers and runs."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.simulator.wire import PACKET_FRAMING, packet, packet_run
from edge_daemon.sources.framing import Deliver, Discard, Reply

MODEST = settings(deadline=None, max_examples=80)
ACK, NAK = Reply(b"\x06"), Reply(b"\x15")
RUN = dict(PACKET_FRAMING)
SILENT = {key: value for key, value in RUN.items() if key not in {"acknowledge", "refuse"}}
SINGLE = {key: value for key, value in SILENT.items() if key != "kinds"}
MODBUS = {"width": 16, "poly": 0x8005, "init": 0xFFFF, "refin": True, "refout": True}
HDLC = {
    "sync": "7e",
    "end": "7e",
    "header": 1,
    "escape": "7d",
    "crc": {**MODBUS, "order": "little", "start": 1},
}
LINES = {"sync": "02", "end": "0d0a", "header": 1, "crc": {"width": 8, "poly": 7}}


def modbus(data: bytes) -> int:
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register


def crc8(data: bytes) -> int:
    register = 0
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register << 1 ^ (7 if register & 0x80 else 0)) & 0xFF
    return register


def hdlc(payload: bytes, *, opening: bytes = b"\x7e") -> bytes:
    body = payload + struct.pack("<H", modbus(payload))
    escaped = b"".join(b"\x7d%c" % (b ^ 0x20) if b in b"\x7d\x7e" else b"%c" % b for b in body)
    return opening + escaped + b"\x7e"


def text_line(payload: bytes) -> bytes:
    return b"\x02" + payload + b"%c" % crc8(b"\x02" + payload) + b"\r\n"


# One packet, one message


def test_every_packet_is_a_message(line):
    one = line("packet", SINGLE)
    one.feed(packet(1, 7, b"first"), packet(2, 8, b""), packet(3, 9, b"\xa5\x5a" * 3))
    assert one.messages == [b"first", b"", b"\xa5\x5a" * 3]
    assert one.troubles == []
    assert one.framer.deadline is None


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("counts", ["payload", "packet", "rest"])
def test_every_way_to_count(line, order, size, counts):
    payload = b"payload"
    # sync, a byte, length, a byte, payload, CRC
    header = 2 + 1 + size + 1
    value = {"payload": 7, "packet": header + 7 + 2, "rest": 1 + 7 + 2}[counts]
    body = b"\xaa\xbb\x00" + value.to_bytes(size, order) + b"\x00" + payload
    options = {
        "sync": "aabb",
        "header": header,
        "length": {"offset": 3, "size": size, "order": order, "counts": counts},
        "crc": {**MODBUS, "order": order},
    }
    one = line("packet", options)
    one.feed((body + modbus(body).to_bytes(2, order)) * 2)
    assert one.messages == [payload] * 2


@MODEST
@given(payload=st.binary(max_size=80))
def test_escaped_content_comes_through(line, payload):
    one = line("packet", HDLC)
    one.feed(hdlc(payload))
    # A packet of nothing but its CRC is whole, too.
    assert one.messages == [payload]
    assert one.troubles == []


def test_a_flag_may_end_one_packet_and_begin_the_next(line):
    one = line("packet", {**HDLC, "refuse": "15"})
    one.feed(b"\x7e\x7e\x7e", hdlc(b"one"), hdlc(b"two", opening=b""), b"\x7e\x7e", hdlc(b"three"))
    assert one.messages == [b"one", b"two", b"three"]
    assert one.troubles == []
    assert one.replies == b""
    assert one.framer.deadline is None, "a flag alone is a line that idles"
    one.feed(hdlc(b"four", opening=b""))
    assert one.messages[-1] == b"four"
    assert one.close() == []


@pytest.mark.parametrize("body", [b"\x7d", b"a\x7d\x7d\x5d", b"\x7d\x7d"])
def test_an_escape_that_changes_nothing_is_damage(line, body):
    one = line("packet", HDLC)
    one.feed(b"\x7e" + body + b"\x7e", hdlc(b"good"))
    assert one.messages == [b"good"]
    assert one.troubles == ["checksum"]


def test_text_lines_with_a_crc(line):
    one = line("packet", LINES)
    one.feed(text_line(b"RBC 7.1"), b"\x02 no CRC\r\n", text_line(b"PLT 300"))
    assert one.messages == [b"RBC 7.1", b"PLT 300"]
    assert one.actions[1] == Discard("checksum", 10)


def test_a_delimited_packet_shorter_than_its_header_is_damage(line):
    one = line("packet", {**LINES, "header": 4})
    one.feed(text_line(b"ab"), text_line(b"abc"), text_line(b"abcd"))
    assert one.messages == [b"", b"d"]
    assert one.actions[0] == Discard("checksum", len(text_line(b"ab")))


def test_a_delimited_packet_of_an_unknown_kind_is_damage(line):
    kinds = {"kinds": {"offset": 1, "start": 65, "data": 66, "end": 67}, "sequence": {"offset": 2}}
    one = line("packet", {**LINES, "header": 3, **kinds})
    one.feed(text_line(b"X\x00?"), text_line(b"A\x01one "), text_line(b"C\x02run"))
    assert one.messages == [b"one run"]
    assert one.troubles == ["checksum"]


# Finding packets


def test_garbage_before_a_packet_costs_only_itself(line):
    one = line("packet", SINGLE)
    one.feed(b"\x00\xa5\xff", packet(1, 1, b"x"), b"\xa5", packet(1, 2, b"y"))
    assert one.messages == [b"x", b"y"]
    assert one.actions == [Discard("noise", 3), Deliver(b"x"), Discard("noise", 1), Deliver(b"y")]


def test_a_packet_inside_a_false_one_is_found(line):
    good = packet(2, 5, b"inside")
    false = b"\xa5\x5a\x01\x00\x00" + struct.pack("<H", 40) + b"..."
    one = line("packet", SINGLE)
    one.feed(false + good)
    assert one.messages == [], "the false one may still become whole"
    one.feed(bytes(60))
    assert one.messages == [b"inside"]
    assert one.actions[0] == Discard("checksum", len(false))


def test_a_packet_inside_a_false_one_is_found_when_the_line_falls_silent(line):
    false = b"\xa5\x5a\x01\x00\x00" + struct.pack("<H", 4000)
    one = line("packet", SINGLE)
    one.feed(false * 3, packet(2, 5, b"inside"), false, packet(2, 6, b"again"))
    assert one.messages == []
    assert one.wait(1.9) == []
    one.wait(0.2)
    assert one.messages == [b"inside", b"again"]
    assert one.wasted == 4 * len(false)
    assert one.framer.deadline is None


def test_a_length_over_the_limit_is_no_packet(line):
    one = line("packet", {**SINGLE, "max_packet": 64})
    one.feed(packet(1, 1, b"x" * 54), packet(1, 2, b"y" * 53))
    assert one.messages == [b"y" * 53]


def test_an_unknown_kind_is_no_packet(line):
    one = line("packet", SILENT)
    one.feed(packet(9, 0, b"x"), *packet_run(b"good", sequence=1))
    assert one.messages == [b"good"]


def test_a_packet_that_stops_is_given_up(line):
    one = line("packet", SINGLE)
    one.feed(packet(1, 1, b"lost")[:-1])
    assert one.wait(1.9) == []
    assert one.wait(0.2) == [Discard("silence", 14)]
    one.feed(packet(1, 2, b"next"))
    assert one.messages == [b"next"]


def test_a_beginning_of_sync_waits_for_its_end(line):
    one = line("packet", SINGLE)
    good = packet(1, 1, b"x")
    one.feed(b"\xff\xa5\xa5", good[1:])
    assert one.messages == [b"x"]
    assert one.wasted == 2


def test_a_beginning_of_sync_that_stops_is_given_up(line):
    one = line("packet", SINGLE)
    one.feed(b"\xa5")
    assert one.framer.deadline is not None, "what is held has a deadline"
    assert one.wait(3) == [Discard("silence", 1)]
    assert one.framer.deadline is None


def test_a_connection_that_ends_in_a_packet(line):
    one = line("packet", SINGLE)
    one.feed(packet(1, 1, b"lost")[:-1])
    assert one.close() == [Discard("silence", 14)]


def test_a_whole_packet_behind_a_false_one_survives_the_end_of_the_connection(line):
    one = line("packet", {**SINGLE, "acknowledge": "06"})
    false = b"\xa5\x5a\x01\x00\x00" + struct.pack("<H", 4000)
    one.feed(false, packet(1, 1, b"whole"))
    assert one.close() == [Discard("silence", len(false)), Deliver(b"whole")]


@pytest.mark.parametrize("options", [SINGLE, HDLC, LINES])
def test_memory_stays_within_the_limits(line, options):
    one = line("packet", {**options, "max_packet": 1000})
    noise = (b"\xa5\x5a\x01\x00\x00\xd0\x03" + b"\x7ex\x02") * 100
    for _ in range(50):
        one.feed(noise)
        assert len(one.framer._buffer) <= 1000


# Answers


def test_good_and_damaged_packets_are_answered(line):
    one = line("packet", {**SINGLE, "acknowledge": "06", "refuse": "15"})
    good = packet(1, 1, b"text")
    broken = good.replace(b"text", b"taxt")
    assert one.feed(good) == [Deliver(b"text"), ACK]
    assert one.feed(broken) == [NAK]
    assert one.feed(good) == [Discard("checksum", len(good)), Discard("repeated", len(good)), ACK]


def test_the_packet_behind_a_refused_one_is_refused_too(line):
    one = line("packet", {**SINGLE, "refuse": "15"})
    broken = packet(1, 1, b"text").replace(b"text", b"taxt")
    one.feed(broken * 3)
    assert one.replies == b"\x15" * 3


def test_behind_a_pause_a_damaged_packet_is_refused_again(line):
    one = line("packet", {**SINGLE, "refuse": "15"})
    good = packet(1, 1, b"text")
    one.feed(good.replace(b"text", b"te xt"))
    one.wait(3)
    assert one.feed(good.replace(b"text", b"tixt")) == [Reply(b"\x15")]
    assert one.replies == b"\x15" * 2


def test_a_false_packet_in_garbage_is_not_answered(line):
    """The refusal would be taken for the answer to the good packet behind it."""
    one = line("packet", {**SINGLE, "acknowledge": "06", "refuse": "15"})
    one.feed(b"\x00", packet(1, 1, b"text").replace(b"text", b"taxt"), packet(1, 2, b"good"))
    assert one.messages == [b"good"]
    assert one.replies == b"\x06"


def test_a_damaged_packet_is_refused_once_whatever_stands_in_it(line):
    inner = packet(1, 5, b"x").replace(b"x", b"y")
    one = line("packet", {**SINGLE, "acknowledge": "06", "refuse": "15"})
    outer = packet(1, 1, inner * 3)
    one.feed(outer[:-1] + bytes([outer[-1] ^ 1]))
    assert one.replies == b"\x15"
    one.feed(outer)
    assert one.messages == [inner * 3]
    assert one.replies == b"\x15\x06"


def test_the_same_packet_without_a_sequence_is_another_message(line):
    options = {key: value for key, value in SINGLE.items() if key != "sequence"}
    one = line("packet", options)
    one.feed(packet(1, 1, b"x") * 2)
    assert one.messages == [b"x", b"x"]


# Runs


@MODEST
@given(
    message=st.binary(max_size=300),
    size=st.integers(1, 200),
    sequence=st.sampled_from([0, 65_530, 65_535]),
)
def test_a_run_is_one_message_whatever_its_packets(line, message, size, sequence):
    one = line("packet", RUN)
    sent = packet_run(message, sequence=sequence, payload_size=size)
    one.feed(*sent)
    assert one.messages == [message]
    assert one.replies == b"\x06" * len(sent)
    assert one.actions[-2:] == [Deliver(message), ACK]


def test_a_repeated_packet_is_acknowledged_and_dropped(line):
    one = line("packet", RUN)
    sent = packet_run(b"abcdef", payload_size=2)
    one.feed(*(twice for one_packet in sent for twice in (one_packet, one_packet)))
    assert one.messages == [b"abcdef"]
    assert one.troubles == ["repeated"] * 3
    assert one.replies == b"\x06" * 6


@pytest.mark.parametrize("missing", range(5))
def test_a_missing_packet_leaves_an_incomplete_message(line, missing):
    one = line("packet", SILENT)
    sent = packet_run(b"0123456789", payload_size=2)
    del sent[missing]
    one.feed(*sent)
    one.wait(31)
    one.feed(*packet_run(b"next", sequence=5))
    assert one.messages == [b"next"]
    if missing:
        kept = b"0123456789"
        assert one.fragments == [kept[: 2 * missing] + kept[2 * missing + 2 :]]
    else:
        assert one.troubles == ["frame"] * 4, "data without a beginning is of no message"


def test_packets_out_of_turn_leave_an_incomplete_message(line):
    one = line("packet", SILENT)
    a, b, c, d = packet_run(b"01234567", payload_size=2)
    one.feed(a, c, b, d)
    assert one.messages == []
    assert one.fragments == [b"01452367"]


def test_a_new_run_ends_the_old_one(line):
    one = line("packet", RUN)
    one.feed(*packet_run(b"abcdef", payload_size=2)[:2])
    told = one.feed(*packet_run(b"next", sequence=9))
    assert told[0] == Deliver(b"abcd", complete=False)
    assert one.messages == [b"next"]


def test_a_run_that_stops_is_given_up(line):
    one = line("packet", RUN)
    one.feed(*packet_run(b"abcdef", payload_size=2)[:2])
    assert one.wait(29.9) == []
    assert one.wait(0.2) == [Deliver(b"abcd", complete=False)]
    assert one.framer.deadline is None


def test_a_run_given_up_begins_again_with_the_same_packet(line):
    one = line("packet", RUN)
    sent = packet_run(b"abcdef", payload_size=2)
    one.feed(sent[0])
    one.wait(31)
    one.feed(*sent)
    assert one.messages == [b"abcdef"]


def test_a_connection_that_ends_in_a_run(line):
    one = line("packet", RUN)
    one.feed(*packet_run(b"abcdef", payload_size=2)[:2])
    assert one.close() == [Deliver(b"abcd", complete=False)]


def test_a_message_over_the_limit_is_refused(line):
    one = line("packet", {**RUN, "max_message": 5})
    sent = packet_run(b"abcdef", payload_size=2)
    told = one.feed(*sent)
    size = len(sent[2])
    assert told == [ACK, ACK, Deliver(b"abcd", complete=False), Discard("too_large", size), NAK]
    assert one.feed(sent[2]) == [Discard("frame", size), NAK], "it is no repeat"
    one.feed(*packet_run(b"next", sequence=9))
    assert one.messages == [b"next"]


# Properties


def streams(good):
    return st.lists(
        st.one_of(st.sampled_from(good), st.binary(max_size=12), st.sampled_from(good).map(_half)),
        max_size=10,
    ).map(b"".join)


def _half(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


RUN_PACKETS = [*packet_run(b"abc" * 9, payload_size=9), packet(2, 1, b"\xa5\x5a\x01")]


@MODEST
@given(
    case=st.sampled_from(
        [
            (RUN, RUN_PACKETS),
            (SILENT, RUN_PACKETS),
            ({**SINGLE, "max_packet": 24}, RUN_PACKETS),
            (HDLC, [hdlc(b"abc"), hdlc(b"\x7e\x7d"), b"\x7e", hdlc(b"x", opening=b"")]),
            (LINES, [text_line(b"abc"), text_line(b"\x02"), b"\x02", b"\r\n"]),
        ]
    ).flatmap(lambda pair: st.tuples(st.just(pair[0]), streams(pair[1]))),
    cuts=st.lists(st.integers(0), max_size=8),
)
def test_any_split_tells_the_same(same_however_split, case, cuts):
    options, stream = case
    same_however_split("packet", options, stream, cuts)


@MODEST
@given(stream=streams(RUN_PACKETS))
def test_every_byte_is_accounted_once(line, stream):
    one = line("packet", SINGLE)
    one.feed(stream)
    one.close()
    assert sum(len(message) + 11 for message in one.messages) + one.wasted == len(stream)


@MODEST
@given(garbage=st.binary(max_size=100), message=st.binary(max_size=60))
def test_a_message_behind_garbage_is_read(line, garbage, message):
    one = line("packet", SILENT)
    one.feed(garbage, *packet_run(message, payload_size=20))
    one.wait(31)
    assert one.messages == [message]
    assert one.wasted == len(garbage)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1 << 32), rate=st.sampled_from([0.001, 0.01]))
def test_a_noisy_line_with_answers_loses_nothing_and_invents_nothing(line, seed, rate):
    """A sender that repeats what is refused or not answered, both ways over a bad line."""
    chance = random.Random(seed)

    def damage(data: bytes) -> bytes:
        return b"".join(
            chance.randbytes(chance.randrange(3)) if chance.random() < rate else b"%c" % byte
            for byte in data
        )

    def acknowledged(one_packet: bytes) -> bool:
        for _ in range(30):
            before = len(one.actions)
            one.feed(damage(one_packet))
            one.wait(3)
            told = b"".join(a.data for a in one.actions[before:] if isinstance(a, Reply))
            if damage(told)[-1:] == b"\x06":
                return True
        return False

    # With bad luck one packet takes longer than a message may rest.
    one, sequence, sent = line("packet", {**RUN, "silence_s": 600.0}), 0, []
    for number in range(3):
        message = bytes([number]) * 100
        packets = packet_run(message, sequence=sequence, payload_size=40)
        assert all(map(acknowledged, packets))
        sequence += len(packets)
        sent.append(message)
        assert one.messages == sent
    assert one.fragments == []


def test_every_single_wrong_byte_is_noticed(line):
    good = packet(1, 1, b"text")
    for place in range(len(good)):
        for wrong in range(256):
            broken = good[:place] + bytes([wrong]) + good[place + 1 :]
            one = line("packet", SINGLE)
            one.feed(broken)
            one.wait(3)
            assert one.messages == ([b"text"] if broken == good else [])
            one.feed(packet(1, 2, b"next"))
            assert one.messages[-1] == b"next"
