"""The read-only connection. Standard library only: the query commands import it."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EXIT_NOT_FOUND, Fatal, Retryable
from edge_daemon.store import layout
from edge_daemon.store.revision import newer_schema, read_revision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BUSY_TIMEOUT_S: Final = 5.0
READ_LIMIT_S: Final = 5.0
"""Longest time one question may take: while it is read, the writer's log cannot shrink."""

_STEPS: Final = 20_000  # of SQLite's virtual machine, some ms
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NO_INDEX: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})


class Reader(sqlite3.Connection):
    """A connection whose questions end in time; `rows` sets the hour."""

    limit_s: float | None = None
    _until = float("inf")

    def begin_question(self) -> None:
        """Count the time of the next question from now."""
        if self.limit_s is not None:
            self._until = time.monotonic() + self.limit_s

    def is_late(self) -> bool:
        """Whether the present question has taken too long."""
        return time.monotonic() > self._until


def connect(data_dir: Path, *, limit_s: float | None = READ_LIMIT_S) -> sqlite3.Connection:
    """Open a data directory for reading.

    Parameters
    ----------
    data_dir
        The data directory.
    limit_s
        Longest time one question may take; None for upkeep, which watches the log itself.

    Raises
    ------
    Fatal
        There is no store in it (``exit_code`` is that of "not found"), its schema is newer
        than this software, or older than it.
    Retryable
        The database cannot be opened or read now.
    """
    database = layout.database_path(data_dir).absolute()
    try:
        if not database.is_file():
            raise _no_store(data_dir)
        db, found = _open(database)
    except (OSError, sqlite3.Error) as error:
        damaged = (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED
        raise Retryable(
            f"{database}: the database cannot be read: {error}",
            action=layout.MEND
            if damaged
            else "check that this user may read the data directory, then try again",
        ) from error
    if found == layout.REVISION:
        db.limit_s = limit_s
        return db
    db.close()
    if found is None:
        raise _no_store(data_dir)
    if found > layout.REVISION:
        raise newer_schema(database, found)
    raise Fatal(
        f"{database}: schema {found} is older than {layout.REVISION}, which this software reads",
        action="start the service once: it backs the database up and brings it up to date",
    )


def _open(database: Path) -> tuple[Reader, str | None]:
    """Open a database and read its revision.

    A reader makes the log's index when no writer has it open, and cannot where it may not
    write: as another user, or on a file system that became read-only. A database that was
    closed cleanly has no log, and may then be read as a file that nobody changes.
    """
    try:
        return _connect(database, "mode=ro")
    except sqlite3.OperationalError as error:
        log = database.with_name(f"{database.name}-wal")
        if error.sqlite_errorcode & 0xFF not in _NO_INDEX or log.exists():
            raise
        return _connect(database, "mode=ro&immutable=1")


def _connect(database: Path, how: str) -> tuple[Reader, str | None]:
    db = sqlite3.connect(
        f"{database.as_uri()}?{how}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        factory=Reader,
    )
    try:
        db.set_progress_handler(db.is_late, _STEPS)
        db.row_factory = sqlite3.Row
        # A text that was damaged on the disk is shown as such, and does not hide its neighbours.
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        db.execute("PRAGMA query_only=ON")
        return db, read_revision(db, database)
    except BaseException:
        db.close()
        raise


def _no_store(data_dir: Path) -> Fatal:
    return Fatal(
        f"{data_dir}: no store here (expected {layout.DATABASE_NAME})",
        action="give the service's data directory, or process a file into this one first",
        exit_code=EXIT_NOT_FOUND,
    )


def rows(
    db: sqlite3.Connection,
    query: str,
    parameters: Sequence[object] | Mapping[str, object] = (),
) -> list[dict[str, Any]]:
    """Run a query and fetch all of it, so that no reading transaction stays open.

    Raises
    ------
    Retryable
        The database cannot be read now, or the question takes too long.
    """
    if isinstance(db, Reader):
        db.begin_question()
    try:
        with closing(db.execute(query, parameters)) as cursor:
            return [dict(row) for row in cursor]
    except sqlite3.Error as error:
        if isinstance(db, Reader) and db.is_late():
            raise Retryable(
                f"the question took longer than {db.limit_s:g} s and was ended",
                action="ask for less at a time, for example with --since",
            ) from error
        raise Retryable(
            f"the database cannot be read: {error}",
            action="try again; if it repeats, run a check of the database",
        ) from error


def json_list(text: str | None) -> list[Any]:
    """List of a JSON column; one that was damaged on the disk must not hide the others."""
    try:
        found: list[Any] = json.loads(text or "[]")
    except ValueError:
        return ["unreadable"]
    return found


def value(db: sqlite3.Connection, query: str) -> Any:
    """First column of a query's only row."""
    return next(iter(rows(db, query)[0].values()))
