"""The store: what the running service writes through.

Every public method may be called from any thread and returns only after COMMIT, so whoever
acknowledges after it returns never acknowledges something that a power cut can take back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self, TypeVar

from edge_daemon.errors import Fatal
from edge_daemon.records import RawCapture
from edge_daemon.store import layout
from edge_daemon.store.answers import Acceptance, PendingCapture, ReportReceipt
from edge_daemon.store.archive import make_directory, raw_deleted
from edge_daemon.store.backup import DamagedError
from edge_daemon.store.committer import MAX_GROUP
from edge_daemon.store.corrections import waiting
from edge_daemon.store.desk import Desk
from edge_daemon.store.lock import DirectoryLock
from edge_daemon.store.opening import Parts, open_parts, say_closed
from edge_daemon.store.operations import (
    find_capture,
    is_deleted,
    keep_again,
    move,
    sight,
)
from edge_daemon.store.replace import finish
from edge_daemon.store.rows import clean, stamp_row
from edge_daemon.store.soundness import leave_mark
from edge_daemon.store.sql import insert, value
from edge_daemon.store.steps import Steps, reason_row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from edge_daemon.clock import Clock
    from edge_daemon.errors import Quarantine

T = TypeVar("T")

_REFUSE: Final = """
    INSERT INTO refusals (source, name, code, message, action, times,
        first_wall, first_clock, first_boot, first_monotonic_s,
        last_wall, last_clock, last_boot, last_monotonic_s)
    VALUES (:source, :name, :code, :message, :action, 1,
        :last_wall, :last_clock, :last_boot, :last_monotonic_s,
        :last_wall, :last_clock, :last_boot, :last_monotonic_s)
    ON CONFLICT (source, name, code) DO UPDATE SET times = times + 1,
        message = excluded.message, action = excluded.action, last_wall = excluded.last_wall,
        last_clock = excluded.last_clock, last_boot = excluded.last_boot,
        last_monotonic_s = excluded.last_monotonic_s
"""

__all__ = ["Acceptance", "PendingCapture", "ReportReceipt", "Store"]


class Store(Steps, Desk):
    """The one writer of a data directory; made with `Store.open`.

    Attributes
    ----------
    recovery
        What was lost and brought back when it was opened; None if nothing was.
    put_back
        Corrections and notes that the database had lost and that were put back.
    after_crash
        Whether the last one who had the directory ended without closing it.
    deletes
        Whether raw bytes were ever deleted for the archive's budget.
    """

    def __init__(self, data_dir: Path, lock: DirectoryLock, parts: Parts, clock: Clock) -> None:
        self._data_dir = data_dir
        self.recovery = parts.recovery
        self.put_back = parts.put_back
        self.after_crash = parts.after_crash
        self._lock = lock
        self._archive = parts.archive
        self._logs = parts.logs
        self._committer = parts.committer
        self._clock = clock
        self._open = True
        self.deletes = parts.deletes

    @property
    def archive_dir(self) -> Path:
        """Folder of the raw captures; workers read them there."""
        return self._archive.root

    @classmethod
    def open(
        cls,
        data_dir: Path,
        clock: Clock,
        *,
        max_group: int = MAX_GROUP,
        prepare: Callable[[Path], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Lock the directory, bring database and archive together, start the writer thread.

        Parameters
        ----------
        data_dir
            Made if absent.
        clock
            Stamps every row.
        max_group
            Most operations that share a commit.
        prepare
            Called with the directory once it is locked, before the database is opened
            (`replace.repair`, or a restore). Without it a missing database is an error.
        progress
            Told of captures that are taken in again; see `reingest.bring_back`.

        Raises
        ------
        Fatal
            Another process holds the directory, the schema is newer than this software, or the
            database is missing or damaged.
        Retryable
            The disk is full, failing or read-only.
        """
        data_dir = data_dir.absolute()
        make_directory(data_dir)
        lock = DirectoryLock(data_dir / layout.LOCK_NAME)
        try:
            finish(data_dir)
            if prepare is not None:
                prepare(data_dir)
            parts = open_parts(data_dir, clock.stamp(), max_group, progress)
            return cls(data_dir, lock, parts, clock)
        except DamagedError as error:
            leave_mark(data_dir, error.message)
            lock.release()
            raise Fatal(error.message, action=error.action) from error
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what was submitted, close the database and release the directory."""
        if self._open:
            self._open = False
            say_closed(self._data_dir)
            self._committer.close()
            for log in self._logs:
                log.close()
            self._lock.release()

    def ping(self) -> None:
        """Return when the writer thread has taken its turn (for the watchdog)."""
        self.transact(lambda _: None)

    def accept(
        self, capture: RawCapture, *, reason: Quarantine | None = None, restore: bool = False
    ) -> Acceptance:
        """Archive a capture's bytes and record it, or note that it was seen again.

        Parameters
        ----------
        capture
            What came.
        reason
            Why it is never analysed: a new capture is set aside in the same transaction, so that
            a crash cannot leave it waiting for the analysis. A known one stays as it is.
        restore
            Keep the bytes again where they had been deleted for the archive's budget: a person
            gives them to be analysed again.

        Raises
        ------
        EdgeError
            The digest is not that of the bytes.
        Retryable
            The disk is full, failing or read-only; nothing was acknowledged.
        """
        if restore or not self._was_deleted(capture):
            self._archive.put(capture.data, capture.sha256, digested=capture.digested)
        stamp = self._clock.stamp()
        row = {
            "instrument": clean(capture.instrument),
            "sha256": capture.sha256,
            "source": clean(capture.source),
            "name": clean(capture.name),
            "size": len(capture.data),
            "state": "received",
            "finished": 0,
            **stamp_row("received", stamp),
        }

        def work(db: sqlite3.Connection) -> Acceptance:
            # Looked up first: an insert that hits a conflict would use up a sequence number.
            same = "SELECT id FROM captures WHERE sha256 = :sha256 AND instrument = :instrument"
            known = value(db, same, row)
            if known is not None:
                if restore:
                    keep_again(db, known)
                return Acceptance(known, new=False, sighted=sight(db, known, row, stamp))
            added = insert(db, "captures", row)
            if reason is not None:
                move(db, added, "quarantined", finished=True, reason=reason_row(reason))
            return Acceptance(added, new=True)

        # Also for known bytes: their line may have failed to be written when they first came.
        acceptance = self.transact(work, settle=True)
        # Bytes that were there already may have been deleted in between, with their last row.
        if (acceptance.new or restore) and not self._archive.path(capture.sha256).is_file():
            self._archive.put(capture.data, capture.sha256, digested=capture.digested)
        return acceptance

    def _was_deleted(self, capture: RawCapture) -> bool:
        """Whether the bytes are known and gone for good: a source that offers them again."""
        if not self.deletes or self._archive.path(capture.sha256).is_file():
            return False
        instrument = clean(capture.instrument)
        return self.transact(lambda db: is_deleted(db, instrument, capture.sha256))

    def sighting(self, capture_id: int, source: str, name: str) -> None:
        """Note that a known capture was seen under this name; the same sighting counts once."""
        stamp = self._clock.stamp()
        row = {"source": clean(source), "name": clean(name)}

        def work(db: sqlite3.Connection) -> None:
            find_capture(db, capture_id)
            sight(db, capture_id, row, stamp)

        self.transact(work)

    def refuse(self, source: str, name: str, error: Quarantine) -> None:
        """Note something that never became a capture; repeats raise its count."""
        stamp = self._clock.stamp()
        row = {
            "source": clean(source),
            "name": clean(name),
            "code": error.code,
            "message": clean(error.message),
            "action": clean(error.action),
            **stamp_row("last", stamp),
        }

        def work(db: sqlite3.Connection) -> None:
            db.execute(_REFUSE, row)

        self.transact(work)

    def pending(self, *, after: int = 0, limit: int | None = None) -> list[PendingCapture]:
        """List captures whose analysis has not ended, oldest first.

        Parameters
        ----------
        after
            Only captures with a larger id.
        limit
            Most captures to list; a backlog of weeks need not be in memory at once.
        """
        path = self._archive.path
        return self.transact(lambda db: waiting(db, after, limit, path))

    def read_capture(self, capture_id: int) -> RawCapture:
        """Read a capture's bytes from the archive, with their digest checked.

        Raises
        ------
        EdgeError
            The capture is unknown, or its bytes were deleted for the archive's budget.
        Quarantine
            The archived file is missing or damaged.
        """
        row = self.transact(lambda db: find_capture(db, capture_id))
        if row["raw_deleted_wall"] is not None:
            raise raw_deleted(f"capture {capture_id}", row["raw_deleted_wall"])
        return RawCapture(
            instrument=row["instrument"],
            source=row["source"],
            name=row["name"],
            sha256=row["sha256"],
            data=self._archive.get(row["sha256"]),
        )

    def transact(self, work: Callable[[sqlite3.Connection], T], *, settle: bool = False) -> T:
        """Run an operation of another module of the store in the writer; return after COMMIT.

        Parameters
        ----------
        work
            The operation.
        settle
            It adds what also gets a line in a log beside the database: that is durable too then.
        """
        return self._committer.submit(work, settle=settle).result()
