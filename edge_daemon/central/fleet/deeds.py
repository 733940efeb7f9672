"""Who did what, newest first, a page at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, union

from edge_daemon.central.audit import ACTIONS
from edge_daemon.central.fleet.drifting import utc
from edge_daemon.central.fleet.results import APART
from edge_daemon.central.schema import audit, chains, clinics

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

    from edge_daemon.central.reading import Scope


def deeds(
    db: Connection,
    scope: Scope,
    *,
    limit: int,
    before: int | None = None,
    action: str | None = None,
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
        .where(audit.c.id.in_(_keys(scope, before, action, limit + 1)))
        .order_by(audit.c.id.desc())
    )
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


def _keys(scope: Scope, before: int | None, action: str | None, limit: int) -> Select[Any]:
    """Ask for the numbers of one page: each clinic, and the chain, gives its newest by its index.

    Whoever sees a small part of the fleet would else walk through what everybody did.
    """
    query = select(audit.c.id).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    if action is not None:
        query = query.where(audit.c.action == action)
    own = scope.clinics
    if own is None or len(own) > APART:
        return select(query.subquery().c.id)
    whose = [audit.c.clinic_id == clinic for clinic in sorted(own)]
    if scope.chain is not None:
        whose.append(audit.c.chain_id == scope.chain)
    parts = union(*(select(query.where(one).subquery()) for one in whose)).subquery()
    return select(parts.c.id).order_by(parts.c.id.desc()).limit(limit)
