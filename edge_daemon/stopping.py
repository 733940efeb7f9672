"""Signals as a request to stop, without a lock and without a gap.

Python runs a signal handler between two steps of the main thread, which may hold any lock at
that moment: that of the log, or that inside a `threading.Event`. A handler that needs one of
them waits for ever for the thread it interrupted. And a signal that comes just before the main
thread begins to wait interrupts nothing: its handler runs when the wait is over. So the handler
only notes the signal, and the interpreter itself writes to a pipe, at once, that the wait reads.
"""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


class StopRequest:
    """The first of some signals, as something to wait for; made in the main thread.

    Parameters
    ----------
    *numbers
        Signals that ask for the stop.

    Attributes
    ----------
    signal
        The one that came first, or None.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self.signal: signal.Signals | None = None
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the request; tell whether it has come."""
        if self.signal is None and select.select([self._read], [], [], seconds)[0]:
            os.read(self._read, 4096)  # another signal's must not be found again and again
        return self.signal is not None
