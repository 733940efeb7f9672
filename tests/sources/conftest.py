"""A hand-moved clock, a watched folder and a source whose turns the test takes itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.errors import Quarantine
from edge_daemon.records import RawCapture
from edge_daemon.sources.folder import FolderSource, FolderSpec, Handlers


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
        self.on_read: Callable[[], None] = lambda: None
        self._sources: list[FolderSource] = []

    def source(self, **changes: object) -> FolderSource:
        self.spec = replace(self.spec, **changes)
        handlers = Handlers(self._accept, self._refuse, self._complete, self._state)
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
