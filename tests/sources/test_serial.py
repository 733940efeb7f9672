"""A serial source on a real pseudo-terminal, with everything cables and analyzers do to it."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from edge_daemon.errors import Retryable
from edge_daemon.simulator import wire
from edge_daemon.simulator.faults import FAULTS, fault_script, misread
from edge_daemon.sources.connection import LostError, Stop
from edge_daemon.sources.ports import LineSettings, lasting_name, open_port


def kinds(framing: str) -> tuple[str, ...]:
    """MLLP has no checksum: a changed byte of it is another message."""
    return tuple(kind for kind in FAULTS if framing != "mllp" or kind != "wrong_checksum")


def run_session(lines, framing, make, messages, seed):
    """Send messages with faults; a minute passes between two of them."""
    analyzer = lines.analyzer(lines.line(), framing, seed=seed)
    script = fault_script(seed, messages, kinds=kinds(framing), share=0.7)
    for number, fault in enumerate(script):
        assert analyzer.send(make(number), fault), f"message {number} with {fault}"
        lines.pause(60.0)
    return [make(number) for number in range(messages)], script


@pytest.mark.parametrize("framing", ["astm", "mllp", "packet"])
def test_a_session_with_every_fault_loses_nothing_and_repeats_nothing(lines, message, framing):
    lines.serial(framing)
    sent, script = run_session(lines, framing, message[framing], 14, seed=20261123)
    assert set(script) == {None, *kinds(framing)}
    assert lines.whole() == sorted(sent)


@pytest.mark.campaign
@pytest.mark.parametrize("framing", ["astm", "mllp", "packet"])
@pytest.mark.parametrize("seed", range(3))
def test_two_hours_with_faults_lose_nothing_and_repeat_nothing(lines, message, framing, seed):
    lines.serial(framing)
    started = lines.clock.now
    sent, _ = run_session(lines, framing, message[framing], 300, seed)
    assert lines.clock.now - started > 7200
    assert lines.whole() == sorted(sent)


def test_an_interrupted_message_is_kept_as_truncated_and_never_read_as_whole(lines, message):
    lines.serial()
    line = lines.line()
    for unit in (wire.ENQ, *wire.astm_frames(message["astm"](1))[:3], wire.EOT):
        line.write(unit)
        assert unit == wire.EOT or line.read(5.0) == b"\x06"
    assert lines.analyzer(line).send(message["astm"](1))
    assert lines.whole() == [message["astm"](1)]
    (part,) = lines.set_aside()
    assert part == b"".join(message["astm"](1).splitlines(keepends=True)[:3])


def test_garbage_and_a_wrong_speed_give_nothing_but_one_event(lines, message):
    source = lines.serial()
    line = lines.line()
    for number in range(20):
        line.write(misread(message["astm"](number) * 5))
        lines.pause(40.0)
    assert lines.captures() == {}
    assert len(lines.troubles) == 1
    assert sum(count["bytes"] for count in source.describe()["discarded"].values()) > 1000
    assert source.describe()["heard_at"] is None
    assert lines.analyzer(line).send(message["astm"](1))
    assert lines.whole() == [message["astm"](1)]
    line.write(b"noise after a good message")
    lines.pause(40.0)
    assert len(lines.troubles) == 2


def test_a_port_that_comes_late_goes_and_comes_back(lines, message, wait_until):
    source = lines.serial()
    wait_until(lambda: source.state == "degraded")
    assert source.reason == f"{lines.folder / 'port'} cannot be opened: No such file or directory"
    line = lines.line()
    analyzer = lines.analyzer(line)
    assert analyzer.send(message["astm"](1))
    line.write(wire.ENQ)
    assert line.read(5.0) == b"\x06"
    line.write(wire.astm_frames(message["astm"](2))[0][:9])
    line.unplug()
    wait_until(lambda: source.state == "degraded")
    unplugged = time.monotonic()
    line.plug(10.0)
    assert time.monotonic() - unplugged < 10.0
    assert analyzer.send(message["astm"](2))
    assert lines.whole() == sorted([message["astm"](1), message["astm"](2)])
    degraded = [i for i, state in enumerate(lines.states) if state == "degraded"]
    assert len(degraded) == 2


def test_what_was_acknowledged_before_the_cable_was_pulled_is_kept(lines, message, wait_until):
    source = lines.serial()
    line = lines.line()
    frames = wire.astm_frames(message["astm"](5))
    for unit in (wire.ENQ, *frames[:2]):
        line.write(unit)
        assert line.read(5.0) == b"\x06"
    line.unplug()
    wait_until(lambda: source.state == "degraded")
    wait_until(lambda: source.describe()["incomplete"] == 1)
    assert lines.set_aside() == [b"".join(message["astm"](5).splitlines(keepends=True)[:2])]


def test_two_processes_cannot_listen_to_one_port(lines, message):
    lines.serial()
    line = lines.line()
    code = (
        "import sys; from pathlib import Path; from edge_daemon.sources.ports import *; "
        "from edge_daemon.sources.connection import Stop\n"
        "try: open_port(Path(sys.argv[1]), LineSettings(), Stop())\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    second = subprocess.run(
        [sys.executable, "-c", code, str(line.path)], capture_output=True, text=True, check=True
    )
    assert second.stdout.startswith("LostError")
    assert "cannot be opened: another program uses it" in second.stdout
    assert lines.analyzer(line).send(message["astm"](1))


def test_nothing_is_acknowledged_while_nothing_can_be_stored(lines, message, wait_until):
    source = lines.serial()
    line = lines.line()
    *before, last = wire.astm_frames(message["astm"](1))
    for unit in (wire.ENQ, *before):
        line.write(unit)
        assert line.read(5.0) == b"\x06"
    lines.trouble = Retryable("the disk is full")
    line.write(last)
    wait_until(lambda: source.state == "paused")
    assert source.reason == "the disk is full"
    assert line.read(0.1) == b""
    lines.trouble = None
    assert line.read(5.0) == b"\x06"
    assert source.state == "listening"
    assert lines.whole() == [message["astm"](1)]


def test_line_settings_reach_the_port():
    """As far as a pseudo-terminal takes them: the kernel gives it eight bits and no parity."""
    primary, secondary = os.openpty()
    path = Path(os.ttyname(secondary))
    os.close(secondary)
    stop = Stop()
    try:
        settings = LineSettings(baud=19200, stop_bits=2)
        connection = open_port(path, settings, stop)
        _, _, cflag, lflag, ispeed, *_ = termios.tcgetattr(connection._fd)
        connection.close()
    finally:
        stop.close()
        os.close(primary)
    assert ispeed == termios.B19200
    assert cflag & termios.CSTOPB
    assert not lflag & (termios.ICANON | termios.ECHO)


def test_what_is_no_serial_port_is_not_opened(tmp_path):
    (tmp_path / "file").touch()
    stop = Stop()
    with pytest.raises(LostError, match="file cannot be opened"):
        open_port(tmp_path / "file", LineSettings(), stop)
    stop.close()


def test_a_name_that_lasts_is_found(tmp_path):
    device = tmp_path / "ttyUSB0"
    device.touch()
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-FTDI-if00").symlink_to(device)
    assert lasting_name(device, by_id) == by_id / "usb-FTDI-if00"
    assert lasting_name(by_id / "usb-FTDI-if00", by_id) is None
    assert lasting_name(tmp_path / "ttyUSB1", by_id) is None
    assert lasting_name(tmp_path / "ttyS0", by_id) is None
    assert lasting_name(device, tmp_path / "absent") is None
