"""What people said, in the outbox: notes, corrections and marks, for the central server.

Each is an item of its own: a note written weeks after a result must not wait for a new one. An
item is written in the transaction of what it tells; `send_unsent` catches up on what an earlier
release wrote, or what waited for the first result of its capture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.canonical import canonical, digest
from edge_daemon.store.amendments import SAID_TABLES, said_query
from edge_daemon.store.documents import SAID_SCHEMA, said_document
from edge_daemon.store.sql import insert, row, values

if TYPE_CHECKING:
    import sqlite3

_STAMP: Final = ("wall", "clock", "boot", "monotonic_s")


def send_unsent(db: sqlite3.Connection, capture_id: int | None = None) -> int:
    """Put into the outbox what is not there yet, of one capture or of all; return how much.

    What is about a capture that has no result yet waits until it has one.
    """
    sent = 0
    for what, (table, _) in SAID_TABLES.items():
        query = (
            f"SELECT w.id FROM {table} AS w WHERE (:capture IS NULL OR w.capture_id = :capture)"  # noqa: S608 - names of our own
            f" AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.{what}_id = w.id)"
            " AND EXISTS (SELECT 1 FROM runs AS n WHERE n.capture_id = w.capture_id)"
            " ORDER BY w.id"
        )
        for key in values(db, query, {"capture": capture_id}):
            send(db, what, key)
            sent += 1
    return sent


def send(db: sqlite3.Connection, what: str, key: int) -> None:
    """Put a note, a correction or a mark into the outbox, dated as it was said."""
    found = row(db, said_query(what), {"key": key})
    assert found is not None
    body = canonical(said_document(what, found))
    item = {
        f"{what}_id": key,
        "type": f"{what}.simulated" if found["simulated"] else f"{what}.clinical",
        "schema": SAID_SCHEMA,
        "digest": digest(body),
        "body": body,
        "state": "waiting",
        "attempts": 0,
        **{f"created_{part}": found[f"made_{part}"] for part in _STAMP},
    }
    insert(db, "outbox", item)
