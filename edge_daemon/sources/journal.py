"""What arrived on a line and is not settled yet, kept so that no acknowledged byte is lost.

One file per connection. It grows by what is read, is synced before anything is acknowledged, and
is emptied whenever nothing of it is held in memory any more. What a crash leaves in it is fed
through a fresh framer at the next start.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import Retryable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SUFFIX: Final = ".journal"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK: Final = 1 << 20


class Journal:
    """The unsettled bytes of one connection.

    Parameters
    ----------
    path
        Its file, with the suffix ``.journal``; made if absent, in a folder of mode 0700.

    Raises
    ------
    Retryable
        On opening and by every method: the disk is full, failing or read-only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _make_folder(path.parent)
            self._handle = os.open(path, _FLAGS, 0o600)
            _sync_folder(path.parent)
            self.size = os.fstat(self._handle).st_size
        except OSError as error:
            raise _unwritable(path, error) from error
        self._synced = self.size

    def append(self, data: bytes) -> None:
        """Write bytes behind the others; after an error none of them are there."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self.size)
            raise _unwritable(self._path, error) from error
        self.size += len(data)

    def sync(self) -> None:
        """Return when everything appended survives a power cut.

        After an error the kernel may have dropped the bytes and call them written, so that a
        second try would prove nothing: the connection must end without an acknowledgement.
        """
        if self._synced == self.size:
            return
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self._synced = self.size

    def reset(self) -> None:
        """Forget everything: it is committed, or was nothing to keep.

        Not synced: bytes that come back after a power cut are only delivered once more, and the
        store knows them by their digest.
        """
        if not self.size:
            return
        try:
            os.ftruncate(self._handle, 0)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self.size = self._synced = 0

    def drop(self, count: int) -> None:
        """Forget the first `count` bytes."""
        partial = self._path.with_suffix(".new")
        try:
            handle = os.open(partial, _FLAGS | os.O_TRUNC, 0o600)
            try:
                position = count
                while part := os.pread(self._handle, _CHUNK, position):
                    position += os.write(handle, part)
                os.fdatasync(handle)
                partial.replace(self._path)
                _sync_folder(self._path.parent)
            except BaseException:
                os.close(handle)
                raise
        except OSError as error:
            raise _unwritable(self._path, error) from error
        os.close(self._handle)
        self._handle = handle
        self.size = self._synced = self.size - count

    def parts(self) -> Iterator[bytes]:
        """Yield everything that is not settled, in pieces."""
        position = 0
        while part := self._read(position):
            yield part
            position += len(part)

    def _read(self, position: int) -> bytes:
        try:
            return os.pread(self._handle, _CHUNK, position)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def close(self) -> None:
        """Close the file and leave it where it is; safe to call twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def remove(self) -> None:
        """Close the file and delete it, once everything in it is settled."""
        self.close()
        with contextlib.suppress(OSError):  # left behind it is only delivered once more
            self._path.unlink()


def leftovers(folder: Path) -> list[Path]:
    """Journals that an earlier process left behind, by name.

    Raises
    ------
    Retryable
        The folder cannot be read.
    """
    try:
        return sorted(folder.glob(f"*{_SUFFIX}"))
    except OSError as error:
        raise _unwritable(folder, error) from error


def begin_settling(path: Path) -> tuple[Path, int]:
    """Count, in the name of a leftover, how often its settling was begun.

    Returns
    -------
    tuple
        The new path, and the count: more than one when an earlier process did not get through.

    Raises
    ------
    Retryable
        It cannot be renamed.
    """
    number, _, tries = path.name.removesuffix(_SUFFIX).partition("-")
    count = int(tries or 0) + 1
    renamed = path.with_name(f"{number}-{count}{_SUFFIX}")
    try:
        path.replace(renamed)
        _sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    return renamed, count


def journal_path(folder: Path, connection: int) -> Path:
    """Path of the journal of a source's n-th connection at a time."""
    return folder / f"{connection}{_SUFFIX}"


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    for part in (folder.parent, folder):
        with contextlib.suppress(FileExistsError):
            part.mkdir(mode=0o700)
            _sync_folder(part.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> Retryable:
    return Retryable(
        f"{path}: the journal cannot be written: {error.strerror}",
        action="free disk space, check the disk and the rights of the data folder; nothing is "
        "acknowledged meanwhile",
    )
