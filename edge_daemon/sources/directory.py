"""Reading an untrusted directory: nothing outside it, nothing but regular files.

Everything is opened relative to a descriptor of the folder, one path component at a time and
without following links, so that no name, link or exchanged sub-folder leads elsewhere. Opening
never blocks on a FIFO or a device.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import stat
from typing import TYPE_CHECKING, Final, Self

from edge_daemon.errors import Quarantine, Retryable
from edge_daemon.sources.stability import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_TEMPORARY: Final = ("~", ".part", ".tmp", ".crdownload", ".filepart")
_MAX_DEPTH: Final = 16


class RootLostError(Retryable):
    """The watched folder is not there or does not answer now."""


class ChangedError(Retryable):
    """The file changed while it was read; it is not settled yet."""


def label(name: str) -> str:
    r"""Make a file name printable: odd bytes and control characters become ``\x..``."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def wanted(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a file name is one to take: it matches and is not hidden or temporary."""
    base = name.rpartition("/")[2].casefold()
    if base.startswith(".") or base.endswith(_TEMPORARY):
        return False
    return any(fnmatch.fnmatchcase(base, pattern.casefold()) for pattern in patterns)


def observation(status: os.stat_result) -> Observation:
    """Reduce a stat result to what decides whether a file changed."""
    return Observation(status.st_size, status.st_mtime_ns, status.st_ino)


class Root:
    """An open folder. Use as a context manager.

    Attributes
    ----------
    identity
        Device and inode.
    mounted
        Whether it is the root of a file system of its own, as a share or a stick is.

    Raises
    ------
    RootLostError
        On opening or scanning: the folder is missing, not a folder, or does not answer.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, _DIRECTORY)
            status = os.fstat(self._fd)
        except OSError as error:
            raise _lost(path, error) from error
        self._path = path
        self.identity = (status.st_dev, status.st_ino)
        self.mounted = _is_other_disk(self._fd, status)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def scan(
        self, patterns: Sequence[str], *, recursive: bool
    ) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the wanted entries with their own status (links are not followed)."""
        try:
            yield from self._scan(self._fd, "", patterns, _MAX_DEPTH if recursive else 0)
        except OSError as error:
            raise _lost(self._path, error) from error

    def _scan(
        self, fd: int, prefix: str, patterns: Sequence[str], depth: int
    ) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(fd) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if depth and not entry.name.startswith("."):
                        yield from self._descend(fd, entry.name, name, patterns, depth)
                elif wanted(name, patterns):
                    with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                        yield name, entry.stat(follow_symlinks=False)

    def _descend(
        self, fd: int, entry: str, name: str, patterns: Sequence[str], depth: int
    ) -> Iterator[tuple[str, os.stat_result]]:
        try:
            child = os.open(entry, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return  # removed, exchanged for a link, or closed to us: not ours to read
        try:
            yield from self._scan(child, f"{name}/", patterns, depth - 1)
        finally:
            os.close(child)

    def status(self, name: str) -> os.stat_result | None:
        """Status of one entry, or None if it is not there."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _lost(self._path, error) from error

    def read(self, name: str, seen: Observation, max_bytes: int) -> bytes:
        """Read a whole file that must be in the state `seen`, before and after.

        Raises
        ------
        Quarantine
            ``refused``: a link, a special file or a name that leaves the folder;
            ``too_large``: more than `max_bytes`.
        ChangedError
            It is in another state, or changed while it was read.
        OSError
            It is gone or cannot be read now.
        """
        fd = self._open(name)
        try:
            before = os.fstat(fd)
            check_regular(name, before)
            check_size(name, before.st_size, max_bytes)
            data = _read_all(fd, before.st_size)
            after = observation(os.fstat(fd))
        finally:
            os.close(fd)
        if not seen == observation(before) == after or len(data) != after.size:
            raise ChangedError(f"{label(name)} changed while it was read")
        return data

    def _open(self, name: str) -> int:
        *folders, base = name.split("/")
        if any(part in {"", ".", ".."} for part in (*folders, base)):
            raise Quarantine(
                "refused",
                f"{label(name)} leads out of the watched folder",
                action="remove it; captures must lie inside the folder",
            )
        fd = os.dup(self._fd)
        try:
            for folder in folders:
                parent, fd = fd, os.open(folder, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(parent)
            return os.open(base, _FILE, dir_fd=fd)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
                raise _not_regular(name) from error
            raise
        finally:
            os.close(fd)


def _is_other_disk(fd: int, status: os.stat_result) -> bool:
    try:
        return os.stat("..", dir_fd=fd).st_dev != status.st_dev
    except OSError:  # what lies above may be closed to this user
        return False


def check_regular(name: str, status: os.stat_result) -> None:
    """Refuse links, FIFOs, devices and sockets."""
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(name)


def check_size(name: str, size: int, max_bytes: int) -> None:
    """Refuse a file over the size limit."""
    if size > max_bytes:
        raise Quarantine(
            "too_large",
            f"{label(name)} has {size} bytes, the limit is {max_bytes}",
            action="check that this is a capture; raise limits.max_file_mb if it is",
        )


def _read_all(fd: int, size: int) -> bytes:
    """Read `size` bytes and, if there are more, some of those, but no unbounded growth."""
    parts = []
    left = size + 1
    while left > 0 and (part := os.read(fd, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)  # usually one, which is not copied


def _not_regular(name: str) -> Quarantine:
    return Quarantine(
        "refused",
        f"{label(name)} is not a regular file",
        action="put a copy of the file itself into the folder",
    )


def _lost(path: Path, error: OSError) -> RootLostError:
    return RootLostError(
        f"{path} cannot be read: {error.strerror}",
        action="check that the export folder exists, is mounted and may be read",
    )
