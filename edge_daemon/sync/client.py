"""Empties the outbox into the central server: newest first, each item until it is answered.

Nothing here is needed for a result to be kept or shown: while there is no server, items wait in
the database. `part` runs it in the service.
"""

from __future__ import annotations

import contextlib
import random
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.canonical import digest
from edge_daemon.errors import Fatal, Retryable
from edge_daemon.store import outbox, sending
from edge_daemon.store.outbox import Settled
from edge_daemon.store.reader import connect
from edge_daemon.sync import protocol
from edge_daemon.sync.identity import renew
from edge_daemon.sync.policy import PATIENCE, Patience, TroubleError, judge
from edge_daemon.sync.protocol import ProtocolError
from edge_daemon.sync.raw import RawSender, Rule

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.store.writer import Store
    from edge_daemon.sync.http import Server
    from edge_daemon.sync.identity import Identity

IDLE_S: Final = 5.0
RESULTS_ONLY: Final = Rule(which="none")

Row = dict[str, Any]


class SyncClient:
    """Sends what waits; `step` is one turn of its loop.

    Parameters
    ----------
    store
        Written to when items are answered.
    data_dir
        Read for what waits.
    clock
        Intervals and stamps.
    identity
        Who this box is.
    connect_server
        Makes the connection for an identity; called again when that was renewed.
    rule
        Which raw captures are sent, and whether anything simulated is.
    stopping
        Set from another thread to end after the request in hand.
    rng
        Chance of the waiting times.

    Attributes
    ----------
    progressed_at
        Monotonic time of the last turn or answer, for the watchdog.
    """

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        clock: Clock,
        *,
        identity: Identity,
        connect_server: Callable[[Identity], Server],
        rule: Rule = RESULTS_ONLY,
        stopping: threading.Event | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.progressed_at = clock.monotonic()
        self._store = store
        self._data_dir = data_dir
        self._clock = clock
        self._identity = identity
        self._connect_server = connect_server
        self._server = self._connect()
        self._raw = RawSender(store, data_dir, rule, pause=self._rest)
        self._simulated = rule.simulated
        self._rng = rng or random.Random()  # noqa: S311 - when to try again, no secret
        self._stopping = stopping or threading.Event()
        self._summary: dict[str, Any] = {}
        self._answered_at: str | None = None
        with closing(connect(data_dir)) as db:
            self._epoch = outbox.epoch(db)
            self._patience = Patience.load(outbox.remembered(db, PATIENCE))

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def describe(self) -> dict[str, Any]:
        """Say for the status what waits and what is the matter."""
        return {
            "server": self._identity.server,
            "code": self._patience.code,
            "message": self._patience.message,
            "held": self._patience.held,
            "attempts": self._patience.attempts,
            "answered_at": self._answered_at,
            **self._summary,
        }

    def step(self) -> float:
        """Send all that waits, unless it must wait longer.

        Returns
        -------
        float
            Seconds until the next look is due.
        """
        now = self._clock.stamp()
        self.progressed_at = now.monotonic_s
        wait_s = 0.0
        try:
            with closing(connect(self._data_dir)) as db:
                # Read anew each time: a person may have asked to try at once.
                self._patience = Patience.load(outbox.remembered(db, PATIENCE))
                wait_s = self._patience.wait_s(now.boot_id, now.monotonic_s)
                try:
                    if wait_s <= 0.0:
                        self._send_all(db)
                        self._send_raw(db)
                        self._trouble_is_over()
                finally:
                    self._summary = outbox.summary(db, simulated=self._simulated)
        except TroubleError as trouble:
            self._wait_longer(trouble)
        except Retryable:  # the database is busy; the store says so by itself
            return IDLE_S
        self.progressed_at = self._clock.monotonic()
        return min(IDLE_S, wait_s) if wait_s > 0.0 else IDLE_S

    def _send_all(self, db: sqlite3.Connection) -> None:
        """Send until nothing waits; what is new meanwhile goes first."""
        unanswered: set[int] = set()
        while not self._stopping.is_set():
            limit = protocol.MAX_ITEMS + len(unanswered)
            found = outbox.waiting(db, simulated=self._simulated, limit=limit)
            batch = self._fitting([row for row in found if row["seq"] not in unanswered])
            if not batch:
                self._renew_in_time()  # after the results: it may be refused for weeks
                return
            unanswered |= self._exchange(batch)

    def _send_raw(self, db: sqlite3.Connection) -> None:
        """Send raw captures while no result waits."""
        while not self._stopping.is_set():
            if not self._raw.send_next(db, self._server, self._clock.stamp()):
                return
            self._send_all(db)

    def _rest(self, seconds: float) -> None:
        """Let time pass, unless the service stops."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0 and not self._stopping.is_set():
            self._stopping.wait(min(left, IDLE_S))
            self._note_progress()

    def _connect(self) -> Server:
        server = self._connect_server(self._identity)
        server.progress = self._note_progress
        return server

    def _note_progress(self) -> None:
        self.progressed_at = self._clock.monotonic()

    def tell(self, health: str) -> None:
        """Tell the server how the box is, JSON; losable."""
        headers = {"Content-Type": "application/json"}
        if not self._patience.code:
            with contextlib.suppress(TroubleError):
                self._server.call("POST", "/v1/health", headers=headers, body=health.encode())

    def _fitting(self, rows: Sequence[Row]) -> list[tuple[Row, bytes]]:
        """Take rows, as lines, up to the size of a batch; set aside what was damaged here."""
        batch: list[tuple[Row, bytes]] = []
        size = 0
        for row in rows[: protocol.MAX_ITEMS]:
            line = _line(row)
            if line is None or len(line) > protocol.MAX_BYTES:
                reason = "damaged here" if line is None else "larger than a batch may be"
                sending.settle(self._store, [Settled(row["seq"], row["digest"], "dead", reason)])
                continue
            if size + len(line) > protocol.MAX_BYTES:
                break
            batch.append((row, line))
            size += len(line)
        return batch

    def _exchange(self, batch: Sequence[tuple[Row, bytes]]) -> set[int]:
        """Send one batch and note its answers; return the seqs that got none.

        Raises
        ------
        TroubleError
            Nothing of it was answered.
        """
        lines = [(row["seq"], line) for row, line in batch]
        headers, payload = protocol.pack(self._epoch, lines, clock=self._clock.stamp().state)
        answer = self._server.call("POST", protocol.INGEST, headers=headers, body=payload)
        trouble = judge(answer.status, answer.headers.get("retry-after"))
        if trouble is not None and trouble.response == "split":
            return self._split(batch, trouble)
        if trouble is not None:
            raise trouble
        try:
            told = protocol.read_reply(
                answer.status,
                answer.headers.get("content-type", ""),
                answer.body,
                epoch=self._epoch,
                seqs=[seq for seq, _ in lines],
            )
        except ProtocolError as error:
            raise TroubleError("retry", error.code, error.message) from error
        if not told:
            raise TroubleError("retry", "no_reply", "the reply answers none of what was sent")
        self._settle(batch, told)
        return {seq for seq, _ in lines} - told.keys()

    def _split(self, batch: Sequence[tuple[Row, bytes]], trouble: TroubleError) -> set[int]:
        """Send the halves; a single item that is refused becomes a dead letter."""
        if len(batch) == 1:
            row = batch[0][0]
            reason = f"refused: {trouble.code}"
            sending.settle(self._store, [Settled(row["seq"], row["digest"], "dead", reason)])
            return set()
        half = len(batch) // 2
        return self._exchange(batch[:half]) | self._exchange(batch[half:])

    def _settle(self, batch: Sequence[tuple[Row, bytes]], told: dict[int, protocol.Answer]) -> None:
        self._trouble_is_over()
        sending.settle(
            self._store,
            [
                Settled(row["seq"], row["digest"], "dead", f"rejected: {answer.code}")
                if answer.status == "rejected"
                else Settled(row["seq"], row["digest"], "stored")
                for row, _ in batch
                if (answer := told.get(row["seq"])) is not None
            ],
        )
        stamp = self._clock.stamp()
        self.progressed_at = stamp.monotonic_s
        self._answered_at = stamp.wall

    def _wait_longer(self, trouble: TroubleError) -> None:
        """Decide when to try again; renew at once, once, where the certificate is the matter."""
        now = self._clock.stamp()
        if trouble.response == "renew" and self._patience.code != trouble.code:
            try:
                self._renew()
            except (TroubleError, Fatal) as error:
                trouble = TroubleError("hold", trouble.code, error.message)
            else:
                self._remember(Patience(attempts=self._patience.attempts, code=trouble.code))
                return
        if trouble.code == "server_not_trusted" and now.state != "synchronised":
            told = f"{trouble.message}; the clock may be wrong, and is waited for"
            trouble = TroubleError("retry", "clock", told)
        self._remember(self._patience.after(trouble, now, self._rng))

    def _renew_in_time(self) -> None:
        """Renew before the certificate ends; a clock that may be wrong says nothing about that."""
        now = self._clock.stamp()
        if now.state == "synchronised" and now.wall >= self._identity.renew_after:
            try:
                self._renew()
            except Fatal as error:
                raise TroubleError("hold", "certificate", error.message) from error

    def _renew(self) -> None:
        self._identity = renew(self._identity, self._server)
        self._server.close()
        self._server = self._connect()

    def _trouble_is_over(self) -> None:
        if self._patience != Patience():
            self._remember(Patience())

    def _remember(self, patience: Patience) -> None:
        self._patience = patience
        sending.remember(self._store, PATIENCE, patience.dump())


def _line(row: Row) -> bytes | None:
    """Write a row as its line; None if its body is not the one that was digested."""
    body: str = row["body"]
    if digest(body) != row["digest"]:
        return None
    return protocol.line({name: row[name] for name in row if name != "body"}, body)
