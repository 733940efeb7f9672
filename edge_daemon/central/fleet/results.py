"""Results across clinics: found by index, a page at a time, newest first."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, false, func, or_, select, tuple_, union_all

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
PLACE: Final = r"^[0-9]{1,16}-[0-9]{1,18}$"
"""How a place is written."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_MOST_FLAGS: Final = 200
APART: Final = 40
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
        """Write it for an address: microseconds since 1970, and the number."""
        return f"{(self.at - _EPOCH) // _MICROSECOND}-{self.id}"

    @classmethod
    def read(cls, text: str) -> Place:
        """Read what `str` wrote.

        Raises
        ------
        ValueError
            It is something else.
        """
        if not re.fullmatch(PLACE, text):
            raise ValueError(text)
        since, _, number = text.partition("-")
        return cls(_EPOCH + int(since) * _MICROSECOND, int(number))


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
    keys = _keys(scope, wanted, before, limit + 1)
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
    while len(flags) <= _MOST_FLAGS:
        step = db.execute(_next_flag(scope, flags[-1] if flags else "")).scalar()
        if step is None:
            break
        flags.append(step)
    return {"clinics": [dict(row) for row in db.execute(known).mappings()], "flags": flags}


def _next_flag(scope: Scope, after: str) -> Select[Any]:
    """Ask for the first flag after another one, of each clinic by the index that begins with it."""
    query = select(result_flags.c.code).where(result_flags.c.code > after)
    first = query.order_by(result_flags.c.code).limit(1)
    if scope.clinics is None:
        return first
    of_one = first.where(result_flags.c.clinic_id == clinics.c.id).correlate(clinics)
    every = select(func.min(of_one.scalar_subquery()))
    return every.select_from(clinics).where(clinics.c.id.in_(sorted(scope.clinics)))


def _clauses(wanted: Wanted) -> list[ColumnElement[bool]]:
    clauses = [results.c.kind == "run", results.c.newest]
    if wanted.text and (key := sample_key(wanted.text)):
        clauses.append(
            or_(*(
                and_(column >= key, column < key + _LAST)
                for column in (results.c.sample_key, results.c.patient_key)
            ))
        )  # fmt: skip
    given = {
        results.c.species: wanted.species,
        results.c.status: wanted.status,
        results.c.instrument: wanted.instrument,
        results.c.device_id: wanted.device,
    }
    clauses += [column == value for column, value in given.items() if value is not None]
    if wanted.simulated is not None:
        clauses.append(results.c.simulated if wanted.simulated else ~results.c.simulated)
    return clauses


def _keys(scope: Scope, wanted: Wanted, before: Place | None, limit: int) -> Select[Any]:
    """Ask for the numbers of one page, walking the index that lies in the order of the page.

    A flag has an index of its own. A chain's clinics each give their newest by theirs; walking
    through the time of all clinics would be long where the chain is a small part of the fleet.
    """
    walked = results if wanted.flag is None else result_flags
    query = select(walked.c.document_id, walked.c.at).where(*_clauses(wanted))
    if wanted.flag is not None:
        query = query.join(results, results.c.document_id == walked.c.document_id)
        query = query.where(walked.c.code == wanted.flag)
    if wanted.since is not None:
        query = query.where(walked.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(walked.c.at < wanted.until)
    if before is not None:
        place = tuple_(walked.c.at, walked.c.document_id)
        query = query.where(place < tuple_(before.at, before.id))
    newest = (walked.c.at.desc(), walked.c.document_id.desc())
    own = scope.clinics
    if wanted.clinic is not None:
        own = frozenset({wanted.clinic}) if own is None else own & {wanted.clinic}
    if own is None or len(own) > APART:
        page = query.where(scope.of(walked)).order_by(*newest).limit(limit).subquery()
        return select(page.c.document_id)
    parts = [
        query.where(walked.c.clinic_id == clinic).order_by(*newest).limit(limit).subquery()
        for clinic in sorted(own)
    ]
    if not parts:
        return select(results.c.document_id).where(false())
    page = union_all(*(select(part) for part in parts)).subquery()
    ordered = select(page.c.document_id).order_by(page.c.at.desc(), page.c.document_id.desc())
    return ordered.limit(limit)


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
