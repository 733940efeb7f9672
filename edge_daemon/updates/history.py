"""What the database says of captures and runs, for judging an update."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError
from edge_daemon.store.reader import connect

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

WINDOW: Final = 100
"""Captures that a share of failures is taken over."""

# Reasons that speak against a model or a profile, not against a file.
_AGAINST: Final = (
    "no_bundle", "no_profile", "ambiguous_profile", "profile_mismatch", "implausible",
    "not_classified", "worker_died", "worker_timeout",
)  # fmt: skip


def newest_capture(db: sqlite3.Connection) -> int:
    """Return the number of the newest capture, 0 where there is none."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM captures").fetchone()[0])


def ended_since(db: sqlite3.Connection, since: int) -> tuple[int, int]:
    """Count captures after `since` whose analysis ended, and those of them that failed.

    Failed are those set aside for a reason that speaks against a model or a profile; of at most
    `WINDOW` captures, the first ones.
    """
    found = db.execute(
        """
        SELECT count(*), coalesce(sum(failed), 0) FROM (
            SELECT c.state = 'quarantined' AND c.reason_code IN (SELECT value FROM json_each(?))
                AS failed
            FROM captures AS c WHERE c.id > ? AND c.finished ORDER BY c.id LIMIT ?
        )
        """,
        (json.dumps(_AGAINST), since, WINDOW),
    ).fetchone()
    return int(found[0]), int(found[1])


def failed_share(db: sqlite3.Connection) -> float:
    """Return the share of failed captures among the `WINDOW` newest."""
    ended, failed = ended_since(db, max(newest_capture(db) - WINDOW, 0))
    return failed / ended if ended else 0.0


def newest_run_of(data_dir: Path, profiles: Sequence[str]) -> int | None:
    """Return the number of the newest run, if any run was made with one of these profiles."""
    try:
        with closing(connect(data_dir)) as db:
            found = db.execute(
                "SELECT 1 FROM runs WHERE profile IN (SELECT value FROM json_each(?)) LIMIT 1",
                (json.dumps(list(profiles)),),
            ).fetchone()
            if found is None:
                return None
            return int(db.execute("SELECT max(id) FROM runs").fetchone()[0])
    except EdgeError:
        return None
