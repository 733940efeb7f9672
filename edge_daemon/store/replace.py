"""Put another database in the place of the present one; nothing is deleted.

Three steps, each durable before the next, so that a start after a crash anywhere goes on:

1. The replacement is made whole under a name of its own. From here on it is decided.
2. The present database is moved aside, log first: a log must never lie beside a database that
   is not its own.
3. The replacement gets the database's name.

The replacement carries a mark that what the archive holds is to be taken in again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.store import layout
from edge_daemon.store.archive import make_directory, sync_directory
from edge_daemon.store.backup import copy_pages, fault, newest_good
from edge_daemon.store.engine import wrap
from edge_daemon.store.migrate import create
from edge_daemon.store.soundness import clear_mark, find_damage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PARTIAL: Final = "restoring.partial"
_PARTS: Final = ("-shm", "-wal", "-journal", "")  # the database itself last


def repair(data_dir: Path, begun: Callable[[str], None] | None = None) -> None:
    """Replace a damaged or missing database by the newest good backup, or by an empty one.

    Parameters
    ----------
    data_dir
        The data directory; its lock must be held.
    begun
        Told what is wrong, before the long work begins.

    Raises
    ------
    Fatal
        The database is another program's.
    Retryable
        The disk is full or failing; whatever was begun goes on at the next start.
    """
    finish(data_dir)
    why = find_damage(data_dir)
    if why is not None:
        if begun is not None:
            begun(why)
        decide(data_dir, newest_good(data_dir), why)
        finish(data_dir)


def decide(data_dir: Path, backup: Path | None, why: str) -> None:
    """Make the replacement whole: from a backup, or an empty database (step 1).

    Parameters
    ----------
    data_dir
        The data directory; its lock must be held.
    backup
        Database to restore, which stays as it is; None: an empty one.
    why
        Kept in the database, for people.

    Raises
    ------
    EdgeError
        The backup cannot be restored; the message says why.
    Retryable
        The disk is full or failing.
    """
    partial = data_dir / _PARTIAL
    if backup is not None and (wrong := fault(backup)) is not None:
        raise EdgeError(
            f"{backup}: this file cannot be restored: {wrong}",
            action="choose another backup; nothing was changed",
        )
    try:
        _sweep(data_dir)
        if backup is None:
            create(partial)
        else:
            copy_pages(backup, partial, live=False)
        _mark(partial, {"why": why, "backup": None if backup is None else backup.name})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(data_dir / layout.RESTORING_NAME)
    except OSError as error:
        raise _failed(partial, error) from error
    except sqlite3.Error as error:
        raise wrap(error, partial) from error
    sync_directory(data_dir)


def finish(data_dir: Path) -> Path | None:
    """Carry out what was decided (steps 2 and 3), or do nothing; the lock must be held.

    Returns
    -------
    Path or None
        Folder that the former database was moved to by this call.

    Raises
    ------
    Retryable
        The disk is full or failing; the next call goes on.
    """
    restoring = data_dir / layout.RESTORING_NAME
    database = layout.database_path(data_dir)
    try:
        _sweep(data_dir)
        if not restoring.exists():
            return None
        folder = _set_aside(database, data_dir / layout.SET_ASIDE_NAME)
        restoring.replace(database)
        sync_directory(data_dir)
        clear_mark(data_dir)
    except OSError as error:
        raise _failed(restoring, error) from error
    return folder


def new_epoch(db: sqlite3.Connection) -> None:
    """Name the database anew to the central server: its numbers will be given out again."""
    db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (str(uuid.uuid4()),))


def _sweep(data_dir: Path) -> None:
    """Remove a replacement that a crash left unfinished, with its log."""
    for leftover in data_dir.glob(f"{_PARTIAL}*"):
        leftover.unlink()


def _mark(database: Path, recovered: dict[str, str | None]) -> None:
    """Give the replacement its epoch and its mark; it leaves no log behind."""
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("BEGIN IMMEDIATE")
        new_epoch(db)
        for key, value in (
            (layout.BACK_KEY, "1"),
            (layout.RECOVERED_KEY, json.dumps(recovered)),
        ):
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
        db.execute("COMMIT")


def _set_aside(database: Path, root: Path) -> Path | None:
    """Move a database with its log into the next numbered folder; each move is made durable."""
    present = [
        path for end in _PARTS if (path := database.with_name(f"{database.name}{end}")).exists()
    ]
    if not present:
        return None
    make_directory(root)
    numbers = sorted(int(path.name) for path in root.iterdir() if path.name.isdigit())
    folder = root / f"{numbers[-1]:04d}" if numbers else None
    # A crash may have come between the log and the database: they belong together.
    if folder is None or (folder / database.name).exists():
        folder = root / f"{1 + (numbers[-1] if numbers else 0):04d}"
        make_directory(folder)
    for path in present:
        path.replace(folder / path.name)
        sync_directory(folder)
        sync_directory(database.parent)
    return folder


def _failed(path: Path, error: OSError) -> Retryable:
    return Retryable(
        f"{path}: the database cannot be replaced: {error.strerror}",
        action="free disk space or check the disk; it goes on at the next start",
    )
