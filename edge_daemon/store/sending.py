"""What the sync client writes: what became of the outbox's rows, and what it must remember."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from edge_daemon.store.rows import clean
from edge_daemon.store.sql import keep

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from edge_daemon.store.outbox import Settled
    from edge_daemon.store.writer import Store

_SETTLE: Final = """
    UPDATE outbox SET state = :state, reason = :reason, attempts = attempts + 1
    WHERE seq = :seq AND digest = :digest AND state = 'waiting'
"""
_AGAIN: Final = "UPDATE outbox SET state = 'waiting', reason = NULL WHERE state = 'dead'"


def settle(store: Store, settled: Iterable[Settled]) -> None:
    """Note what became of rows, in one transaction; one that no longer waits stays as it is."""
    told = [asdict(one) | {"reason": clean(one.reason) or None} for one in settled]

    def work(db: sqlite3.Connection) -> None:
        db.executemany(_SETTLE, told)

    if told:
        store.transact(work)


def send_again(store: Store, seqs: Sequence[int] | None = None) -> int:
    """Let dead letters wait again, all or those of `seqs`; return how many."""

    def work(db: sqlite3.Connection) -> int:
        if seqs is None:
            return db.execute(_AGAIN).rowcount
        return db.executemany(f"{_AGAIN} AND seq = ?", [(seq,) for seq in seqs]).rowcount

    return store.transact(work)


def remember(store: Store, key: str, text: str) -> None:
    """Keep a text that must outlive the process, such as when to try again."""
    store.transact(lambda db: keep(db, key, text))


def forget(store: Store, key: str) -> None:
    """Forget what was remembered under a key."""

    def work(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM meta WHERE key = ?", (key,))

    store.transact(work)
