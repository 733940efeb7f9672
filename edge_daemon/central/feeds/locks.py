"""One process delivers a feed; its lock ends with it, whatever ends it."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from edge_daemon.errors import Retryable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

_SPACE: Final = 0x66656564  # "feed": any number that nobody else locks in this database


@contextmanager
def alone(engine: Engine, feed_id: int, name: str) -> Iterator[None]:
    """Hold a feed, by a lock of the connection in PostgreSQL, of a file beside SQLite.

    Raises
    ------
    Retryable
        Another process holds it.
    """
    busy = Retryable(
        f"another process delivers the feed {name}", action="nothing, or end that process"
    )
    if engine.dialect.name != "postgresql":
        path = Path(f"{engine.url.database}.feed-{feed_id}.lock")
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise busy from None
            yield
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        keys = {"space": _SPACE, "feed": feed_id}
        got = db.execute(text("SELECT pg_try_advisory_lock(:space, :feed)"), keys).scalar_one()
        if not got:
            raise busy
        try:
            yield
        finally:
            db.execute(text("SELECT pg_advisory_unlock(:space, :feed)"), keys)
