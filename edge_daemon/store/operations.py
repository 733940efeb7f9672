"""What the writer thread does to rows, inside the transaction that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

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
from edge_daemon.store.schema import (
    captures,
    decodings,
    flags,
    measurements,
    outbox,
    pictures,
    report_sightings,
    reported_histograms,
    reported_values,
    reports,
    runs,
    sightings,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from edge_daemon.clock import Stamp
    from edge_daemon.records import CaptureState, Classified, Decoded, Reported


def find_capture(db: Connection, capture_id: int) -> RowMapping:
    """Row of a capture; `EdgeError` if there is none."""
    row = db.execute(select(captures).where(captures.c.id == capture_id)).mappings().one_or_none()
    if row is None:
        raise EdgeError(
            f"there is no capture {capture_id}",
            action="list the captures to find its number",
        )
    return row


def any_deleted(db: Connection) -> bool:
    """Whether the bytes of any capture were deleted for the archive's budget."""
    one = select(captures.c.id).where(captures.c.raw_deleted_wall.is_not(None)).limit(1)
    return db.execute(one).scalar_one_or_none() is not None


def is_deleted(db: Connection, instrument: str, sha256: str) -> bool:
    """Whether the bytes of this capture were."""
    gone = captures.c.raw_deleted_wall.is_not(None)
    one = select(captures.c.id).where(
        captures.c.sha256 == sha256, captures.c.instrument == instrument, gone
    )
    return db.execute(one).scalar_one_or_none() is not None


def keep_again(db: Connection, capture_id: int) -> None:
    """Note that the bytes of a capture are there again."""
    db.execute(
        update(captures)
        .where(captures.c.id == capture_id, captures.c.raw_deleted_wall.is_not(None))
        .values(raw_deleted_wall=None)
    )


def find_unfinished(db: Connection, capture_id: int, wanted: str) -> RowMapping:
    """Row of a capture whose analysis has not ended; `EdgeError` if it has."""
    row = find_capture(db, capture_id)
    if row["finished"]:
        raise impossible(row, wanted)
    return row


def impossible(capture: RowMapping, wanted: str) -> EdgeError:
    """Make the error for a step that the capture's state does not allow."""
    ended = ", its analysis has ended" if capture["finished"] else ""
    return EdgeError(
        f"capture {capture['id']} is {capture['state']}{ended}: it cannot be {wanted}",
        action="replay the capture to analyse it again",
    )


def move(
    db: Connection,
    capture_id: int,
    state: CaptureState,
    *,
    finished: bool,
    reason: dict[str, str] | None = None,
) -> None:
    """Set a capture's state; a reason stays only with the quarantine that gave it."""
    nothing = {
        "reason_code": None,
        "reason_message": None,
        "reason_action": None,
        "reason_candidates": None,
    }
    db.execute(
        update(captures)
        .where(captures.c.id == capture_id)
        .values(state=state, finished=int(finished), **(reason or nothing))
    )


def begin_again(db: Connection, capture_id: int) -> None:
    """Set a capture back to the start of its next analysis."""
    move(db, capture_id, "received", finished=False)
    db.execute(
        update(captures).where(captures.c.id == capture_id).values(analysis=captures.c.analysis + 1)
    )


def sight(db: Connection, capture_id: int, label: dict[str, Any], stamp: Stamp) -> bool:
    """Add a sighting unless the capture is already known by this source and name."""
    first = db.execute(
        select(captures.c.id).where(
            captures.c.id == capture_id,
            captures.c.source == label["source"],
            captures.c.name == label["name"],
        )
    ).scalar_one_or_none()
    if first is not None:
        return False
    row = {
        "capture_id": capture_id,
        "source": label["source"],
        "name": label["name"],
        **stamp_row("seen", stamp),
    }
    return db.execute(upsert(sightings).values(row).on_conflict_do_nothing()).rowcount == 1


def keep_decoding(db: Connection, capture_id: int, step: Decoded, stamp: Stamp) -> dict[str, Any]:
    """Row of the decoding; the newest one is used again when it says the same."""
    row = decoding_row(capture_id, step)
    newest = (
        db.execute(
            select(decodings)
            .where(decodings.c.capture_id == capture_id)
            .order_by(decodings.c.id.desc())
            .limit(1)
        )
        .mappings()
        .one_or_none()
    )
    if newest is not None and all(newest[key] == value for key, value in row.items()):
        return dict(newest)
    created = stamp_row("created", stamp)
    added = db.execute(insert(decodings).returning(decodings.c.id), row | created)
    return {**row, "id": added.scalar_one()}


def insert_run(
    db: Connection,
    capture: RowMapping,
    decoding: dict[str, Any],
    row: dict[str, Any],
    step: Classified,
    stamp: Stamp,
) -> int:
    """Insert the run, its measurements, flags and pictures, and its outbox row."""
    last = select(func.max(runs.c.number)).where(runs.c.capture_id == capture["id"])
    row["number"] = (db.execute(last).scalar_one() or 0) + 1
    row["decoding_id"] = decoding["id"]
    values = measurement_rows(step.measurements)
    remarks = flag_rows(step.flags)
    document = result_document(dict(capture), decoding, row, values, remarks)
    row["digest"] = digest(canonical(document))
    created = stamp_row("created", stamp)
    run_id: int = db.execute(insert(runs).returning(runs.c.id), row | created).scalar_one()
    for table, parts in ((measurements, values), (flags, remarks)):
        if parts:
            db.execute(insert(table), [{"run_id": run_id, **part} for part in parts])
    if step.pictures:
        mark = picture_digest(row["digest"], step.pictures)
        # As parameters: values of the statement itself are part of the key it is cached under.
        db.execute(insert(pictures), {"run_id": run_id, "body": step.pictures, "digest": mark})
    kind = kind_of(db, dict(capture), row["sample_id"])
    send(db, "run", run_id, row, document | {"kind": kind}, created)
    return run_id


def keep_report(
    db: Connection, capture: RowMapping, step: Reported, stamp: Stamp
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
    row = report_row(capture["id"], step)
    row["number"] = capture["analysis"]
    of_this_analysis = (reports.c.capture_id == capture["id"]) & (reports.c.number == row["number"])
    row["position"] = db.execute(
        select(func.count()).select_from(reports).where(of_this_analysis)
    ).scalar_one()
    values = reported_value_rows(step.report.values)
    histograms = histogram_rows(step.report.histograms)
    document = report_document(dict(capture), row, values, histograms)
    row["content"] = digest(canonical(content(document)))
    row["digest"] = digest(canonical(document))
    same = reports.c.content == row["content"]
    mine = db.execute(select(reports.c.id).where(of_this_analysis, same)).scalars().first()
    if mine is not None:
        return mine, False
    first = _sent_before(db, row)
    if first is not None:
        again = {
            "report_id": first,
            "capture_id": capture["id"],
            "message_id": row["message_id"],
            **stamp_row("seen", stamp),
        }
        db.execute(upsert(report_sightings).values(again).on_conflict_do_nothing())
        return first, False
    created = stamp_row("created", stamp)
    added = db.execute(insert(reports).returning(reports.c.id), row | created)
    report_id: int = added.scalar_one()
    for table, parts in ((reported_values, values), (reported_histograms, histograms)):
        if parts:
            db.execute(insert(table), [{"report_id": report_id, **part} for part in parts])
    send(db, "report", report_id, row, document, created)
    return report_id, True


def _sent_before(db: Connection, row: dict[str, Any]) -> int | None:
    """Id of the report with the same content in another capture, or None.

    One that a replay of its capture has read otherwise since does not count.
    """
    if row["acquired_at"] is None:
        return None
    later = reports.alias("later")
    superseded = (
        select(later.c.id)
        .where(later.c.capture_id == reports.c.capture_id, later.c.number > reports.c.number)
        .exists()
    )
    found = (
        select(reports.c.id)
        .where(
            reports.c.content == row["content"],
            reports.c.capture_id != row["capture_id"],
            ~superseded,
        )
        .order_by(reports.c.id.desc())
        .limit(1)
    )
    return db.execute(found).scalar_one_or_none()


def send(
    db: Connection,
    kind: Literal["run", "report"],
    key: int,
    row: dict[str, Any],
    document: dict[str, Any],
    created: dict[str, Any],
) -> None:
    """Put a document into the outbox; simulated ones are typed so and never sync as clinical."""
    body = canonical(outgoing(document))
    db.execute(
        insert(outbox),
        {
            f"{kind}_id": key,
            "type": f"{kind}.simulated" if row["simulated"] else f"{kind}.clinical",
            "schema": DOCUMENT_SCHEMA if kind == "run" else REPORT_SCHEMA,
            "digest": digest(body),
            "body": body,
            "state": "waiting",
            "attempts": 0,
            **created,
        },
    )
