"""What simulated analyzers send: the bytes the standards write, and what is refused."""

from __future__ import annotations

import pytest

from edge_daemon.simulator.wire import (
    PACKET_FRAMING,
    astm_frame,
    astm_frames,
    block,
    mllp_block,
    packet,
    packet_run,
)
from edge_daemon.sources.framing import Deliver, make_framer


def test_an_astm_frame_byte_by_byte():
    # The sum of "1H", CR and ETX is 0x31 + 0x48 + 0x0D + 0x03.
    assert astm_frame(1, b"H\r", last=True) == b"\x021H\r\x0389\r\n"
    assert astm_frame(8, b"H", last=False) == b"\x020H\x17" + b"8F\r\n"


def test_records_begin_frames_and_long_ones_are_cut():
    sent = astm_frames(b"H|1\r" + b"x" * 9 + b"\rL|1\r", text_size=4)
    assert [frame[2:-5] for frame in sent] == [b"H|1\r", b"xxxx", b"xxxx", b"x\r", b"L|1\r"]
    assert [frame[-5] for frame in sent] == [3, 0x17, 0x17, 3, 3]


def test_frames_can_be_filled_over_records():
    sent = astm_frames(b"H|1\rL|1\r", text_size=5, by_record=False)
    assert [frame[2:-5] for frame in sent] == [b"H|1\rL", b"|1\r"]
    assert [frame[-5] for frame in sent] == [0x17, 3]


def test_no_frame_is_longer_than_the_standard_allows():
    assert max(map(len, astm_frames(b"M|" + b"x" * 5000 + b"\r"))) == 247


@pytest.mark.parametrize(
    ("message", "said"),
    [(b"H|1", "expected CR"), (b"", "expected CR"), (b"H\x03\r", "cannot carry")],
)
def test_what_frames_cannot_carry_is_refused(message, said):
    with pytest.raises(ValueError, match=said):
        astm_frames(message)


def test_an_mllp_block():
    assert mllp_block(b"MSH") == b"\x0bMSH\x1c\x0d"


def test_a_block_with_its_sum():
    assert block(b"A", b"b") == b"\x01A\x02b\x03" + bytes([1 + 65 + 2 + 98 + 3]) + b"\x04"


def test_a_packet_byte_by_byte():
    built = packet(2, 0x1234, b"hi")
    assert built[:9] == b"\xa5\x5a\x02\x34\x12\x02\x00hi"
    assert len(built) == 13


@pytest.mark.parametrize(("size", "count"), [(0, 2), (1, 2), (9, 2), (10, 2), (11, 2), (31, 4)])
def test_a_run_has_a_start_and_an_end(size, count):
    sent = packet_run(bytes(size), payload_size=10)
    assert [p[2] for p in sent] == [1, *[2] * (count - 2), 3]


def test_a_simulated_analyzer_is_read_with_its_own_framing():
    message = bytes(range(256)) * 100
    framer = make_framer("packet", PACKET_FRAMING)
    told = framer.feed(b"".join(packet_run(message, sequence=65_500)), 0.0)
    assert [a for a in told if isinstance(a, Deliver)] == [Deliver(message)]
