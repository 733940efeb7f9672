"""Who did what, newest first, a page at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from edge_daemon.central.audit import ACTIONS
from edge_daemon.central.fleet.drifting import utc
from edge_daemon.central.schema import audit, chains, clinics

if TYPE_CHECKING:
    from sqlalchemy import Connection


def deeds(
    db: Connection, *, limit: int, before: int | None = None, action: str | None = None
) -> tuple[list[dict[str, Any]], int | None]:
    """List what was done, and say where the next page begins; None at the end.

    Parameters
    ----------
    db
        Connection from `Reader.reading`, which shows only what concerns the scope.
    """
    query = (
        select(audit, clinics.c.name.label("clinic"), chains.c.name.label("chain"))
        .join(clinics, clinics.c.id == audit.c.clinic_id, isouter=True)
        .join(chains, chains.c.id == audit.c.chain_id, isouter=True)
        .order_by(audit.c.id.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(audit.c.id < before)
    if action is not None:
        query = query.where(audit.c.action == action)
    found = [
        {
            "id": row["id"],
            "at": utc(row["at"]),
            "actor": row["actor"],
            "origin": row["origin"],
            "action": row["action"],
            "words": ACTIONS.get(row["action"], row["action"]),
            "subject": row["subject"],
            "clinic": row["clinic"],
            "chain": row["chain"],
            "details": json.loads(row["details"]),
        }
        for row in db.execute(query).mappings()
    ]
    more = len(found) > limit
    found = found[:limit]
    return found, found[-1]["id"] if more else None
