"""Read-only questions about control material. Standard library only.

A run or report is of a control when a person marked it so, when its sample id fits the pattern of
a lot, or when the analyzer said so. Patterns stay when lots change: of those that fit, the lot that
was in use at the time counts, the last one added before the measurement.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.store.reader import rows, value
from edge_daemon.store.reports import told_controls
from edge_daemon.units import UNITS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

_LAST: Final = chr(0x10FFFF)
_LOOKED_AT: Final = 1000
_BLANKS: Final = ("blank*", "background*")
"""Sample ids of blank runs, where nobody marked them."""

_COLUMNS: Final = """
    r.id, r.capture_id, r.sample_id, r.simulated, r.created_wall, c.instrument, c.received_wall
"""
_NEWEST: Final = (
    "NOT EXISTS (SELECT 1 FROM {0} AS later"
    " WHERE later.capture_id = r.capture_id AND later.number > r.number)"
)


def lots(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """List the levels of all lots, as they were last added, newest first.

    Returns
    -------
    list of dict
        Columns of the lot, ``targets`` as code → ``mean``, ``sd``.
    """
    query = """
        SELECT * FROM lots AS l WHERE NOT EXISTS (SELECT 1 FROM lots AS later
            WHERE later.lot = l.lot AND later.level = l.level AND later.id > l.id)
        ORDER BY l.id DESC
    """
    found = rows(db, query)
    for row in found:
        row["targets"] = _targets(row["targets"])
    return found


def _targets(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:  # damaged on the disk
        return {}
    return found


def said(db: sqlite3.Connection) -> tuple[int, int]:
    """Numbers of the newest lot and the newest mark, to notice that people said something."""
    newest = [
        value(db, f"SELECT coalesce(max(id), 0) FROM {table}")  # noqa: S608
        for table in ("lots", "control_marks")
    ]
    return int(newest[0]), int(newest[1])


def instruments(db: sqlite3.Connection) -> list[str]:
    """List the instruments that the newest captures came from, by name."""
    query = f"""
        SELECT DISTINCT instrument FROM (
            SELECT instrument FROM captures ORDER BY id DESC LIMIT {_LOOKED_AT})
        ORDER BY instrument
    """  # noqa: S608
    return [row["instrument"] for row in rows(db, query)]


def marks(
    db: sqlite3.Connection, captures: Iterable[int] | None = None
) -> dict[int, dict[str, Any]]:
    """Tell what people say captures are: capture id → ``kind``, ``lot``, ``level``, ``made_by``.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    captures
        Only these; None for all.
    """
    query = """
        SELECT capture_id, kind, lot, level, made_by FROM control_marks AS m
        WHERE NOT EXISTS (SELECT 1 FROM control_marks AS later
            WHERE later.capture_id = m.capture_id AND later.id > m.id)
    """
    values = []
    if captures is not None:
        query += " AND m.capture_id IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(list(captures)))
    return {row.pop("capture_id"): row for row in rows(db, query, values)}


def kinds(db: sqlite3.Connection, captures: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Tell what captures are that hold no patient's sample.

    Returns
    -------
    dict
        Capture id → ``kind`` (``control``, ``blank`` or ``check``), ``lot``, ``level`` and
        ``targets`` (of a control whose lot is known, else None and none) and ``made_by`` (who
        said so; None where the sample id or the analyzer does). Captures of patients are left
        out.
    """
    asked, known = list(captures), lots(db)
    said = marks(db, asked)
    found = {
        capture: _kind(mark["kind"], _lot_of({}, mark, known), mark["made_by"])
        for capture, mark in said.items()
        if mark["kind"] != "patient"
    }
    unsaid = [capture for capture in asked if capture not in said]
    among = "r.capture_id IN (SELECT value FROM json_each(?))"
    for row in _rows(db, "runs", among, [json.dumps(unsaid)]):
        if (lot := _lot_of(row, None, known)) is not None:
            found[row["capture_id"]] = _kind("control", lot)
        elif any(_fits(row["sample_id"], pattern) for pattern in _BLANKS):
            found[row["capture_id"]] = _kind("blank")
    unsaid = [capture for capture in unsaid if capture not in found]
    return found | dict.fromkeys(told_controls(db, unsaid), _kind("control"))


def by_sample_id(sample: Mapping[str, Any], known: Iterable[Mapping[str, Any]]) -> str:
    """Say what a sample is by its id: ``control``, ``blank`` or ``patient``.

    Parameters
    ----------
    sample
        ``sample_id``, ``instrument`` and ``received_wall``.
    known
        As `lots`.
    """
    if _lot_of(sample, None, known) is not None:
        return "control"
    blank = any(_fits(sample["sample_id"], pattern) for pattern in _BLANKS)
    return "blank" if blank else "patient"


def add_kinds(db: sqlite3.Connection, runs: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Say of each run, in place, whose it is.

    Adds ``kind`` (``patient``, ``control``, ``blank`` or ``check``), ``lot`` and ``level`` of a
    control whose lot is known, and ``kind_by``: who marked it so. All but ``kind`` may be None.
    """
    found = kinds(db, [run["capture_id"] for run in runs])
    for run in runs:
        kind = found.get(run["capture_id"], _PATIENT)
        run["kind"], run["kind_by"] = kind["kind"], kind["made_by"]
        run["lot"], run["level"] = kind["lot"], kind["level"]
    return runs


def _kind(
    kind: str, lot: Mapping[str, Any] | None = None, made_by: str | None = None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "lot": lot["lot"] if lot else None,
        "level": lot["level"] if lot else None,
        "targets": lot["targets"] if lot else {},
        "made_by": made_by,
    }


_PATIENT: Final = _kind("patient")


def measured(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """List every measurement of control material, oldest first.

    Returns
    -------
    list of dict
        ``side`` (``ours`` or ``analyzer``), ``key`` (``run:5``, ``report:7``), ``instrument``,
        ``simulated``, ``lot``, ``level``, ``wall``, ``at_s`` (seconds of that time), ``values``
        (code → value, in our units); ``lot`` and ``level`` are None for a control of the
        analyzer's that fits no lot.
    """
    known, said = lots(db), marks(db)
    found = []
    for side, table in (("ours", "runs"), ("analyzer", "reports")):
        for row in _candidates(db, table, known, said):
            mark = said.get(row["capture_id"])
            if mark is not None and mark["kind"] != "control":
                continue
            lot = _lot_of(row, mark, known)
            if lot is None and row.get("kind") != "control":
                continue
            found.append(
                {
                    "side": side,
                    "id": row["id"],
                    "key": f"{'run' if side == 'ours' else 'report'}:{row['id']}",
                    "instrument": row["instrument"],
                    "simulated": bool(row["simulated"]),
                    "lot": lot["lot"] if lot else None,
                    "level": lot["level"] if lot else None,
                    "wall": row["received_wall"],
                    "at_s": datetime.fromisoformat(row["received_wall"]).timestamp(),
                    "order": row["capture_id"],
                    "values": {},
                }
            )
    _add_values(db, found)
    return sorted(found, key=lambda one: (one["order"], one["id"]))


def no_patients(db: sqlite3.Connection) -> set[int]:
    """Find captures that hold no patient's sample: controls, blanks and runs of checks."""
    said = marks(db)
    found = {capture for capture, mark in said.items() if mark["kind"] != "patient"}
    known = lots(db)
    for table in ("runs", "reports"):
        for row in _candidates(db, table, known, said):
            if row["capture_id"] not in said and _lot_of(row, None, known) is not None:
                found.add(row["capture_id"])
    found |= {row["capture_id"] for row in _by_pattern(db, "runs", _BLANKS)} - set(said)
    return found | (told_controls(db) - set(said))


def newest_blank(db: sqlite3.Connection) -> int | None:
    """Id of the newest run of a blank: marked so, or by its sample id; None if there is none."""
    said = marks(db)
    captures = {capture for capture, mark in said.items() if mark["kind"] == "blank"}
    marked = rows(
        db,
        f"SELECT {_COLUMNS} FROM runs AS r JOIN captures AS c ON c.id = r.capture_id"  # noqa: S608
        f" WHERE r.capture_id IN (SELECT value FROM json_each(?)) AND {_NEWEST.format('runs')}",
        [json.dumps(sorted(captures))],
    )
    named = [row for row in _by_pattern(db, "runs", _BLANKS) if row["capture_id"] not in said]
    newest = max([*marked, *named], key=lambda row: row["capture_id"], default=None)
    return None if newest is None else int(newest["id"])


def _candidates(
    db: sqlite3.Connection,
    table: str,
    known: Iterable[Mapping[str, Any]],
    said: Mapping[int, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Rows that may be of a control, found by index: by pattern, by mark, as the analyzer says."""
    patterns = dict.fromkeys(lot["pattern"] for lot in known if lot["pattern"])
    found = {row["id"]: row for row in _by_pattern(db, table, patterns)}
    marked = [capture for capture, mark in said.items() if mark["kind"] == "control"]
    clauses = ["r.capture_id IN (SELECT value FROM json_each(?))"]
    if table == "reports":
        clauses.append("r.kind = 'control'")
    for clause in clauses:
        values = [json.dumps(sorted(marked))] if "?" in clause else []
        found.update((row["id"], row) for row in _rows(db, table, clause, values))
    return list(found.values())


def _by_pattern(
    db: sqlite3.Connection, table: str, patterns: Iterable[str]
) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for pattern in patterns:
        prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        among = _rows(db, table, "r.sample_id >= ? AND r.sample_id < ?", [prefix, prefix + _LAST])
        found.update((row["id"], row) for row in among if _fits(row["sample_id"], pattern))
    return list(found.values())


def _rows(
    db: sqlite3.Connection, table: str, where: str, values: Sequence[object]
) -> list[dict[str, Any]]:
    kind = ", r.kind" if table == "reports" else ""
    query = (
        f"SELECT {_COLUMNS}{kind} FROM {table} AS r JOIN captures AS c ON c.id = r.capture_id"  # noqa: S608
        f" WHERE {where} AND {_NEWEST.format(table)}"
    )
    return rows(db, query, values)


def _fits(sample_id: str | None, pattern: str) -> bool:
    return sample_id is not None and fnmatchcase(sample_id.strip().casefold(), pattern.casefold())


def _lot_of(
    row: Mapping[str, Any], mark: Mapping[str, Any] | None, known: Iterable[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Lot and level of a measurement; of several that fit, the one that was in use."""
    if mark is not None:
        wanted = (mark["lot"], mark["level"])
        return next((lot for lot in known if (lot["lot"], lot["level"]) == wanted), None)
    fitting = [
        lot
        for lot in known
        if lot["pattern"]
        and lot["instrument"] in (None, row["instrument"])
        and _fits(row["sample_id"], lot["pattern"])
    ]
    before = [lot for lot in fitting if lot["made_wall"] <= row["received_wall"]]
    # Newest first: the last one added before, else the first one added after.
    return before[0] if before else fitting[-1] if fitting else None


def _add_values(db: sqlite3.Connection, found: list[dict[str, Any]]) -> None:
    for side, query in _VALUES.items():
        by_id = {one["id"]: one for one in found if one["side"] == side}
        for row in rows(db, query, [json.dumps(sorted(by_id))]):
            if UNITS.get(row["code"]) == row["unit"]:
                by_id[row["id"]]["values"].setdefault(row["code"], row["value"])


_VALUES: Final = {
    "ours": """
        SELECT run_id AS id, code, value, unit FROM measurements
        WHERE run_id IN (SELECT value FROM json_each(?)) AND value IS NOT NULL
    """,
    "analyzer": """
        SELECT report_id AS id, code, value, unit FROM reported_values
        WHERE report_id IN (SELECT value FROM json_each(?)) AND code IS NOT NULL
            AND value IS NOT NULL ORDER BY report_id, position
    """,
}
