"""Which schema a database has. Standard library only: the query commands import it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_daemon.errors import Fatal
from edge_daemon.store.layout import REVISION

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def read_revision(raw: sqlite3.Connection, database: Path) -> str | None:
    """Revision of a database; None if it is empty.

    Raises
    ------
    Fatal
        It holds tables but none of ours.
    """
    names = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names:
        return None
    if "alembic_version" in names:
        row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        if row is not None:
            return str(row[0])
    raise Fatal(
        f"{database}: a SQLite database, but not one of edge_daemon (it has no schema version)",
        action="choose another data directory, or move this file away",
    )


def newer_schema(database: Path, found: str) -> Fatal:
    """Make the error for a database that a later release wrote."""
    return Fatal(
        f"{database}: schema {found} is newer than {REVISION}, the newest this software knows",
        action="upgrade the software; the database was not touched",
    )
