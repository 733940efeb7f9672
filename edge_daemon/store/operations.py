"""What the writer thread does to rows, inside the transaction that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.canonical import canonical, digest
from edge_daemon.errors import EdgeError
from edge_daemon.store.documents import (
    DOCUMENT_SCHEMA,
    REPORT_SCHEMA,
    content,
    outgoing,
    report_document,
    result_document,
)
from edge_daemon.store.first_kind import kind_of
from edge_daemon.store.pictures import picture_digest
from edge_daemon.store.rows import (
    decoding_row,
    flag_rows,
    histogram_rows,
    measurement_rows,
    report_row,
    reported_value_rows,
    stamp_row,
)
from edge_daemon.store.sql import insert, insert_all, insert_new, row, value

if TYPE_CHECKING:
    import sqlite3

    from edge_daemon.clock import Stamp
    from edge_daemon.records import CaptureState, Classified, Decoded, Reported


_STATE: Final = """
    UPDATE captures SET state = :state, finished = :finished, reason_code = :reason_code,
        reason_message = :reason_message, reason_action = :reason_action,
        reason_candidates = :reason_candidates
    WHERE id = :id
"""
_NO_REASON: Final = {
    "reason_code": None,
    "reason_message": None,
    "reason_action": None,
    "reason_candidates": None,
}
# One that a replay of its capture has read otherwise since does not count.
_SENT_BEFORE: Final = """
    SELECT id FROM reports
    WHERE content = :content AND capture_id != :capture_id
        AND NOT EXISTS (
            SELECT 1 FROM reports AS later
            WHERE later.capture_id = reports.capture_id AND later.number > reports.number)
    ORDER BY id DESC LIMIT 1
"""


def find_capture(db: sqlite3.Connection, capture_id: int) -> dict[str, Any]:
    """Row of a capture; `EdgeError` if there is none."""
    found = row(db, "SELECT * FROM captures WHERE id = ?", (capture_id,))
    if found is None:
        raise EdgeError(
            f"there is no capture {capture_id}",
            action="list the captures to find its number",
        )
    return found


def any_deleted(db: sqlite3.Connection) -> bool:
    """Whether the bytes of any capture were deleted for the archive's budget."""
    one = "SELECT id FROM captures WHERE raw_deleted_wall IS NOT NULL LIMIT 1"
    return value(db, one) is not None


def is_deleted(db: sqlite3.Connection, instrument: str, sha256: str) -> bool:
    """Whether the bytes of this capture were."""
    one = """
        SELECT id FROM captures
        WHERE sha256 = ? AND instrument = ? AND raw_deleted_wall IS NOT NULL
    """
    return value(db, one, (sha256, instrument)) is not None


def keep_again(db: sqlite3.Connection, capture_id: int) -> None:
    """Note that the bytes of a capture are there again."""
    db.execute("UPDATE captures SET raw_deleted_wall = NULL WHERE id = ?", (capture_id,))


def find_unfinished(db: sqlite3.Connection, capture_id: int, wanted: str) -> dict[str, Any]:
    """Row of a capture whose analysis has not ended; `EdgeError` if it has."""
    found = find_capture(db, capture_id)
    if found["finished"]:
        raise impossible(found, wanted)
    return found


def impossible(capture: dict[str, Any], wanted: str) -> EdgeError:
    """Make the error for a step that the capture's state does not allow."""
    ended = ", its analysis has ended" if capture["finished"] else ""
    return EdgeError(
        f"capture {capture['id']} is {capture['state']}{ended}: it cannot be {wanted}",
        action="replay the capture to analyse it again",
    )


def move(
    db: sqlite3.Connection,
    capture_id: int,
    state: CaptureState,
    *,
    finished: bool,
    reason: dict[str, str] | None = None,
) -> None:
    """Set a capture's state; a reason stays only with the quarantine that gave it."""
    told = {"id": capture_id, "state": state, "finished": int(finished), **(reason or _NO_REASON)}
    db.execute(_STATE, told)


def begin_again(db: sqlite3.Connection, capture_id: int) -> None:
    """Set a capture back to the start of its next analysis."""
    move(db, capture_id, "received", finished=False)
    db.execute("UPDATE captures SET analysis = analysis + 1 WHERE id = ?", (capture_id,))


def sight(db: sqlite3.Connection, capture_id: int, label: dict[str, Any], stamp: Stamp) -> bool:
    """Add a sighting unless the capture is already known by this source and name."""
    first = "SELECT id FROM captures WHERE id = ? AND source = ? AND name = ?"
    if value(db, first, (capture_id, label["source"], label["name"])) is not None:
        return False
    seen = {
        "capture_id": capture_id,
        "source": label["source"],
        "name": label["name"],
        **stamp_row("seen", stamp),
    }
    return insert_new(db, "sightings", seen)


def keep_decoding(
    db: sqlite3.Connection, capture_id: int, step: Decoded, stamp: Stamp
) -> dict[str, Any]:
    """Row of the decoding; the newest one is used again when it says the same."""
    decoding = decoding_row(capture_id, step)
    last = "SELECT * FROM decodings WHERE capture_id = ? ORDER BY id DESC LIMIT 1"
    newest = row(db, last, (capture_id,))
    if newest is not None and all(newest[key] == told for key, told in decoding.items()):
        return newest
    return {**decoding, "id": insert(db, "decodings", decoding | stamp_row("created", stamp))}


def insert_run(
    db: sqlite3.Connection,
    capture: dict[str, Any],
    decoding: dict[str, Any],
    run: dict[str, Any],
    step: Classified,
    stamp: Stamp,
) -> int:
    """Insert the run, its measurements, flags and pictures, and its outbox row."""
    last = value(db, "SELECT max(number) FROM runs WHERE capture_id = ?", (capture["id"],))
    run["number"] = (last or 0) + 1
    run["decoding_id"] = decoding["id"]
    values = measurement_rows(step.measurements)
    remarks = flag_rows(step.flags)
    document = result_document(capture, decoding, run, values, remarks)
    run["digest"] = digest(canonical(document))
    created = stamp_row("created", stamp)
    run_id = insert(db, "runs", run | created)
    add_parts(db, run_id, run["digest"], values, remarks, step.pictures)
    kind = kind_of(db, capture, run["sample_id"])
    send(db, "run", run_id, run, document | {"kind": kind}, created)
    return run_id


def add_parts(
    db: sqlite3.Connection,
    run_id: int,
    run_digest: str,
    values: list[dict[str, Any]],
    remarks: list[dict[str, Any]],
    drawn: bytes | None,
) -> None:
    """Insert measurements, flags and pictures of a run."""
    insert_all(db, "measurements", [{"run_id": run_id, **part} for part in values])
    insert_all(db, "flags", [{"run_id": run_id, **part} for part in remarks])
    if drawn:
        mark = picture_digest(run_digest, drawn)
        insert(db, "pictures", {"run_id": run_id, "body": drawn, "digest": mark})


def keep_report(
    db: sqlite3.Connection, capture: dict[str, Any], step: Reported, stamp: Stamp
) -> tuple[int, bool]:
    """Insert a report with its outbox row, unless it is kept already.

    Returns
    -------
    tuple
        Id of the report, and whether it is new. It is not when this analysis recorded it before
        a crash, or when the instrument sent the same content in another message: that message
        is then a sighting. Only a report that names its own time can be recognised so; without
        one, equal content may be of another day.
    """
    report = report_row(capture["id"], step)
    report["number"] = capture["analysis"]
    of_this_analysis = "FROM reports WHERE capture_id = :capture_id AND number = :number"
    report["position"] = value(db, f"SELECT count(*) {of_this_analysis}", report)
    values = reported_value_rows(step.report.values)
    histograms = histogram_rows(step.report.histograms)
    document = report_document(capture, report, values, histograms)
    report["content"] = digest(canonical(content(document)))
    report["digest"] = digest(canonical(document))
    same = f"SELECT id {of_this_analysis} AND content = :content LIMIT 1"
    mine: int | None = value(db, same, report)
    if mine is not None:
        return mine, False
    # Without a time of its own, equal content may be of another day.
    first: int | None = None
    if report["acquired_at"] is not None:
        first = value(db, _SENT_BEFORE, report)
    if first is not None:
        again = {
            "report_id": first,
            "capture_id": capture["id"],
            "message_id": report["message_id"],
            **stamp_row("seen", stamp),
        }
        insert_new(db, "report_sightings", again)
        return first, False
    created = stamp_row("created", stamp)
    report_id = insert(db, "reports", report | created)
    of_it = {"report_id": report_id}
    insert_all(db, "reported_values", [of_it | part for part in values])
    insert_all(db, "reported_histograms", [of_it | part for part in histograms])
    send(db, "report", report_id, report, document, created)
    return report_id, True


def send(
    db: sqlite3.Connection,
    kind: Literal["run", "report"],
    key: int,
    told: dict[str, Any],
    document: dict[str, Any],
    created: dict[str, Any],
) -> None:
    """Put a document into the outbox; simulated ones are typed so and never sync as clinical."""
    body = canonical(outgoing(document))
    item = {
        f"{kind}_id": key,
        "type": f"{kind}.simulated" if told["simulated"] else f"{kind}.clinical",
        "schema": DOCUMENT_SCHEMA if kind == "run" else REPORT_SCHEMA,
        "digest": digest(body),
        "body": body,
        "state": "waiting",
        "attempts": 0,
        **created,
    }
    insert(db, "outbox", item)
