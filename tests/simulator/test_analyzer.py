"""Faults as scripted, and what a line makes of bytes at the wrong speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.simulator import wire
from edge_daemon.simulator.analyzer import judge, speak
from edge_daemon.simulator.faults import FAULTS, fault_script, misread
from edge_daemon.simulator.transports import LineDownError, PtyLine, TcpLine


def test_a_script_is_decided_by_its_seed_and_holds_every_fault():
    script = fault_script(7, 40)
    assert script == fault_script(7, 40)
    assert script != fault_script(8, 40)
    assert set(script) == {None, *FAULTS}


@given(messages=st.integers(8, 100))
def test_no_fault_comes_again_before_all_have_been(messages):
    script = fault_script(1, messages, share=1.0)
    for begin in range(0, messages - messages % len(FAULTS), len(FAULTS)):
        assert set(script[begin : begin + len(FAULTS)]) == set(FAULTS)


def test_nothing_goes_wrong_where_nothing_may():
    assert fault_script(1, 5, kinds=()) == [None] * 5


def test_half_the_speed_reads_other_bytes():
    """Worked by hand: of 0 10000010 1 and 0 11111111 1 every other bit is seen."""
    assert misread(b"A" * 4) == b"\x00\x00"
    assert misread(b"\xff" * 4) == bytes([0b11101111] * 2)
    assert misread(b"") == b""


@given(data=st.binary(min_size=50, max_size=400))
def test_a_misread_line_is_shorter_and_always_the_same(data):
    assert misread(data) == misread(data)
    assert len(misread(data)) <= len(data) // 2 + 1


def test_a_message_is_said_as_its_framing_says_it():
    astm = speak("astm", b"H|\\^&\rL|1|N\r")
    assert [unit.data for unit in astm.units] == [
        wire.ENQ,
        b"\x021H|\\^&\r\x03E5\r\n",
        b"\x022L|1|N\r\x0305\r\n",
    ]
    assert astm.closing == wire.EOT
    assert [unit.data for unit in speak("mllp", b"MSH|").units] == [b"\x0bMSH|\x1c\r"]
    assert not any(unit.answered for unit in speak("block", b"text").units)
    assert len(speak("packet", b"x" * 3000).units) == 3


@pytest.mark.parametrize(
    ("framing", "answer", "meant"),
    [
        ("astm", b"\x06", True),
        ("astm", b"\x15", False),
        ("astm", b"", None),
        ("mllp", b"\x0bMSH|...\rMSA|AA|1\r\x1c", None),
        ("mllp", b"\x0bMSH|...\rMSA|AA|1\r\x1c\r", True),
        ("mllp", b"\x0bMSH|...\rMSA|AR|1\r\x1c\r", False),
    ],
)
def test_an_answer_is_understood(framing, answer, meant):
    assert judge(framing, answer) is meant


def test_a_line_without_a_box_is_down(tmp_path):
    line = PtyLine(tmp_path / "port")
    with pytest.raises(LineDownError, match="nobody opened"):
        line.plug(0.02)
    assert line.path.is_symlink()
    line.unplug()
    assert not line.path.is_symlink()
    with pytest.raises(LineDownError):
        TcpLine(("127.0.0.1", 1)).write(b"x")
