"""The lines of simulated analyzers: a pseudo-terminal, or a connection."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tty
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from pathlib import Path

_ANSWER_BYTES: Final = 65_536
_CONNECT_S: Final = 10.0
_SET_UP_S: Final = 0.05


class LineDownError(OSError):
    """The box is not at the other end."""


class Line(Protocol):
    """What an analyzer sends through; every method may raise `LineDownError`."""

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def read(self, seconds: float) -> bytes:
        """Return what the box answered, or nothing after `seconds`."""
        ...

    def plug(self, seconds: float) -> None:
        """Put the cable in, and wait until the box is at the other end."""
        ...

    def unplug(self) -> None:
        """Pull the cable."""
        ...


class PtyLine:
    """A serial port that is none: the box opens `path`.

    Parameters
    ----------
    path
        Name that lasts, whatever the pseudo-terminal behind it is called; a link.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def plug(self, seconds: float) -> None:
        """Make a pseudo-terminal under the lasting name, unless there is one, and wait."""
        if self._handle < 0:
            self._handle, other = os.openpty()
            tty.setraw(other)
            name = os.ttyname(other)
            # Opened and closed once, it shows by a hang-up that the box has not opened it yet.
            os.close(other)
            link = self.path.with_name(f".{self.path.name}.new")
            link.unlink(missing_ok=True)
            link.symlink_to(name)
            link.replace(self.path)
        poll = select.poll()
        poll.register(self._handle, 0)
        for _ in range(max(1, int(seconds / 0.01))):
            if not poll.poll(0):
                # Whoever opens a port throws away what came before it was set up.
                select.select([], [], [], _SET_UP_S)
                return
            select.select([], [], [], 0.01)
        raise LineDownError(f"nobody opened {self.path} for {seconds:g} s")

    def unplug(self) -> None:
        """Take the port away."""
        if self._handle >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1

    def close(self) -> None:
        """Take the port away for good."""
        self.unplug()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError as error:
            raise LineDownError(str(error)) from error

    def read(self, seconds: float) -> bytes:
        """Return what the box answered, or nothing after `seconds`."""
        try:
            if not select.select([self._handle], [], [], seconds)[0]:
                return b""
            return os.read(self._handle, _ANSWER_BYTES)
        except OSError as error:
            raise LineDownError(f"the box closed {self.path}") from error


class TcpLine:
    """A connection to a box, or from one.

    Parameters
    ----------
    address
        Of the box, or to listen on.
    listening
        Whether the box connects.
    """

    def __init__(self, address: tuple[str, int], *, listening: bool = False) -> None:
        self.address = address
        self.listening = listening
        self._socket: socket.socket | None = None
        self._listener: socket.socket | None = None
        if listening:
            self._listener = socket.create_server(address)
            self.address = self._listener.getsockname()[:2]

    def plug(self, seconds: float) -> None:
        """Connect, or wait for the box to do so."""
        if self._socket is not None:
            return
        try:
            if self._listener is None:
                self._socket = socket.create_connection(self.address, min(seconds, _CONNECT_S))
            else:
                self._listener.settimeout(seconds)
                self._socket = self._listener.accept()[0]
        except OSError as error:
            raise LineDownError(f"{self.address}: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def unplug(self) -> None:
        """Close the connection; keep listening."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Close everything."""
        self.unplug()
        if self._listener is not None:
            self._listener.close()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._open().settimeout(_CONNECT_S)
            self._open().sendall(data)
        except OSError as error:
            raise LineDownError(str(error)) from error

    def read(self, seconds: float) -> bytes:
        """Return what the box answered, or nothing after `seconds`."""
        made = self._open()
        made.settimeout(max(seconds, 0.001))
        with contextlib.suppress(TimeoutError):
            try:
                answer = made.recv(_ANSWER_BYTES)
            except TimeoutError:
                raise
            except OSError as error:
                raise LineDownError(str(error)) from error
            if not answer:
                raise LineDownError("the box hung up")
            return answer
        return b""

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise LineDownError("not connected")
        return self._socket
