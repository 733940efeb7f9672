"""Read-only questions about what people said after a run. Standard library only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edge_daemon.store.reader import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping


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
