"""The writer thread: owns the only read-write connection and commits in groups.

An fsync costs an SD card some 10 ms whatever it carries. Operations that wait while one commit
is under way share the next: each in its own savepoint, so that a failing one undoes only
itself, then one COMMIT, then the callers are answered. Nobody is answered before the COMMIT.
"""

from __future__ import annotations

import errno
import queue
import sqlite3
import threading
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from edge_daemon.errors import EdgeError, Fatal, Retryable
from edge_daemon.store.engine import BUSY_TIMEOUT_S, connect, is_corrupt, is_damage, wrap
from edge_daemon.store.soundness import leave_mark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

MAX_GROUP: Final = 64
MAX_STRIKES: Final = 3
LOG_BYTES: Final = 16 << 20
"""The log is begun anew when it has grown by so much."""
_PATIENCE_MS: Final = 11_000  # twice what a reader may take: one that reads, one that came since


@dataclass(frozen=True, slots=True)
class _Operation:
    work: Callable[[sqlite3.Connection], Any]
    answer: Future[Any]
    settle: bool


class Committer:
    """Runs operations on the database, one group after another.

    Parameters
    ----------
    database
        A migrated database whose directory lock is held.
    max_group
        Most operations that share a commit.
    settle
        Called after the COMMIT of a group with an operation that asked for it, and before that
        operation is answered: makes durable outside the database what must be. Raises OSError.

    Raises
    ------
    Retryable
        The database cannot be opened now.
    """

    def __init__(
        self,
        database: Path,
        *,
        max_group: int = MAX_GROUP,
        settle: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self._database = database
        self._log = database.with_name(f"{database.name}-wal")
        self._log_limit = LOG_BYTES
        self._settle = settle
        self._max_group = max_group
        self._queue: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._broken: Fatal | None = None
        self._strikes = 0
        self._db: sqlite3.Connection | None = None
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="store-writer", daemon=True
        )
        self._thread.start()
        opened.result()

    def submit(self, work: Callable[[sqlite3.Connection], T], *, settle: bool = False) -> Future[T]:
        """Queue an operation; its future resolves after the COMMIT that holds it.

        Parameters
        ----------
        work
            What to do in the transaction.
        settle
            Whether the answer also waits for what the group's `settle` makes durable.

        Raises
        ------
        EdgeError
            The store is closed.
        """
        answer: Future[T] = Future()
        with self._gate:
            if self._closed:
                raise EdgeError(
                    f"{self._database}: the store is closed",
                    action="start the service again; nothing was written",
                )
            self._queue.put(_Operation(work, answer, settle))
        return answer

    def close(self) -> None:
        """Finish what is queued, move the log into the database and close it."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self, opened: Future[None]) -> None:
        try:
            self._open()
        except EdgeError as error:
            opened.set_exception(error)
            return
        except sqlite3.Error as error:
            opened.set_exception(wrap(error, self._database))
            return
        opened.set_result(None)
        more = True
        while more:
            group, more = self._next_group()
            self._commit(group)
        self._shut()

    def _open(self) -> sqlite3.Connection:
        """Give the connection; after a loss open the database and put all it holds on the disk.

        After a kill or a failed fsync, rows read as committed that may only be in memory. An
        operation that finds such a row and has nothing to write would be answered without any
        fsync; so the log is moved into the database before the first answer.
        """
        if self._db is not None:
            return self._db
        db = connect(self._database)
        try:
            busy, _, _ = db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        if busy:
            db.close()
            raise Retryable(
                f"{self._database}: the log cannot be moved into the database while it is read",
                action="end long queries and exports; it is tried again",
            )
        self._db = db
        return db

    def _drop(self) -> None:
        """Close the connection, so that the next group opens another with nothing cached."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _next_group(self) -> tuple[list[_Operation], bool]:
        group: list[_Operation] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) == self._max_group:
                return group, True
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Operation]) -> None:
        outcomes: list[tuple[_Operation, Any, Exception | None]] = []
        failure: Exception
        try:
            if self._broken is not None:
                raise self._broken  # noqa: TRY301 - answered like any failure of the group
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            for operation in group:
                outcomes.append((operation, *self._attempt(db, operation.work)))
                self._require_transaction(db)
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - every caller must get an answer
            self._roll_back()
            failure = self._recover(error) if isinstance(error, sqlite3.Error) else error
        else:
            trouble = self._settled(db, group)
            for operation, result, refused in outcomes:
                unsettled = trouble if operation.settle else None
                _answer(operation.answer, result, refused or unsettled)
            self._keep_log_small()
            return
        for operation in group:
            _answer(operation.answer, None, failure)

    def _roll_back(self) -> None:
        """End the transaction, if the database has not done so itself."""
        try:
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop()

    def _keep_log_small(self) -> None:
        """Begin the log anew once it has grown.

        SQLite does so by itself when nobody reads for a moment. Readers that follow each other
        without a gap never leave it one: in half an hour of four of them the log had grown to a
        gigabyte. This waits for those who read now; who comes meanwhile reads the database.
        """
        try:
            size = self._log.stat().st_size
        except OSError:
            return
        db = self._db
        if db is None or size < self._log_limit:
            return
        try:
            db.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
            busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            db.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
        except sqlite3.Error as error:
            self._recover(error)
            return
        # A reader that will not end is not waited for at every commit.
        self._log_limit = size + LOG_BYTES if busy else LOG_BYTES

    def _attempt(
        self, db: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]
    ) -> tuple[Any, Exception | None]:
        """Run one operation in its savepoint; a refusal undoes only that savepoint."""
        db.execute("SAVEPOINT one")
        try:
            result = work(db)
            db.execute("RELEASE one")
        except sqlite3.Error as error:
            translated = wrap(error, self._database)
            if isinstance(translated, Retryable):
                raise  # the disk's or the file's condition: it concerns the whole group
            _undo(db)
            return None, translated
        except Exception as error:  # noqa: BLE001 - handed to the caller whose operation it is
            _undo(db)
            return None, error
        return result, None

    def _settled(self, db: sqlite3.Connection, group: list[_Operation]) -> EdgeError | None:
        """Settle what the group asks for; the error of those operations if it fails."""
        if self._settle is None or not any(operation.settle for operation in group):
            self._strikes = 0
            return None
        try:
            self._settle(db)
        except OSError as error:
            failure = Retryable(
                f"{error.filename or self._database.parent}: cannot be written: {error.strerror}",
                action="free disk space or check the disk; the operation is tried again",
            )
            return self._strike(failure) if error.errno == errno.EIO else failure
        except sqlite3.Error as error:
            return self._recover(error)
        self._strikes = 0
        return None

    def _require_transaction(self, db: sqlite3.Connection) -> None:
        """SQLite ends the transaction by itself on some errors; COMMIT would then do nothing."""
        if not db.in_transaction:
            raise Retryable(
                f"{self._database}: the transaction was rolled back by the database",
                action="the operation is tried again",
            )

    def _recover(self, error: sqlite3.Error) -> EdgeError:
        """Drop the connection after a sign of damage; give up after several in a row.

        The first sign is often the disk's, not the file's: a file system that died under an
        open connection reads as a damaged database, and as a sound one after it came back. A
        new connection, with nothing cached, finds out.
        """
        failure = wrap(error, self._database)
        if not is_damage(error):
            return failure
        self._drop()
        return self._strike(failure)

    def _strike(self, failure: EdgeError) -> EdgeError:
        """Count a sign of damage; the last one ends the store, and a restart looks closer."""
        self._strikes += 1
        if self._strikes < MAX_STRIKES:
            return failure
        found, damaged = self._quick_check()
        if damaged:
            leave_mark(self._database.parent, found)
        self._broken = Fatal(
            f"{self._database}: the database or its disk failed {self._strikes} times in a row;"
            f" the check of the file says: {found}",
            action="restart the service: it sets a damaged database aside and restores a backup;"
            " if this repeats, check the disk",
        )
        return self._broken

    def _quick_check(self) -> tuple[str, bool]:
        """Say what the check finds, and whether that is damage rather than a failing disk."""
        try:
            with closing(connect(self._database)) as db:
                found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.Error as error:
            return str(error), is_corrupt(error)
        return found, found != "ok"

    def _shut(self) -> None:
        if self._db is None:
            return
        # Closing would do it, but not while a reader is connected. If it fails, the log is
        # complete by itself, and the next start moves it over.
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._drop()


def _undo(db: sqlite3.Connection) -> None:
    """Undo the savepoint; where SQLite has ended the transaction itself there is none."""
    if db.in_transaction:
        db.execute("ROLLBACK TO one")
        db.execute("RELEASE one")


def _answer(future: Future[Any], result: Any, error: Exception | None) -> None:
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
