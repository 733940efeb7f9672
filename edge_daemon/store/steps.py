"""Recording the steps of an analysis, through the one writer: a part of `writer.Store`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from edge_daemon.errors import Retryable
from edge_daemon.store.answers import ReportReceipt
from edge_daemon.store.archive import raw_deleted
from edge_daemon.store.corrections import in_force, put_in_force
from edge_daemon.store.operations import (
    begin_again,
    find_capture,
    find_unfinished,
    impossible,
    insert_run,
    keep_decoding,
    keep_report,
    move,
)
from edge_daemon.store.rows import clean, run_row, texts
from edge_daemon.store.written import take_up_waiting

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from edge_daemon.clock import Clock
    from edge_daemon.errors import Quarantine
    from edge_daemon.records import Classified, Decoded, Reported

T = TypeVar("T")


class Steps:
    """What became of captures; every method returns after COMMIT."""

    _clock: Clock

    def record_decoded(self, capture_id: int, step: Decoded) -> None:
        """Make the first step durable: received (or decoded before a crash) → decoded.

        Raises
        ------
        EdgeError
            The capture is unknown or its analysis has ended.
        """
        stamp = self._clock.stamp()

        def work(db: sqlite3.Connection) -> None:
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

        def work(db: sqlite3.Connection) -> int:
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

        def work(db: sqlite3.Connection) -> ReportReceipt:
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

        def work(db: sqlite3.Connection) -> None:
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
        reason = reason_row(error)

        def work(db: sqlite3.Connection) -> None:
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

        def work(db: sqlite3.Connection) -> None:
            row = find_capture(db, capture_id)
            if row["raw_deleted_wall"] is not None:
                raise raw_deleted(f"capture {capture_id}", row["raw_deleted_wall"])
            begin_again(db, capture_id)

        self.transact(work)

    def transact(self, work: Callable[[sqlite3.Connection], T], *, settle: bool = False) -> T:
        """Run an operation in the writer; `writer.Store` does."""
        raise NotImplementedError


def reason_row(error: Quarantine) -> dict[str, str]:
    """Columns of a capture that say why it was set aside."""
    return {
        "reason_code": error.code,
        "reason_message": clean(error.message),
        "reason_action": clean(error.action),
        "reason_candidates": texts(error.candidates),
    }
