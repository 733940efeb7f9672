"""One connection: bytes into the journal, then to the framer, whose actions are carried out.

Knows no framing. Strictly in the framer's order, a reply is written only once every byte fed is
on the disk, and what follows a message only once the message is committed.

A framer that waits for the rest of something has a deadline (half a frame is given up after a
while); one without a deadline holds nothing, and then the journal is emptied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.errors import Retryable
from edge_daemon.sources.connection import READ_BYTES, LostError
from edge_daemon.sources.framing.base import Deliver, Discard, Heard, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_daemon.clock import Clock
    from edge_daemon.sources.connection import Connection, Stop
    from edge_daemon.sources.framing.base import Action, Framer
    from edge_daemon.sources.intake import Intake, LineSpec
    from edge_daemon.sources.journal import Journal

_MIN_WAIT_S: Final = 0.001  # a deadline that does not move must not become a busy loop


class Link:
    """Serves one connection until it is lost or the source stops.

    Parameters
    ----------
    connection
        The open line.
    journal
        Of this connection, empty.
    intake
        Where messages go.
    spec
        Framing and limits.
    clock
        Monotonic time.
    """

    def __init__(
        self,
        connection: Connection,
        journal: Journal,
        intake: Intake,
        spec: LineSpec,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._journal = journal
        self._intake = intake
        self._spec = spec
        self._clock = clock
        self._framer: Framer = spec.make_framer()
        self._away = 0.0  # s spent on messages, when nobody listened
        self._heard = self._now()
        self._began: float | None = None
        self._settled = 0  # bytes of the journal before those that hold the last message's end

    def serve(self, stop: Stop) -> None:
        """Serve the line until `stop`; what is unfinished then stays in the journal.

        Raises
        ------
        LostError
            The line is gone; what it left is delivered or set aside.
        """
        try:
            while not stop.is_set():
                self._turn()
            self._journal.sync()
        except LostError:
            self._end()
            raise
        except Retryable as error:
            # The journal failed: whatever was not acknowledged will be sent again.
            self._end()
            raise LostError(error.message, action=error.action) from error

    def _turn(self) -> None:
        data = self._connection.read(self._patience())
        self._intake.beat()
        if data:
            before = self._journal.size
            self._intake.patiently(lambda: self._journal.append(data))
            self._heard = now = self._now()
            actions = self._framer.feed(data, now)
            if any(isinstance(action, Deliver | Discard) for action in actions):
                self._settled = before
            self._carry_out(actions)
        elif self._due() <= self._now():
            self._carry_out(self._framer.tick(self._now()))
        else:
            self._journal.sync()
        self._tidy()
        self._check_times(self._now())

    def _now(self) -> float:
        """Time spent listening: a pause of ours is no silence of the sender's."""
        return self._clock.monotonic() - self._away

    def _due(self) -> float:
        deadline = self._framer.deadline
        return float("inf") if deadline is None else deadline

    def _patience(self) -> float:
        return max(min(self._spec.turn_s, self._due() - self._now()), _MIN_WAIT_S)

    def _carry_out(self, actions: Iterable[Action]) -> None:
        """Do everything in its order; what follows a reply that cannot go out is done all the same.

        A sender that hangs up without waiting for replies loses nothing of what it sent.
        """
        failure: Retryable | None = None
        for action in actions:
            if isinstance(action, Reply):
                try:
                    self._reply(action, failure)
                except Retryable as error:
                    failure = error
            elif isinstance(action, Deliver):
                started = self._clock.monotonic()
                self._intake.deliver(action)
                self._away += self._clock.monotonic() - started
            elif isinstance(action, Discard):
                self._intake.discard(action)
            elif isinstance(action, Heard):
                self._intake.heard()
        if failure is not None:
            raise failure

    def _reply(self, reply: Reply, failure: Retryable | None) -> None:
        if failure is None:
            self._journal.sync()
            self._connection.write(reply.data)
            self._intake.heard()

    def _tidy(self) -> None:
        """Empty the journal when nothing is held; keep it bounded where that never comes."""
        if self._framer.deadline is None:
            self._journal.reset()
            self._settled = 0
        elif self._journal.size > self._spec.max_journal:
            if self._settled:
                self._journal.drop(self._settled)
                self._settled = 0
            elif self._journal.size > self._spec.max_journal + READ_BYTES:
                raise LostError(
                    f"{self._journal.size} bytes came without the end of a message",
                    action="check the framing of the source, and the line settings",
                )

    def _check_times(self, now: float) -> None:
        if self._framer.deadline is None:
            self._began = None
        elif self._began is None:
            self._began = now
        for limit, since, what in (
            (self._spec.message_s, self._began, "one message took longer than"),
            (self._spec.idle_s, self._heard, "nothing came for"),
        ):
            if limit is not None and since is not None and now - since > limit:
                raise LostError(f"{what} {limit:g} s")

    def _end(self) -> None:
        """Settle what the lost line left, then empty the journal."""
        for action in self._framer.close():
            if isinstance(action, Deliver):
                self._intake.deliver(action)
            elif isinstance(action, Discard):
                self._intake.discard(action)
        self._journal.remove()
