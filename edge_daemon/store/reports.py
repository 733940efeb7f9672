"""Read-only questions about the analyzer's own reports, and which run each belongs to.

Standard library only, as `store.queries`. The join is worked out at every question
(`joining`), from rows found by index.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.canonical import canonical, digest
from edge_daemon.joining import Match, Subject, match, match_all, subject
from edge_daemon.merging import compare, merge, remark, suspicion
from edge_daemon.store.documents import report_document
from edge_daemon.store.reader import json_list, rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

__all__ = [
    "find",
    "listing",
    "match_runs",
    "of_captures",
    "of_run",
    "report",
    "unmatched_runs",
    "with_ids",
]

_END: Final = 2**63 - 1
_PAGE: Final = 200

# A capture that was analysed again: what the newest analysis read in it counts.
_NEWEST: Final = (
    "NOT EXISTS (SELECT 1 FROM reports AS later"
    " WHERE later.capture_id = r.capture_id AND later.number > r.number)"
)
_NEWEST_RUN: Final = _NEWEST.replace("FROM reports", "FROM runs")
_COLUMNS: Final = """
    r.*, c.instrument, c.source, c.name, c.sha256,
    c.received_wall, c.received_clock, c.received_boot, c.received_monotonic_s
"""
_SUBJECT: Final = """
    r.id, r.capture_id, r.sample_key, r.patient_id, r.patient_name, r.species,
    r.instrument_serial, r.acquired_at, r.simulated, c.instrument,
    c.received_wall, c.received_clock, c.received_boot, c.received_monotonic_s
"""
# What the instrument said of a run's sample, before people corrected it.
_TOLD: Final = """,
    d.patient_id AS told_patient_id, d.patient_name AS told_patient_name, d.species AS told_species
"""
_DECODED: Final = "JOIN decodings AS d ON d.id = r.decoding_id"
_JOIN: Final = "AS r JOIN captures AS c ON c.id = r.capture_id"


def listing(  # noqa: PLR0913 - one keyword per filter a person can give
    db: sqlite3.Connection,
    *,
    since: str | None = None,
    until: str | None = None,
    sample: str | None = None,
    patient: str | None = None,
    species: str | None = None,
    instrument: str | None = None,
    kind: str | None = None,
    unmatched: bool = False,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """List reports, newest first, each with the run it belongs to.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    since, until
        Half-open range of the wall time the report was stored at, as in `queries.results`.
    sample, patient, species, instrument, kind
        Only these; `kind` is ``sample`` or ``control``.
    unmatched
        Only reports that are compared with no run.
    limit
        Most reports to return.

    Returns
    -------
    list of dict
        Columns of the report and its capture, ``messages``, ``values``, ``run_id`` or None,
        and ``reason``: why the run of the same sample and time is not compared, else None.
    """
    wanted: list[tuple[str, Sequence[str | None]]] = [
        ("r.created_wall >= ?", (since,)),
        ("r.created_wall < ?", (until,)),
        ("r.sample_id = ?", (sample,)),
        ("(r.patient_id = ? OR r.patient_name = ?)", (patient, patient)),
        ("r.species = ?", (species,)),
        ("c.instrument = ?", (instrument,)),
        ("r.kind = ?", (kind,)),
    ]
    given = [(clause, values) for clause, values in wanted if values[0] is not None]
    clauses = ["r.id < ?", _NEWEST, *(clause for clause, _ in given)]
    query = (
        f"SELECT {_COLUMNS} FROM reports {_JOIN}"  # noqa: S608
        f" WHERE {' AND '.join(clauses)} ORDER BY r.id DESC LIMIT ?"
    )
    filters = [value for _, group in given for value in group]
    owners = _owners(match_runs(db)) if unmatched else None
    found: list[dict[str, Any]] = []
    before = _END
    while len(found) < limit:
        page = rows(db, query, [before, *filters, _PAGE if unmatched else limit])
        if not page:
            break
        before = page[-1]["id"]
        known = _owners(_matches_of(db, page)) if owners is None else owners
        for row in page:
            row["run_id"], row["reason"] = known.get(row["id"], (None, None))
        found += [r for r in page if not unmatched or r["run_id"] is None or r["reason"]]
    return _with_parts(db, found[:limit])


def report(db: sqlite3.Connection, report_id: int) -> dict[str, Any] | None:
    """Everything about one report; None if there is none.

    Returns
    -------
    dict or None
        As in `listing`, with ``histograms``, ``notes``, ``sightings`` (when the analyzer sent
        it again), ``other_reports`` of the same run, and ``intact``: whether what is stored
        still has the digest it was written with.
    """
    query = f"SELECT {_COLUMNS} FROM reports {_JOIN} WHERE r.id = ?"  # noqa: S608
    found = rows(db, query, [report_id])
    if not found:
        return None
    capture = rows(db, "SELECT * FROM captures WHERE id = ?", [found[0]["capture_id"]])[0]
    stored = dict(found[0])
    matches = _matches_of(db, found)
    found[0]["run_id"], found[0]["reason"] = _owners(matches).get(report_id, (None, None))
    told = _with_parts(db, found)[0]
    told["capture"] = capture
    told["histograms"] = _histograms(db, report_id)
    told["sightings"] = rows(
        db,
        "SELECT s.*, c.name, c.source FROM report_sightings AS s"
        " JOIN reports AS r ON r.id = s.report_id JOIN captures AS c ON c.id = s.capture_id"
        " WHERE r.content = ? ORDER BY s.id",
        [stored["content"]],
    )
    same_run = matches.get(told["run_id"], Match()) if told["run_id"] else Match()
    told["other_reports"] = [key for key in same_run.joined if key != report_id]
    told["intact"] = _proves(db, stored, capture)
    return told


def find(db: sqlite3.Connection, key: str) -> dict[str, Any] | None:
    """Everything about one report, as `report`.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    key
        ``report:12``, or a sample id (``sample:12`` says so), then its newest report.
    """
    kind, _, rest = key.partition(":")
    if kind == "report" and rest.isascii() and rest.isdigit() and int(rest) < _END:
        return report(db, int(rest))
    sample = rest if kind == "sample" else key
    newest = listing(db, sample=sample, limit=1)
    return report(db, newest[0]["id"]) if newest else None


def of_run(db: sqlite3.Connection, run: dict[str, Any]) -> dict[str, Any]:
    """Find what the analyzer reported for one run.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    run
        As `queries.run` gives it, with ``id``, ``flags`` and ``measurements``.

    Returns
    -------
    dict
        ``reports`` (all that are joined, oldest first, as in `listing`), ``values`` (of each
        the newest, see `merging.merge`), ``differences`` (see `merging.compare`) and
        ``remarks`` (code, severity, message, action, report_id) on what contradicts.
    """
    me = _subjects(db, "runs", "r.id = ?", [run["id"]])[0]
    own = [me.capture_id, me.key]
    near = _subjects(db, "reports", f"{_NEWEST} AND (r.capture_id = ? OR r.sample_key = ?)", own)
    rivals = _subjects(db, "runs", f"{_NEWEST_RUN} AND r.sample_key = ?", [me.key]) if near else []
    matched = match(me, near, rivals)
    told = with_ids(db, [*matched.joined, *(key for key, _ in matched.contradicted)])
    joined = [told[key] for key in matched.joined]
    values = merge(joined)
    remarks = [remark(run, joined, told[key], reason) for key, reason in matched.contradicted]
    return {
        "reports": joined,
        "values": values,
        "differences": compare(run["measurements"], values),
        "remarks": [*remarks, *suspicion(run, joined)],
    }


def of_captures(db: sqlite3.Connection, capture_ids: Sequence[int]) -> dict[int, list[int]]:
    """List the reports that captures hold, or hold again: capture id → ids of reports."""
    query = f"""
        SELECT r.capture_id, r.id FROM reports AS r
            WHERE r.capture_id IN (SELECT value FROM json_each(:ids)) AND {_NEWEST}
        UNION SELECT s.capture_id, s.report_id FROM report_sightings AS s
            WHERE s.capture_id IN (SELECT value FROM json_each(:ids))
        ORDER BY 1, 2
    """  # noqa: S608
    found: dict[int, list[int]] = {}
    for row in rows(db, query, {"ids": json.dumps(list(capture_ids))}):
        found.setdefault(row["capture_id"], []).append(row["id"])
    return found


def unmatched_runs(db: sqlite3.Connection) -> set[int]:
    """Ids of the runs, of each capture's newest analysis, that no report is compared with."""
    matched = {key for key, found in match_runs(db).items() if found.joined}
    query = f"SELECT r.id FROM runs AS r WHERE {_NEWEST_RUN}"  # noqa: S608
    return {row["id"] for row in rows(db, query)} - matched


def match_runs(db: sqlite3.Connection) -> dict[int, Match]:
    """Match all runs with all reports: run id → its reports, for runs that have any."""
    return match_all(_subjects(db, "runs", _NEWEST_RUN, []), _subjects(db, "reports", _NEWEST, []))


def told_controls(db: sqlite3.Connection, captures: Iterable[int] | None = None) -> set[int]:
    """Find captures of runs whose sample the analyzer itself reported as control material.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    captures
        Only these; None for all.
    """
    query = "SELECT r.capture_id, r.sample_key FROM reports AS r WHERE r.kind = 'control'"
    values: list[object] = []
    if captures is not None:
        among = "SELECT capture_id, sample_key FROM runs WHERE capture_id IN (SELECT value FROM j)"
        query = (
            "WITH j AS (SELECT value FROM json_each(?)), own AS (" + among + ") " + query + " AND"  # noqa: S608
            " (r.sample_key IN (SELECT sample_key FROM own)"
            " OR r.capture_id IN (SELECT value FROM j))"
        )
        values.append(json.dumps(list(captures)))
    said = rows(db, query, values)
    if not said:
        return set()
    matches = _matches_of(db, said)
    told = [
        run_id
        for run_id, found in matches.items()
        if any(why == "control_material" for _, why in found.contradicted)
    ]
    query = "SELECT capture_id FROM runs WHERE id IN (SELECT value FROM json_each(?))"
    return {row["capture_id"] for row in rows(db, query, [json.dumps(told)])}


def with_ids(db: sqlite3.Connection, report_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Read reports by id, as in `listing` without the run."""
    query = (
        f"SELECT {_COLUMNS} FROM reports {_JOIN}"  # noqa: S608
        " WHERE r.id IN (SELECT value FROM json_each(?))"
    )
    found = rows(db, query, [json.dumps(list(report_ids))])
    return {row["id"]: row for row in _with_parts(db, found)}


def _matches_of(db: sqlite3.Connection, found: Sequence[dict[str, Any]]) -> dict[int, Match]:
    """Match everything that shares a sample id or a capture with these reports."""
    keys = json.dumps([row["sample_key"] for row in found if row["sample_key"]])
    captures = json.dumps([row["capture_id"] for row in found])
    among = (
        "(r.sample_key IN (SELECT value FROM json_each(?))"
        " OR r.capture_id IN (SELECT value FROM json_each(?)))"
    )
    runs = _subjects(db, "runs", f"{_NEWEST_RUN} AND {among}", [keys, captures])
    reports = _subjects(db, "reports", f"{_NEWEST} AND {among}", [keys, captures])
    return match_all(runs, reports)


def _owners(matches: dict[int, Match]) -> dict[int, tuple[int, str | None]]:
    """Report id → run id and why the two are not compared; a run that is compared comes first."""
    found: dict[int, tuple[int, str | None]] = {}
    for run_id, matched in sorted(matches.items()):
        for key, reason in matched.contradicted:
            if key not in found or found[key][1]:
                found[key] = (run_id, reason)
        found.update((key, (run_id, None)) for key in matched.joined)
    return found


def _subjects(
    db: sqlite3.Connection, table: str, where: str, parameters: Sequence[object]
) -> list[Subject]:
    extra, join = (_TOLD, f"{_JOIN} {_DECODED}") if table == "runs" else (", r.kind", _JOIN)
    query = f"SELECT {_SUBJECT}{extra} FROM {table} {join} WHERE {where}"  # noqa: S608
    return [subject(row) for row in rows(db, query, parameters)]


def _with_parts(db: sqlite3.Connection, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Attach values to reports, with one query, and read their lists."""
    by_id = {row["id"]: row for row in found}
    for row in found:
        row["simulated"] = bool(row["simulated"])
        row["amends"] = bool(row["amends"])
        row["messages"] = json_list(row["messages"])
        row["notes"] = json_list(row["notes"])
        row["values"] = []
        del row["sample_key"], row["content"]
    for part in _values(db, by_id):
        owner = by_id[part.pop("report_id")]
        del part["position"]
        part["flags"] = json_list(part["flags"])
        owner["values"].append(part)
    return found


def _values(db: sqlite3.Connection, report_ids: Iterable[int]) -> list[dict[str, Any]]:
    query = """
        SELECT * FROM reported_values
        WHERE report_id IN (SELECT value FROM json_each(?)) ORDER BY report_id, position
    """
    return rows(db, query, [json.dumps(list(report_ids))])


def _histograms(db: sqlite3.Connection, report_id: int) -> list[dict[str, Any]]:
    query = "SELECT * FROM reported_histograms WHERE report_id = ? ORDER BY position"
    found = rows(db, query, [report_id])
    for row in found:
        del row["report_id"], row["position"]
        row["counts"] = json_list(row["counts"])
    return found


def is_intact(db: sqlite3.Connection, report_id: int) -> bool:
    """Whether a report, as stored, still has the digest that it was written with.

    Raises
    ------
    Retryable
        The database cannot be read now.
    """
    stored = rows(db, "SELECT * FROM reports WHERE id = ?", [report_id])
    if not stored:
        return False
    capture = rows(db, "SELECT * FROM captures WHERE id = ?", [stored[0]["capture_id"]])
    return bool(capture) and _proves(db, stored[0], capture[0])


def _proves(db: sqlite3.Connection, row: dict[str, Any], capture: dict[str, Any]) -> bool:
    query = "SELECT * FROM reported_histograms WHERE report_id = ? ORDER BY position"
    values, histograms = _values(db, [row["id"]]), rows(db, query, [row["id"]])
    try:
        document = report_document(capture, row, values, histograms)
    except ValueError:  # a list column no longer holds JSON
        return False
    stored: str = row["digest"]
    return digest(canonical(document)) == stored
