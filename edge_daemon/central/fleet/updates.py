"""Updates on their way through the fleet: how far each is, and what the boxes of each ring say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from edge_daemon.central.fleet.drifting import utc
from edge_daemon.central.rollout import LAST, SHARES, count, counted
from edge_daemon.central.rollouts import boxes_of, rollout_of, told_by_boxes
from edge_daemon.central.schema import devices, rollouts

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from edge_daemon.central.reading import Scope
    from edge_daemon.central.rollout import Count, Rollout
    from edge_daemon.central.rollouts import Told

MOST: Final = 30
"""Rollouts that are shown, the newest; older ones stand in the audit trail."""
NAMED: Final = 20
"""Boxes with which an update failed that are named."""


@dataclass(frozen=True, slots=True)
class Ring:
    """What the boxes of one ring say of an update.

    Attributes
    ----------
    share
        Percent of the fleet that has the update when this ring is open.
    """

    number: int
    share: int
    open: bool
    boxes: Count


@dataclass(frozen=True, slots=True)
class FailedBox:
    """A box with which an update failed."""

    id: str
    name: str
    clinic: str
    ring: int


@dataclass(frozen=True, slots=True)
class Update:
    """A rollout, and the boxes of it that the asker sees.

    Attributes
    ----------
    created_at
        When the operator started it.
    rings
        Each ring alone, the first first.
    reached
        Boxes of the rings that are open.
    failed
        Boxes with which it failed, at most `NAMED`.
    """

    rollout: Rollout
    created_at: dt.datetime
    rings: Sequence[Ring]
    reached: Count
    failed: Sequence[FailedBox]


def updates(db: Connection, scope: Scope, now: dt.datetime) -> list[Update]:
    """List rollouts, newest first, with what the boxes of a scope say of them.

    Parameters
    ----------
    db
        Connection from `Reader.reading`.
    now
        Silence is judged by it.
    """
    rows = db.execute(select(rollouts).order_by(rollouts.c.id.desc()).limit(MOST)).mappings().all()
    told = told_by_boxes(db, scope.of(devices)) if rows else []
    return [_update(rollout_of(row), utc(row["created_at"]), told, now) for row in rows]


def _update(
    rollout: Rollout, created_at: dt.datetime, told: Sequence[Told], now: dt.datetime
) -> Update:
    boxes = boxes_of(told, rollout.item)
    failed = [
        FailedBox(one.device_id, one.name, one.clinic, one.ring)
        for one, box in zip(told, boxes, strict=True)
        if box.word == "failed"
    ]
    rings = [
        Ring(
            number,
            round(100 * share),
            rollout.state != "rolled_back" and number <= rollout.ring,
            counted([box for box in boxes if box.ring == number], now),
        )
        for number, share in zip(range(LAST + 1), SHARES, strict=True)
    ]
    return Update(rollout, created_at, rings, count(rollout, boxes, now), failed[:NAMED])
