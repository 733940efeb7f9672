"""What the sync client writes: what became of the outbox's rows, and what it must remember."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, update
from sqlalchemy.dialects.sqlite import insert as upsert

from edge_daemon.store.rows import clean
from edge_daemon.store.schema import meta, outbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from edge_daemon.store.outbox import Settled
    from edge_daemon.store.writer import Store


_SETTLE: Final = (
    update(outbox)
    .where(
        outbox.c.seq == bindparam("row_seq"),
        outbox.c.digest == bindparam("row_digest"),
        outbox.c.state == "waiting",
    )
    .values(
        state=bindparam("row_state"),
        reason=bindparam("row_reason"),
        attempts=outbox.c.attempts + 1,
    )
)
"""Run once for each row, but compiled once: a box that was offline retires thousands."""


def settle(store: Store, settled: Iterable[Settled]) -> None:
    """Note what became of rows, in one transaction; one that no longer waits stays as it is."""
    told = [
        {
            "row_seq": one.seq,
            "row_digest": one.digest,
            "row_state": one.state,
            "row_reason": clean(one.reason) or None,
        }
        for one in settled
    ]

    def work(db: Connection) -> None:
        db.execute(_SETTLE, told)

    if told:
        store.transact(work)


def send_again(store: Store, seqs: Sequence[int] | None = None) -> int:
    """Let dead letters wait again, all or those of `seqs`; return how many."""

    def work(db: Connection) -> int:
        dead = outbox.c.state == "dead"
        which = dead if seqs is None else dead & outbox.c.seq.in_(seqs)
        return db.execute(update(outbox).where(which).values(state="waiting", reason=None)).rowcount

    return store.transact(work)


def remember(store: Store, key: str, text: str) -> None:
    """Keep a text that must outlive the process, such as when to try again."""

    def work(db: Connection) -> None:
        kept = upsert(meta).values(key=key, value=text)
        db.execute(kept.on_conflict_do_update(index_elements=["key"], set_={"value": text}))

    store.transact(work)


def forget(store: Store, key: str) -> None:
    """Forget what was remembered under a key."""

    def work(db: Connection) -> None:
        db.execute(delete(meta).where(meta.c.key == key))

    store.transact(work)
