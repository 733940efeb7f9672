"""The moving averages of each box, worked out at the centre with the box's own statistics."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select

from edge_daemon.central.fleet.tables import drifts, results
from edge_daemon.central.order import as_written
from edge_daemon.joining import animal
from edge_daemon.quality.agreement import follow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Select

    from edge_daemon.quality.agreement import Followed
    from edge_daemon.quality.moving import Stream

NEWEST: Final = 2000
"""So many of a box's newest results and reports are followed; the first 100 animals of one species
among them set the target."""
_KEPT: Final = 12


def follow_box(db: Connection, device_id: str) -> None:
    """Work the moving averages of one box out, and remember since when one drifts."""
    query = (
        select(results)
        .where(results.c.device_id == device_id, results.c.newest)
        .order_by(results.c.at.desc(), results.c.document_id.desc())
        .limit(NEWEST)
    )
    found = [dict(row) for row in db.execute(query).mappings()]
    if not found:
        return
    before = {_key(row): row for row in map(dict, db.execute(_of_box(device_id)).mappings())}
    now = dt.datetime.now(dt.UTC)
    made = []
    for one in follow(_points(found)):
        row = _row(one, device_id, found[0]["clinic_id"], now)
        known = before.get(_key(row))
        if row["state"] == "drift" and known is not None and known["state"] == "drift":
            row["since"] = known["since"]
        made.append(row)
    db.execute(delete(drifts).where(drifts.c.device_id == device_id))
    if made:
        db.execute(insert(drifts), made)


def _of_box(device_id: str) -> Select[Any]:
    return select(drifts).where(drifts.c.device_id == device_id)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("instrument", "species", "simulated", "code"))


def _points(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Patients' results in the order in which the box made them."""
    ordered = as_written(found, lambda row: (row["epoch"], row["seq"], row["document_id"]))
    # A box may stand beside two analyzers of a kind: each is followed by itself.
    kinds = {row["source"]: row["instrument"] for row in ordered}
    kinds |= {row["source"]: row["instrument"] for row in ordered if row["kind"] == "run"}
    points = []
    for row in ordered:
        if row["mark"] is not None or row["status"] == "invalid" or row["species"] is None:
            continue
        facts = json.loads(row["facts"])
        values = {k: v["value"] for k, v in facts["values"].items() if v["value"] is not None}
        points.append(
            {
                "side": "ours" if row["kind"] == "run" else "analyzer",
                "instrument": f"{kinds[row['source']]} ({row['source']})",
                "species": row["species"],
                "simulated": row["simulated"],
                "patient": animal(row["patient_key"], row["sample_key"], f"{row['at']:%Y-%m-%d}"),
                "values": {**values, **facts["rates"]},
            }
        )
    return points


def _row(one: Followed, device_id: str, clinic_id: int, now: dt.datetime) -> dict[str, Any]:
    sides = {"ours": one.ours, "analyzer": one.analyzer}
    known = [s.state for s in sides.values() if s is not None]
    state = next((s for s in ("drift", "in_control") if s in known), "too_few")
    return {
        "device_id": device_id,
        "instrument": one.instrument,
        "species": one.species,
        "simulated": one.simulated,
        "code": one.code,
        "clinic_id": clinic_id,
        "state": state,
        "since": now if state == "drift" else None,
        "checked_at": now,
        "facts": json.dumps(
            {
                "action": one.action,
                "sides": {side: _stream(s) for side, s in sides.items() if s is not None},
            }
        ),
    }


def _stream(stream: Stream) -> dict[str, Any]:
    return {
        "state": stream.state,
        "values": stream.values,
        "target": stream.target,
        "limit_percent": stream.limit_percent,
        "percent": [round(p, 3) for p in stream.percent[-_KEPT:]],
        "drifting": stream.drifting,
    }


def utc(moment: dt.datetime) -> dt.datetime:
    """Give a moment its zone; SQLite keeps none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
