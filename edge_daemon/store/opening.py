"""Bring database, archive and the logs beside them together when a store is opened."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_daemon.errors import Fatal, Retryable
from edge_daemon.store import layout, said
from edge_daemon.store.archive import Archive, sync_directory
from edge_daemon.store.committer import Committer
from edge_daemon.store.migrate import migrate
from edge_daemon.store.operations import any_deleted
from edge_daemon.store.origins import Origins
from edge_daemon.store.reingest import Recovery, bring_back
from edge_daemon.store.soundness import was_ours
from edge_daemon.store.written import Written

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.clock import Stamp


@dataclass(frozen=True, slots=True)
class Parts:
    """What an open store consists of, what was brought back, and whether raw bytes were deleted."""

    archive: Archive
    logs: tuple[Origins, Written]
    committer: Committer
    recovery: Recovery | None
    after_crash: bool
    put_back: int
    deletes: bool


def open_parts(
    data_dir: Path,
    stamp: Stamp,
    max_group: int,
    progress: Callable[[int, int], None] | None,
) -> Parts:
    """Open everything in a directory that is locked, and take in again what was lost.

    Raises
    ------
    Fatal
        The database is missing, newer than this software, or another program's.
    Retryable
        The disk is full, failing or read-only.
    """
    database = layout.database_path(data_dir)
    if not database.exists() and was_ours(data_dir):
        raise Fatal(
            f"{database}: the database is missing, but backups or captures are there",
            action="run `edge-daemon restore`: it restores the newest backup and takes in"
            " again what came after it",
        )
    # Asked before anything opens the database: opening makes a log.
    log = database.with_name(f"{database.name}-wal")
    after_crash = (data_dir / layout.OPEN_NAME).exists()
    log_missing = after_crash and database.exists() and not log.exists()
    if not log_missing:
        say_closed(data_dir)  # from here on, until it is open again, the log may go by itself
    migrate(data_dir)
    archive = Archive(data_dir / layout.ARCHIVE_NAME)
    try:
        origins = Origins(data_dir / layout.ORIGINS_NAME)
        written = Written(data_dir / layout.WRITTEN_NAME)
    except OSError as error:
        raise _failed(data_dir, error) from error

    def settle(db: sqlite3.Connection) -> None:
        origins.catch_up(db)
        written.catch_up(db)

    try:
        committer = Committer(database, max_group=max_group, settle=settle)
    except BaseException:
        origins.close()
        written.close()
        raise
    try:
        recovery = bring_back(
            lambda work: committer.submit(work).result(),
            data_dir,
            origins,
            stamp,
            log_missing=log_missing,
            progress=progress,
        )
        put_back = committer.submit(written.put_back).result()
        # What an earlier release wrote has no item of the outbox yet, nor has what was put back.
        committer.submit(said.send_unsent).result()
        # What a crash kept from the logs; everything where there is none yet.
        deletes = committer.submit(any_deleted, settle=True).result()
        _say_open(data_dir)
    except BaseException as error:
        committer.close()
        origins.close()
        written.close()
        if isinstance(error, OSError):
            raise _failed(data_dir, error) from error
        raise
    return Parts(archive, (origins, written), committer, recovery, after_crash, put_back, deletes)


def say_closed(data_dir: Path) -> None:
    """Note, before it is closed, that the database needs no log any more."""
    with contextlib.suppress(OSError, Retryable):
        (data_dir / layout.OPEN_NAME).unlink()
        sync_directory(data_dir)


def _say_open(data_dir: Path) -> None:
    """Note that the database has a log from here on: if a crash leaves none, it was lost."""
    (data_dir / layout.OPEN_NAME).touch()
    sync_directory(data_dir)


def _failed(data_dir: Path, error: OSError) -> Retryable:
    return Retryable(
        f"{error.filename or data_dir}: cannot be used: {error.strerror}",
        action="free disk space, check the disk and that this user may write there",
    )
