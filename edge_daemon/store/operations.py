"""What the writer thread does to rows, inside the transaction that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from edge_daemon.errors import EdgeError
from edge_daemon.store.documents import (
    DOCUMENT_SCHEMA,
    canonical,
    digest,
    outgoing,
    result_document,
)
from edge_daemon.store.rows import decoding_row, flag_rows, measurement_rows, stamp_row
from edge_daemon.store.schema import (
    captures,
    decodings,
    flags,
    measurements,
    outbox,
    runs,
    sightings,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from edge_daemon.clock import Stamp
    from edge_daemon.records import CaptureState, Classified, Decoded


def find_capture(db: Connection, capture_id: int) -> RowMapping:
    """Row of a capture; `EdgeError` if there is none."""
    row = db.execute(select(captures).where(captures.c.id == capture_id)).mappings().one_or_none()
    if row is None:
        raise EdgeError(
            f"there is no capture {capture_id}",
            action="list the captures to find its number",
        )
    return row


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
    added = db.execute(insert(decodings).values(row | created).returning(decodings.c.id))
    return {**row, "id": added.scalar_one()}


def insert_run(
    db: Connection,
    capture: RowMapping,
    decoding: dict[str, Any],
    row: dict[str, Any],
    step: Classified,
    stamp: Stamp,
) -> int:
    """Insert the run, its measurements and flags, and its outbox row."""
    last = select(func.max(runs.c.number)).where(runs.c.capture_id == capture["id"])
    row["number"] = (db.execute(last).scalar_one() or 0) + 1
    row["decoding_id"] = decoding["id"]
    values = measurement_rows(step.measurements)
    remarks = flag_rows(step.flags)
    document = result_document(dict(capture), decoding, row, values, remarks)
    row["digest"] = digest(canonical(document))
    created = stamp_row("created", stamp)
    run_id: int = db.execute(insert(runs).values(row | created).returning(runs.c.id)).scalar_one()
    for table, content in ((measurements, values), (flags, remarks)):
        if content:
            db.execute(insert(table), [{"run_id": run_id, **item} for item in content])
    body = canonical(outgoing(document))
    db.execute(
        insert(outbox).values(
            run_id=run_id,
            type="run.simulated" if row["simulated"] else "run.clinical",
            schema=DOCUMENT_SCHEMA,
            digest=digest(body),
            body=body,
            state="waiting",
            attempts=0,
            **created,
        )
    )
    return run_id
