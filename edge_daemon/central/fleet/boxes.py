"""Boxes by how they do, and the history of one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, tuple_

from edge_daemon.central.fleet.drifting import utc
from edge_daemon.central.fleet.tables import drifts, in_use, results
from edge_daemon.central.fleet.words import KINDS, Kind, Seen, Word, kind_of, words
from edge_daemon.central.schema import clinics, devices, health, health_history

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from edge_daemon.central.reading import Scope

    _Editions = Mapping[tuple[str, str], Mapping[str, dt.datetime]]

MOST: Final = 20_000
"""Boxes that one question looks at; a fleet with more is asked clinic by clinic."""

HISTORY: Final = 200


@dataclass(frozen=True, slots=True)
class Box:
    """One box.

    Attributes
    ----------
    words
        What is the matter, gravest first.
    kind
        What it counts as.
    models, profiles
        What its newest results were made with.
    """

    id: str
    name: str
    clinic_id: int
    clinic: str
    enrolled_at: dt.datetime
    not_after: dt.datetime
    seen_at: dt.datetime | None
    revoked_at: dt.datetime | None
    clock_state: str | None
    told_at: dt.datetime | None
    summary: Mapping[str, Any] | None
    words: Sequence[Word]
    kind: Kind
    models: Sequence[str]
    profiles: Sequence[str]


def boxes(db: Connection, scope: Scope, now: dt.datetime) -> list[Box]:
    """List the boxes of a scope, those that need somebody first.

    Parameters
    ----------
    db
        Connection from `Reader.reading`.
    now
        Silence is judged by it.
    """
    rows = db.execute(_boxes(scope).limit(MOST)).mappings().all()
    used = _used(db, scope)
    drifting = _drifting(db, scope)
    alive = {row["id"] for row in rows if row["revoked_at"] is None}
    editions = _editions(one for one in used if one["device_id"] in alive)
    by_box: dict[str, list[dict[str, Any]]] = {}
    for one in used:
        by_box.setdefault(one["device_id"], []).append(one)
    found = [
        _box(
            dict(row), by_box.get(row["id"], ()), drifting.get(row["id"], ()), editions, now
        )
        for row in rows
    ]  # fmt: skip
    order = list(KINDS)
    return sorted(found, key=lambda box: (order.index(box.kind), box.clinic, box.name, box.id))


def box(db: Connection, scope: Scope, device_id: str, now: dt.datetime) -> Box | None:
    """Find one box; None where there is none that the scope sees."""
    this = devices.c.id == device_id
    row = db.execute(_boxes(scope).where(this)).mappings().first()
    if row is None:
        return None
    used = _used(db, scope, in_use.c.device_id == device_id)
    drifting = _drifting(db, scope, drifts.c.device_id == device_id).get(device_id, ())
    return _box(dict(row), used, drifting, _editions_beside(db, scope, used), now)


def history(db: Connection, scope: Scope, device_id: str) -> list[dict[str, Any]]:
    """List a box's spells, newest first: ``first_at, last_at`` and what `summarise` made."""
    query = (
        select(health_history)
        .where(scope.of(health_history), health_history.c.device_id == device_id)
        .order_by(health_history.c.id.desc())
        .limit(HISTORY)
    )
    return [
        {
            "first_at": utc(row["first_at"]),
            "last_at": utc(row["last_at"]),
            **json.loads(row["summary"]),
        }
        for row in db.execute(query).mappings()
    ]


def averages(db: Connection, scope: Scope, device_id: str | None = None) -> list[dict[str, Any]]:
    """List moving averages, of one box or of all, those that drift first."""
    query = (
        select(drifts, devices.c.name.label("box"), clinics.c.name.label("clinic"))
        .join(devices, devices.c.id == drifts.c.device_id)
        .join(clinics, clinics.c.id == drifts.c.clinic_id)
    )
    query = query.where(scope.of(drifts), devices.c.revoked_at.is_(None))
    if device_id is not None:
        query = query.where(drifts.c.device_id == device_id)
    else:
        query = query.where(drifts.c.state == "drift").limit(MOST)
    rank = {"drift": 0, "in_control": 1, "too_few": 2}
    found = [_average(dict(row)) for row in db.execute(query).mappings()]
    return sorted(
        found,
        key=lambda r: (
            r["simulated"], rank[r["state"]], r["instrument"], r["species"], r["box"], r["code"]
        ),
    )  # fmt: skip


def results_of(db: Connection, scope: Scope, device_id: str) -> int:
    """Count the newest versions of results that a box has sent."""
    query = select(func.count()).where(
        scope.of(results), results.c.device_id == device_id, results.c.newest,
        results.c.kind == "run",
    )  # fmt: skip
    return int(db.execute(query).scalar_one())


def _boxes(scope: Scope) -> Select[Any]:
    return (
        select(
            devices.c.id, devices.c.name, devices.c.clinic_id, clinics.c.name.label("clinic"),
            devices.c.enrolled_at, devices.c.not_after, devices.c.seen_at, devices.c.revoked_at,
            devices.c.clock_state, health.c.received_at.label("told_at"), health.c.summary,
        )
        .join(clinics, clinics.c.id == devices.c.clinic_id)
        .join(health, health.c.device_id == devices.c.id, isouter=True)
        .where(scope.of(devices))
        .order_by(clinics.c.name, devices.c.name)
    )  # fmt: skip


def _used(db: Connection, scope: Scope, *narrowed: ColumnElement[bool]) -> list[dict[str, Any]]:
    query = select(in_use).where(scope.of(in_use), *narrowed)
    return [dict(row) for row in db.execute(query).mappings()]


def _drifting(
    db: Connection, scope: Scope, *narrowed: ColumnElement[bool]
) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    query = select(drifts).where(scope.of(drifts), drifts.c.state == "drift", *narrowed)
    for row in db.execute(query).mappings():
        found.setdefault(row["device_id"], []).append(_average(dict(row)))
    return found


def _average(row: dict[str, Any]) -> dict[str, Any]:
    facts = json.loads(row.pop("facts"))
    return {
        **row,
        "since": None if row["since"] is None else utc(row["since"]),
        "checked_at": utc(row["checked_at"]),
        **facts,
    }


def _editions(used: Iterable[Mapping[str, Any]]) -> _Editions:
    """Say of each model and profile which versions are in use, and each since when."""
    editions: dict[tuple[str, str], dict[str, dt.datetime]] = {}
    for one in used:
        found = editions.setdefault((one["what"], one["name"]), {})
        first = utc(one["first_at"])
        found[one["version"]] = min(found.get(one["version"], first), first)
    return editions


def _editions_beside(db: Connection, scope: Scope, used: Sequence[Mapping[str, Any]]) -> _Editions:
    """Ask which versions other boxes use of what one box uses."""
    key = in_use.c.what, in_use.c.name, in_use.c.version
    query = (
        select(*key, func.min(in_use.c.first_at).label("first_at"))
        .join(devices, devices.c.id == in_use.c.device_id)
        .where(
            scope.of(in_use),
            devices.c.revoked_at.is_(None),
            tuple_(in_use.c.what, in_use.c.name).in_([(u["what"], u["name"]) for u in used]),
        )
        .group_by(*key)
    )
    return _editions(map(dict, db.execute(query).mappings()))


def _old(used: Sequence[Mapping[str, Any]], editions: _Editions) -> list[dict[str, Any]]:
    """Find what a box uses that is older than another box's.

    A model has a version number. A profile keeps its name, so that of two editions the one that
    somebody used first later is the newer.
    """
    old = []
    for one in used:
        found = editions.get((one["what"], one["name"]), {})
        if len(found) < 2:
            continue
        newest = max(found, key=_number if one["what"] == "model" else found.__getitem__)
        if one["version"] != newest:
            about = {name: one[name] for name in ("what", "name", "version")}
            old.append({**about, "newest": newest, "since": found[newest]})
    return old


def _number(version: str) -> tuple[list[int], str]:
    return [int(part) for part in re.findall(r"\d+", version)[:6]], version


def _box(
    row: dict[str, Any],
    used: Sequence[Mapping[str, Any]],
    drifting: Sequence[Mapping[str, Any]],
    editions: _Editions,
    now: dt.datetime,
) -> Box:
    moments = ("enrolled_at", "not_after", "seen_at", "revoked_at", "told_at")
    row |= {name: None if row[name] is None else utc(row[name]) for name in moments}
    row["summary"] = None if row["summary"] is None else json.loads(row["summary"])
    old = _old(used, editions) if row["revoked_at"] is None else ()
    seen = Seen(
        row["enrolled_at"], row["seen_at"], row["revoked_at"], row["summary"], drifting, old
    )
    found = words(seen, now)
    return Box(
        **row,
        words=found,
        kind=kind_of(found),
        models=[f"{one['name']} {one['version']}" for one in used if one["what"] == "model"],
        profiles=[one["name"] for one in used if one["what"] == "profile"],
    )
