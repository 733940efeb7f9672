"""Numbers about the store for health, `doctor` and support bundles; never a name or an id.

Standard library only, read-only connections.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.store import layout
from edge_daemon.store.reader import connect, rows, value

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


UPKEEP_KEY: Final = "upkeep."
"""What keys in ``meta`` of upkeep begin with; the rest is the job's name."""


def set_aside(data_dir: Path) -> int:
    """Count the captures in quarantine.

    Raises
    ------
    Fatal, Retryable
        As `reader.connect`.
    """
    with closing(connect(data_dir)) as db:
        return int(value(db, "SELECT count(*) FROM captures WHERE state = 'quarantined'"))


def newest_trusted(data_dir: Path) -> str | None:
    """Wall time of the newest capture that came while the clock was synchronised, or None.

    Raises
    ------
    Fatal, Retryable
        As `reader.connect`.
    """
    query = (
        "SELECT received_wall FROM captures WHERE received_clock = 'synchronised'"
        " ORDER BY id DESC LIMIT 1"
    )
    with closing(connect(data_dir)) as db:
        found = rows(db, query)
    return str(found[0]["received_wall"]) if found else None


def archive_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the raw captures that are kept, each counted once."""
    query = """
        SELECT coalesce(sum(size), 0) FROM
            (SELECT max(size) AS size FROM captures WHERE raw_deleted_wall IS NULL GROUP BY sha256)
    """
    return int(value(db, query))


def upkeep(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Read what the service wrote down of its upkeep, by job.

    Returns
    -------
    dict
        Of each job that ran: ``done`` and ``tried`` (the fields of a `clock.Stamp`; ``done`` is
        null if it never succeeded), ``problem`` (why the last try failed, or null), ``found``
        (what the last success found). Jobs are ``backup``, ``quick_check``, ``integrity_check``,
        ``results``, ``archive`` and ``retention``.
    """
    found = rows(db, "SELECT key, value FROM meta WHERE key LIKE ?", [f"{UPKEEP_KEY}%"])
    read = {row["key"].removeprefix(UPKEEP_KEY): _object(row["value"]) for row in found}
    return {name: record for name, record in read.items() if record is not None}


def recovered(db: sqlite3.Connection) -> dict[str, Any] | None:
    """Read what the last recovery did (`reingest.Recovery`, ``at``: when), or None."""
    found = rows(db, "SELECT value FROM meta WHERE key = ?", [layout.RECOVERED_KEY])
    return _object(found[0]["value"]) if found else None


def _object(text: str) -> dict[str, Any] | None:
    """Read an object; one that was damaged on the disk is as if it had never been written."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def table_counts(db: sqlite3.Connection) -> dict[str, int]:
    """Count the rows of every table."""
    names = rows(db, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    # The names are the database's own; quoting keeps even a foreign one from being a statement.
    quoted = {row["name"]: str(row["name"]).replace('"', '""') for row in names}
    return {
        name: int(value(db, f'SELECT count(*) FROM "{safe}"'))  # noqa: S608 - see above
        for name, safe in quoted.items()
    }


def reasons(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Count quarantined captures and refusals by code; no message: those hold file names."""
    return rows(
        db,
        "SELECT 'quarantined' AS kind, reason_code AS code, count(*) AS captures FROM captures"
        " WHERE state = 'quarantined' GROUP BY reason_code"
        " UNION ALL SELECT 'refused', code, sum(times) FROM refusals GROUP BY code",
    )
