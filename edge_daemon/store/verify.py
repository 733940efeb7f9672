"""Prove again, a little at a time, that what is stored is what was written.

SQLite's own checks find damage of the structure, not a flipped bit in a value: one bit in five
went unseen. So the digest of every result, report, note and outbox body is computed again from
its rows, and every archived file is read against its name. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.canonical import digest
from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.store import amendments, layout, pictures, queries, reports
from edge_daemon.store.reader import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

RESULTS_A_TURN: Final = 200
BYTES_A_TURN: Final = 32 << 20
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a round through the store.

    Attributes
    ----------
    damaged
        Ids that did not prove: of outbox items, or of captures.
    last
        Id that the next turn goes on after; 0: the round is over.
    looked_at
        How many were looked at.
    """

    damaged: tuple[int, ...]
    last: int
    looked_at: int


def verify_results(db: sqlite3.Connection, after: int, limit: int = RESULTS_A_TURN) -> Turn:
    """Hold results and reports against their digests, in the order of the outbox.

    Parameters
    ----------
    db
        Connection from `reader.connect`.
    after
        Sequence number in the outbox to go on after; 0 begins a round.
    limit
        Most items of this turn.

    Returns
    -------
    Turn
        ``damaged`` are sequence numbers of the outbox.

    Raises
    ------
    Retryable
        The database cannot be read now.
    """
    query = "SELECT * FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
    found = rows(db, query, [after, limit])
    damaged = tuple(item["seq"] for item in found if not _is_proved(db, item))
    return Turn(damaged, found[-1]["seq"] if len(found) == limit else 0, len(found))


def verify_archive(
    db: sqlite3.Connection,
    data_dir: Path,
    after: int,
    *,
    keep_on: Callable[[], bool] = lambda: True,
    most: int = BYTES_A_TURN,
) -> Turn:
    """Read archived captures against their digests, oldest first.

    Parameters
    ----------
    db
        Connection from `reader.connect`.
    data_dir
        The data directory.
    after
        Capture to go on after; 0 begins a round.
    keep_on
        Asked between two MiB, and may wait a moment to spare the disk; False ends the turn.
    most
        Bytes after which no further capture is begun.

    Returns
    -------
    Turn
        ``damaged`` are ids of captures whose file is missing or has other content.

    Raises
    ------
    Retryable
        The database cannot be read now.
    OSError
        The disk reports an error.
    """
    damaged: list[int] = []
    looked_at = read = 0
    while read < most:
        query = """
            SELECT id, sha256, size FROM captures
            WHERE id > ? AND raw_deleted_wall IS NULL ORDER BY id LIMIT 50
        """
        page = rows(db, query, [after])
        if not page:
            return Turn(tuple(damaged), 0, looked_at)
        for row in page:
            whole = _is_whole(data_dir, row["sha256"], keep_on)
            if whole is None:
                return Turn(tuple(damaged), after, looked_at)
            if not whole:
                damaged.append(row["id"])
            after = row["id"]
            looked_at += 1
            read += row["size"]
            if read >= most:
                break
    return Turn(tuple(damaged), after, looked_at)


def _is_proved(db: sqlite3.Connection, item: dict[str, Any]) -> bool:
    if digest(item["body"]) != item["digest"]:
        return False
    if item["run_id"] is not None:
        return queries.is_intact(db, item["run_id"]) and _has_its_pictures(db, item["run_id"])
    if item["report_id"] is not None:
        return reports.is_intact(db, item["report_id"])
    return amendments.is_intact(db, item)


def _has_its_pictures(db: sqlite3.Connection, run_id: int) -> bool:
    """Whether the pictures of a run are those that were stored with it, or it has none."""
    try:
        pictures.body_of_run(db, run_id)
    except Retryable:
        raise
    except EdgeError:
        return False
    return True


def _is_whole(data_dir: Path, sha256: str, keep_on: Callable[[], bool]) -> bool | None:
    """Whether a file has its digest; None if the turn was ended."""
    path = data_dir / layout.ARCHIVE_NAME / sha256[:2] / f"{sha256}.raw"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    digested = hashlib.sha256()
    with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
        while chunk := file.read(_CHUNK):
            if not keep_on():
                return None
            digested.update(chunk)
        # What is read once must not push out of memory what is needed all the time.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digested.hexdigest() == sha256
