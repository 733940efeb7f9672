"""One store per data directory: an advisory lock that names its holder and dies with it."""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EXIT_RETRY_LATER, Fatal, Retryable

if TYPE_CHECKING:
    from pathlib import Path

_PID_WAIT_S: Final = 0.5
_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


class DirectoryLock:
    """Exclusive hold on a file; the kernel releases it when the process ends, however it ends.

    Parameters
    ----------
    path
        Lock file; holds the process id of the holder and stays behind on release, empty.

    Raises
    ------
    Fatal
        Another process (or another store in this one) holds it.
    Retryable
        The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise Retryable(
                f"{path}: the lock file cannot be made: {error.strerror}",
                action="make the data directory writable for this user",
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            os.close(self._handle)
            raise Fatal(
                f"{path.parent}: the data directory is in use by process {holder}",
                action="stop that process first, or choose another data directory",
                exit_code=EXIT_RETRY_LATER,
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Let the next one in."""
        _held.discard(self)
        os.ftruncate(self._handle, 0)
        os.close(self._handle)

    def forget(self) -> None:
        """Drop the descriptor that a forked child inherited; its parent keeps the lock.

        Otherwise a worker that outlives a killed service would keep the directory locked.
        """
        os.close(self._handle)

    def _holder(self) -> str:
        """Read the holder's id; it writes it a moment after it got the lock."""
        deadline = time.monotonic() + _PID_WAIT_S
        while True:
            text = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
            if text.isdigit():
                return text
            if time.monotonic() > deadline:
                return "unknown"
            time.sleep(0.01)


def _forget_all() -> None:
    for lock in _held:
        lock.forget()
    _held.clear()


os.register_at_fork(after_in_child=_forget_all)
