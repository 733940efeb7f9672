"""What a box said of itself over time: a row for each spell in which it said the same, bounded."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select, update

from edge_daemon.central.fleet.words import SILENT, spell, summarise
from edge_daemon.central.schema import health_history

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

KEPT: Final = 500
"""Spells of each box; older ones are forgotten."""


def note(
    db: Connection, device_id: str, clinic_id: int, told: Mapping[str, Any], now: dt.datetime
) -> str:
    """Keep a box's word, and return its summary as it is stored.

    Parameters
    ----------
    db
        In a transaction that sees the box's clinic.
    told
        What the box said.
    now
        When it came.
    """
    summary = summarise(told)
    stored = json.dumps(summary, ensure_ascii=False)
    last = db.execute(
        select(health_history)
        .where(health_history.c.device_id == device_id)
        .order_by(health_history.c.id.desc())
        .limit(1)
    ).first()
    if last is not None and _goes_on(last, summary, now):
        this = health_history.c.id == last.id
        db.execute(update(health_history).where(this).values(last_at=now, summary=stored))
        return stored
    row = {"device_id": device_id, "clinic_id": clinic_id, "first_at": now, "last_at": now}
    db.execute(insert(health_history).values(**row, summary=stored))
    beyond = (
        select(health_history.c.id)
        .where(health_history.c.device_id == device_id)
        .order_by(health_history.c.id.desc())
        .offset(KEPT)
        .limit(1)
        .scalar_subquery()
    )
    old = (health_history.c.device_id == device_id) & (health_history.c.id <= beyond)
    db.execute(delete(health_history).where(old))
    return stored


def _goes_on(last: Any, summary: Mapping[str, Any], now: dt.datetime) -> bool:
    heard = last.last_at if last.last_at.tzinfo else last.last_at.replace(tzinfo=dt.UTC)
    return now - heard <= SILENT and spell(json.loads(last.summary)) == spell(summary)
