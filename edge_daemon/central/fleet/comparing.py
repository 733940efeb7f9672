"""Which report of the analyzer belongs to which result, by the rule that the box itself uses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select, tuple_

from edge_daemon.central.fleet.tables import pairs, results
from edge_daemon.joining import match_all, subject
from edge_daemon.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

_NEWEST: Final = 200
"""Results and reports of one sample id at one box that are looked at: ids are used again."""
_AT_ONCE: Final = 500


def forget(db: Connection, document_ids: Sequence[int]) -> None:
    """Compare these results no more."""
    if document_ids:
        db.execute(delete(pairs).where(pairs.c.run_id.in_(list(document_ids))))


def compare_again(db: Connection, samples: Iterable[tuple[str, str]]) -> None:
    """Find the pairs of some samples anew: a result, a report or a mark may come in any order.

    Parameters
    ----------
    samples
        Box and sample key of each.
    """
    wanted = set(samples)
    if not wanted:
        return
    found = _newest(db, wanted)
    if told := {_key(row) for row in found} - wanted - {None}:
        # A person corrected the sample id: its report has the one that the instrument said.
        wanted |= told
        found = _newest(db, wanted)
    by_sample: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in found:
        if (key := _key(row)) in wanted and len(of_key := by_sample.setdefault(key, [])) < _NEWEST:
            of_key.append(row)
    made: list[dict[str, Any]] = []
    runs: list[int] = []
    for found in by_sample.values():
        runs += [row["document_id"] for row in found if row["kind"] == "run"]
        made += _pairs(found)
    forget(db, runs)
    if made:
        db.execute(insert(pairs), made)


def _newest(db: Connection, wanted: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Find the results and reports that have one of these keys in any version, the newest first.

    Of each, its newest version, with the ``first``: that is dated as it came, and says what the
    instrument said.
    """
    keys = sorted(wanted)
    query = (
        select(results.c.device_id, results.c.capture)
        .where(tuple_(results.c.device_id, results.c.sample_key).in_(keys))
        .order_by(results.c.document_id.desc())
        .limit(_NEWEST * len(keys))
    )
    captures = list(dict.fromkeys(tuple(row) for row in db.execute(query)))
    every: list[dict[str, Any]] = []
    for part in range(0, len(captures), _AT_ONCE):
        of_some = tuple_(results.c.device_id, results.c.capture).in_(
            captures[part : part + _AT_ONCE]
        )
        every += map(dict, db.execute(select(results).where(of_some)).mappings())
    first: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in sorted(every, key=lambda row: (row["number"], row["document_id"])):
        first.setdefault(_result(row), row)
    newest = [
        {**row, "facts": json.loads(row["facts"]), "first": first[_result(row)]}
        for row in every
        if row["newest"]
    ]
    return sorted(newest, key=lambda row: -row["document_id"])


def _result(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["device_id"], row["capture"], row["kind"], row["source"]


def _key(row: Mapping[str, Any]) -> Any:
    """Box and sample key that a result is joined by: as the instrument said it, where it did."""
    own = row["first"]["sample_key"] if row["kind"] == "run" else row["sample_key"]
    key = own or row["sample_key"]
    return None if key is None else (row["device_id"], key)


def _pairs(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pair results that may be compared: no control material, nothing that failed."""
    captures = {row["capture"]: number for number, row in enumerate(found)}
    by_id = {row["document_id"]: row for row in found}
    usable = [row for row in found if row["mark"] is None and row["status"] != "invalid"]
    runs = [_subject(row, captures) for row in usable if row["kind"] == "run"]
    reports = [_subject(row, captures) for row in found if row["kind"] == "report"]
    made = []
    for run_id, match in match_all(runs, reports).items():
        if not match.joined:
            continue
        run = by_id[run_id]
        told = [by_id[key] for key in match.joined]
        values = _both(run, told)
        if not values:
            continue
        made.append(
            {
                "run_id": run_id,
                "clinic_id": run["clinic_id"],
                "device_id": run["device_id"],
                "instrument": run["instrument"],
                "analyzer": told[0]["instrument"],
                "species": run["species"] or told[0]["species"] or "unknown",
                "simulated": run["simulated"],
                "at": run["at"],
                "facts": json.dumps({"values": values, "reports": list(match.joined)}),
            }
        )
    return made


def _subject(row: Mapping[str, Any], captures: Mapping[str, int]) -> Any:
    """Look at a row as joining does; the boot's own clock is the box's, and not known here."""
    sample, first = row["facts"]["sample"], row["first"]
    key = _key(row)
    told: dict[str, Any] = {}
    if row["kind"] == "run":
        said = json.loads(first["facts"])["sample"]
        told = {f"told_{name}": said.get(name) for name in ("patient_id", "species")}
    return subject(
        {
            "id": row["document_id"],
            "capture_id": captures[row["capture"]],
            "sample_key": None if key is None else key[1],
            "instrument": row["source"],
            "simulated": row["simulated"],
            "kind": "control" if row["mark"] == "control" else None,
            "received_boot": f"document {row['document_id']}",
            "received_monotonic_s": 0.0,
            "received_clock": "synchronised" if first["at_trusted"] else "unknown",
            "received_wall": first["at"].isoformat(),
            **{name: sample.get(name) for name in _WHO},
            **told,
        }
    )


_WHO: Final = ("patient_id", "patient_name", "species", "instrument_serial", "acquired_at")


def _both(run: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """List values that have a number on both sides: ours, the analyzer's. A later report counts."""
    theirs: dict[str, float] = {}
    for report in reports:
        told = report["facts"]["values"]
        theirs |= {code: v["value"] for code, v in told.items() if v["value"] is not None}
    ours = {code: v["value"] for code, v in run["facts"]["values"].items()}
    return {
        code: [ours[code], theirs[code]]
        for code in UNITS
        if ours.get(code) is not None and code in theirs
    }
