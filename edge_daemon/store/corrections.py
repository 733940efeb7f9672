"""What people say after a run, inside the transaction that the writer is given.

A correction never changes what is stored: it makes the capture's next run with the corrected
sample, as a replay would, so that lists, searches and the outbox carry what is in force, and the
original stays. Replays of later apply the corrections in force again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.canonical import canonical, digest
from edge_daemon.errors import EdgeError
from edge_daemon.joining import sample_key
from edge_daemon.records import CELL_CLASSES, MEASUREMENT_CODES, SPECIES, Flag
from edge_daemon.store import said
from edge_daemon.store.answers import PendingCapture
from edge_daemon.store.documents import result_document
from edge_daemon.store.first_kind import kind_of
from edge_daemon.store.operations import add_parts, begin_again, find_capture, send
from edge_daemon.store.rows import clean, flag_rows, stamp_row, status_of
from edge_daemon.store.sql import insert, row, rows, value, values

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edge_daemon.clock import Stamp

FIELDS: Final = ("sample_id", "patient_id", "patient_name", "species", "breed")
"""What of a sample a person can correct."""

SPECIES_CORRECTED: Final = "species_corrected"
"""Flag of a run whose cells were called for another species than the corrected one."""

LONGEST: Final = 2000

NoteKind = Literal["note", "smear"]
Verdict = Literal["confirms", "refutes"]


@dataclass(frozen=True, slots=True)
class Corrected:
    """Answer to a correction.

    Attributes
    ----------
    run_id
        The run with the corrected sample.
    capture_id
        Of that run.
    analysed_again
        The species was corrected, and the raw bytes are there: the capture waits for an
        analysis, which makes another run.
    """

    run_id: int
    capture_id: int
    analysed_again: bool


def in_force(db: sqlite3.Connection, capture_id: int) -> dict[str, str | None]:
    """Fields that people have corrected, with what is in force."""
    query = "SELECT changes FROM corrections WHERE capture_id = ? ORDER BY id"
    found: dict[str, str | None] = {}
    for text in values(db, query, (capture_id,)):
        found.update({field: after for field, (_, after) in json.loads(text).items()})
    return found


def waiting(
    db: sqlite3.Connection, after: int, limit: int | None, path: Callable[[str], Path]
) -> list[PendingCapture]:
    """List captures whose analysis has not ended, oldest first, with what is in force for each."""
    query = "SELECT * FROM captures WHERE finished = 0 AND id > ? ORDER BY id LIMIT ?"
    return [
        PendingCapture(
            capture_id=found["id"],
            instrument=found["instrument"],
            source=found["source"],
            name=found["name"],
            sha256=found["sha256"],
            size=found["size"],
            state=found["state"],
            path=path(found["sha256"]),
            **_called_before(db, found["id"]),
        )
        for found in rows(db, query, (after, -1 if limit is None else limit))
    ]


def _called_before(db: sqlite3.Connection, capture_id: int) -> dict[str, Any]:
    """Say what a capture with a corrected species is to be called for, and how it was decoded.

    The corrected sample must not get the cells of another data set, or by another profile.
    """
    species = in_force(db, capture_id).get("species")
    if species is None:
        return {}
    query = "SELECT profile, notes FROM decodings WHERE capture_id = ? ORDER BY id DESC LIMIT 1"
    before = row(db, query, (capture_id,))
    assert before is not None  # only a run is corrected, and it has a decoding
    notes = tuple(json.loads(before["notes"]))
    return {"species": species, "profile": before["profile"], "notes": notes}


def put_in_force(run: dict[str, Any], corrected: Mapping[str, str | None]) -> None:
    """Write corrections over the sample of a run's row.

    The key by which reports of the analyzer find the run stays that of the instrument's own
    sample id, which stands in those reports too.
    """
    told = {field: run[field] for field in FIELDS}
    run.update(corrected)
    run["corrected"] = json.dumps([field for field in FIELDS if run[field] != told[field]])
    run["sample_key"] = sample_key(told["sample_id"]) or sample_key(run["sample_id"])


def correct(
    db: sqlite3.Connection,
    run_id: int,
    changes: Mapping[str, str | None],
    by: str,
    why: str,
    stamp: Stamp,
) -> Corrected:
    """Make the capture's next run with a corrected sample, and keep who changed what, and why."""
    base = _newest(db, run_id)
    by, why = required(by, "who corrects"), required(why, "the reason for the correction")
    changed = _changed(base, changes)
    capture = find_capture(db, base["capture_id"])
    again = "species" in changed and capture["raw_deleted_wall"] is None
    made = _copy(db, capture, dict(base), changed, stamp)
    told = {
        "capture_id": base["capture_id"],
        "run_id": made,
        "changes": canonical({field: [base[field], new] for field, new in changed.items()}),
        "made_by": by,
        "reason": why,
        **stamp_row("made", stamp),
    }
    said.send(db, "correction", insert(db, "corrections", told))
    if again:
        begin_again(db, base["capture_id"])
    return Corrected(made, base["capture_id"], again)


def _newest(db: sqlite3.Connection, run_id: int) -> dict[str, Any]:
    """Row of a run, which must be the newest of its capture."""
    run = _run(db, run_id)
    query = "SELECT id FROM runs WHERE capture_id = ? ORDER BY number DESC LIMIT 1"
    newest = value(db, query, (run["capture_id"],))
    if newest != run_id:
        raise EdgeError(
            f"run {run_id} was replaced by run {newest}: only the newest can be corrected",
            action=f"look at run {newest} and correct that one",
        )
    return run


def _run(db: sqlite3.Connection, run_id: int) -> dict[str, Any]:
    found = row(db, "SELECT * FROM runs WHERE id = ?", (run_id,))
    if found is None:
        raise EdgeError(f"there is no run {run_id}", action="list the results to find its number")
    return found


def _changed(base: Mapping[str, Any], changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Check what is to be corrected, and leave out what is so already."""
    unknown = sorted(set(changes) - set(FIELDS))
    if unknown:
        raise EdgeError(
            f"{unknown[0]!r} cannot be corrected, only {', '.join(FIELDS)}",
            action="add a note instead",
        )
    wanted = {field: _field(field, value) for field, value in changes.items()}
    changed = {field: value for field, value in wanted.items() if value != base[field]}
    if not changed:
        raise EdgeError(
            f"nothing would change: run {base['id']} says so already",
            action="look at the run again",
        )
    return changed


def _field(field: str, value: str | None) -> str | None:
    text = clean(value or "").strip() or None
    if field == "species" and text not in SPECIES:
        raise EdgeError(
            f"{value!r} is no species that is known here",
            action=f"give one of {', '.join(SPECIES)}",
        )
    if text is not None and len(text) > LONGEST:
        raise _too_long(field)
    return text


def required(text: str, what: str) -> str:
    """Return a text that must say something, without white space around it."""
    found = clean(text).strip()
    if not found:
        raise EdgeError(f"{what} is missing", action="say it in a few words")
    if len(found) > LONGEST:
        raise _too_long(what)
    return found


def _too_long(what: str) -> EdgeError:
    return EdgeError(f"{what} is longer than {LONGEST} characters", action="shorten it")


def _copy(
    db: sqlite3.Connection,
    capture: dict[str, Any],
    base: dict[str, Any],
    changed: Mapping[str, str | None],
    stamp: Stamp,
) -> int:
    """Insert the next run: another sample, the same cells. It was analysed when the first was."""
    base_id = base.pop("id")
    decoding = row(db, "SELECT * FROM decodings WHERE id = ?", (base["decoding_id"],))
    assert decoding is not None
    base.update({field: decoding[field] for field in FIELDS})
    put_in_force(base, {**in_force(db, base["capture_id"]), **changed})
    base["number"] += 1
    found = _parts(db, "measurements", base_id)
    remarks = _parts(db, "flags", base_id)
    called_for = value(db, _CALLED_FOR, (base["capture_id"],))
    if base["species"] != called_for:
        deleted = capture["raw_deleted_wall"] is not None
        remarks += _doubt(called_for, base["species"], len(remarks), deleted=deleted)
    base["status"] = status_of(remark["severity"] for remark in remarks)
    document = result_document(capture, decoding, base, found, remarks)
    base["digest"] = digest(canonical(document))
    made = insert(db, "runs", base)
    drawn = value(db, "SELECT body FROM pictures WHERE run_id = ?", (base_id,))
    add_parts(db, made, base["digest"], found, remarks, drawn)
    told = document | {"kind": kind_of(db, capture, base["sample_id"])}
    send(db, "run", made, base, told, stamp_row("created", stamp))
    return made


_CALLED_FOR: Final = """
    SELECT species FROM runs
    WHERE capture_id = ? AND NOT EXISTS (SELECT 1 FROM corrections WHERE run_id = runs.id)
    ORDER BY number DESC LIMIT 1
"""
"""Species that the cells of a capture were called for: of its newest run that an analysis made."""


def _doubt(
    before: str | None, after: str | None, position: int, *, deleted: bool
) -> list[dict[str, Any]]:
    flag = Flag(
        SPECIES_CORRECTED,
        "review",
        f"species corrected from {before or 'unknown'} to {after}: these values were computed "
        "for the former",
        "measure the sample again: its raw data were deleted to keep the archive small"
        if deleted
        else "wait for the new analysis; if none comes, look whether the service runs",
    )
    return [{**told, "position": position} for told in flag_rows([flag])]


def _parts(db: sqlite3.Connection, table: str, run_id: int) -> list[dict[str, Any]]:
    query = f"SELECT * FROM {table} WHERE run_id = ? ORDER BY position"  # noqa: S608 - our own
    found = rows(db, query, (run_id,))
    for part in found:
        del part["run_id"]
    # The doubt about another species is raised anew while it stands.
    return [part for part in found if part.get("code") != SPECIES_CORRECTED]


def add_note(
    db: sqlite3.Connection,
    run_id: int,
    text: str,
    by: str,
    kind: NoteKind,
    concerns: str | None,
    verdict: Verdict | None,
    stamp: Stamp,
) -> int:
    """Add a note to a run; a smear says which class, value or flag it confirms or refutes."""
    run = _run(db, run_id)
    if kind not in ("note", "smear"):
        raise EdgeError(f"{kind!r} is no kind of note", action="give note or smear")
    if (kind == "smear") != (verdict is not None) or verdict not in (None, "confirms", "refutes"):
        raise EdgeError(
            "a smear confirms or refutes something, and nothing else does",
            action="say whether the smear confirms or refutes it",
        )
    if kind == "smear" and not concerns:
        raise EdgeError(
            "what the smear confirms or refutes is missing",
            action="name a cell class, a value or a flag of the run",
        )
    if concerns:
        raised = values(db, "SELECT code FROM flags WHERE run_id = ?", (run_id,))
        known = (*CELL_CLASSES, *MEASUREMENT_CODES, *raised)
        if concerns not in known:
            raise EdgeError(
                f"{concerns!r} is no cell class, value or flag of run {run_id}",
                action=f"give one of {', '.join(dict.fromkeys(known))}",
            )
    note = {
        "capture_id": run["capture_id"],
        "run_id": run_id,
        "kind": kind,
        "concerns": concerns or None,
        "verdict": verdict,
        "text": required(text, "the text of the note"),
        "made_by": required(by, "who writes"),
        **stamp_row("made", stamp),
    }
    added = insert(db, "run_notes", note)
    said.send(db, "note", added)
    return added
