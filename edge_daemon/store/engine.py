"""Open the read-write connection, and turn SQLite's errors into ours."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.store import layout

if TYPE_CHECKING:
    from pathlib import Path

BUSY_TIMEOUT_S: Final = 5.0

# FULL lost no acknowledged row in simulated power cuts, NORMAL did in most of them. The WAL is
# moved into the database every 4 MiB and its file is cut back to 16 MiB after a burst.
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=16777216",
)

_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_DAMAGE: Final = _CORRUPT | {sqlite3.SQLITE_IOERR}
_WAIT: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another program",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error",
    sqlite3.SQLITE_READONLY: "is on a file system that became read-only",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_NOMEM: "ran out of memory",
    sqlite3.SQLITE_CORRUPT: "reads as damaged",
    sqlite3.SQLITE_NOTADB: "does not read as a SQLite database",
}


def connect(database: Path) -> sqlite3.Connection:
    """Open a database for writing; whoever does begins every transaction himself.

    The driver would otherwise begin late, skip ``BEGIN`` before DDL and upgrade a read to a
    write, where SQLite ignores the busy timeout; so its transaction control is switched off.
    """
    db = sqlite3.connect(database, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        for pragma in _PRAGMAS:
            db.execute(pragma)
    except BaseException:
        db.close()
        raise
    db.row_factory = sqlite3.Row
    return db


def primary_code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code, without the extension in the upper bits."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file or the disk may be bad, so that the connection must be reopened."""
    return primary_code(error) in _DAMAGE


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether what was read is not what SQLite wrote, as far as this reading can tell."""
    return primary_code(error) in _CORRUPT


def wrap(error: sqlite3.Error, database: Path) -> EdgeError:
    """Turn SQLite's error into ours.

    Returns
    -------
    EdgeError
        `Retryable` when the world may become ready; a plain `EdgeError` when the operation
        itself was refused (a constraint), which no repetition will change.
    """
    words = _WAIT.get(primary_code(error) or 0)
    action = "free disk space or check the disk; the operation is tried again"
    if is_corrupt(error):
        action = layout.MEND
    if words is None:
        return EdgeError(
            f"{database}: the database refused the operation: {error}",
            action="report this with a support bundle; the capture is kept as it was",
        )
    return Retryable(
        f"{database}: the database {words} ({error})",
        action=action,
    )
