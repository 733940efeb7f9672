"""What people say, through the one writer: the part of `writer.Store` that a desk needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from edge_daemon.store.corrections import add_note, correct
from edge_daemon.store.lots import add_lot, mark

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from edge_daemon.clock import Clock
    from edge_daemon.store.corrections import Corrected, NoteKind, Verdict
    from edge_daemon.store.lots import Lot, MarkKind

T = TypeVar("T")


class Desk:
    """Corrections, notes and control material; every method returns after COMMIT."""

    _clock: Clock

    def correct(
        self, run_id: int, changes: Mapping[str, str | None], *, by: str, reason: str
    ) -> Corrected:
        """Correct the sample of a run after it was measured.

        Nothing is overwritten: the corrected sample makes the capture's next run, with its own
        outbox row, in the same transaction. Another species also sends the capture through the
        analysis again, because calls depend on it.

        Parameters
        ----------
        run_id
            The newest run of its capture.
        changes
            New values of some of `corrections.FIELDS`; None for one that is not known.
        by, reason
            Who corrects, and why.

        Raises
        ------
        EdgeError
            There is no such run, it was replaced by another, nothing would change, or a value
            is not allowed.
        """
        stamp = self._clock.stamp()
        return self.transact(
            lambda db: correct(db, run_id, changes, by, reason, stamp), settle=True
        )

    def note(
        self,
        run_id: int,
        text: str,
        *,
        by: str,
        kind: NoteKind = "note",
        concerns: str | None = None,
        verdict: Verdict | None = None,
    ) -> int:
        """Add what somebody noted about a run, and return the note's number.

        Parameters
        ----------
        run_id
            Any run.
        text, by
            What, and who writes it.
        kind
            ``note``, or ``smear`` for what was seen on a blood smear.
        concerns
            Cell class, value or flag of the run it is about.
        verdict
            Whether a smear ``confirms`` or ``refutes`` that.

        Raises
        ------
        EdgeError
            There is no such run, or something is missing or not allowed.
        """
        stamp = self._clock.stamp()
        return self.transact(
            lambda db: add_note(db, run_id, text, by, kind, concerns, verdict, stamp),
            settle=True,
        )

    def add_lot(self, lot: Lot, *, by: str) -> int:
        """Add a level of a lot of control material, and return its number.

        The same lot and level again takes the place of the former, which is kept.

        Raises
        ------
        EdgeError
            Something is missing or cannot be.
        """
        stamp = self._clock.stamp()
        return self.transact(lambda db: add_lot(db, lot, by, stamp), settle=True)

    def mark(
        self,
        run_id: int,
        kind: MarkKind,
        *,
        by: str,
        lot: str | None = None,
        level: str | None = None,
    ) -> int:
        """Say what the capture of a run is: a control, a blank, a run of a check, or a patient.

        Raises
        ------
        EdgeError
            There is no such run or lot.
        """
        stamp = self._clock.stamp()
        return self.transact(lambda db: mark(db, run_id, kind, lot, level, by, stamp), settle=True)

    def transact(self, work: Callable[[sqlite3.Connection], T], *, settle: bool = False) -> T:
        """Run an operation on the writer's thread; `writer.Store` does."""
        raise NotImplementedError
