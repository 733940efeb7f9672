"""When a file that somebody else writes may be read: pure decisions, no clock and no disk.

A file is settled once two observations at least `settle_s` apart are equal and no event came
between them. Settled is not complete: some writers pause for longer than anyone would wait, so
the format is asked too. It is asked once for each state of the file, and a last time when the
file has stood incomplete for `stall_s`.
"""

from __future__ import annotations

import enum
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container


@dataclass(frozen=True, slots=True)
class Observation:
    """What a directory says about a file at one moment."""

    size: int
    mtime_ns: int
    inode: int


class Verdict(enum.Enum):
    """What to do with a file now."""

    WAITING = "waiting"
    READY = "ready"
    STALLED = "stalled"


@dataclass(slots=True)
class _Entry:
    seen: Observation
    changed_at: float
    quiet_since: float | None  # None: an event came after the last observation
    asked: bool = False  # the format was asked for this state and said "incomplete"


class Tracker:
    """Remembers the files that are not yet settled.

    Parameters
    ----------
    settle_s
        Seconds a file must stand unchanged before it is read.
    stall_s
        Seconds an incomplete file may stand unchanged before it is given up.
    """

    def __init__(self, settle_s: float, stall_s: float) -> None:
        self._settle_s = settle_s
        self._stall_s = max(stall_s, settle_s)
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> tuple[str, ...]:
        """Files that are being waited for, in the order they were first seen."""
        return tuple(self._entries)

    def observe(
        self, name: str, seen: Observation, now: float, complete: Callable[[], bool]
    ) -> Verdict:
        """Decide about a file from what was just observed.

        Parameters
        ----------
        name
            Key of the file.
        seen
            Its present state.
        now
            Monotonic seconds of the observation; never smaller than an earlier one.
        complete
            Says whether the content is whole; called only for a settled file.

        Returns
        -------
        Verdict
            After READY or STALLED the file is forgotten.
        """
        entry = self._entries.get(name)
        if entry is None or entry.seen != seen:
            self._entries[name] = _Entry(seen, now, now)
            return Verdict.WAITING
        if entry.quiet_since is None:
            entry.quiet_since = now
            return Verdict.WAITING
        if now - entry.quiet_since < self._settle_s:
            return Verdict.WAITING
        stalled = now - entry.changed_at >= self._stall_s
        if not entry.asked or stalled:
            if complete():
                return self._done(name, Verdict.READY)
            entry.asked = True
            if stalled:
                return self._done(name, Verdict.STALLED)
        return Verdict.WAITING

    def touched(self, name: str) -> None:
        """Note an event: whatever was observed before no longer counts as quiet."""
        if (entry := self._entries.get(name)) is not None:
            entry.quiet_since = None
            entry.asked = False

    def forget(self, name: str) -> None:
        """Drop a file that is gone or was dealt with otherwise."""
        self._entries.pop(name, None)

    def retain(self, present: Container[str]) -> None:
        """Drop every file that is not in `present`."""
        for name in [name for name in self._entries if name not in present]:
            del self._entries[name]

    def holds(self, name: str, seen: Observation) -> bool:
        """Whether a file is waited for in just this state, so that `due` will bring it up."""
        entry = self._entries.get(name)
        return entry is not None and entry.seen == seen

    def due(self, now: float, limit: int) -> tuple[str, ...]:
        """Return at most `limit` files whose verdict may have changed by time alone.

        The latest first, so that a new file does not wait behind thousands that lay there at the
        start; of one look in its order.
        """
        due = ((name, entry) for name, entry in self._entries.items() if self._due(entry, now) <= 0)
        latest = heapq.nlargest(limit, due, key=lambda item: item[1].changed_at)
        return tuple(name for name, _ in latest)

    def due_in(self, now: float) -> float | None:
        """Seconds until some file's verdict may change by time alone; None if none is tracked."""
        return min((self._due(entry, now) for entry in self._entries.values()), default=None)

    def _due(self, entry: _Entry, now: float) -> float:
        if entry.quiet_since is None:
            return 0.0
        at = entry.changed_at + self._stall_s if entry.asked else entry.quiet_since + self._settle_s
        return max(at - now, 0.0)

    def _done(self, name: str, verdict: Verdict) -> Verdict:
        del self._entries[name]
        return verdict
