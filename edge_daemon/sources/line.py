"""Base of the sources that listen to lines: their thread, recovery, and each connection."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError
from edge_daemon.sources.connection import Connection, Stop
from edge_daemon.sources.framing.base import Deliver, Discard
from edge_daemon.sources.intake import Intake, StoppingError
from edge_daemon.sources.journal import Journal, begin_settling, journal_path, leftovers
from edge_daemon.sources.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.sources.intake import LineHandlers, LineSpec, State

_TRIES: Final = 3  # bytes that a framer fails on must not keep the service down for ever


class LineSource:
    """What a serial and a network source have in common; `work` is their own.

    Parameters
    ----------
    spec
        What serial lines and connections have in common.
    handlers
        Where captures and events go.
    clock
        Monotonic time, and wall time for names.

    Attributes
    ----------
    failure
        The error that ended a thread, or None.
    """

    def __init__(self, spec: LineSpec, handlers: LineHandlers, clock: Clock) -> None:
        self.spec = spec
        self.failure: BaseException | None = None
        self._handlers = handlers
        self._clock = clock
        self._stop = Stop()
        self._intake = Intake(spec, handlers, clock, self._stop)
        self._thread = threading.Thread(
            target=self._guarded, args=(self._run,), name=f"source-{spec.name}", daemon=True
        )

    @property
    def state(self) -> State:
        """What the source does now."""
        return self._intake.state

    @property
    def reason(self) -> str:
        """Why it is in that state."""
        return self._intake.reason

    @property
    def progressed_at(self) -> float:
        """Monotonic time of the last turn of its slowest loop, for the watchdog."""
        return self._intake.progressed_at

    def start(self) -> None:
        """Begin listening."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Finish the message in hand and stop; what is unfinished stays in the journal."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if not self._thread.is_alive():
            self._stop.close()

    def check(self) -> None:
        """Raise what ended a thread; do nothing while all of them run."""
        if self.failure is not None:
            raise self.failure

    def describe(self) -> dict[str, object]:
        """Say more than state and reason, for the status."""
        return self._intake.traffic()

    def work(self) -> None:
        """Serve connections until the source stops."""
        raise NotImplementedError

    def serve(self, connection: Connection, number: int) -> None:
        """Serve one connection.

        Parameters
        ----------
        connection
            The open line.
        number
            From 0, unique among the connections of the moment; names the journal.

        Raises
        ------
        LostError
            The line is gone.
        """
        path = journal_path(self.spec.journal, number)
        try:
            journal = self._open_journal(path)
            try:
                Link(connection, journal, self._intake, self.spec, self._clock).serve(self._stop)
            finally:
                journal.close()
        finally:
            connection.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run a thread's work and keep what ends it."""
        try:
            self._intake.beat()
            work()
        except StoppingError:
            pass
        except BaseException as error:
            self.failure = error
            if not isinstance(error, EdgeError):
                raise
        finally:
            self._intake.leave()

    def _run(self) -> None:
        self._recover()
        self.work()

    def _recover(self) -> None:
        """Settle what an earlier process left in its journals; nothing is acknowledged."""
        for left in self._intake.patiently(lambda: leftovers(self.spec.journal)):
            path, tries = self._begin_settling(left)
            journal = self._open_journal(path)
            if tries <= _TRIES:
                self._settle(journal)
            else:  # it ends the process every time
                self._intake.keep_raw(b"".join(journal.parts()))
            journal.remove()

    def _begin_settling(self, path: Path) -> tuple[Path, int]:
        return self._intake.patiently(lambda: begin_settling(path))

    def _open_journal(self, path: Path) -> Journal:
        return self._intake.patiently(lambda: Journal(path))

    def _settle(self, journal: Journal) -> None:
        framer = self.spec.make_framer()
        now = self._clock.monotonic()
        delivered = discarded = 0
        for data in journal.parts():
            for action in framer.feed(data, now):
                delivered += self._settled(action)
                discarded += isinstance(action, Discard)
        for action in framer.close():
            delivered += self._settled(action)
            discarded += isinstance(action, Discard)
        if discarded and not delivered:
            # Perhaps acknowledged under other settings: bytes are never thrown away unseen.
            self._intake.keep_raw(b"".join(journal.parts()))

    def _settled(self, action: object) -> bool:
        if not isinstance(action, Deliver):
            return False
        self._intake.deliver(action)
        return True
