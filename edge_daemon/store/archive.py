"""Raw captures as files named by their own digest: ``captures/ab/abcdef….raw``.

A name from outside never becomes part of a path. A file appears under its digest only after
its bytes are on the disk, so a file of the right name is whole unless the disk damaged it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

from edge_daemon.errors import EdgeError, Quarantine, Retryable

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Archive:
    """Content-addressed store of raw captures.

    Parameters
    ----------
    root
        Folder that holds them; made if absent.

    Raises
    ------
    Retryable
        The folder cannot be made (disk full, read-only or failing).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # One folder for unfinished files: after a crash only this one needs sweeping.
        self._incoming = root / "incoming"
        make_directory(self._incoming)
        try:
            for leftover in self._incoming.iterdir():
                leftover.unlink()
        except OSError as error:
            raise _unwritable(self._incoming, error) from error
        # A kill may have come between making a folder and syncing its name.
        sync_directory(root)
        sync_directory(root.parent)

    def path(self, sha256: str) -> Path:
        """Path of a capture's file; see `archived_path`."""
        return archived_path(self.root, sha256)

    def put(self, data: bytes, sha256: str, *, digested: bool = False) -> Path:
        """Make bytes durable; a whole file that is already there is kept.

        Parameters
        ----------
        data, sha256
            The bytes and their digest.
        digested
            The digest was made from these very bytes (`RawCapture.of`); otherwise it is checked.

        Raises
        ------
        EdgeError
            `sha256` is not the digest of `data`.
        Retryable
            The disk is full, failing or read-only.
        """
        path = self.path(sha256)
        actual = sha256 if digested else hashlib.sha256(data).hexdigest()
        if actual != sha256:
            raise EdgeError(
                f"capture of {len(data)} bytes has SHA-256 {actual}, but was announced as {sha256}",
                action="read the file again",
            )
        try:
            if not _holds(path, data):
                self._write(path, data)
            # Also for a file that was there: a kill may have come between rename and sync.
            sync_directory(path.parent)
        except OSError as error:
            raise _unwritable(path, error) from error
        return path

    def get(self, sha256: str) -> bytes:
        """Read a capture's bytes and check them against their name; see `read_archived`."""
        return read_archived(self.path(sha256), sha256)

    def _write(self, path: Path, data: bytes) -> None:
        folder = path.parent
        make_directory(folder)
        handle, partial = tempfile.mkstemp(dir=self._incoming)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise


def archived_path(root: Path, sha256: str) -> Path:
    """Path of a capture's file below the archive's root, whether or not it exists.

    Raises
    ------
    EdgeError
        `sha256` is not 64 lower-case hexadecimal digits.
    """
    if not _DIGEST.fullmatch(sha256):
        raise EdgeError(
            f"{sha256!r} is no SHA-256 digest: expected 64 lower-case hexadecimal digits"
        )
    return root / sha256[:2] / f"{sha256}.raw"


def read_archived(path: Path, sha256: str) -> bytes:
    """Read an archived file and check it; workers and queries do so beside the running service.

    Raises
    ------
    Quarantine
        The file is missing or damaged.
    Retryable
        The disk reports an error.
    """
    try:
        data = _read(path)
    except FileNotFoundError as error:
        raise _damaged(path, "the file is missing") from error
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise _damaged(path, "a symbolic link stands in its place") from error
        raise Retryable(
            f"{path}: the archived capture cannot be read: {error.strerror}",
            action="check the disk and that this user may read the data folder",
        ) from error
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise _damaged(path, f"its {len(data)} bytes have SHA-256 {actual}")
    return data


def raw_deleted(what: str, wall: str) -> EdgeError:
    """Make the error for a capture whose bytes were deleted for the archive's budget.

    Parameters
    ----------
    what
        The capture, for people.
    wall
        When, as its row says.
    """
    return EdgeError(
        f"{what}: its raw bytes were deleted on {wall[:10]} to keep the archive within its"
        " budget; its results are kept",
        action="export the run from the analyzer again, then"
        " `edge-daemon process FILE --replay` analyses it again",
    )


def make_directory(folder: Path) -> None:
    """Make a folder durable, with every one above it that is missing.

    Raises
    ------
    Retryable
        It cannot be made.
    """
    try:
        if folder.is_dir():
            return
        make_directory(folder.parent)
        folder.mkdir(mode=0o750, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    sync_directory(folder.parent)


def sync_directory(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises
    ------
    Retryable
        The disk reports an error.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file is there and whole; a damaged one is written again."""
    try:
        if path.lstat().st_size != len(data):
            return False
        return _read(path) == data
    except FileNotFoundError:
        return False


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        return file.read()


def _unwritable(path: Path, error: OSError) -> Retryable:
    return Retryable(
        f"{path} cannot be written: {error.strerror}",
        action="check its permissions, free disk space or check the disk; it is tried again",
    )


def _damaged(path: Path, what: str) -> Quarantine:
    return Quarantine(
        "archive_damaged",
        f"{path}: the archived capture is damaged: {what}",
        action="export the run from the analyzer again: the same bytes repair the archive",
    )
