"""How an update goes through a fleet: rings that open one after the other; pure.

A box's ring follows from its identity and never changes by itself, so that the same few boxes see
everything first; whoever runs the fleet can choose them (`pin`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARES: Final = (0.05, 0.25, 0.50, 1.0)
"""Share of the fleet that has an update when ring 0, 1, 2, 3 is open."""
LAST: Final = len(SHARES) - 1
HOURS: Final = 48.0
MAX_FAILED_PERCENT: Final = 2.0
_SEEN: Final = dt.timedelta(days=7)
"""A box that was silent for so long is not waited for."""

State = Literal["running", "halted", "done", "rolled_back"]
STATES: Final[tuple[State, ...]] = ("running", "halted", "done", "rolled_back")
Word = Literal["active", "failed", "trying", "unused", "unknown"]


def ring_of(device_id: str) -> int:
    """Ring of a box by its identity."""
    place = int(hashlib.sha256(f"ring:{device_id}".encode()).hexdigest()[:8], 16) / 2**32
    return next(ring for ring, share in enumerate(SHARES) if place < share)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One version on its way through the fleet.

    Attributes
    ----------
    item
        ``kind/name@version``.
    ring
        Highest ring that is open.
    hours
        How long a ring must have been well before the next one opens.
    max_failed_percent
        Of the boxes that have it: more failures halt it and take it back.
    ring_since, well_since
        When the ring opened; since when it has been well, None while it is not.
    """

    item: str
    state: State
    ring: int
    hours: float
    max_failed_percent: float
    ring_since: dt.datetime
    well_since: dt.datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """What a box last said of the update.

    Attributes
    ----------
    word
        ``active``: in use. ``failed``: refused or rolled back there. ``trying``: being compared.
        ``unused``: nothing to compare there. ``unknown``: it has said nothing of it.
    seen_at
        When the centre last heard of it.
    """

    device_id: str
    ring: int
    word: Word
    seen_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Count:
    """Boxes by their word; those that were silent for a week count only where it failed."""

    boxes: int
    active: int
    failed: int
    trying: int
    waiting: int
    unused: int
    silent: int


def counted(boxes: Sequence[Box], now: dt.datetime) -> Count:
    """Sum up some boxes."""
    heard = [b for b in boxes if b.seen_at is not None and now - b.seen_at <= _SEEN]

    def of(word: Word) -> int:
        return sum(box.word == word for box in heard)

    return Count(
        boxes=len(boxes),
        active=of("active"),
        failed=sum(box.word == "failed" for box in boxes),
        trying=of("trying"),
        waiting=of("unknown"),
        unused=of("unused"),
        silent=len(boxes) - len(heard),
    )


def count(rollout: Rollout, boxes: Sequence[Box], now: dt.datetime) -> Count:
    """Sum up the rings that are open."""
    return counted([box for box in boxes if box.ring <= rollout.ring], now)


def step(rollout: Rollout, boxes: Sequence[Box], now: dt.datetime) -> Rollout:
    """Say how a rollout goes on: the same, its ring well or not, the next ring, the end, a halt."""
    if rollout.state != "running":
        return rollout
    counted = count(rollout, boxes, now)
    return _next(rollout, counted, now)


def _next(rollout: Rollout, counted: Count, now: dt.datetime) -> Rollout:
    if problem := _failing(rollout, counted):
        return replace(rollout, state="rolled_back", reason=problem, well_since=None)
    if counted.boxes == 0 and rollout.ring < LAST:  # a small fleet: nobody to learn from
        return _open_next(rollout, now)
    if not _well(counted):
        return rollout if rollout.well_since is None else replace(rollout, well_since=None)
    since = rollout.well_since or now
    if now - since < dt.timedelta(hours=rollout.hours):
        return replace(rollout, well_since=since)
    return _open_next(rollout, now)


def _failing(rollout: Rollout, counted: Count) -> str:
    tried = counted.active + counted.failed
    if not counted.failed or 100.0 * counted.failed / tried <= rollout.max_failed_percent:
        return ""
    share = f"more than {rollout.max_failed_percent:g} % are allowed"
    return f"it failed on {counted.failed} of {tried} boxes of ring 0 to {rollout.ring}: {share}"


def _well(counted: Count) -> bool:
    """Most boxes that can use it do; where none can, there is nothing to wait for but time.

    Boxes that are all silent show nothing.
    """
    using = counted.active + counted.trying + counted.waiting
    return counted.active * 2 >= using if using else counted.unused > 0


def _open_next(rollout: Rollout, now: dt.datetime) -> Rollout:
    if rollout.ring == LAST:
        return replace(rollout, state="done", well_since=rollout.well_since)
    return replace(rollout, ring=rollout.ring + 1, ring_since=now, well_since=None)


def may_take(rollout: Rollout, ring: int) -> bool:
    """Whether a box of a ring may take it now."""
    return rollout.state in {"running", "done"} and ring <= rollout.ring
