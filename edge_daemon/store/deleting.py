"""Delete raw captures that `retention` has chosen: the row first, then the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.store.archive import archived_path
from edge_daemon.store.sql import value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from edge_daemon.store.writer import Store

_MARK: Final = """
    UPDATE captures SET raw_deleted_wall = ?
    WHERE id = ? AND finished = 1 AND state = 'classified' AND raw_deleted_wall IS NULL
        AND NOT EXISTS (
            SELECT 1 FROM captures AS other
            WHERE other.sha256 = captures.sha256 AND other.id != captures.id
                AND other.raw_deleted_wall IS NULL)
    RETURNING sha256
"""
_NEEDED: Final = "SELECT id FROM captures WHERE sha256 = ? AND raw_deleted_wall IS NULL LIMIT 1"


def mark_deleted(store: Store, ids: Sequence[int], wall: str) -> list[str]:
    """Note that the bytes of captures go, unless one has come into use since it was chosen.

    Returns
    -------
    list of str
        Digests of those that were noted; `remove_deleted` removes their files.
    """

    def work(db: sqlite3.Connection) -> list[str]:
        found = (value(db, _MARK, (wall, capture_id)) for capture_id in ids)
        return [sha256 for sha256 in found if sha256 is not None]

    store.deletes = True
    return store.transact(work)


def remove_deleted(store: Store, digests: Sequence[str]) -> None:
    """Remove the files of captures that are noted as deleted; a file that is gone is no error.

    In the writer's thread, so that a capture with the same bytes comes either before, and keeps
    the file, or after, and finds that it must write it.

    Raises
    ------
    Retryable
        The disk reports an error; the files are removed another time.
    """

    def work(db: sqlite3.Connection) -> None:
        for sha256 in digests:
            if value(db, _NEEDED, (sha256,)) is None:
                archived_path(store.archive_dir, sha256).unlink(missing_ok=True)

    if digests:
        store.transact(work)
