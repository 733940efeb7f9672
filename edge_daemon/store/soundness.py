"""Whether a database file is sound, and the mark that a damaged one gets for the next start."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.errors import Retryable
from edge_daemon.store import layout
from edge_daemon.store.archive import sync_directory
from edge_daemon.store.engine import BUSY_TIMEOUT_S, is_corrupt, primary_code, wrap
from edge_daemon.store.revision import read_revision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Depth = Literal["quick_check", "integrity_check"]

_AT_START: Final = 32 << 20  # read in a second or two from any card; larger ones are checked later
_STEPS: Final = 20_000  # of SQLite's virtual machine, some ms


def check(
    database: Path,
    depth: Depth,
    *,
    keep_on: Callable[[], bool] = lambda: True,
    immutable: bool = False,
) -> str | None:
    """Let SQLite check a database, beside its writer if there is one.

    Parameters
    ----------
    database
        The file; opened for reading only.
    depth
        ``quick_check``, or ``integrity_check``, which also holds the indexes against the rows.
    keep_on
        Asked every few milliseconds; False ends the check.
    immutable
        The file is a copy that nobody writes and that has no log.

    Returns
    -------
    str or None
        What is wrong first, or None: it is sound.

    Raises
    ------
    Retryable
        The disk reports an error, or the check was ended early.
    """
    how = "mode=ro&immutable=1" if immutable else "mode=ro"
    try:
        with closing(
            sqlite3.connect(f"{database.as_uri()}?{how}", uri=True, timeout=BUSY_TIMEOUT_S)
        ) as db:
            db.set_progress_handler(lambda: not keep_on(), _STEPS)
            found = str(db.execute(f"PRAGMA {depth}(1)").fetchone()[0])
    except sqlite3.Error as error:
        if is_corrupt(error):
            return str(error)
        if not keep_on():
            raise Retryable(
                f"{database}: the check was ended early", action="it is done again later"
            ) from error
        raise wrap(error, database) from error
    return None if found == "ok" else found


def find_damage(data_dir: Path) -> str | None:
    """Look for damage before the database is opened for writing; the lock must be held.

    A large database is read through only if the last run marked it as damaged: the service does
    that with any database soon after it has started.

    Returns
    -------
    str or None
        What is wrong, seen twice; None if nothing is, or if no database of ours was ever here.

    Raises
    ------
    Fatal
        The file is another program's database.
    Retryable
        The disk reports an error: nothing is known of the database.
    """
    database = layout.database_path(data_dir)
    if not was_ours(data_dir):
        return None
    if not database.exists():
        return "the database is missing"
    marked = (data_dir / layout.DAMAGED_NAME).exists()
    found = _look(database, through=marked or database.stat().st_size <= _AT_START)
    if found is not None:
        drop_cached(database)  # a disk that went away and came back may read as sound now
        found = _look(database, through=True)
    if found is None and marked:
        clear_mark(data_dir)
    return found


def was_ours(data_dir: Path) -> bool:
    """Whether a store has been in this folder, even if its database is gone."""
    origins = data_dir / layout.ORIGINS_NAME
    with contextlib.suppress(OSError):
        if origins.stat().st_size:
            return True
    return any((data_dir / layout.BACKUPS_NAME).glob("*.db"))


def leave_mark(data_dir: Path, found: str) -> None:
    """Have the next start look at the whole database; a disk that takes no mark gets none."""
    with contextlib.suppress(OSError, Retryable):
        (data_dir / layout.DAMAGED_NAME).write_text(f"{found}\n", encoding="utf-8")
        sync_directory(data_dir)


def clear_mark(data_dir: Path) -> None:
    """Take the mark away: the database is sound, or was replaced."""
    (data_dir / layout.DAMAGED_NAME).unlink(missing_ok=True)


def _look(database: Path, *, through: bool) -> str | None:
    if database.stat().st_size == 0:
        return "the database is empty"
    try:
        with closing(_open(database)) as db:
            if read_revision(db, database) is None:
                return "the database holds no tables"
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0] if through else "ok"
    except sqlite3.Error as error:
        if is_corrupt(error):
            return str(error)
        raise wrap(error, database) from error
    return None if found == "ok" else str(found)


def _open(database: Path) -> sqlite3.Connection:
    """Open for reading, so that what may be damaged stays as it is.

    Only a database that a power cut left with a journal to roll back, as when it was just being
    set to write-ahead logging, must be opened for writing to be read at all.
    """
    db = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        if primary_code(error) != sqlite3.SQLITE_READONLY:
            raise
        db = sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)
    except BaseException:
        db.close()
        raise
    return db


def drop_cached(database: Path) -> None:
    """Have the next look at a file read it from the disk."""
    handle = os.open(database, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
