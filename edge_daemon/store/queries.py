"""Read-only questions to the store, for people and pages.

Standard library only, so that asking costs a fraction of a second on a small board. Every
connection is ``mode=ro``: it can neither write nor checkpoint, and never waits for the writer.
Lists are newest first by sequence and paged by key (`before`), never counted through.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.canonical import canonical, digest
from edge_daemon.errors import EdgeError
from edge_daemon.store import amendments, layout, reports, statistics
from edge_daemon.store.documents import result_document
from edge_daemon.store.reader import connect, json_list, rows, value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "captures",
    "connect",
    "epoch",
    "export",
    "notes",
    "quarantined",
    "refused",
    "results",
    "run",
    "status",
]

CLASSES: Final = ("pure_rbc", "reticulocyte", "clumped_rbc", "platelet", "other")
_END: Final = 2**63 - 1
_PAGE: Final = 200

_NEWEST_ONLY: Final = (
    "NOT EXISTS (SELECT 1 FROM runs AS later"
    " WHERE later.capture_id = r.capture_id AND later.number > r.number)"
)
_RUN_COLUMNS: Final = """
    r.id, r.capture_id, r.number, r.status, r.simulated,
    r.sample_id, r.patient_id, r.patient_name, r.species, r.breed, r.acquired_at,
    r.instrument_model, r.instrument_serial, r.firmware,
    r.volume_ul, r.dilution, r.duration_s,
    r.profile, r.profile_sha256, r.model, r.model_sha256, r.events,
    r.n_pure_rbc, r.n_reticulocyte, r.n_clumped_rbc, r.n_platelet, r.n_other,
    r.elapsed_s, r.created_wall, r.created_clock, r.created_boot, r.created_monotonic_s,
    r.digest, r.corrected, c.instrument, c.source, c.name, c.sha256
"""


def results(  # noqa: PLR0913 - one keyword per filter a person can give
    db: sqlite3.Connection,
    *,
    since: str | None = None,
    until: str | None = None,
    sample: str | None = None,
    patient: str | None = None,
    species: str | None = None,
    flag: str | None = None,
    status: str | None = None,
    instrument: str | None = None,
    ids: Iterable[int] | None = None,
    captures: Iterable[int] | None = None,
    limit: int = 50,
    before: int | None = None,
    all_runs: bool = False,
) -> list[dict[str, Any]]:
    """List runs, newest first.

    Parameters
    ----------
    db
        Connection from `connect`.
    since, until
        Half-open range of the wall time the run was made at, UTC in ISO 8601; a prefix such as
        ``2026-11`` does. A label: runs made while the clock was wrong carry that wrong time.
    sample
        Sample id, in any case.
    patient
        Patient id or patient name, in any case.
    species, flag
        A species; the code of a flag the run carries.
    status
        ``ok``, ``review`` or ``invalid``: the worst severity among its flags.
    instrument
        As the configuration names it.
    ids, captures
        Only these runs; only runs of these captures.
    limit
        Most runs to return.
    before
        Only runs with a smaller id: pass the last id of one page to get the next.
    all_runs
        Also runs that a later replay of the same capture has superseded.

    Returns
    -------
    list of dict
        Columns of the run and its capture, ``counts``, ``measurements``, ``flags``, and
        ``corrected``: fields of the sample that people have corrected.
    """
    wanted: list[tuple[str, Sequence[str | None]]] = [
        ("r.created_wall >= ?", (since,)),
        ("r.created_wall < ?", (until,)),
        ("r.sample_id = ?", (sample,)),
        ("(r.patient_id = ? OR r.patient_name = ?)", (patient, patient)),
        ("r.species = ?", (species,)),
        ("r.id IN (SELECT run_id FROM flags WHERE code = ?)", (flag,)),
        ("r.status = ?", (status,)),
        ("c.instrument = ?", (instrument,)),
        ("r.id IN (SELECT value FROM json_each(?))", (_among(ids),)),
        ("r.capture_id IN (SELECT value FROM json_each(?))", (_among(captures),)),
    ]
    given = [(clause, values) for clause, values in wanted if values[0] is not None]
    clauses = ["r.id < ?", *(clause for clause, _ in given)]
    if not all_runs:
        clauses.append(_NEWEST_ONLY)
    parameters = [_END if before is None else before]
    query = (
        f"SELECT {_RUN_COLUMNS} FROM runs AS r JOIN captures AS c ON c.id = r.capture_id"  # noqa: S608
        f" WHERE {' AND '.join(clauses)} ORDER BY r.id DESC LIMIT ?"
    )
    values = [*parameters, *(item for _, group in given for item in group), limit]
    return _with_parts(db, rows(db, query, values))


def _among(ids: Iterable[int] | None) -> str | None:
    return None if ids is None else json.dumps(list(ids))


def run(db: sqlite3.Connection, key: str) -> dict[str, Any] | None:
    """Everything about one run; None if there is none.

    Parameters
    ----------
    db
        Connection from `connect`.
    key
        Id of a run or of a sample (then its newest run). ``run:12`` and ``sample:12`` say which.

    Returns
    -------
    dict or None
        As in `results`, with ``capture``, ``sightings``, ``notes``, ``channels``,
        ``other_runs`` of the same capture, ``intact``: whether what is stored still has the
        digest it was written with, ``analyzer``: what the analyzer itself reported, as
        `reports.of_run` gives it, ``corrections`` and ``remarks``: what people said, as
        `amendments.history` and `amendments.notes` give it.

    Raises
    ------
    EdgeError
        The key is the id of one run and the sample id of another.
    """
    run_id = _find(db, key)
    if run_id is None:
        return None
    query = (
        f"SELECT {_RUN_COLUMNS}, r.decoding_id FROM runs AS r"  # noqa: S608
        " JOIN captures AS c ON c.id = r.capture_id WHERE r.id = ?"
    )
    found = _with_parts(db, rows(db, query, [run_id]))[0]
    capture = rows(db, "SELECT * FROM captures WHERE id = ?", [found["capture_id"]])[0]
    decoding = rows(db, "SELECT * FROM decodings WHERE id = ?", [found.pop("decoding_id")])[0]
    found["intact"] = _proves(db, run_id, capture, decoding)
    found["capture"] = _capture(capture)
    found["analyzer"] = reports.of_run(db, found)
    found["corrections"] = amendments.history(db, found)
    found["remarks"] = amendments.notes(db, found)
    found["channels"] = json_list(decoding["channels"])
    found["notes"] = json_list(decoding["notes"])
    found["sightings"] = rows(
        db, "SELECT * FROM sightings WHERE capture_id = ? ORDER BY id", [found["capture_id"]]
    )
    found["other_runs"] = rows(
        db,
        "SELECT id, number, profile, model, status, created_wall, created_clock FROM runs"
        " WHERE capture_id = ? AND id <> ? ORDER BY number DESC",
        [found["capture_id"], run_id],
    )
    return found


def captures(
    db: sqlite3.Connection,
    *,
    state: str | None = None,
    sha256: str | None = None,
    limit: int = 50,
    before: int | None = None,
) -> list[dict[str, Any]]:
    """List captures, newest first, with their newest decoding and the id of their newest run.

    Parameters
    ----------
    db
        Connection from `connect`.
    state
        ``received``, ``decoded``, ``classified`` or ``quarantined``.
    sha256
        Digest of the bytes.
    limit, before
        As in `results`.
    """
    query = """
        SELECT c.*, coalesce(d.profile, p.profile) AS profile, d.events,
            coalesce(d.sample_id, p.sample_id) AS sample_id,
            coalesce(d.patient_id, p.patient_id) AS patient_id,
            coalesce(d.species, p.species) AS species,
            coalesce(d.simulated, p.simulated) AS simulated,
            (SELECT max(r.id) FROM runs AS r WHERE r.capture_id = c.id) AS run_id,
            (SELECT count(*) FROM sightings AS s WHERE s.capture_id = c.id) AS sightings
        FROM captures AS c LEFT JOIN decodings AS d ON d.id =
            (SELECT max(n.id) FROM decodings AS n WHERE n.capture_id = c.id)
        LEFT JOIN reports AS p ON p.id = coalesce(
            (SELECT max(n.id) FROM reports AS n WHERE n.capture_id = c.id),
            (SELECT max(n.report_id) FROM report_sightings AS n WHERE n.capture_id = c.id))
        WHERE c.id < ?
    """
    parameters: list[object] = [_END if before is None else before]
    for column, wanted in (("state", state), ("sha256", sha256)):
        if wanted is not None:
            query += f" AND c.{column} = ?"
            parameters.append(wanted)
    query += " ORDER BY c.id DESC LIMIT ?"
    found = [_capture(row) for row in rows(db, query, [*parameters, limit])]
    told = reports.of_captures(db, [row["id"] for row in found])
    for row in found:
        row["report_ids"] = told.get(row["id"], [])
    return found


def notes(db: sqlite3.Connection, capture_id: int) -> list[str]:
    """List the notes that the newest decoding, or else report, of a capture was stored with."""
    query = """
        SELECT coalesce(
            (SELECT notes FROM decodings WHERE capture_id = :id ORDER BY id DESC LIMIT 1),
            (SELECT notes FROM reports WHERE capture_id = :id ORDER BY id DESC LIMIT 1),
            '[]') AS notes
    """
    return json_list(rows(db, query, {"id": capture_id})[0]["notes"])


def quarantined(
    db: sqlite3.Connection, *, limit: int = 50, before: int | None = None
) -> list[dict[str, Any]]:
    """List captures that were set aside, newest first, with reason and next action."""
    return captures(db, state="quarantined", limit=limit, before=before)


def refused(db: sqlite3.Connection, *, limit: int = 50) -> list[dict[str, Any]]:
    """List things that never became a capture, newest first, with how often each was seen."""
    return rows(db, "SELECT * FROM refusals ORDER BY id DESC LIMIT ?", [limit])


def epoch(db: sqlite3.Connection) -> str:
    """UUID that was made with the database and names it to other systems."""
    return str(value(db, "SELECT value FROM meta WHERE key = 'epoch'"))


def status(db: sqlite3.Connection) -> dict[str, Any]:
    """Sum the store up.

    Returns
    -------
    dict
        ``schema``, ``epoch``, ``states`` (captures by state), ``pending``, ``runs``,
        ``reports``, ``newest_capture`` (dict or None), ``refusals``, ``outbox_waiting``,
        ``database_bytes``, ``upkeep`` and ``recovered`` (as in `statistics`).
    """
    states = dict.fromkeys(("received", "decoded", "classified", "quarantined"), 0)
    states.update(
        (row["state"], row["n"])
        for row in rows(db, "SELECT state, count(*) AS n FROM captures GROUP BY state")
    )
    newest = captures(db, limit=1)
    return {
        "schema": layout.REVISION,
        "epoch": epoch(db),
        "states": states,
        "pending": value(db, "SELECT count(*) FROM captures WHERE finished = 0"),
        "runs": value(db, "SELECT count(*) FROM runs"),
        "reports": value(db, "SELECT count(*) FROM reports"),
        "newest_capture": newest[0] if newest else None,
        "refusals": value(db, "SELECT count(*) FROM refusals"),
        "outbox_waiting": value(db, "SELECT count(*) FROM outbox WHERE state = 'waiting'"),
        "database_bytes": value(db, "PRAGMA page_count") * value(db, "PRAGMA page_size"),
        "upkeep": statistics.upkeep(db),
        "recovered": statistics.recovered(db),
    }


def export(
    db: sqlite3.Connection, *, flat: bool = False, limit: int | None = None, **filters: Any
) -> Iterator[dict[str, Any]]:
    """Yield every run that passes the filters of `results`, newest first, page by page.

    Each page is read in a transaction of its own: a long export would otherwise keep the
    writer's log from being moved into the database, and fill the disk.

    Parameters
    ----------
    db
        Connection from `connect`.
    flat
        One level of keys: ``RBC``, ``RBC_unit``, ``RBC_low``, … and ``flags`` as one text.
    limit
        Most runs to yield; None for all.
    **filters
        As in `results`.
    """
    before = filters.pop("before", None)
    left = _END if limit is None else limit
    while left > 0:
        page = results(db, limit=min(_PAGE, left), before=before, **filters)
        for row in page:
            yield _flatten(row) if flat else row
        if len(page) < _PAGE:
            return
        left -= len(page)
        before = page[-1]["id"]


def _with_parts(db: sqlite3.Connection, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Attach counts, measurements and flags to runs, with one query each."""
    by_id = {row["id"]: row for row in found}
    for row in found:
        row["simulated"] = bool(row["simulated"])
        row["counts"] = {name: row.pop(f"n_{name}") for name in CLASSES}
        row["corrected"] = json_list(row["corrected"])
        row["measurements"] = []
        row["flags"] = []
    marks = ",".join("?" * len(by_id))
    for table in ("measurements", "flags"):
        query = f"SELECT * FROM {table} WHERE run_id IN ({marks}) ORDER BY run_id, position"  # noqa: S608
        for part in rows(db, query, list(by_id)):
            owner = by_id[part.pop("run_id")]
            del part["position"]
            if table == "measurements":
                part["flags"] = json_list(part["flags"])
            owner[table].append(part)
    return found


def _capture(row: dict[str, Any]) -> dict[str, Any]:
    row["finished"] = bool(row["finished"])
    row["reason_candidates"] = json_list(row["reason_candidates"])
    return row


def _find(db: sqlite3.Connection, key: str) -> int | None:
    kind, _, rest = key.partition(":")
    if kind not in {"run", "sample"}:
        kind, rest = "", key
    by_id = by_sample = None
    if kind != "sample" and rest.isascii() and rest.isdigit() and int(rest) < _END:
        by_id = rows(db, "SELECT id FROM runs WHERE id = ?", [int(rest)])
    if kind != "run":
        by_sample = rows(
            db, "SELECT id FROM runs WHERE sample_id = ? ORDER BY id DESC LIMIT 1", [rest]
        )
    if by_id and by_sample and not _same_sample(db, by_id[0]["id"], rest):
        raise EdgeError(
            f"{key} is the number of a run and the sample id of another",
            action=f"ask for run:{key} or sample:{key}",
        )
    found = by_sample or by_id
    return int(found[0]["id"]) if found else None


def _same_sample(db: sqlite3.Connection, run_id: int, sample: str) -> bool:
    query = "SELECT id FROM runs WHERE id = ? AND sample_id = ?"
    return bool(rows(db, query, [run_id, sample]))


def is_intact(db: sqlite3.Connection, run_id: int) -> bool:
    """Whether a run, as stored, still has the digest that it was written with.

    Raises
    ------
    Retryable
        The database cannot be read now.
    """
    query = "SELECT {}.* FROM {} JOIN runs AS r ON r.{} = {}.id WHERE r.id = ?"
    owner = {
        table: rows(db, query.format(table, table, column, table), [run_id])
        for table, column in (("captures", "capture_id"), ("decodings", "decoding_id"))
    }
    if not all(owner.values()):
        return False
    return _proves(db, run_id, owner["captures"][0], owner["decodings"][0])


def _proves(
    db: sqlite3.Connection, run_id: int, capture: Mapping[str, Any], decoding: Mapping[str, Any]
) -> bool:
    parts = {
        table: rows(db, f"SELECT * FROM {table} WHERE run_id = ? ORDER BY position", [run_id])  # noqa: S608
        for table in ("measurements", "flags")
    }
    row = rows(db, "SELECT * FROM runs WHERE id = ?", [run_id])[0]
    try:
        document = result_document(capture, decoding, row, parts["measurements"], parts["flags"])
    except ValueError:  # a list column no longer holds JSON
        return False
    stored: str = row["digest"]
    return digest(canonical(document)) == stored


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    flat = {key: value for key, value in row.items() if key not in {"counts", "measurements"}}
    flat["corrected"] = " ".join(row["corrected"])
    flat["flags"] = " ".join(flag["code"] for flag in row["flags"])
    flat.update((f"n_{name}", count) for name, count in row["counts"].items())
    for item in row["measurements"]:
        flat[item["code"]] = item["value"]
        flat.update(
            (f"{item['code']}_{key}", item[key]) for key in ("unit", "low", "high", "method")
        )
    return flat


def taken(db: sqlite3.Connection, source: str) -> set[tuple[str, int]]:
    """Names and sizes of the captures that a source handed in, under every name it used."""
    query = """
        SELECT name, size FROM captures WHERE source = :source UNION
        SELECT s.name, c.size FROM sightings AS s JOIN captures AS c ON c.id = s.capture_id
        WHERE s.source = :source
    """
    return {(row["name"], row["size"]) for row in rows(db, query, {"source": source})}
