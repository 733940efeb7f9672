"""Find runs as a technician asks for them, always by index; standard library only.

Each criterion is a set of run ids that an index gives; a page is the newest of their
intersection below a key. Nothing is counted, so that a box with 100,000 runs answers at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.store.controls import no_patients
from edge_daemon.store.reader import rows, value

if TYPE_CHECKING:
    import sqlite3

_END: Final = 2**63 - 1
_LAST: Final = chr(0x10FFFF)
_NEWEST_ONLY: Final = (
    "NOT EXISTS (SELECT 1 FROM runs AS later"
    " WHERE later.capture_id = r.capture_id AND later.number > r.number)"
)
LOOKED_THROUGH: Final = 20_000
"""So many of the newest runs are looked through for a text inside a name."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What runs to find; None is no restriction.

    Attributes
    ----------
    text
        Beginning of a sample id, patient id or patient name, in any (ASCII) case.
    species, status, flag
        As stored.
    since, until
        Half-open range of the wall time the run was made at, UTC in ISO 8601.
    patients
        True: only samples of patients; False: only controls, blanks and runs of checks.
    """

    text: str | None = None
    species: str | None = None
    status: str | None = None
    flag: str | None = None
    since: str | None = None
    until: str | None = None
    patients: bool | None = None


def find(
    db: sqlite3.Connection,
    wanted: Wanted,
    *,
    limit: int = 50,
    before: int | None = None,
    inside: bool = False,
) -> list[int]:
    """Find runs, newest first.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    wanted
        All of it must hold.
    limit
        Most runs.
    before
        Only runs with a smaller id.
    inside
        Take the text anywhere in an id or name, not only at its beginning; then only the newest
        `LOOKED_THROUGH` runs are looked through.

    Returns
    -------
    list of int
        Ids of runs that no later replay of their capture supersedes.
    """
    clauses = ["r.id < :before", _NEWEST_ONLY]
    if wanted.text is not None:
        clauses.append(_INSIDE if inside else f"r.id IN ({_PREFIX})")
    if wanted.flag is not None:
        clauses.append("r.id IN (SELECT run_id FROM flags WHERE code = :flag)")
    if wanted.since is not None or wanted.until is not None:
        clauses.append(
            "r.id IN (SELECT id FROM runs WHERE created_wall >= :since AND created_wall < :until)"
        )
    if wanted.patients is not None:
        clauses.append(_PATIENTS if wanted.patients else _CONTROLS)
    clauses += [f"r.{name} = :{name}" for name in ("species", "status") if getattr(wanted, name)]
    query = (
        f"SELECT r.id FROM runs AS r WHERE {' AND '.join(clauses)}"  # noqa: S608
        " ORDER BY r.id DESC LIMIT :limit"
    )
    text = wanted.text or ""
    parameters: dict[str, Any] = {
        "before": _END if before is None else before,
        "text": text,
        "last": text + _LAST,
        "pattern": f"%{_literal(text)}%",
        "flag": wanted.flag,
        "since": wanted.since or "",
        "until": wanted.until or _LAST,
        "species": wanted.species,
        "status": wanted.status,
        "limit": limit,
        "controls": "[]" if wanted.patients is None else json.dumps(sorted(no_patients(db))),
        "floor": newest_run(db) - LOOKED_THROUGH if inside else 0,
    }
    return [row["id"] for row in rows(db, query, parameters)]


_CONTROLS: Final = "r.capture_id IN (SELECT value FROM json_each(:controls))"
_PATIENTS: Final = _CONTROLS.replace(" IN ", " NOT IN ")
_PREFIX: Final = " UNION ".join(
    f"SELECT id FROM runs WHERE {column} >= :text AND {column} < :last"  # noqa: S608
    for column in ("sample_id", "patient_id", "patient_name")
)
_INSIDE: Final = (
    "r.id > :floor AND (r.sample_id LIKE :pattern ESCAPE '\\'"
    " OR r.patient_id LIKE :pattern ESCAPE '\\' OR r.patient_name LIKE :pattern ESCAPE '\\')"
)


def _literal(text: str) -> str:
    """Take the meaning from the wildcards of LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def newest_run(db: sqlite3.Connection) -> int:
    """Id of the newest run, or 0."""
    return int(value(db, "SELECT coalesce(max(id), 0) FROM runs"))


def newest(db: sqlite3.Connection) -> dict[str, Any]:
    """Say how far the store has come, to notice that there is something new.

    Returns
    -------
    dict
        ``run`` and ``capture``: ids of the newest, or 0; ``heard``: stamp columns of the newest
        capture (``wall``, ``clock``, ``boot``, ``monotonic_s``), or None.
    """
    found = rows(
        db,
        "SELECT id, received_wall AS wall, received_clock AS clock, received_boot AS boot,"
        " received_monotonic_s AS monotonic_s FROM captures ORDER BY id DESC LIMIT 1",
    )
    heard = dict(found[0]) if found else None
    return {
        "run": newest_run(db),
        "capture": heard.pop("id") if heard else 0,
        "heard": heard,
    }


def flag_codes(db: sqlite3.Connection) -> list[str]:
    """List the codes of flags that any run carries, by skipping through their index."""
    found: list[str] = []
    code = ""
    while True:
        step = rows(db, "SELECT min(code) AS code FROM flags WHERE code > ?", [code])
        if not step or step[0]["code"] is None:
            return found
        code = step[0]["code"]
        found.append(code)
