"""How captures flow through the box: when each source was heard, what waits, what was lost."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_daemon.clock import Clock

LOSSES_S: Final = 600.0
"""Losses of workers count for so long."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the analysis does now.

    Attributes
    ----------
    waiting
        Captures whose analysis has not ended.
    still_s
        Seconds since one ended, or since nothing waited.
    losses
        Worker processes that ended over a capture in the last `LOSSES_S`.
    start_failure
        Why no worker process can be started; empty while they can.
    rejected
        Model bundles that were not verified, each with the reason.
    """

    waiting: int = 0
    still_s: float = 0.0
    losses: int = 0
    start_failure: str = ""
    rejected: tuple[tuple[str, str], ...] = ()


class Flow:
    """Counts; every method may be called from any thread.

    Parameters
    ----------
    clock
        Monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[str, float] = {}
        self._waiting = 0
        self._moved_at = clock.monotonic()
        self._losses: deque[float] = deque(maxlen=1000)

    def came(self, source: str, *, new: bool) -> None:
        """Note a capture; `new` ones wait for their analysis."""
        with self._lock:
            now = self._heard[source] = self._clock.monotonic()
            if new:
                self._moved_at = now if self._waiting == 0 else self._moved_at
                self._waiting += 1

    def waits(self, count: int) -> None:
        """Correct the number of captures that wait, from the store."""
        with self._lock:
            self._waiting = count
            if count == 0:
                self._moved_at = self._clock.monotonic()

    def ended(self) -> None:
        """Note that an analysis ended, well or in quarantine."""
        with self._lock:
            self._waiting = max(self._waiting - 1, 0)
            self._moved_at = self._clock.monotonic()

    def lost(self) -> None:
        """Note that a worker process was lost over a capture."""
        with self._lock:
            self._losses.append(self._clock.monotonic())

    def heard_at(self, source: str) -> float | None:
        """Monotonic time of the source's last capture since the start, or None."""
        with self._lock:
            return self._heard.get(source)

    def analysis(self, start_failure: str, rejected: tuple[tuple[str, str], ...]) -> Analysis:
        """Sum up, with what the pool knows of its processes."""
        with self._lock:
            now = self._clock.monotonic()
            return Analysis(
                waiting=self._waiting,
                still_s=now - self._moved_at if self._waiting else 0.0,
                losses=sum(now - at <= LOSSES_S for at in self._losses),
                start_failure=start_failure,
                rejected=rejected,
            )
