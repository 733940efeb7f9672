"""Delete raw captures that `retention` has chosen: the row first, then the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from edge_daemon.store.archive import archived_path
from edge_daemon.store.schema import captures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection

    from edge_daemon.store.writer import Store


def mark_deleted(store: Store, ids: Sequence[int], wall: str) -> list[str]:
    """Note that the bytes of captures go, unless one has come into use since it was chosen.

    Returns
    -------
    list of str
        Digests of those that were noted; `remove_deleted` removes their files.
    """
    other = captures.alias("other")
    shared = (
        select(other.c.id)
        .where(other.c.sha256 == captures.c.sha256, other.c.id != captures.c.id)
        .where(other.c.raw_deleted_wall.is_(None))
        .exists()
    )
    idle = (captures.c.finished == 1) & (captures.c.state == "classified")
    statement = (
        update(captures)
        .where(captures.c.id.in_(ids), idle, captures.c.raw_deleted_wall.is_(None), ~shared)
        .values(raw_deleted_wall=wall)
        .returning(captures.c.sha256)
    )
    store.deletes = True
    return store.transact(lambda db: list(db.execute(statement).scalars()))


def remove_deleted(store: Store, digests: Sequence[str]) -> None:
    """Remove the files of captures that are noted as deleted; a file that is gone is no error.

    In the writer's thread, so that a capture with the same bytes comes either before, and keeps
    the file, or after, and finds that it must write it.

    Raises
    ------
    Retryable
        The disk reports an error; the files are removed another time.
    """

    def work(db: Connection) -> None:
        for sha256 in digests:
            kept: ColumnElement[bool] = captures.c.raw_deleted_wall.is_(None)
            needed = select(captures.c.id).where(captures.c.sha256 == sha256, kept).limit(1)
            if db.execute(needed).scalar_one_or_none() is None:
                archived_path(store.archive_dir, sha256).unlink(missing_ok=True)

    if digests:
        store.transact(work)
