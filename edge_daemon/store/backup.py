"""Whole copies of the database: made beside the running writer, verified, and the newest kept.

A copy is read in one snapshot, in steps, so that the writer never waits; it is given up when the
log, which cannot shrink meanwhile, grows too large. It gets its name only after its bytes are on
the disk and SQLite's full check has passed, so a file in the folder is a good one unless the
disk damaged it since. Names are numbered, never dated: a clock may be wrong.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.store import layout
from edge_daemon.store.archive import make_directory, sync_directory
from edge_daemon.store.engine import BUSY_TIMEOUT_S, is_corrupt, wrap
from edge_daemon.store.revision import newer_schema, read_revision
from edge_daemon.store.soundness import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEPT: Final = 3
MAX_LOG: Final = 32 << 20
"""Bytes of log at which a long reader gives up; the log must stay below 64 MB."""

_NAME: Final = re.compile(r"backup-(\d{6,})\.db")
_STEP: Final = 256  # pages, 1 MiB
_FINGERPRINT: Final = """
    SELECT (SELECT coalesce(max(id), 0) FROM captures), (SELECT coalesce(max(id), 0) FROM runs),
        (SELECT coalesce(max(id), 0) FROM reports), (SELECT coalesce(max(id), 0) FROM sightings),
        (SELECT coalesce(sum(times), 0) FROM refusals), (SELECT coalesce(max(seq), 0) FROM outbox),
        (SELECT coalesce(max(id), 0) FROM corrections),
        (SELECT coalesce(max(id), 0) FROM run_notes), (SELECT coalesce(max(id), 0) FROM lots),
        (SELECT count(*) FROM captures WHERE raw_deleted_wall IS NOT NULL),
        (SELECT count(*) FROM outbox WHERE state = 'waiting'),
        (SELECT count(*) FROM captures WHERE finished = 0),
        (SELECT value FROM meta WHERE key = 'epoch')
"""


class DamagedError(EdgeError):
    """The copy, and so probably the database, does not pass SQLite's check."""


def back_up(data_dir: Path, *, keep_on: Callable[[], bool] = lambda: True) -> tuple[Path, bool]:
    """Make the next numbered backup, unless the newest one holds the same; keep the newest.

    Parameters
    ----------
    data_dir
        The data directory; its writer may be at work.
    keep_on
        Asked after each MiB; False gives the copy up.

    Returns
    -------
    tuple
        The newest backup, and whether it was made now.

    Raises
    ------
    DamagedError
        The copy does not pass the check.
    Retryable
        The disk is full or failing, another backup is being made, or the copy was given up.
    """
    database = layout.database_path(data_dir)
    folder = data_dir / layout.BACKUPS_NAME
    make_directory(folder)
    with _alone(folder):
        for leftover in folder.glob("backup-*.partial*"):
            leftover.unlink()
        made = list_backups(data_dir)
        present = _fingerprint(database, live=True)
        if made and present is not None and _fingerprint(made[0], live=False) == present:
            return made[0], False
        number = 1 + max((_number(path) for path in made), default=0)
        target = folder / f"backup-{number:06d}.db"
        copy_database(database, target, keep_on=keep_on)
        for old in list_backups(data_dir)[KEPT:]:
            old.unlink()
    return target, True


def copy_database(
    database: Path, target: Path, *, keep_on: Callable[[], bool] = lambda: True
) -> None:
    """Copy a database, verify the copy and give it its name; it appears whole or not at all.

    Raises
    ------
    DamagedError
        The copy does not pass the check; it is removed.
    Retryable
        The disk is full or failing, or the copy was given up.
    """
    partial = target.with_name(f"{target.name}.partial")
    try:
        _need_room(database, target)
        partial.unlink(missing_ok=True)
        copy_pages(database, partial, live=True, keep_on=keep_on)
        found = check(partial, "integrity_check", keep_on=keep_on, immutable=True)
        if found is not None:
            raise DamagedError(
                f"{database}: its copy does not pass the check: {found}",
                action=layout.MEND,
            )
        partial.replace(target)
    except sqlite3.Error as error:
        if is_corrupt(error):
            raise DamagedError(
                f"{database}: it cannot be copied: {error}",
                action=layout.MEND,
            ) from error
        raise wrap(error, target) from error
    except OSError as error:
        raise Retryable(
            f"{target}: no backup could be made: {error.strerror}",
            action="free disk space or check the disk; the database was not touched",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(target.parent)


def copy_pages(
    database: Path, target: Path, *, live: bool, keep_on: Callable[[], bool] = lambda: True
) -> None:
    """Copy one snapshot of a database into a new file and put it on the disk.

    Parameters
    ----------
    database, target
        From and to.
    live
        As in `open_copied`.
    keep_on
        Asked after each MiB; False gives the copy up.

    Raises
    ------
    Retryable
        The copy was given up: `keep_on` said so, or the log grew too large.
    OSError, sqlite3.Error
        As they come.
    """
    log = database.with_name(f"{database.name}-wal")

    def progress(_status: int, _remaining: int, _total: int) -> None:
        if not keep_on() or _size(log) > MAX_LOG:
            raise Retryable(
                f"{database}: the copy was given up: the service stops, or writes too much",
                action="it is made again later",
            )

    with (
        closing(open_copied(database, live=live)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        # No journal: the copy has no name yet, and is synced as a whole.
        copy.execute("PRAGMA journal_mode=OFF")
        copy.execute("PRAGMA synchronous=OFF")
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # holds the snapshot
        source.backup(copy, pages=_STEP, progress=progress)
    with target.open("r+b") as file:
        # Both versions of the format: 1 says that no log belongs to it, so that the copy can be
        # read as it is, from a medium that cannot be written too.
        os.pwrite(file.fileno(), b"\x01\x01", 18)
        os.fsync(file.fileno())


def open_copied(database: Path, *, live: bool) -> sqlite3.Connection:
    """Open a database for reading.

    Parameters
    ----------
    database
        The file.
    live
        A writer may be at work on it. Else it is read as a file that nobody changes and nothing
        is written beside it, unless it has a log.

    Raises
    ------
    sqlite3.Error
        It cannot be opened or is none.
    """
    if not live and not database.with_name(f"{database.name}-wal").exists():
        return _open(database, "mode=ro&immutable=1")
    return _open(database, "mode=ro")


def list_backups(data_dir: Path) -> list[Path]:
    """Numbered backups of a data directory, newest first."""
    found = (data_dir / layout.BACKUPS_NAME).glob("backup-*.db")
    return sorted((path for path in found if _NAME.fullmatch(path.name)), key=_number, reverse=True)


def newest_good(data_dir: Path) -> Path | None:
    """Newest backup that passes every check, those from before a migration last; or None."""
    before = sorted((data_dir / layout.BACKUPS_NAME).glob("before-*.db"), reverse=True)
    return next((path for path in [*list_backups(data_dir), *before] if not fault(path)), None)


def fault(backup: Path) -> str | None:
    """Why a file cannot be restored, or None if it can."""
    try:
        with closing(open_copied(backup, live=False)) as db:
            revision = read_revision(db, backup)
            if revision is None:
                return "it holds no tables"
            if revision > layout.REVISION:
                return newer_schema(backup, revision).message
            if db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone() is None:
                return "it names no epoch"
            found = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except EdgeError as error:
        return error.message
    except sqlite3.Error as error:
        return str(error)
    return None if found == "ok" else found


def _open(database: Path, how: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{database.absolute().as_uri()}?{how}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
    )
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _fingerprint(database: Path, *, live: bool) -> tuple[object, ...] | None:
    """Sum up what changes with everything worth a new backup; None if it cannot be read."""
    try:
        with closing(open_copied(database, live=live)) as db:
            return tuple(db.execute(_FINGERPRINT).fetchone())
    except sqlite3.Error:
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second backup, of the service or by hand, from pruning what this one makes."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Retryable(
            f"{folder}: another backup is being made", action="try again when it is done"
        ) from error
    finally:
        os.close(handle)


def _need_room(database: Path, target: Path) -> None:
    needed = _size(database) + _size(database.with_name(f"{database.name}-wal"))
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise Retryable(
            f"{target}: the backup needs {needed >> 20} MB, and {free >> 20} MB are free",
            action="free disk space; the backup is made again later",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _number(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return int(found[1])
