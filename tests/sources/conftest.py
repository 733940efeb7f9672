"""A hand-moved clock, a watched folder, lines of every kind, and analyzers at their ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.errors import Quarantine
from edge_daemon.records import RawCapture
from edge_daemon.simulator.analyzer import Analyzer
from edge_daemon.simulator.transports import PtyLine, TcpLine
from edge_daemon.simulator.wire import PACKET_FRAMING
from edge_daemon.sources.folder import FolderSource, FolderSpec, Handlers
from edge_daemon.sources.framing.registry import make_framer
from edge_daemon.sources.intake import LineHandlers, LineSpec
from edge_daemon.sources.line import LineSource
from edge_daemon.sources.ports import LineSettings
from edge_daemon.sources.serial_port import SerialSource, SerialSpec
from edge_daemon.sources.tcp import TcpSource, TcpSpec
from edge_daemon.store import queries
from edge_daemon.store.writer import Store

LOCAL = ip_network("127.0.0.0/8")


class HandClock(SystemClock):
    """Monotonic time that only moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Bench:
    """One source on a real folder, with everything it hands over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = HandClock()
        self.spec = FolderSpec(
            name="an1",
            instrument="hema",
            path=folder,
            patterns=("*.fcs",),
            recursive=False,
            settle_s=2.0,
            stall_s=900.0,
            rescan_s=30.0,
            poll=True,
            max_bytes=1 << 20,
        )
        self.accepted: list[RawCapture] = []
        self.refused: list[tuple[str, Quarantine, RawCapture | None]] = []
        self.states: list[tuple[str, str]] = []
        self.whole: Callable[[bytes], bool] = lambda data: True
        self.trouble: Exception | None = None
        self.taken: set[tuple[str, int]] = set()
        self.on_read: Callable[[], None] = lambda: None
        self._sources: list[FolderSource] = []

    def source(self, **changes: object) -> FolderSource:
        self.spec = replace(self.spec, **changes)
        handlers = Handlers(
            self._accept, self._refuse, self._complete, self._state, lambda _: self.taken
        )
        clock = self.clock if self.spec.poll else SystemClock()
        source = FolderSource(self.spec, handlers, clock)
        self._sources.append(source)
        return source

    def _complete(self, data: bytes) -> bool:
        self.on_read()
        return self.whole(data)

    def _accept(self, capture: RawCapture) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.accepted.append(capture)

    def _refuse(self, source: str, name: str, error: Quarantine, capture) -> None:
        assert source == "an1"
        self.refused.append((name, error, capture))

    def _state(self, source: str, state: str, reason: str) -> None:
        self.states.append((state, reason))

    def pass_time(self, source: FolderSource, seconds: float) -> None:
        """Let time pass, taking every turn that falls due."""
        end = self.clock.now + seconds
        while True:
            delay = source.step()
            if self.clock.now + delay > end:
                self.clock.now = end
                source.step()
                return
            self.clock.now += max(delay, 0.001)

    def names(self) -> list[str]:
        return [capture.name for capture in self.accepted]

    def close(self) -> None:
        for source in self._sources:
            source.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "export"
    folder.mkdir()
    made = Bench(folder)
    yield made
    made.close()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Wait for a condition; fail after a deadline that only a defect reaches."""

    def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.005)

    return wait


class TimedLine:
    """A line whose waits for an answer let the source's time pass instead of the test's."""

    def __init__(self, line: PtyLine | TcpLine, bench: LineBench) -> None:
        self._line = line
        self._bench = bench
        self.write, self.plug, self.unplug = line.write, line.plug, line.unplug

    def read(self, seconds: float) -> bytes:
        answer = self._line.read(min(seconds, 0.02))
        while not answer and seconds > 0:
            seconds -= 0.5
            self._bench.settle(2)  # whatever it works on now takes no time
            answer = self._line.read(0.0)
            if not answer:
                self._bench.clock.now += 0.5
        return answer


class LineBench:
    """A line source with real journals and a real store, and a simulated analyzer beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = HandClock()
        self.store = Store.open(folder / "data", SystemClock())
        self.states: list[str] = []
        self.troubles: list[tuple[str, int]] = []
        self.peers: list[str] = []
        self.trouble: Exception | None = None
        self.on_accept: Callable[[RawCapture], object] = lambda capture: None
        self.turns = 0
        self._sources: list[LineSource] = []
        self._lines: list[PtyLine | TcpLine] = []

    def spec(self, framing: str = "astm", **changes: Any) -> LineSpec:
        options = changes.pop("options", PACKET_FRAMING if framing == "packet" else {})
        return replace(
            LineSpec(
                name="an1",
                instrument="hema",
                suffix="bin",
                journal=self.folder / "data" / "journal" / "an1",
                make_framer=lambda: make_framer(framing, options),
                max_journal=1 << 20,
                turn_s=0.01,
                retry_s=0.01,
            ),
            **changes,
        )

    def handlers(self) -> LineHandlers:
        return LineHandlers(
            accept=self._accept,
            refuse=self._refuse,
            on_state=lambda name, state, reason: self.states.append(state),
            on_trouble=lambda name, trouble, size: self.troubles.append((trouble, size)),
            on_peer=lambda name, peer: self.peers.append(peer),
        )

    def _accept(self, capture: RawCapture) -> None:
        self.on_accept(capture)
        if self.trouble is not None:
            raise self.trouble
        self.store.accept(capture)

    def _refuse(self, name: str, label: str, reason: Quarantine, capture: RawCapture) -> None:
        if self.trouble is not None:
            raise self.trouble
        if (known := self.store.accept(capture)).new:
            self.store.quarantine(known.capture_id, reason)

    def watch(self, source: LineSource) -> Any:
        """Count the turns of a source, start it, and stop it in the end."""
        beat = source._intake.beat

        def counted() -> None:
            self.turns += 1
            beat()

        source._intake.beat = counted
        self._sources.append(source)
        source.start()
        return source

    def serial(self, framing: str = "astm", **changes: Any) -> SerialSource:
        spec = SerialSpec(self.spec(framing, **changes), self.folder / "port", LineSettings())
        return self.watch(SerialSource(spec, self.handlers(), self.clock))

    def tcp(self, framing: str = "mllp", **changes: Any) -> TcpSource:
        own = {"address": ("127.0.0.1", 0), "listening": True, "allow": (LOCAL,), "connections": 2}
        own |= {key: changes.pop(key) for key in list(changes) if key in own}
        spec = TcpSpec(self.spec(framing, **changes), **own)
        return self.watch(TcpSource(spec, self.handlers(), self.clock))

    def line(self, line: PtyLine | TcpLine | None = None) -> Any:
        """Plug an analyzer's line in, a serial one unless given."""
        made = line or PtyLine(self.folder / "port")
        self._lines.append(made)
        made.plug(20.0)
        serial = [one for one in self._sources if isinstance(one, SerialSource)]
        deadline = time.monotonic() + 30.0
        # A port that was only just opened throws away what comes until it is set up.
        while serial and all(one.state != "listening" for one in serial):
            assert time.monotonic() < deadline, "no source listens"
            time.sleep(0.002)
        return made

    def analyzer(self, line: PtyLine | TcpLine, framing: str = "astm", **more: Any) -> Analyzer:
        return Analyzer(TimedLine(line, self), framing, pause=self.pause, **more)

    def settle(self, turns: int = 4) -> None:
        """Let the source read what is on the line and act on it."""
        wanted = self.turns + turns
        deadline = time.monotonic() + 120.0
        while self.turns < wanted:
            assert time.monotonic() < deadline, "the source stands still"
            time.sleep(0.002)

    def pause(self, seconds: float) -> None:
        """Let the source's time pass, without waiting for it."""
        self.settle()
        self.clock.now += seconds
        self.settle()

    def captures(self) -> dict[bytes, str]:
        """Bytes of every capture with its state."""
        db = queries.connect(self.folder / "data")
        try:
            rows = queries.captures(db, limit=100_000)
        finally:
            db.close()
        return {self.store.read_capture(row["id"]).data: row["state"] for row in rows}

    def whole(self) -> list[bytes]:
        return sorted(data for data, state in self.captures().items() if state == "received")

    def set_aside(self) -> list[bytes]:
        return sorted(data for data, state in self.captures().items() if state == "quarantined")

    def close(self) -> None:
        for source in self._sources:
            source.stop()
            assert source.failure is None
        for line in self._lines:
            line.unplug()
            if isinstance(line, TcpLine):
                line.close()
        self.store.close()


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[LineBench]:
    made = LineBench(tmp_path)
    yield made
    made.close()


def astm_message(number: int, records: int = 3) -> bytes:
    results = (f"R|{n}|^^^RBC|{number % 90 / 10:.1f}|10*6/uL\r" for n in range(1, records + 1))
    return f"H|\\^&|||SIM\rP|1||{number}\r{''.join(results)}L|1|N\r".encode()


def hl7_message(number: int) -> bytes:
    head = f"MSH|^~\\&|SIM|LAB|EHR|LAB|20261123||ORU^R01|{number}|P|2.3.1||||||UNICODE"
    return f"{head}\rPID|1||{number}\rOBX|1|NM|RBC||{number % 90 / 10:.1f}|10*6/uL\r".encode()


def packet_message(number: int) -> bytes:
    return random.Random(number).randbytes(1500 + 700 * (number % 5))


@pytest.fixture
def message() -> dict[str, Callable[[int], bytes]]:
    """A message of each framing by its number; no two are the same."""
    return {"astm": astm_message, "mllp": hl7_message, "packet": packet_message}
