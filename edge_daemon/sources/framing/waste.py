"""Bytes that belong to no message, told as one `Discard` a run.

What is told must not depend on how the stream was split, so a run ends only where the stream or
the time says so: at the next thing worth telling, at a fixed size, or after a quiet second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.sources.framing.base import Discard

if TYPE_CHECKING:
    from edge_daemon.sources.framing.base import Action, Trouble

_RUN_BYTES: Final = 65_536
"""A line of the wrong speed is told of every few seconds, not once a day."""
_QUIET_S: Final = 1.0


class Waste:
    """The run of wasted bytes now being counted."""

    def __init__(self) -> None:
        self._size = 0
        self._trouble: Trouble = "noise"
        self._last_at = 0.0

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which the run is over if no byte joins it, or None."""
        return self._last_at + _QUIET_S if self._size else None

    def add(self, size: int, now: float, actions: list[Action], trouble: Trouble = "noise") -> None:
        """Count `size` bytes; noise beside bytes of a known trouble is told as part of them."""
        if size <= 0:
            return
        if trouble not in {"noise", self._trouble}:
            if self._trouble != "noise":
                self.flush(actions)
            self._trouble = trouble
        self._size += size
        self._last_at = now
        while self._size >= _RUN_BYTES:
            actions.append(Discard(self._trouble, _RUN_BYTES))
            self._size -= _RUN_BYTES

    def flush(self, actions: list[Action]) -> None:
        """End the run."""
        if self._size:
            actions.append(Discard(self._trouble, self._size))
        self._size = 0
        self._trouble = "noise"

    def tick(self, now: float, actions: list[Action]) -> None:
        """End the run if the line has been quiet since."""
        if self.deadline is not None and now >= self.deadline:
            self.flush(actions)
