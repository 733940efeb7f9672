"""Up to which number documents are settled: no lower one can appear any more.

PostgreSQL gives a document's number out before it commits, so a lower number can become visible
after a higher one. Whoever follows documents reads the highest, takes a `fence`, and believes the
order up to that number once the fence `is_passed`. Nothing is locked; nobody who receives waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection


def fence(db: Connection) -> int | None:
    """Take a transaction number of one's own, after the highest document was read.

    Whoever holds a document's number has a transaction number already, so it is a lower one. The
    snapshot's ``xmax`` would not do: it only lies above what has *ended*, and a transaction that
    still runs may lie above it.

    Returns
    -------
    int or None
        None on SQLite, which receives one batch at a time: everything is settled.
    """
    if db.dialect.name != "postgresql":
        return None
    return _number(db, "pg_current_xact_id()")


def is_passed(db: Connection, number: int) -> bool:
    """Tell, in a later transaction than the fence's, whether every older one has ended."""
    return _number(db, "pg_snapshot_xmin(pg_current_snapshot())") >= number


def _number(db: Connection, function: str) -> int:
    return int(db.execute(text(f"SELECT CAST(CAST({function} AS text) AS bigint)")).scalar_one())
