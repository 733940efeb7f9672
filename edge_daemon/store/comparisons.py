"""Our values and the analyzer's of many samples, for agreement and drift. Read-only, streamed.

What is compared is left to the caller; here it is decided what may be: the newest run of each
capture unless it failed, the newest reading of each report, no control material, values with a
number in the canonical unit. Rows say whether they are simulated, and nothing here mixes those
with clinical ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.joining import animal
from edge_daemon.merging import merge
from edge_daemon.store.controls import no_patients
from edge_daemon.store.reader import rows
from edge_daemon.store.reports import match_runs

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

UNITS: Final = {
    "RBC": "10*6/uL", "HCT": "%", "HGB": "g/dL", "MCV": "fL", "MCH": "pg", "MCHC": "g/dL",
    "RDW": "%", "RETIC": "10*3/uL", "RETIC%": "%", "PLT": "10*3/uL", "MPV": "fL", "PCT": "%",
}  # fmt: skip
"""What can be compared, and the unit it is compared in."""

RED_RATE: Final = "RBC/s"
PLATELET_RATE: Final = "PLT/s"

_CHUNK: Final = 500


@dataclass(slots=True)
class LeftOut:
    """Runs and reports that were passed over, and why."""

    failed_runs: int = 0
    control_runs: int = 0
    control_reports: int = 0
    no_species: int = 0


@dataclass(frozen=True, slots=True)
class Filters:
    """What to look at; None for all. `since` and `until` are wall times as stored."""

    since: str | None = None
    until: str | None = None
    instrument: str | None = None
    species: str | None = None


class Comparisons:
    """What a database holds to compare.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    filters
        What to look at.

    Attributes
    ----------
    left_out
        Counted while `pairs`, `ours` and `reported` are read to their end.
    """

    def __init__(self, db: sqlite3.Connection, filters: Filters) -> None:
        self._db = db
        self._filters = filters
        self.left_out = LeftOut()

    def pairs(self) -> Iterator[dict[str, Any]]:
        """Yield runs that have a report of the analyzer, oldest first.

        Yields
        ------
        dict
            ``run_id``, ``instrument`` (the run's), ``analyzer`` (the instrument the report came
            through), ``species``, ``simulated``, ``ours`` and ``theirs`` (code → value).
        """
        matches = match_runs(self._db)
        for chunk in _chunks(self._runs()):
            joined = [row for row in chunk if (m := matches.get(row["id"])) and m.joined]
            ours = self._measurements([row["id"] for row in joined])
            told = self._reports([key for row in joined for key in matches[row["id"]].joined])
            for row in joined:
                reports = [told[key] for key in matches[row["id"]].joined]
                lines = merge(reports)
                yield {
                    "run_id": row["id"],
                    "instrument": row["instrument"],
                    "analyzer": reports[0]["instrument"],
                    "species": row["species"] or reports[0]["species"],
                    "simulated": bool(row["simulated"]),
                    "ours": ours.get(row["id"], {}),
                    "theirs": _numbers(lines),
                }

    def ours(self) -> Iterator[dict[str, Any]]:
        """Yield our results, oldest first.

        Yields
        ------
        dict
            ``side`` (``ours``), ``instrument``, ``species``, ``simulated``, ``patient`` (what
            tells animals apart, or None) and ``values``: code → value, with events per second
            where the run's duration is known.
        """
        for chunk in _chunks(self._runs(count=True)):
            values = self._measurements([row["id"] for row in chunk])
            for row in chunk:
                if row["species"] is None:
                    self.left_out.no_species += 1
                else:
                    yield _point("ours", row, {**values.get(row["id"], {}), **_rates(row)})

    def reported(self) -> Iterator[dict[str, Any]]:
        """Yield the analyzers' results, oldest first, as `ours` does (``side``: ``analyzer``)."""
        clauses, values = self._clauses("r.created_wall")
        query = (
            "SELECT r.id, r.capture_id, r.kind, r.species, r.simulated, r.patient_id,"  # noqa: S608
            " r.sample_key, c.instrument, c.received_wall"
            " FROM reports AS r JOIN captures AS c ON c.id = r.capture_id"
            " WHERE NOT EXISTS (SELECT 1 FROM reports AS later"
            " WHERE later.capture_id = r.capture_id AND later.number > r.number)"
            f"{clauses} ORDER BY r.id"
        )
        controls = no_patients(self._db)
        for chunk in _chunks(rows(self._db, query, values)):
            told = self._reported_values([row["id"] for row in chunk])
            for row in chunk:
                if row["kind"] == "control" or row["capture_id"] in controls:
                    self.left_out.control_reports += 1
                elif row["species"] is None:
                    self.left_out.no_species += 1
                else:
                    yield _point("analyzer", row, _numbers(told.get(row["id"], ())))

    def _runs(self, *, count: bool = False) -> list[dict[str, Any]]:
        clauses, values = self._clauses("r.created_wall")
        query = (
            "SELECT r.id, r.capture_id, r.status, r.species, r.simulated, r.patient_id,"  # noqa: S608
            " r.sample_key, r.n_pure_rbc + r.n_reticulocyte + r.n_clumped_rbc AS n_red,"
            " r.n_platelet, r.duration_s, c.instrument, c.received_wall FROM runs AS r"
            " JOIN captures AS c ON c.id = r.capture_id"
            " WHERE NOT EXISTS (SELECT 1 FROM runs AS later"
            " WHERE later.capture_id = r.capture_id AND later.number > r.number)"
            f"{clauses} ORDER BY r.capture_id"
        )
        every = rows(self._db, query, values)
        controls = no_patients(self._db)
        found = [row for row in every if row["capture_id"] not in controls]
        usable = [row for row in found if row["status"] != "invalid"]
        if count:
            self.left_out.control_runs += len(every) - len(found)
            self.left_out.failed_runs += len(found) - len(usable)
        return usable

    def _clauses(self, moment: str) -> tuple[str, list[object]]:
        given = self._filters
        wanted = (
            (f"{moment} >= ?", given.since),
            (f"{moment} < ?", given.until),
            ("c.instrument = ?", given.instrument),
            ("r.species = ?", given.species),
        )
        chosen = [(clause, value) for clause, value in wanted if value is not None]
        return "".join(f" AND {clause}" for clause, _ in chosen), [value for _, value in chosen]

    def _measurements(self, run_ids: Sequence[int]) -> dict[int, dict[str, float]]:
        query = """
            SELECT run_id, code, value, unit FROM measurements
            WHERE run_id IN (SELECT value FROM json_each(?)) AND value IS NOT NULL
        """
        found: dict[int, dict[str, float]] = {}
        for row in rows(self._db, query, [json.dumps(list(run_ids))]):
            if UNITS.get(row["code"]) == row["unit"]:
                found.setdefault(row["run_id"], {})[row["code"]] = row["value"]
        return found

    def _reports(self, report_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        query = """
            SELECT r.id, r.amends, r.species, c.instrument
            FROM reports AS r JOIN captures AS c ON c.id = r.capture_id
            WHERE r.id IN (SELECT value FROM json_each(?))
        """
        values = self._reported_values(report_ids)
        found = rows(self._db, query, [json.dumps(list(report_ids))])
        return {row["id"]: row | {"values": values.get(row["id"], [])} for row in found}

    def _reported_values(self, report_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        query = """
            SELECT report_id, name, code, value, unit, text FROM reported_values
            WHERE report_id IN (SELECT value FROM json_each(?)) AND code IS NOT NULL
            ORDER BY report_id, position
        """
        found: dict[int, list[dict[str, Any]]] = {}
        for row in rows(self._db, query, [json.dumps(list(report_ids))]):
            found.setdefault(row["report_id"], []).append(row)
        return found


def _chunks(found: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for first in range(0, len(found), _CHUNK):
        yield found[first : first + _CHUNK]


def _numbers(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for line in lines:
        if line["value"] is not None and UNITS.get(line["code"]) == line["unit"]:
            numbers.setdefault(line["code"], line["value"])
    return numbers


def _point(side: str, row: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
    return {
        "side": side,
        "instrument": row["instrument"],
        "species": row["species"],
        "simulated": bool(row["simulated"]),
        "patient": animal(row["patient_id"], row["sample_key"], row["received_wall"][:10]),
        "values": values,
    }


def _rates(row: dict[str, Any]) -> dict[str, float]:
    if not row["duration_s"]:
        return {}
    return {
        RED_RATE: row["n_red"] / row["duration_s"],
        PLATELET_RATE: row["n_platelet"] / row["duration_s"],
    }
