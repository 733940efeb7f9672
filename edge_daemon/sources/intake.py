"""What the connections of one line source share: names for messages, patience, and counts."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from edge_daemon.errors import Quarantine, Retryable
from edge_daemon.records import RawCapture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.errors import EdgeError
    from edge_daemon.sources.connection import Stop
    from edge_daemon.sources.framing.base import Deliver, Discard, Framer, Trouble

State = Literal["starting", "listening", "connected", "degraded", "paused"]
T = TypeVar("T")

_QUIET_S: Final = 60.0  # a bad line gives one event in so long, not one a message


@dataclass(frozen=True, slots=True)
class LineSpec:
    """What serial lines and connections have in common; see docs/configuration.md.

    Attributes
    ----------
    suffix
        Of the names that captures get, e.g. ``astm``.
    journal
        Folder of this source's journals.
    make_framer
        Makes a framer for a new connection.
    max_journal
        Bytes a journal may hold; more than the framing's limit for one message.
    message_s
        Longest time from the first byte of a message to its end, or None.
    idle_s
        A connection without a byte for so long is closed, or None.
    turn_s
        Longest wait of one turn.
    retry_s
        Wait before something that may succeed later is tried again.
    """

    name: str
    instrument: str
    suffix: str
    journal: Path
    make_framer: Callable[[], Framer]
    max_journal: int
    message_s: float | None = None
    idle_s: float | None = None
    turn_s: float = 1.0
    retry_s: float = 1.0


@dataclass(frozen=True, slots=True)
class LineHandlers:
    """What a line source calls, in its own threads.

    Attributes
    ----------
    accept
        Takes a capture and returns only when it is durable. Retryable: intake pauses.
    refuse
        Takes an incomplete message with the reason. Retryable: intake pauses.
    on_state
        Told the source, its new state and the class of the reason whenever the state changes.
    on_trouble
        Told the source, and why how many bytes are no part of a message, when that begins.
    on_peer
        Told the source and the address of a connection that was not admitted.
    """

    accept: Callable[[RawCapture], object]
    refuse: Callable[[str, str, Quarantine, RawCapture | None], object]
    on_state: Callable[[str, State, str], object]
    on_trouble: Callable[[str, Trouble, int], object]
    on_peer: Callable[[str, str], object]


class StoppingError(Exception):
    """The source stops while something waits; its bytes stay in the journal."""


class Intake:
    """Hands messages on and counts what came; used by every connection of a source.

    Parameters
    ----------
    spec
        Names of the source.
    handlers
        Where messages go.
    clock
        Time for names and intervals.
    stop
        Ends every wait.

    Attributes
    ----------
    state
        What the source does now; the reason is in `reason`.
    """

    def __init__(self, spec: LineSpec, handlers: LineHandlers, clock: Clock, stop: Stop) -> None:
        self.state: State = "starting"
        self.reason = ""
        self._spec = spec
        self._handlers = handlers
        self._clock = clock
        self._stop = stop
        self._lock = threading.RLock()
        self._number = 0
        self._messages = self._incomplete = 0
        self._heard_at: float | None = None
        self._discarded: dict[Trouble, list[int]] = {}
        self._garbled: Trouble | None = None
        self._told_at = float("-inf")
        self._working: tuple[State, EdgeError | None] = ("starting", None)
        self._beats: dict[int, float] = {}
        self._since = clock.monotonic()

    @property
    def progressed_at(self) -> float:
        """Monotonic time of the last turn of the slowest thread."""
        return min(self._beats.copy().values(), default=self._since)

    def beat(self) -> None:
        """Note that the calling thread moves."""
        self._beats[threading.get_ident()] = self._clock.monotonic()

    def leave(self) -> None:
        """Forget the calling thread: its work is done."""
        self._beats.pop(threading.get_ident(), None)

    def set_state(self, state: State, error: EdgeError | None = None) -> None:
        """Change the state, and tell if it is another one."""
        reason = "" if error is None else error.message
        with self._lock:
            changed = state != self.state
            self.state, self.reason = state, reason
            if state != "paused":
                self._working = state, error
            if changed:
                cause = "" if error is None else type(error).__name__
                self._handlers.on_state(self._spec.name, state, cause)

    def patiently(self, work: Callable[[], T]) -> T:
        """Do something again until it succeeds; intake is paused meanwhile.

        Raises
        ------
        StoppingError
            The source is asked to stop.
        """
        paused = False
        while True:
            try:
                result = work()
            except Retryable as error:
                paused = True
                self.set_state("paused", error)
                self.beat()
                if self._stop.wait(self._spec.retry_s):
                    raise StoppingError from error
            else:
                if paused:
                    self.set_state(*self._working)
                return result

    def deliver(self, action: Deliver) -> None:
        """Hand a message on; return when it is committed."""
        if not action.message:
            return
        capture = self._capture(action.message)
        if action.complete:
            self.patiently(lambda: self._handlers.accept(capture))
        else:
            self.set_aside(capture, "the sender stopped before the end of its message")
        with self._lock:
            self._messages += action.complete
            if action.complete:
                self._garbled = None
        self.heard()

    def set_aside(self, capture: RawCapture, what: str) -> None:
        """Keep bytes that are no whole message, with the reason."""
        reason = Quarantine(
            "truncated",
            f"{capture.name}: {what}; {len(capture.data)} bytes of it came",
            action="send the result again from the analyzer",
        )
        self.patiently(
            lambda: self._handlers.refuse(self._spec.name, capture.name, reason, capture)
        )
        with self._lock:
            self._incomplete += 1

    def discard(self, action: Discard) -> None:
        """Count bytes that are no part of a message; tell when that begins."""
        with self._lock:
            count = self._discarded.setdefault(action.trouble, [0, 0])
            count[0] += 1
            count[1] += action.size
            now = self._clock.monotonic()
            if action.trouble == "repeated" or self._garbled or now - self._told_at < _QUIET_S:
                return
            self._garbled = action.trouble
            self._told_at = now
        self._handlers.on_trouble(self._spec.name, action.trouble, action.size)

    def heard(self) -> None:
        """Note that the analyzer said something that could be understood."""
        self._heard_at = self._clock.monotonic()

    def keep_raw(self, data: bytes) -> None:
        """Keep bytes that a crash left and that make no message."""
        self.set_aside(self._capture(data), "the box stopped before the end of a message")

    def traffic(self) -> dict[str, object]:
        """Return counts since the start; `heard_at` is monotonic time or None."""
        with self._lock:
            return {
                "heard_at": self._heard_at,
                "messages": self._messages,
                "incomplete": self._incomplete,
                "garbled": self._garbled,
                "discarded": {
                    trouble: {"times": times, "bytes": size}
                    for trouble, (times, size) in sorted(self._discarded.items())
                },
            }

    def _capture(self, data: bytes) -> RawCapture:
        with self._lock:
            self._number += 1
            number = self._number
        when = self._clock.stamp().wall[:19].replace("-", "").replace(":", "")
        name = f"{self._spec.name}-{when}Z-{number}.{self._spec.suffix}"
        return RawCapture.of(self._spec.instrument, self._spec.name, name, data)
