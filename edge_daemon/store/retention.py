"""Keep the archive of raw captures within its budget by deleting only what is safe to delete.

A result is never deleted, only the bytes it was made from, and only where all of this holds:

- its analysis has ended with a result whose newest run is ``ok``: what was quarantined or
  flagged may have to be analysed again;
- everything made from it is stored by the central server (or the box has none and its
  configuration says so);
- every backup there is holds it as it is now, so that no single damage makes the bytes needed;
- it is old enough, counted in days that the service has seen, not by the wall clock;
- the wall clock is synchronised.

Oldest first by sequence. The row keeps the time of deletion, and a replay says so in words.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.store.backup import list_backups, open_copied
from edge_daemon.store.reader import rows, value
from edge_daemon.store.statistics import archive_bytes

if TYPE_CHECKING:
    from pathlib import Path

DAYS_KEY: Final = "days"
"""Key in ``meta``: JSON list, the newest capture at the end of each day that was seen."""

_BATCH: Final = 50

_SAFE: Final = """
    SELECT c.id, c.sha256, c.size FROM captures AS c
    WHERE c.id > :after AND c.id <= :newest AND c.raw_deleted_wall IS NULL
        AND c.finished = 1 AND c.state = 'classified'
        AND (SELECT r.status FROM runs AS r WHERE r.capture_id = c.id
            ORDER BY r.number DESC LIMIT 1) = 'ok'
        AND NOT EXISTS (SELECT 1 FROM captures AS d
            WHERE d.sha256 = c.sha256 AND d.id <> c.id AND d.raw_deleted_wall IS NULL)
        AND NOT EXISTS (SELECT 1 FROM runs AS r JOIN outbox AS o ON o.run_id = r.id
            WHERE r.capture_id = c.id
                AND (o.seq > :sent OR o.state = 'dead' OR (o.state = 'waiting' AND :synced)))
        AND NOT EXISTS (SELECT 1 FROM reports AS p JOIN outbox AS o ON o.report_id = p.id
            WHERE p.capture_id = c.id
                AND (o.seq > :sent OR o.state = 'dead' OR (o.state = 'waiting' AND :synced)))
    ORDER BY c.id LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the configuration says.

    Attributes
    ----------
    max_bytes
        Budget of the archive; None: nothing is ever deleted.
    min_days
        Days that must have been seen since a capture came.
    require_sync
        Whether everything made from a capture must be stored by the central server.
    """

    max_bytes: int | None
    min_days: int
    require_sync: bool


@dataclass(frozen=True, slots=True)
class Raw:
    """One archived capture that may be deleted."""

    capture_id: int
    sha256: str
    size: int


def deletable(
    db: sqlite3.Connection, data_dir: Path, rule: Rule, *, after: int = 0, limit: int = _BATCH
) -> list[Raw]:
    """Raw captures that are safe to delete, oldest first; the budget is not looked at.

    Parameters
    ----------
    db
        Connection from `reader.connect`.
    data_dir
        Its data directory: the backups are looked into.
    rule
        The configuration.
    after, limit
        Only captures with a larger id, and at most so many.

    Raises
    ------
    Retryable
        The database cannot be read now.
    """
    held = _held_by_every_backup(data_dir)
    days = days_seen(db)
    if held is None or len(days) <= rule.min_days:
        return []
    newest_capture, newest_sent = held
    newest_capture = min(newest_capture, days[-1 - rule.min_days])
    found = rows(
        db,
        _SAFE,
        {
            "after": after,
            "newest": newest_capture,
            "sent": newest_sent,
            "synced": rule.require_sync,
            "limit": limit,
        },
    )
    return [Raw(row["id"], row["sha256"], row["size"]) for row in found]


def over_budget(db: sqlite3.Connection, data_dir: Path, rule: Rule) -> list[Raw]:
    """Choose the next few captures to delete; none once the archive is within its budget."""
    if rule.max_bytes is None:
        return []
    excess = archive_bytes(db) - rule.max_bytes
    chosen = []
    for raw in deletable(db, data_dir, rule):
        if excess <= 0:
            break
        chosen.append(raw)
        excess -= raw.size
    return chosen


def summary(db: sqlite3.Connection, data_dir: Path, rule: Rule) -> dict[str, int | None]:
    """Sum up for people: size, budget, what may be deleted and what has been.

    Returns
    -------
    dict
        ``bytes``, ``max_bytes``, ``deletable``, ``deletable_bytes``, ``deleted``.
    """
    safe = deletable(db, data_dir, rule, limit=-1)
    gone = "SELECT count(*) FROM captures WHERE raw_deleted_wall IS NOT NULL"
    return {
        "bytes": archive_bytes(db),
        "max_bytes": rule.max_bytes,
        "deletable": len(safe),
        "deletable_bytes": sum(raw.size for raw in safe),
        "deleted": int(value(db, gone)),
    }


def days_seen(db: sqlite3.Connection) -> list[int]:
    """Newest capture at the end of each day that the service has seen, oldest day first."""
    found = rows(db, "SELECT value FROM meta WHERE key = ?", [DAYS_KEY])
    try:
        days = json.loads(found[0]["value"]) if found else []
    except ValueError:  # damaged on the disk: the days are counted anew, and nothing is deleted
        return []
    return days if isinstance(days, list) and all(isinstance(day, int) for day in days) else []


def _held_by_every_backup(data_dir: Path) -> tuple[int, int] | None:
    """Newest capture and outbox item that all backups hold; None if there is no backup."""
    held = []
    query = """
        SELECT (SELECT coalesce(max(id), 0) FROM captures),
            (SELECT coalesce(max(seq), 0) FROM outbox)
    """
    for backup in list_backups(data_dir):
        try:
            with closing(open_copied(backup, live=False)) as db:
                held.append(tuple(db.execute(query).fetchone()))
        except sqlite3.Error:
            return None
    if not held:
        return None
    return min(capture for capture, _ in held), min(sent for _, sent in held)


def marked_deleted(db: sqlite3.Connection, limit: int = 500) -> list[str]:
    """List digests of the captures deleted last, whose files a crash may have left."""
    query = """
        SELECT sha256 FROM captures WHERE raw_deleted_wall IS NOT NULL ORDER BY id DESC LIMIT ?
    """
    return [row["sha256"] for row in rows(db, query, [limit])]
