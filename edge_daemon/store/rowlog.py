"""A file of lines beside the database, each proved by its checksum and synced before an answer.

A line is the CRC-32 of its JSON text, a blank and the text.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import TYPE_CHECKING, Any

from edge_daemon.store.archive import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


class RowLog:
    """Appends lines; used by one thread at a time.

    Parameters
    ----------
    path
        The file; made if absent.

    Raises
    ------
    OSError
        It cannot be opened or made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._torn = False
        new = not path.exists()
        self._open()
        if new:
            sync_directory(path.parent)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows and return when they are on the disk.

        Raises
        ------
        OSError
            They cannot be written; what was is skipped when read, or is there twice.
        """
        # A line that was cut short by a full disk ends here.
        text = ("\n" if self._torn else "") + "".join(map(_line, rows))
        self._torn = True
        left = memoryview(text.encode())
        while left:
            left = left[os.write(self._handle, left) :]
        os.fdatasync(self._handle)
        self._torn = False

    def replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace the file by one with these rows.

        Raises
        ------
        OSError
            It cannot be written; the old one is then still there.
        """
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            for row in rows:
                file.write(_line(row).encode())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
        sync_directory(self.path.parent)
        self.close()
        self._open()

    def close(self) -> None:
        """Close the file; everything in it is on the disk already."""
        os.close(self._handle)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._handle = os.open(self.path, flags, 0o640)
        size = os.fstat(self._handle).st_size
        self._torn = size > 0 and os.pread(self._handle, 1, size - 1) != b"\n"


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows in order; what is damaged is left out.

    Raises
    ------
    OSError
        The file is there and cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if (found := parse(line)) is not None:
                yield found


def parse(line: bytes) -> dict[str, Any] | None:
    """Row of a line, or None if the line is not whole."""
    crc, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text):
        return None
    found: dict[str, Any] = json.loads(text)
    return found


def _line(row: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in row.items() if value is not None})
    return f"{zlib.crc32(text.encode()):08x} {text}\n"
