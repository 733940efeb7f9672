"""A patient's earlier and later results; standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from edge_daemon.store import queries
from edge_daemon.store.reader import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

MOST: Final = 60

_NEWEST_ONLY: Final = (
    "NOT EXISTS (SELECT 1 FROM runs AS later"
    " WHERE later.capture_id = r.capture_id AND later.number > r.number)"
)


def of_patient(
    db: sqlite3.Connection, run: Mapping[str, Any], *, limit: int = MOST
) -> list[dict[str, Any]]:
    """List the results of one run's patient, newest first, the run itself among them.

    A patient is known by its id; without one by its name and species together, which two
    animals may share: whoever shows that says so. Control material and runs without either
    have no history.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    run
        With ``id``, ``patient_id``, ``patient_name``, ``species`` and ``simulated``.
    limit
        Most results.

    Returns
    -------
    list of dict
        As `queries.results`; simulated results are never among a patient's own, nor the reverse.
    """
    column = "patient_id" if run["patient_id"] else "patient_name"
    if not run[column]:
        return []
    query = (
        f"SELECT r.id FROM runs AS r WHERE r.{column} = :key AND r.simulated = :simulated"  # noqa: S608
        f" AND {_NEWEST_ONLY}"
        + ("" if column == "patient_id" else " AND r.species IS :species AND r.patient_id IS NULL")
        + " ORDER BY r.id DESC LIMIT :limit"
    )
    wanted = {
        "key": run[column],
        "simulated": int(run["simulated"]),
        "species": run["species"],
        "limit": limit,
    }
    found = [row["id"] for row in rows(db, query, wanted)]
    if run["id"] not in found:  # a run that a replay has superseded, or one of long ago
        found.append(run["id"])
    return queries.results(db, ids=found, limit=len(found), all_runs=True)
