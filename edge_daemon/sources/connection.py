"""A file descriptor that bytes come from and replies go to: a serial line or a connection."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import Retryable

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES: Final = 1 << 16
"""Most bytes that one read returns."""
_WRITE_S: Final = 5.0


class LostError(Retryable):
    """The line or connection is gone, or must be given up."""


class Stop:
    """A request to stop that also ends every wait on a descriptor."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._handle, self._other = os.pipe()
        self._lock = threading.Lock()

    def set(self) -> None:
        """Ask to stop; safe to call twice."""
        with self._lock:
            if not self._event.is_set():
                self._event.set()
                os.close(self._other)  # the other end is readable from now on

    def is_set(self) -> bool:
        """Whether stopping was asked for."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the request; tell whether it came."""
        return self._event.wait(seconds)

    def fileno(self) -> int:
        """Descriptor that becomes readable with the request."""
        return self._handle

    def close(self) -> None:
        """Give the descriptors back, once nobody waits any more."""
        self.set()
        with self._lock:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1


class Connection:
    """One open line or connection.

    Parameters
    ----------
    fd
        Its descriptor; for a socket or a terminal in raw mode.
    close
        Closes it.
    stop
        Ends a wait.
    """

    def __init__(self, fd: int, close: Callable[[], object], stop: Stop) -> None:
        self._fd = fd
        self._close = close
        self._input = select.poll()
        self._input.register(fd, select.POLLIN)
        self._input.register(stop.fileno(), select.POLLIN)
        self._output = select.poll()
        self._output.register(fd, select.POLLOUT)

    def read(self, seconds: float) -> bytes:
        """Wait for bytes and return those that are there, without waiting for more.

        Returns
        -------
        bytes
            Empty when none came in time, or on the request to stop.

        Raises
        ------
        LostError
            The other side is gone.
        """
        ready = self._input.poll(max(seconds, 0.0) * 1000)
        if self._fd not in (fd for fd, _ in ready):
            return b""
        try:
            # One call, so that nothing that was read can be lost by an error of the next.
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LostError(f"the line was lost: {error.strerror}") from error
        if not data:
            raise LostError("the other side hung up")
        return data

    def write(self, data: bytes) -> None:
        """Write everything.

        Raises
        ------
        LostError
            The other side is gone or takes nothing.
        """
        left = memoryview(data)
        while left:
            if not self._output.poll(_WRITE_S * 1000):
                raise LostError(f"the other side took no reply for {_WRITE_S:g} s")
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise LostError(f"the line was lost: {error.strerror}") from error

    def close(self) -> None:
        """Close it."""
        self._close()
