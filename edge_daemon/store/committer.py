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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from sqlalchemy.exc import DBAPIError

from edge_daemon.errors import EdgeError, Fatal, Retryable
from edge_daemon.store.engine import BUSY_TIMEOUT_S, is_corrupt, is_damage, make_engine, wrap
from edge_daemon.store.soundness import leave_mark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

T = TypeVar("T")

MAX_GROUP: Final = 64
MAX_STRIKES: Final = 3
LOG_BYTES: Final = 16 << 20
"""The log is begun anew when it has grown by so much."""
_PATIENCE_MS: Final = 11_000  # twice what a reader may take: one that reads, one that came since


@dataclass(frozen=True, slots=True)
class _Operation:
    work: Callable[[Connection], Any]
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
        self._engine = make_engine(database)
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="store-writer", daemon=True
        )
        self._thread.start()
        opened.result()

    def submit(self, work: Callable[[Connection], T], *, settle: bool = False) -> Future[T]:
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
            self._connection = self._connect()
        except EdgeError as error:
            opened.set_exception(error)
            return
        except (DBAPIError, sqlite3.Error) as error:
            opened.set_exception(self._translate(error))
            return
        opened.set_result(None)
        more = True
        while more:
            group, more = self._next_group()
            self._commit(group)
        self._shut()

    def _connect(self) -> Connection:
        """Open the database and put all that it holds on the disk.

        After a kill or a failed fsync, rows read as committed that may only be in memory. An
        operation that finds such a row and has nothing to write would be answered without any
        fsync; so the log is moved into the database before the first answer.
        """
        connection = self._engine.connect()
        try:
            raw = raw_connection(connection)
            busy, _, _ = raw.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        except sqlite3.Error:
            connection.invalidate()
            connection.close()
            raise
        if busy:
            connection.close()
            raise Retryable(
                f"{self._database}: the log cannot be moved into the database while it is read",
                action="end long queries and exports; it is tried again",
            )
        return connection

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
            if self._connection.closed:
                self._connection = self._connect()
            with self._connection.begin():
                for operation in group:
                    outcomes.append((operation, *self._attempt(operation.work)))
                    self._require_transaction()
        except (DBAPIError, sqlite3.Error) as error:
            failure = self._recover(error)
        except Exception as error:  # noqa: BLE001 - every caller must get an answer
            failure = error
        else:
            trouble = self._settled(group)
            for operation, result, refused in outcomes:
                unsettled = trouble if operation.settle else None
                _answer(operation.answer, result, refused or unsettled)
            self._keep_log_small()
            return
        for operation in group:
            _answer(operation.answer, None, failure)

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
        if size < self._log_limit:
            return
        raw = raw_connection(self._connection)
        try:
            raw.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
            busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            raw.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
        except sqlite3.Error as error:
            self._recover(error)
            return
        # A reader that will not end is not waited for at every commit.
        self._log_limit = size + LOG_BYTES if busy else LOG_BYTES

    def _attempt(self, work: Callable[[Connection], Any]) -> tuple[Any, Exception | None]:
        """Run one operation in its savepoint; a refusal undoes only that savepoint."""
        savepoint = self._connection.begin_nested()
        try:
            result = work(self._connection)
            savepoint.commit()
        except (DBAPIError, sqlite3.Error) as error:
            translated = self._translate(error)
            if isinstance(translated, Retryable):
                raise  # the disk's or the file's condition: it concerns the whole group
            savepoint.rollback()
            return None, translated
        except Exception as error:  # noqa: BLE001 - handed to the caller whose operation it is
            savepoint.rollback()
            return None, error
        return result, None

    def _settled(self, group: list[_Operation]) -> EdgeError | None:
        """Settle what the group asks for; the error of those operations if it fails."""
        if self._settle is None or not any(operation.settle for operation in group):
            self._strikes = 0
            return None
        try:
            self._settle(raw_connection(self._connection))
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

    def _require_transaction(self) -> None:
        """SQLite ends the transaction by itself on some errors; COMMIT would then do nothing."""
        if not raw_connection(self._connection).in_transaction:
            raise Retryable(
                f"{self._database}: the transaction was rolled back by the database",
                action="the operation is tried again",
            )

    def _translate(self, error: DBAPIError | sqlite3.Error) -> EdgeError:
        cause = _cause(error)
        if isinstance(cause, sqlite3.Error):
            return wrap(cause, self._database)
        return EdgeError(f"{self._database}: {error}", action="report this with a support bundle")

    def _recover(self, error: DBAPIError | sqlite3.Error) -> EdgeError:
        """Drop the connection after a sign of damage; give up after several in a row.

        The first sign is often the disk's, not the file's: a file system that died under an
        open connection reads as a damaged database, and as a sound one after it came back. A
        new connection, with nothing cached, finds out.
        """
        failure = self._translate(error)
        cause = _cause(error)
        if not isinstance(cause, sqlite3.Error) or not is_damage(cause):
            return failure
        if not self._connection.closed:
            self._connection.invalidate()
            self._connection.close()
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
            with self._engine.connect() as connection:
                found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
        except DBAPIError as error:
            cause = _cause(error)
            return str(cause), isinstance(cause, sqlite3.Error) and is_corrupt(cause)
        return found, found != "ok"

    def _shut(self) -> None:
        try:
            if not self._connection.closed:
                # Closing would do it, but not while a reader is connected.
                raw_connection(self._connection).execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error:
            pass  # the log is complete by itself; the next start moves it over
        finally:
            self._connection.close()
            self._engine.dispose()


def raw_connection(connection: Connection) -> sqlite3.Connection:
    """Give the driver's own connection under SQLAlchemy's, in the same transaction."""
    return cast("sqlite3.Connection", connection.connection.dbapi_connection)


def _cause(error: DBAPIError | sqlite3.Error) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _answer(future: Future[Any], result: Any, error: Exception | None) -> None:
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
