"""Results across clinics: found by index, a page at a time, newest first."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, or_, select, tuple_, union_all

from edge_daemon.central.fleet.drifting import utc
from edge_daemon.central.fleet.reading_documents import SAID
from edge_daemon.central.fleet.tables import pairs, result_flags, results, said
from edge_daemon.central.schema import clinics, devices, documents
from edge_daemon.joining import sample_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Select

    from edge_daemon.central.reading import Reader, Scope

LARGEST_PAGE: Final = 200
_CHUNK: Final = 500
_LAST: Final = chr(0x10FFFF)
_APART: Final = 40
"""Up to so many clinics each gives its newest by its own index; for more, time is walked."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which results are asked for; None is no restriction.

    Attributes
    ----------
    text
        Beginning of a sample id or patient id, in any (ASCII) case.
    species, status, flag, instrument
        As listed.
    clinic
        Its number.
    device
        Id of a box.
    since, until
        Half-open range of the time they were made at.
    simulated
        True: only those, False: none of those.
    """

    text: str | None = None
    species: str | None = None
    status: str | None = None
    flag: str | None = None
    instrument: str | None = None
    clinic: int | None = None
    device: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    simulated: bool | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends and the next begins."""

    at: dt.datetime
    id: int

    def __str__(self) -> str:
        """Write it for an address."""
        return f"{self.at.astimezone(dt.UTC).strftime('%Y%m%dT%H%M%S.%f')}-{self.id}"

    @classmethod
    def read(cls, text: str) -> Place:
        """Read what `str` wrote.

        Raises
        ------
        ValueError
            It is something else.
        """
        moment, _, number = text.partition("-")
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise ValueError(text)
        at = dt.datetime.strptime(moment, "%Y%m%dT%H%M%S.%f").replace(tzinfo=dt.UTC)
        return cls(at, int(number))


def find(
    db: Connection, scope: Scope, wanted: Wanted, *, limit: int, before: Place | None = None
) -> tuple[list[dict[str, Any]], Place | None]:
    """Find one page of results.

    Parameters
    ----------
    db
        Connection from `Reader.reading`.
    before
        Only results that come after this place.

    Returns
    -------
    tuple
        The results, newest first, and where the next page begins; None at the end.
    """
    clauses = [results.c.kind == "run", results.c.newest, *_clauses(scope, wanted)]
    if before is not None:
        clauses.append(_after(before))
    keys = _keys(scope, wanted, and_(*clauses), limit + 1)
    found = [_listed(dict(row)) for row in db.execute(_rows(keys)).mappings()]
    more = len(found) > limit
    found = found[:limit]
    return found, Place(found[-1]["at"], found[-1]["id"]) if more else None


def every(reader: Reader, scope: Scope, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Yield all results, newest first, without holding a transaction or more than a part."""
    before: Place | None = None
    while True:
        with reader.reading(scope) as db:
            found, before = find(db, scope, wanted, limit=_CHUNK, before=before)
        yield from found
        if before is None:
            return


def result(db: Connection, scope: Scope, document_id: int) -> dict[str, Any] | None:
    """Find one version of a result with all that belongs to it; None where the scope has none.

    Returns
    -------
    dict
        As listed, with ``document`` (as the box sent it), ``versions``, ``reports`` of the
        analyzer, and what people ``said``.
    """
    only = (results.c.document_id == document_id) & (results.c.kind == "run")
    keys = select(results.c.document_id).where(scope.of(results), only)
    row = db.execute(_rows(keys)).mappings().first()
    if row is None:
        return None
    found = _listed(dict(row))
    of_capture = (results.c.device_id == found["device"]) & (results.c.capture == found["capture"])
    query = (
        select(results.c.document_id.label("id"), results.c.number, results.c.newest, results.c.at)
        .where(scope.of(results), of_capture, results.c.kind == "run")
        .order_by(results.c.number.desc(), results.c.document_id.desc())
    )
    versions = [{**v, "at": utc(v["at"])} for v in db.execute(query).mappings()]
    body = db.execute(
        select(documents.c.body).where(scope.of(documents), documents.c.id == document_id)
    ).scalar()
    return {
        **found,
        "document": None if body is None else json.loads(body),
        "versions": versions,
        "reports": _reports(db, scope, document_id),
        "said": _said(db, scope, found["device"], found["capture"]),
    }


def choices(db: Connection, scope: Scope) -> dict[str, list[Any]]:
    """List what a search can be narrowed to, by skipping through the indices."""
    known = select(clinics.c.id, clinics.c.name).order_by(clinics.c.name)
    if scope.clinics is not None:
        known = known.where(clinics.c.id.in_(sorted(scope.clinics)))
    flags: list[str] = []
    while True:
        query = select(result_flags.c.code).where(scope.of(result_flags))
        if flags:
            query = query.where(result_flags.c.code > flags[-1])
        step = db.execute(query.order_by(result_flags.c.code).limit(1)).scalar()
        if step is None or len(flags) > 200:
            break
        flags.append(step)
    return {"clinics": [dict(row) for row in db.execute(known).mappings()], "flags": flags}


def _clauses(scope: Scope, wanted: Wanted) -> list[ColumnElement[bool]]:
    clauses = [scope.of(results)]
    if wanted.text and (key := sample_key(wanted.text)):
        clauses.append(
            or_(*(
                and_(column >= key, column < key + _LAST)
                for column in (results.c.sample_key, results.c.patient_key)
            ))
        )  # fmt: skip
    if wanted.flag:
        flagged = select(result_flags.c.document_id).where(result_flags.c.code == wanted.flag)
        clauses.append(results.c.document_id.in_(flagged))
    given = {
        results.c.species: wanted.species,
        results.c.status: wanted.status,
        results.c.instrument: wanted.instrument,
        results.c.clinic_id: wanted.clinic,
        results.c.device_id: wanted.device,
        results.c.simulated: wanted.simulated,
    }
    clauses += [column == value for column, value in given.items() if value is not None]
    if wanted.since is not None:
        clauses.append(results.c.at >= wanted.since)
    if wanted.until is not None:
        clauses.append(results.c.at < wanted.until)
    return clauses


def _after(place: Place) -> ColumnElement[bool]:
    return tuple_(results.c.at, results.c.document_id) < tuple_(place.at, place.id)


def _keys(scope: Scope, wanted: Wanted, clause: ColumnElement[bool], limit: int) -> Select[Any]:
    """Ask for the numbers of one page.

    A chain's clinics each give their newest by their own index; walking through the time of all
    clinics would be long where the chain is a small part of the fleet.
    """
    query = select(results.c.document_id, results.c.at).where(clause)
    newest = (results.c.at.desc(), results.c.document_id.desc())
    own = scope.clinics
    if own is not None and 1 < len(own) <= _APART and wanted.clinic is None:
        parts = [
            query.where(results.c.clinic_id == clinic).order_by(*newest).limit(limit).subquery()
            for clinic in sorted(own)
        ]
        page = union_all(*(select(part) for part in parts)).subquery()
        ordered = select(page.c.document_id).order_by(page.c.at.desc(), page.c.document_id.desc())
        return ordered.limit(limit)
    return select(query.order_by(*newest).limit(limit).subquery().c.document_id)


def _rows(keys: Select[Any]) -> Select[Any]:
    return (
        select(results, clinics.c.name.label("clinic"), devices.c.name.label("box"))
        .join(clinics, clinics.c.id == results.c.clinic_id)
        .join(devices, devices.c.id == results.c.device_id)
        .where(results.c.document_id.in_(keys))
        .order_by(results.c.at.desc(), results.c.document_id.desc())
    )


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    facts = json.loads(row["facts"])
    return {
        "id": row["document_id"],
        "at": utc(row["at"]),
        "at_trusted": bool(row["at_trusted"]),
        "simulated": bool(row["simulated"]),
        "status": row["status"],
        "clinic_id": row["clinic_id"],
        "clinic": row["clinic"],
        "device": row["device_id"],
        "box": row["box"],
        "instrument": row["instrument"],
        "source": row["source"],
        "sample_id": row["sample_id"],
        "patient_id": row["patient_id"],
        "species": row["species"],
        "breed": facts["sample"].get("breed"),
        "mark": row["mark"],
        "version": row["number"],
        "newest": bool(row["newest"]),
        "capture": row["capture"],
        "profile": row["profile"],
        "model": row["model"],
        "values": facts["values"],
        "flags": facts["flags"],
    }


def _reports(db: Connection, scope: Scope, run_id: int) -> list[dict[str, Any]]:
    pair = db.execute(
        select(pairs.c.facts).where(scope.of(pairs), pairs.c.run_id == run_id)
    ).scalar()
    numbers = [] if pair is None else json.loads(pair)["reports"]
    if not numbers:
        return []
    query = select(results).where(scope.of(results), results.c.document_id.in_(numbers))
    return [
        {
            "id": row["document_id"],
            "at": utc(row["at"]),
            "instrument": row["instrument"],
            "values": json.loads(row["facts"])["values"],
        }
        for row in db.execute(query.order_by(results.c.document_id)).mappings()
    ]


def _said(db: Connection, scope: Scope, device: str, capture: str) -> list[dict[str, Any]]:
    query = (
        select(said)
        .where(scope.of(said), said.c.device_id == device, said.c.capture == capture)
        .order_by(said.c.at, said.c.document_id)
    )
    return [
        {
            **dict.fromkeys(SAID),
            **json.loads(row["facts"]),
            "what": row["what"],
            "by": row["by"],
            "at": utc(row["at"]),
        }
        for row in db.execute(query).mappings()
    ]
