"""The outbox as its reader sees it: what waits for the central server, and what it refused.

Standard library only: the commands import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.store.reader import rows, value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_END: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one row of the outbox.

    Attributes
    ----------
    seq, digest
        Of the row; both must fit, so that an answer to another database's row changes nothing.
    state
        ``stored``: the server has it. ``dead``: it will not be sent again by itself.
    reason
        Why it is dead; empty otherwise.
    """

    seq: int
    digest: str
    state: Literal["stored", "dead"]
    reason: str = ""


def waiting(
    db: sqlite3.Connection, *, simulated: bool, limit: int, before: int = _END
) -> list[dict[str, Any]]:
    """Rows to send, newest first: ``seq, digest, type, schema, body, created_at, clock_state``.

    Parameters
    ----------
    db
        Connection from `reader.connect`.
    simulated
        Whether to include simulated rows.
    limit
        Most rows.
    before
        Only rows with a lower seq.
    """
    query = """
        SELECT seq, digest, type, schema, body, created_wall AS created_at,
               created_clock AS clock_state
        FROM outbox
        WHERE state = 'waiting' AND seq < ? AND (? OR type NOT LIKE '%.simulated')
        ORDER BY seq DESC LIMIT ?
    """
    return rows(db, query, (before, simulated, limit))


def dead_letters(db: sqlite3.Connection, *, limit: int) -> list[dict[str, Any]]:
    """Rows that the server refused, newest first, without their bodies."""
    query = """
        SELECT seq, type, digest, reason, attempts, run_id, report_id, note_id, correction_id,
            mark_id, created_wall AS created_at
        FROM outbox WHERE state = 'dead' ORDER BY seq DESC LIMIT ?
    """
    return rows(db, query, (limit,))


def summary(db: sqlite3.Connection, *, simulated: bool) -> dict[str, Any]:
    """Count what waits and what is dead; ``oldest_waiting`` is when that row was written."""
    query = """
        SELECT count(*) AS waiting, min(seq) AS oldest FROM outbox
        WHERE state = 'waiting' AND (? OR type NOT LIKE '%.simulated')
    """
    found = rows(db, query, (simulated,))[0]
    oldest = rows(db, "SELECT created_wall FROM outbox WHERE seq = ?", (found.pop("oldest"),))
    return {
        **found,
        "oldest_waiting": oldest[0]["created_wall"] if oldest else None,
        "dead": value(db, "SELECT count(*) FROM outbox WHERE state = 'dead'"),
    }


def epoch(db: sqlite3.Connection) -> str:
    """UUID made with this database."""
    return str(value(db, "SELECT value FROM meta WHERE key = 'epoch'"))


def remembered(db: sqlite3.Connection, key: str) -> str | None:
    """Text kept under a key of `Store.remember`, or None."""
    found: Sequence[dict[str, Any]] = rows(db, "SELECT value FROM meta WHERE key = ?", (key,))
    return found[0]["value"] if found else None
