"""A patient's earlier and later results, and what changed; standard library only."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.joining import WINDOW_S, gap_s, sample_key, subject
from edge_daemon.store import controls, queries
from edge_daemon.store.reader import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

MOST: Final = 60

_NEWEST_ONLY: Final = (
    "NOT EXISTS (SELECT 1 FROM runs AS later"
    " WHERE later.capture_id = r.capture_id AND later.number > r.number)"
)

_MOMENTS: Final = """
    SELECT r.id, r.sample_key, c.received_wall, c.received_clock, c.received_boot,
        c.received_monotonic_s
    FROM runs AS r JOIN captures AS c ON c.id = r.capture_id
    WHERE r.id IN (SELECT value FROM json_each(?))
"""


def of_patient(
    db: sqlite3.Connection, run: Mapping[str, Any], *, limit: int = MOST
) -> list[dict[str, Any]]:
    """List the results of one run's patient, newest first, the run itself among them.

    A patient is known by its id; without one by its name and species together, which two
    animals may share: whoever shows that says so. Control material and runs without either
    have no history, and runs of checks are no visits.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    run
        With ``id``, ``capture_id``, ``patient_id``, ``patient_name``, ``species`` and
        ``simulated``.
    limit
        Most results.

    Returns
    -------
    list of dict
        As `queries.results`, with what `joining.subject` asks for; simulated results are never
        among a patient's own, nor the reverse.
    """
    column = "patient_id" if run["patient_id"] else "patient_name"
    if not run[column]:
        return []
    query = (
        f"SELECT r.id, r.capture_id FROM runs AS r WHERE r.{column} = :key"  # noqa: S608
        f" AND r.simulated = :simulated AND {_NEWEST_ONLY}"
        + ("" if column == "patient_id" else " AND r.species IS :species AND r.patient_id IS NULL")
        + " ORDER BY r.capture_id DESC LIMIT :limit"
    )
    wanted = {
        "key": run[column],
        "simulated": int(run["simulated"]),
        "species": run["species"],
        "limit": limit,
    }
    every = rows(db, query, wanted)
    apart = controls.kinds(db, [run["capture_id"], *(row["capture_id"] for row in every)])
    if run["capture_id"] in apart:
        return []
    found = [row["id"] for row in every if row["capture_id"] not in apart]
    if run["id"] not in found:  # a run that a replay has superseded, or one of long ago
        found.append(run["id"])
    # By capture: a correction of an old visit makes a new run, but no new visit.
    runs = queries.results(db, ids=found, limit=len(found), all_runs=True)
    moments = {row.pop("id"): row for row in rows(db, _MOMENTS, [json.dumps(found)])}
    for one in runs:
        one.update(moments[one["id"]])
    return sorted(runs, key=lambda r: (r["capture_id"], r["number"]), reverse=True)


def before(visited: Iterable[Mapping[str, Any]], run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Choose the visits before a run's own, newest first, one result each.

    Visits are ordered by when their captures came, so that an old one that is analysed again does
    not pass for a new visit. A repeat of the same sample is no visit of its own, and a failed
    result says nothing that could be compared. Sample ids are reused, often daily: as for reports,
    what lies further apart than `joining.WINDOW_S` is another sample.

    Parameters
    ----------
    visited
        As `of_patient` gives it.
    run
        One of them.
    """
    every = sorted(visited, key=lambda v: (-v["capture_id"], -v["id"]))
    seen = [visit for visit in every if visit["id"] == run["id"]]
    chosen = []
    for visit in every:
        if visit["capture_id"] >= run["capture_id"] or visit["status"] == "invalid":
            continue
        if not any(_same_sample(visit, other) for other in seen):
            chosen.append(dict(visit))
        seen.append(visit)
    return chosen


def _same_sample(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    key = sample_key(one["sample_id"])
    if key is None or key != sample_key(other["sample_id"]):
        return False
    apart = gap_s(subject(one), subject(other))
    return apart is None or apart <= WINDOW_S


def changes(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare two results, value by value.

    Returns
    -------
    list of dict
        Of each measurement that both have, in the order of `now`: ``code``, ``unit``, ``now`` and
        ``before`` (value, low, high), ``change`` (now less before, None unless both have a value
        in the same unit), ``percent`` of the earlier, and ``exceeds``: whether the change is
        larger than the 95 % intervals of both together explain; None where one has no interval.
        How much a value moves between days in a healthy animal is not in those intervals.
    """
    of_earlier = {m["code"]: m for m in earlier["measurements"]}
    return [
        _change(measured, of_earlier[measured["code"]])
        for measured in now["measurements"]
        if measured["code"] in of_earlier
    ]


def _change(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "code": now["code"],
        "unit": now["unit"],
        "now": {key: now[key] for key in ("value", "low", "high")},
        "before": {key: earlier[key] for key in ("value", "low", "high", "unit")},
        "change": None,
        "percent": None,
        "exceeds": None,
    }
    if now["value"] is None or earlier["value"] is None or now["unit"] != earlier["unit"]:
        return row
    change = now["value"] - earlier["value"]
    row["change"] = change
    if earlier["value"]:
        row["percent"] = 100.0 * change / earlier["value"]
    # The doubts that face each other: of a rise, how low the new and how high the old may be.
    ends = ("low", "high") if change > 0 else ("high", "low")
    bounds = now[ends[0]], earlier[ends[1]]
    if None not in bounds:
        doubt = math.hypot(now["value"] - bounds[0], earlier["value"] - bounds[1])
        row["exceeds"] = abs(change) > doubt
    return row
