"""A large fleet in a PostgreSQL database, filled by the database itself (`crowd.sql`).

One box sends a result, a report and a note through the real server; every other row is made after
those, so that what the pages read is what the server writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from tests.central.fleet.visiting import PASSWORD
from tests.central.fleet.world import World, condition

if TYPE_CHECKING:
    from edge_daemon.central.store import CentralStore

FIRST: Final = 1000
"""Number of the first document, clinic and chain; lower ones are those of the box that sends."""
RARE_FLAG, RARE_SPECIES, RARE_KIND = "seldom_seen", "alpaca", "curio_9"
_CHAIN: Final = 20
_SQL: Final = Path(__file__).with_suffix(".sql")
_DRIFT: Final = {
    "action": "run control material",
    "sides": {
        "ours": {"state": "drift", "values": 120, "target": 70.0, "limit_percent": 3.0,
                 "percent": [0.1, 4.2], "drifting": 2},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large a fleet is: ten times as many documents as boxes, or a multiple of that.

    Attributes
    ----------
    spells
        Words that the centre keeps of each box.
    """

    documents: int
    boxes: int
    spells: int = 20


def fill(store: CentralStore, size: Size) -> None:
    """Fill an empty database, with users ``ops``, ``chief`` and ``vet``.

    ``chief`` sees a chain of twenty clinics, ``vet`` one of them.
    """
    store.create()
    known = {
        "documents": size.documents,
        "boxes": size.boxes,
        "spells": size.spells,
        "first": FIRST,
        "chain": _CHAIN,
        "drift": json.dumps(_DRIFT),
        "steady": json.dumps({**_DRIFT, "sides": {}}),
        "seed": _send_one_of_each(store),
    }
    with store.engine.begin() as db:
        db.execute(text("SET LOCAL synchronous_commit = off"))
        for statement in _SQL.read_text(encoding="utf-8").split(";\n"):
            db.execute(text(statement), {n: v for n, v in known.items() if f":{n}" in statement})
    roster = World(store).roster
    roster.add("ops", "operator", password=PASSWORD)
    roster.add("chief", "chain", chain_id=FIRST, password=PASSWORD)
    roster.add("vet", "clinic", clinic_id=FIRST, password=PASSWORD)
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(text("VACUUM ANALYZE"))


def _send_one_of_each(store: CentralStore) -> str:
    """Let one box send what the rest is made after; return the capture it is all about."""
    world = World(store)
    box = world.box(world.clinic("The one that sends"))
    capture = box.run("seed")
    box.report("seed", capture=capture)
    box.say("note", capture, kind="note", text="looked at a smear", verdict=None, concerns=None)
    box.send()
    box.tell({"state": "degraded", "conditions": [condition("disk_filling")]})
    world.index()
    return capture
