"""simulate-analyzer on real lines, with real sources at their other end."""

from __future__ import annotations

import threading
import tomllib
from contextlib import contextmanager

import pytest

from edge_daemon.cli import analyzer as module
from edge_daemon.cli.analyzer import _FAULTS, _FRAMINGS
from edge_daemon.clock import SystemClock
from edge_daemon.config import Settings
from edge_daemon.simulator.faults import FAULTS
from edge_daemon.simulator.wire import PACKET_FRAMING
from edge_daemon.sources.framing.registry import FRAMINGS, make_framer
from edge_daemon.sources.intake import LineHandlers, LineSpec
from edge_daemon.sources.ports import LineSettings
from edge_daemon.sources.serial_port import SerialSource, SerialSpec


@contextmanager
def box(folder, framing):
    """A serial source that keeps what it is given."""
    taken, came = [], threading.Event()

    def accept(capture):
        taken.append(capture.data)
        came.set()

    options = PACKET_FRAMING if framing == "packet" else {}
    line = LineSpec(
        "an1", "hema", "bin", folder / "journal" / "an1", lambda: make_framer(framing, options),
        1 << 20, turn_s=0.01, retry_s=0.01,
    )  # fmt: skip
    nothing = lambda *_: None  # noqa: E731
    handlers = LineHandlers(accept, nothing, nothing, nothing, nothing)
    spec = SerialSpec(line, folder / "port", LineSettings())
    source = SerialSource(spec, handlers, SystemClock())
    source.start()
    try:
        yield taken
    finally:
        source.stop()


def test_names_are_those_of_the_simulator_and_the_framings():
    assert set(_FAULTS) == set(FAULTS)
    assert set(_FRAMINGS) == set(FRAMINGS)


def test_files_are_sent_and_acknowledged(invoke, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode() * 500)
    with box(tmp_path, "packet") as taken:
        done = invoke(
            "simulate-analyzer", tmp_path / "one", tmp_path / "two",
            "--framing", "packet", "--port", tmp_path / "port", "--fault", "wrong_checksum",
        )  # fmt: skip
    assert done.code == 0, done.err
    assert taken == [b"one" * 500, b"two" * 500]
    assert "two: acknowledged" in done.err
    section = done.err[done.err.index("[[source]]") : done.err.index("one: ")]
    (source,) = Settings.model_validate(tomllib.loads(section)).source
    assert source.port == tmp_path / "port"
    assert make_framer(source.framing, source.framing_options)
    assert not (tmp_path / "port").exists()


def test_a_message_that_frames_cannot_carry_is_named(invoke, tmp_path):
    (tmp_path / "bad").write_bytes(b"H|\x02")
    with box(tmp_path, "astm"):
        done = invoke(
            "simulate-analyzer", tmp_path / "bad", "--framing", "astm", "--port", tmp_path / "port"
        )
    assert done.code == 1
    assert "bad: the message ends in b'\\x02'; expected CR" in done.err


@pytest.mark.parametrize("more", [(), ("--port", "x", "--connect", "127.0.0.1:1")])
def test_one_line_is_given(invoke, tmp_path, more):
    (tmp_path / "one").write_bytes(b"x")
    done = invoke("simulate-analyzer", tmp_path / "one", "--framing", "astm", *more)
    assert done.code == 2
    assert "one of --port, --connect and --listen" in done.err


def test_a_box_that_is_not_there_is_tried_again_later(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAIT_S", 0.1)
    (tmp_path / "one").write_bytes(b"x")
    port = tmp_path / "port"
    done = invoke("simulate-analyzer", tmp_path / "one", "--framing", "packet", "--port", port)
    assert done.code == 75
    assert "nobody opened" in done.err
