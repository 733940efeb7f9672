"""Rollouts in the server's database: what the operator starts, and what boxes' words make of it.

Whoever asks for a plan moves the rollouts on first, at most once a minute in each process, so
that no clock of the server's own is needed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select, update

from edge_daemon.central import audit, schema
from edge_daemon.central.audit import Actor
from edge_daemon.central.rollout import LAST, Box, Rollout, count, may_take, ring_of, step
from edge_daemon.errors import EXIT_NOT_FOUND, EdgeError, Fatal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Engine, RowMapping

    from edge_daemon.central.rollout import Word

_CENTRE: Final = Actor("the central server", "server")
_EVERY_S: Final = 60.0
_OPEN: Final = ("running", "halted")
_STEPS: Final = {
    "rolled_back": "rollout_rolled_back",
    "done": "rollout_done",
    "running": "rollout_advanced",
}


class Rollouts:
    """What goes through the fleet.

    Parameters
    ----------
    engine
        Of the server's database.
    by
        Who gives the commands; the server itself unless given.
    """

    def __init__(self, engine: Engine, by: Actor = _CENTRE) -> None:
        self._engine = engine
        self._by = by
        self._moved_at = float("-inf")

    # What the operator does

    def start(self, item: str, *, hours: float, max_failed_percent: float, ring: int = 0) -> int:
        """Begin with an item, ``kind/name@version``; return the rollout's number.

        Raises
        ------
        EdgeError
            One of the same kind and name is on its way, or this version had its turn.
        """
        key, _, version = item.partition("@")
        if not version or "/" not in key:
            raise EdgeError(f"{item!r} is no KIND/NAME@VERSION")
        now = datetime.now(UTC)
        with self._engine.begin() as db:
            for row in _rows(db):
                if row["item"] == item:
                    raise EdgeError(
                        f"{item} had a rollout already ({row['state']})",
                        action="`rollout resume` goes on with a halted one; else publish a "
                        "higher version.",
                    )
                if row["item"].partition("@")[0] == key and row["state"] in _OPEN:
                    raise EdgeError(
                        f"{row['item']} is on its way", action="Wait for it, or roll it back."
                    )
            made = insert(schema.rollouts).values(
                item=item,
                state="running",
                ring=ring,
                hours=hours,
                max_failed_percent=max_failed_percent,
                created_at=now,
                ring_since=now,
                reason="",
            )
            number = int(db.execute(made.returning(schema.rollouts.c.id)).scalar_one())
            self._note(db, "rollout_started", item, {"hours": hours, "ring": ring})
        return number

    def set_state(self, item: str, state: str, reason: str) -> None:
        """Halt, resume (``running``) or roll back.

        Raises
        ------
        EdgeError
            The rollout is not in a state for it.
        """
        allowed = {
            "halted": ("running",),
            "running": ("halted",),
            "rolled_back": ("running", "halted", "done"),
        }[state]
        action = {
            "halted": "rollout_halted",
            "running": "rollout_resumed",
            "rolled_back": "rollout_rolled_back",
        }[state]
        now = datetime.now(UTC)
        with self._engine.begin() as db:
            row = _one(db, item)
            if row["state"] not in allowed:
                raise EdgeError(f"the rollout of {item} is {row['state'].replace('_', ' ')}")
            values: dict[str, Any] = {"state": state, "reason": reason, "well_since": None}
            if state == "running":
                values["ring_since"] = now
            db.execute(
                update(schema.rollouts).where(schema.rollouts.c.id == row["id"]).values(values)
            )
            self._note(db, action, item, {"reason": reason})

    def pin(self, device_id: str, ring: int | None) -> None:
        """Put a box into a ring of the operator's choice, or back where its identity puts it.

        Raises
        ------
        Fatal
            There is no such box.
        """
        devices, pins = schema.devices, schema.ring_pins
        with self._engine.begin() as db:
            found = db.execute(select(devices).where(devices.c.id == device_id)).mappings().first()
            if found is None:
                raise Fatal(
                    f"there is no box {device_id}",
                    action="List them with `edge-daemon central boxes`.",
                    exit_code=EXIT_NOT_FOUND,
                )
            db.execute(delete(pins).where(pins.c.device_id == device_id))
            if ring is not None:
                db.execute(insert(pins).values(device_id=device_id, ring=ring))
            audit.note(
                db,
                self._by,
                "ring_pinned",
                found["name"],
                clinic_id=found["clinic_id"],
                details={"ring": ring},
            )

    def describe(self) -> list[dict[str, Any]]:
        """List the rollouts, newest first, with what the boxes of their open rings say."""
        self.move()
        now = datetime.now(UTC)
        with self._engine.begin() as db:
            found = []
            told = told_by_boxes(db)
            for row in reversed(_rows(db)):
                rollout = rollout_of(row)
                counted = count(rollout, boxes_of(told, rollout.item), now)
                found.append(
                    {
                        "item": rollout.item,
                        "state": rollout.state,
                        "ring": rollout.ring,
                        "last_ring": LAST,
                        "ring_since": rollout.ring_since.isoformat(),
                        "well_since": rollout.well_since and rollout.well_since.isoformat(),
                        "hours": rollout.hours,
                        "max_failed_percent": rollout.max_failed_percent,
                        "reason": rollout.reason,
                        "boxes": {name: getattr(counted, name) for name in counted.__slots__},
                    }
                )
        return found

    # What boxes ask, and what their words do

    def plan(self, device_id: str) -> dict[str, Any]:
        """Say what a box may take now, and what it must give back."""
        if time.monotonic() - self._moved_at > _EVERY_S:
            self.move()
        with self._engine.begin() as db:
            ring = _ring(db, device_id)
            rollouts = [rollout_of(row) for row in _rows(db)]
        return {
            "ring": ring,
            "may_take": sorted(r.item for r in rollouts if may_take(r, ring)),
            "give_back": {r.item: r.reason for r in rollouts if r.state == "rolled_back"},
        }

    def move(self, now: datetime | None = None) -> None:
        """Let every running rollout take its next step."""
        self._moved_at = time.monotonic()
        now = now or datetime.now(UTC)
        with self._engine.begin() as db:
            running = [row for row in _rows(db, lock=True) if row["state"] == "running"]
            told = told_by_boxes(db) if running else []
            for row in running:
                before = rollout_of(row)
                after = step(before, boxes_of(told, before.item), now)
                if after == before:
                    continue
                db.execute(
                    update(schema.rollouts)
                    .where(schema.rollouts.c.id == row["id"])
                    .values(
                        state=after.state,
                        ring=after.ring,
                        ring_since=after.ring_since,
                        well_since=after.well_since,
                        reason=after.reason,
                    )
                )
                if (after.state, after.ring) != (before.state, before.ring):
                    details = {"ring": after.ring, "reason": after.reason}
                    self._note(db, _STEPS[after.state], before.item, details, by=_CENTRE)

    def _note(
        self,
        db: Connection,
        action: str,
        item: str,
        details: Mapping[str, Any],
        by: Actor | None = None,
    ) -> None:
        audit.note(db, by or self._by, action, item, details=details)


def _rows(db: Connection, *, lock: bool = False) -> Sequence[RowMapping]:
    query = select(schema.rollouts).order_by(schema.rollouts.c.id)
    return db.execute(query.with_for_update() if lock else query).mappings().all()


def _one(db: Connection, item: str) -> RowMapping:
    query = select(schema.rollouts).where(schema.rollouts.c.item == item)
    # Whatever takes its next step meanwhile is waited for: what it makes of the rollout counts.
    row = db.execute(query.with_for_update()).mappings().first()
    if row is None:
        raise Fatal(
            f"there is no rollout of {item}",
            action="List them with `edge-daemon central rollout status`.",
            exit_code=EXIT_NOT_FOUND,
        )
    return row


def rollout_of(row: RowMapping) -> Rollout:
    """Read a row of `rollouts`."""
    return Rollout(
        item=row["item"],
        state=row["state"],
        ring=row["ring"],
        hours=row["hours"],
        max_failed_percent=row["max_failed_percent"],
        ring_since=_utc(row["ring_since"]),
        well_since=None if row["well_since"] is None else _utc(row["well_since"]),
        reason=row["reason"],
    )


def _ring(db: Connection, device_id: str) -> int:
    pins = schema.ring_pins
    pinned = db.execute(select(pins.c.ring).where(pins.c.device_id == device_id)).scalar()
    return ring_of(device_id) if pinned is None else int(pinned)


@dataclass(frozen=True, slots=True)
class Told:
    """What a box last said of updates.

    Attributes
    ----------
    updates
        As the box wrote it, for `word_in`; not believed to be well formed.
    """

    device_id: str
    name: str
    clinic: str
    ring: int
    seen_at: datetime | None
    updates: Any


def told_by_boxes(db: Connection, *narrowed: ColumnElement[bool]) -> list[Told]:
    """Read what every box that is not revoked last said; each word once, however many rollouts."""
    devices, health, pins = schema.devices, schema.health, schema.ring_pins
    query = (
        select(
            devices.c.id,
            devices.c.name,
            schema.clinics.c.name.label("clinic"),
            devices.c.seen_at,
            health.c.body,
            pins.c.ring,
        )
        .join(schema.clinics, schema.clinics.c.id == devices.c.clinic_id)
        .outerjoin(health, health.c.device_id == devices.c.id)
        .outerjoin(pins, pins.c.device_id == devices.c.id)
        .where(devices.c.revoked_at.is_(None), *narrowed)
        .order_by(schema.clinics.c.name, devices.c.name, devices.c.id)
    )
    return [
        Told(
            device_id=row.id,
            name=row.name,
            clinic=row.clinic,
            ring=ring_of(row.id) if row.ring is None else row.ring,
            seen_at=None if row.seen_at is None else _utc(row.seen_at),
            updates=_updates_in(row.body),
        )
        for row in db.execute(query)
    ]


def boxes_of(told: Sequence[Told], item: str) -> list[Box]:
    """Say of each box what its word means for an item, in the order of `told`."""
    return [Box(one.device_id, one.ring, word_in(one.updates, item), one.seen_at) for one in told]


def _updates_in(body: str | None) -> Any:
    try:
        return json.loads(body or "{}").get("updates")
    except (ValueError, AttributeError, RecursionError):
        return None


def word_of(body: str | None, item: str) -> Word:
    """Read what a box says of an item in a word about itself."""
    return word_in(_updates_in(body), item)


def word_in(updates: Any, item: str) -> Word:
    """Read what a box says of an item; what it says is not believed to be well formed."""
    key, _, version = item.partition("@")
    try:
        told = updates or {"items": [], "unneeded": []}
        mine = [one for one in told["items"] if one["item"] == key]
        said: dict[str, Any] = mine[0] if mine else {"blocked": [], "version": "", "candidate": ""}
        if version in said["blocked"]:
            return "failed"
        if said["version"] == version:
            return "active"
        if said["candidate"] == version:
            return "trying" if said["samples"] else "unused"
        return "unused" if item in told["unneeded"] else "unknown"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "unknown"


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
