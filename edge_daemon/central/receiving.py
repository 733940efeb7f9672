"""The one transaction that receives a batch: what is new is kept, what is known is answered so.

In PostgreSQL it is one statement whatever the size of the batch; SQLite, for a first try, gets
the same in several.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, insert, select
from sqlalchemy.dialects import sqlite

from edge_daemon.central.schema import documents, receipts
from edge_daemon.sync.protocol import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from edge_daemon.sync.protocol import Batch, Item

TYPES: Final = frozenset({"run", "report", "correction", "note", "mark"})
KINDS: Final = frozenset({"clinical", "simulated"})

_RECEIVE: Final = """
WITH given AS (
    SELECT * FROM unnest(
        %(seq)b::bigint[], %(digest)b::text[], %(type)b::text[], %(schema)b::bigint[],
        %(created_at)b::text[], %(clock_state)b::text[], %(body)b::text[], %(capture)b::text[]
    ) AS rows (seq, digest, type, schema, created_at, clock_state, body, capture)
), new AS (
    INSERT INTO receipts (device_id, epoch, seq, clinic_id, digest)
    SELECT %(device)s, %(epoch)s, seq, %(clinic)s, digest FROM given ORDER BY seq
    ON CONFLICT DO NOTHING RETURNING seq
), kept AS (
    INSERT INTO documents (clinic_id, device_id, epoch, seq, digest, type, schema, created_at,
        clock_state, received_at, body, capture)
    SELECT %(clinic)s, %(device)s, %(epoch)s, seq, digest, type, schema, created_at, clock_state,
        %(received)s, body, capture
    FROM given JOIN new USING (seq) ORDER BY seq
)
SELECT coalesce((SELECT array_agg(seq) FROM new), '{}'), coalesce(greatest(
    (SELECT max(seq) FROM receipts WHERE device_id = %(device)s AND epoch = %(epoch)s),
    (SELECT max(seq) FROM new)), 0)
"""
"""Takes columns as arrays, in binary: documents are full of what text would have to escape."""

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_TEXTS: Final = ("digest", "type", "created_at", "clock_state")


def receive(
    db: Connection, device_id: str, clinic_id: int, batch: Batch
) -> tuple[list[Answer], int]:
    """Store what is new of a batch, in the transaction of `db`.

    Returns
    -------
    tuple
        An answer for each item, and the highest seq received of this epoch.
    """
    looked_at = {item.seq: _look_at(item) for item in batch.items}
    # In one order, so that two requests of a box never wait for each other.
    sound = [
        (item, text)
        for item in sorted(batch.items, key=lambda item: item.seq)
        if (text := looked_at[item.seq][1]) is not None
    ]
    common = {"clinic_id": clinic_id, "device_id": device_id, "epoch": batch.epoch}
    keep = _keep_at_once if db.dialect.name == "postgresql" else _keep
    new, highest = keep(db, common, sound)
    known = _known(db, common, [item.seq for item, _ in sound if item.seq not in new])
    answers = [
        Answer(item.seq, "rejected", objection)
        if (objection := looked_at[item.seq][0])
        else _answer(item, new, known)
        for item in batch.items
    ]
    return answers, highest


def _look_at(item: Item) -> tuple[str, str | None]:
    """Say why an item cannot be stored, or empty and the text to store."""
    what, _, kind = item.type.partition(".")
    if what not in TYPES or kind not in KINDS:
        return "type", None
    if item.body.get("simulated", False) != (kind == "simulated"):
        return "simulated", None  # the mark of the document and of the item must agree for ever
    text = item.proven()
    return ("digest", None) if text is None else ("", text)


def _capture(item: Item) -> str:
    """Say which capture an item is about; empty where it does not say."""
    named = item.body.get("capture")
    return named if isinstance(named, str) and _DIGEST.fullmatch(named) else ""


def _answer(item: Item, new: set[int], known: dict[int, str]) -> Answer:
    if item.seq in new:
        return Answer(item.seq, "stored")
    if known.get(item.seq, item.digest) != item.digest:
        return Answer(item.seq, "rejected", "conflict")
    return Answer(item.seq, "duplicate")


def _keep_at_once(
    db: Connection, common: dict[str, Any], sound: Sequence[tuple[Item, str]]
) -> tuple[set[int], int]:
    """Keep what is new of these items; their seqs, and the highest of the epoch."""
    from psycopg.types.numeric import Int8  # noqa: PLC0415 - only where there is PostgreSQL

    values: dict[str, Any] = {
        **{name: [getattr(item, name) for item, _ in sound] for name in _TEXTS},
        # One type whatever the numbers are, so that one prepared statement serves all.
        "seq": [Int8(item.seq) for item, _ in sound],
        "schema": [Int8(item.schema) for item, _ in sound],
        "body": [text for _, text in sound],
        "capture": [_capture(item) for item, _ in sound],
        "device": common["device_id"],
        "clinic": common["clinic_id"],
        "epoch": common["epoch"],
        "received": datetime.now(UTC),
    }
    new, highest = db.exec_driver_sql(_RECEIVE, values).one()
    return set(new), int(highest)


def _keep(
    db: Connection, common: dict[str, Any], sound: Sequence[tuple[Item, str]]
) -> tuple[set[int], int]:
    """Do the same in SQLite."""
    new: set[int] = set()
    if sound:
        rows = [{**common, "seq": item.seq, "digest": item.digest} for item, _ in sound]
        made = sqlite.insert(receipts).values(rows).on_conflict_do_nothing()
        new = {row.seq for row in db.execute(made.returning(receipts.c.seq))}
    received = datetime.now(UTC)
    told = [
        {
            **common,
            "seq": item.seq,
            "digest": item.digest,
            "type": item.type,
            "schema": item.schema,
            "created_at": item.created_at,
            "clock_state": item.clock_state,
            "received_at": received,
            "body": text,
            "capture": _capture(item),
        }
        for item, text in sound
        if item.seq in new
    ]
    if told:
        db.execute(insert(documents), told)
    highest = select(func.max(receipts.c.seq)).where(*_of(common))
    return new, int(db.execute(highest).scalar_one() or 0)


def _known(db: Connection, common: dict[str, Any], seqs: Sequence[int]) -> dict[int, str]:
    """Digests that these seqs of the epoch were received with before."""
    if not seqs:
        return {}
    query = select(receipts.c.seq, receipts.c.digest).where(*_of(common), receipts.c.seq.in_(seqs))
    return {row.seq: row.digest for row in db.execute(query)}


def _of(common: dict[str, Any]) -> tuple[Any, Any]:
    return receipts.c.device_id == common["device_id"], receipts.c.epoch == common["epoch"]
