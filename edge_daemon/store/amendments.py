"""Read-only questions about what people said after a run. Standard library only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.canonical import canonical, digest
from edge_daemon.store.documents import said_document
from edge_daemon.store.reader import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

_OF_A_RUN: Final = "JOIN runs AS r ON r.id = w.run_id"
# What a capture's mark says holds for all its runs; whether they are simulated is the same in all.
_OF_A_CAPTURE: Final = (
    "JOIN runs AS r ON r.id = (SELECT min(n.id) FROM runs AS n WHERE n.capture_id = w.capture_id)"
)
SAID_TABLES: Final = {
    "note": ("run_notes", _OF_A_RUN),
    "correction": ("corrections", _OF_A_RUN),
    "mark": ("control_marks", _OF_A_CAPTURE),
}
"""Type of the item → table of what was said, and how to find the run it is about."""


def history(db: sqlite3.Connection, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the corrections of a run's sample, oldest first.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    run
        With ``capture_id``: corrections belong to the capture, whatever its newest run is.

    Returns
    -------
    list of dict
        ``id``, ``run_id`` (the run that it made), ``changes`` (each ``field``, ``before``,
        ``after``), ``made_by``, ``reason``, ``made_wall`` and ``made_clock``.
    """
    found = rows(
        db,
        "SELECT id, run_id, changes, made_by, reason, made_wall, made_clock FROM corrections"
        " WHERE capture_id = ? ORDER BY id",
        [run["capture_id"]],
    )
    for row in found:
        row["changes"] = _changes(row["changes"])
    return found


def _changes(text: str) -> list[dict[str, Any]]:
    try:
        return [
            {"field": field, "before": before, "after": after}
            for field, (before, after) in json.loads(text).items()
        ]
    except (ValueError, TypeError, AttributeError):  # damaged on the disk
        return [{"field": "unreadable", "before": None, "after": None}]


def notes(db: sqlite3.Connection, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List what people noted about a run or another run of its capture, oldest first.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    run
        With ``capture_id``.

    Returns
    -------
    list of dict
        ``id``, ``run_id``, ``kind`` (``note`` or ``smear``), ``concerns`` (a cell class, value
        or flag, or None), ``verdict`` (``confirms``, ``refutes`` or None), ``text``,
        ``made_by``, ``made_wall`` and ``made_clock``.
    """
    return rows(
        db,
        "SELECT id, run_id, kind, concerns, verdict, text, made_by, made_wall, made_clock"
        " FROM run_notes WHERE capture_id = ? ORDER BY id",
        [run["capture_id"]],
    )


def said_query(what: str) -> str:
    """Write the question for the row that `documents.said_document` tells of; ``:key``: its id."""
    table, run = SAID_TABLES[what]
    return (
        "SELECT w.*, c.sha256, c.instrument, r.number, r.patient_name, r.simulated"  # noqa: S608
        f" FROM {table} AS w JOIN captures AS c ON c.id = w.capture_id {run} WHERE w.id = :key"
    )


def is_intact(db: sqlite3.Connection, item: dict[str, Any]) -> bool:
    """Whether what was said is still what the outbox says of it.

    Raises
    ------
    Retryable
        The database cannot be read now.
    """
    what = str(item["type"]).partition(".")[0]
    if what not in SAID_TABLES:
        return False
    found = rows(db, said_query(what), {"key": item[f"{what}_id"]})
    try:
        return bool(found) and digest(canonical(said_document(what, found[0]))) == item["digest"]
    except (ValueError, TypeError, AttributeError):  # a column no longer holds JSON
        return False
