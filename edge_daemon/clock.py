"""Monotonic and wall time, the boot id, and whether the wall clock can be trusted.

Durations are always monotonic. Wall time is a label for people, never an ordering key: boxes
without a battery-backed clock start in the past after a power cut.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

ClockState = Literal["synchronised", "unsynchronised", "unknown"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR = 5  # adjtimex(2): clock not synchronised


@dataclass(frozen=True, slots=True)
class Stamp:
    """One moment, as every stored row carries it.

    Attributes
    ----------
    wall
        UTC, ISO 8601 with microseconds and ``Z``.
    state
        Whether the kernel says the wall clock is disciplined.
    boot_id
        Identifies the boot the monotonic value belongs to.
    monotonic_s
        Seconds on the monotonic clock of that boot.
    """

    wall: str
    state: ClockState
    boot_id: str
    monotonic_s: float


def elapsed_s(earlier: Stamp, later: Stamp) -> float | None:
    """Seconds between two stamps, or None where no clock tells.

    In one boot the monotonic clock does. Between two boots only wall time can, where both
    stamps say that it was synchronised and it did not go back.
    """
    if earlier.boot_id == later.boot_id:
        return later.monotonic_s - earlier.monotonic_s
    if earlier.state == later.state == "synchronised":
        moments = [datetime.fromisoformat(stamp.wall) for stamp in (earlier, later)]
        gone = (moments[1] - moments[0]).total_seconds()
        return gone if gone >= 0 else None
    return None


class Clock(Protocol):
    """Source of time; tests pass their own."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def stamp(self) -> Stamp:
        """Return the present moment with its trust flag."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point of this boot."""
        return time.monotonic()

    def stamp(self) -> Stamp:
        """Return the present moment with its trust flag."""
        return Stamp(
            wall=format_wall(datetime.now(UTC)),
            state=clock_state(),
            boot_id=boot_id(),
            monotonic_s=time.monotonic(),
        )


def format_wall(moment: datetime) -> str:
    """Format an aware datetime as UTC ISO 8601 with microseconds and ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@functools.cache
def boot_id() -> str:
    """Return the kernel's boot id, or one for this process where there is none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"process-{uuid.uuid4()}"


def clock_state() -> ClockState:
    """Ask the kernel whether the wall clock is synchronised (`adjtimex(2)`)."""
    libc = _libc()
    if libc is None:
        return "unknown"
    # A zeroed struct timex is a pure query; 256 bytes exceed its size on every Linux ABI.
    buffer = (ctypes.c_char * 256)()
    result: int = libc.adjtimex(buffer)
    if result < 0:
        return "unknown"
    return "unsynchronised" if result == _TIME_ERROR else "synchronised"


@functools.cache
def _libc() -> ctypes.CDLL | None:
    if os.name != "posix":
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None
    return libc if hasattr(libc, "adjtimex") else None
