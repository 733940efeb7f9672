"""Space kept back on the disk, given up when it is full, so that the box can still tidy up.

On a full disk even a deletion fails: SQLite must write its log first. With the ballast given up
there is room to finish what was taken in, to delete and to say what is wrong.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

BALLAST_MB: Final = 32
_NAME: Final = "ballast"


class Ballast:
    """A file of zeros whose blocks are really taken.

    Parameters
    ----------
    folder
        The data folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._lock = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether the whole of it is on the disk."""
        try:
            return self._path.stat().st_size == BALLAST_MB << 20
        except OSError:
            return False

    def give_up(self) -> bool:
        """Free its space; True if there was some to free."""
        with self._lock:
            try:
                self._path.unlink()
            except OSError:
                return False
            return True

    def make(self) -> bool:
        """Take the space; False, with nothing left behind, if the disk does not give it."""
        with self._lock:
            if self.held:
                return True
            try:
                handle = os.open(
                    self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640
                )
                try:
                    os.posix_fallocate(handle, 0, BALLAST_MB << 20)
                finally:
                    os.close(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    self._path.unlink()
                return False
            return True
