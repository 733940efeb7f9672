"""The store: what the running service writes through.

Every public method may be called from any thread and returns only after COMMIT, so whoever
acknowledges after it returns never acknowledges something that a power cut can take back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from sqlalchemy import insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from edge_daemon.errors import Fatal, Retryable
from edge_daemon.records import RawCapture
from edge_daemon.store import layout
from edge_daemon.store.answers import Acceptance, PendingCapture, ReportReceipt
from edge_daemon.store.archive import make_directory, raw_deleted
from edge_daemon.store.backup import DamagedError
from edge_daemon.store.committer import MAX_GROUP
from edge_daemon.store.corrections import in_force, put_in_force, waiting
from edge_daemon.store.desk import Desk
from edge_daemon.store.lock import DirectoryLock
from edge_daemon.store.opening import Parts, open_parts, say_closed
from edge_daemon.store.operations import (
    begin_again,
    find_capture,
    find_unfinished,
    impossible,
    insert_run,
    is_deleted,
    keep_again,
    keep_decoding,
    keep_report,
    move,
    sight,
)
from edge_daemon.store.replace import finish
from edge_daemon.store.rows import clean, run_row, stamp_row, texts
from edge_daemon.store.schema import captures, refusals
from edge_daemon.store.soundness import leave_mark
from edge_daemon.store.written import take_up_waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy import Connection

    from edge_daemon.clock import Clock
    from edge_daemon.errors import Quarantine
    from edge_daemon.records import Classified, Decoded, Reported

T = TypeVar("T")

__all__ = ["Acceptance", "PendingCapture", "ReportReceipt", "Store"]


class Store(Desk):
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
            self._archive.put(capture.data, capture.sha256)
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

        def work(db: Connection) -> Acceptance:
            # Looked up first: an insert that hits a conflict would use up a sequence number.
            known = db.execute(
                select(captures.c.id).where(
                    captures.c.instrument == row["instrument"],
                    captures.c.sha256 == row["sha256"],
                )
            ).scalar_one_or_none()
            if known is not None:
                if restore:
                    keep_again(db, known)
                return Acceptance(known, new=False, sighted=sight(db, known, row, stamp))
            added: int = db.execute(
                insert(captures).values(row).returning(captures.c.id)
            ).scalar_one()
            if reason is not None:
                move(db, added, "quarantined", finished=True, reason=_reason_row(reason))
            return Acceptance(added, new=True)

        # Also for known bytes: their line may have failed to be written when they first came.
        acceptance = self.transact(work, settle=True)
        # Bytes that were there already may have been deleted in between, with their last row.
        if (acceptance.new or restore) and not self._archive.path(capture.sha256).is_file():
            self._archive.put(capture.data, capture.sha256)
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

        def work(db: Connection) -> None:
            find_capture(db, capture_id)
            sight(db, capture_id, row, stamp)

        self.transact(work)

    def refuse(self, source: str, name: str, error: Quarantine) -> None:
        """Note something that never became a capture; repeats raise its count."""
        stamp = self._clock.stamp()
        latest = {
            "message": clean(error.message),
            "action": clean(error.action),
            **stamp_row("last", stamp),
        }
        row = {
            "source": clean(source),
            "name": clean(name),
            "code": error.code,
            "times": 1,
            **latest,
            **stamp_row("first", stamp),
        }
        statement = (
            upsert(refusals)
            .values(row)
            .on_conflict_do_update(
                index_elements=["source", "name", "code"],
                set_={**latest, "times": refusals.c.times + 1},
            )
        )

        def work(db: Connection) -> None:
            db.execute(statement)

        self.transact(work)

    def record_decoded(self, capture_id: int, step: Decoded) -> None:
        """Make the first step durable: received (or decoded before a crash) → decoded.

        Raises
        ------
        EdgeError
            The capture is unknown or its analysis has ended.
        """
        stamp = self._clock.stamp()

        def work(db: Connection) -> None:
            find_unfinished(db, capture_id, "recorded as decoded")
            keep_decoding(db, capture_id, step, stamp)
            move(db, capture_id, "decoded", finished=False)

        self.transact(work)

    def record_run(
        self, capture_id: int, decoded: Decoded, step: Classified, *, species: str | None = None
    ) -> int:
        """Make a result durable, with its outbox row, in one transaction: decoded → classified.

        The sample is that of `decoded`, with what people have corrected put over it; `species`
        is what the cells were called for, where that is not what the instrument said.

        Returns
        -------
        int
            Id of the run; a replay makes the capture's next run and leaves the earlier ones.

        Raises
        ------
        EdgeError
            The capture is unknown, not decoded or ended, or the result breaks its contract.
        Retryable
            The species was corrected while the cells were called for another.
        """
        stamp = self._clock.stamp()
        row = run_row(capture_id, decoded, step)
        called_for = species or row["species"]

        def work(db: Connection) -> int:
            capture = find_unfinished(db, capture_id, "recorded as classified")
            if capture["state"] != "decoded":
                raise impossible(capture, "recorded as classified")
            decoding = keep_decoding(db, capture_id, decoded, stamp)
            put_in_force(row, in_force(db, capture_id))
            if row["species"] != called_for:
                raise Retryable(
                    f"capture {capture_id}: the species was corrected during its analysis",
                    action="nothing: it is analysed again",
                )
            run_id = insert_run(db, capture, decoding, row, step, stamp)
            move(db, capture_id, "classified", finished=True)
            take_up_waiting(db, capture_id)
            return run_id

        return self.transact(work)

    def record_report(self, capture_id: int, step: Reported) -> ReportReceipt:
        """Make an analyzer's report durable, with its outbox row: received → decoded.

        A capture may hold several, and cells as well. One that the instrument has sent before,
        in this message or another, is not kept twice.

        Raises
        ------
        EdgeError
            The capture is unknown, its analysis has ended, or the report breaks its contract.
        """
        stamp = self._clock.stamp()

        def work(db: Connection) -> ReportReceipt:
            capture = find_unfinished(db, capture_id, "recorded as reported")
            report_id, new = keep_report(db, capture, step, stamp)
            move(db, capture_id, "decoded", finished=False)
            return ReportReceipt(report_id, new)

        return self.transact(work)

    def finish_decoded(self, capture_id: int) -> None:
        """End the analysis of a capture without cells to classify: no run follows.

        Raises
        ------
        EdgeError
            The capture is unknown, not decoded or ended.
        """

        def work(db: Connection) -> None:
            capture = find_unfinished(db, capture_id, "finished as decoded")
            if capture["state"] != "decoded":
                raise impossible(capture, "finished as decoded")
            move(db, capture_id, "decoded", finished=True)

        self.transact(work)

    def quarantine(self, capture_id: int, error: Quarantine) -> None:
        """Set a capture aside with its reason; its bytes are kept.

        Raises
        ------
        EdgeError
            The capture is unknown or its analysis has ended.
        """
        reason = _reason_row(error)

        def work(db: Connection) -> None:
            find_unfinished(db, capture_id, "quarantined")
            move(db, capture_id, "quarantined", finished=True, reason=reason)

        self.transact(work)

    def requeue(self, capture_id: int) -> None:
        """Send a capture through the analysis again, whatever its state (replay).

        Raises
        ------
        EdgeError
            The capture is unknown, or its bytes were deleted for the archive's budget.
        """

        def work(db: Connection) -> None:
            row = find_capture(db, capture_id)
            if row["raw_deleted_wall"] is not None:
                raise raw_deleted(f"capture {capture_id}", row["raw_deleted_wall"])
            begin_again(db, capture_id)

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

    def transact(self, work: Callable[[Connection], T], *, settle: bool = False) -> T:
        """Run an operation of another module of the store in the writer; return after COMMIT.

        Parameters
        ----------
        work
            The operation.
        settle
            It adds what also gets a line in a log beside the database: that is durable too then.
        """
        return self._committer.submit(work, settle=settle).result()


def _reason_row(error: Quarantine) -> dict[str, str]:
    return {
        "reason_code": error.code,
        "reason_message": clean(error.message),
        "reason_action": clean(error.action),
        "reason_candidates": texts(error.candidates),
    }
