"""A second record of where each capture came from, in case the database is lost.

The archive names a capture's bytes by their digest alone, and a result is only the same result
when its instrument is the same. So every accepted capture gets a line here too, written after
its COMMIT and synced before anybody is answered. Hence a line whose capture is not in the
database proves that the database lost something, and says what.

A line is the CRC-32 of its JSON text, a blank and the text, in the order of the captures' ids.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.store.archive import sync_directory

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_COLUMNS: Final = (
    "id", "instrument", "sha256", "source", "name", "size", "received_wall", "received_clock",
    "received_boot", "received_monotonic_s", "reason_code", "reason_message", "reason_action",
    "reason_candidates",
)  # fmt: skip
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM captures WHERE id > ? ORDER BY id"  # noqa: S608
_TAIL: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Origin:
    """What the database knows of a capture before anyone has looked inside.

    The reason is that of its quarantine, if it was in quarantine when the line was written: an
    incomplete message must not be analysed after a recovery either.
    """

    id: int
    instrument: str
    sha256: str
    source: str
    name: str
    size: int
    received_wall: str
    received_clock: str
    received_boot: str
    received_monotonic_s: float
    reason_code: str | None = None
    reason_message: str | None = None
    reason_action: str | None = None
    reason_candidates: str | None = None


class Origins:
    """The log's writer; used by one thread at a time.

    Parameters
    ----------
    path
        The log; made if absent.

    Raises
    ------
    OSError
        It cannot be opened or made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = 0
        self._torn = False
        new = not path.exists()
        self._open()
        if new:
            sync_directory(path.parent)

    def catch_up(self, db: sqlite3.Connection) -> None:
        """Append every capture that has no line yet, and return when that is on the disk.

        Raises
        ------
        OSError
            It cannot be written; the next call tries the same lines again.
        """
        with closing(db.execute(_SELECT, (self._last,))) as cursor:
            while rows := cursor.fetchmany(500):
                # A line that was cut short by a full disk ends here, and is skipped when read.
                text = ("\n" if self._torn else "") + "".join(_line(row) for row in rows)
                self._torn = True
                _write_all(self._handle, text.encode())
                os.fdatasync(self._handle)
                self._torn = False
                self._last = rows[-1][0]

    def rewrite(self, db: sqlite3.Connection) -> None:
        """Replace the log by one that says what the database says.

        Raises
        ------
        OSError
            It cannot be written; the old log is then still there.
        """
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file, closing(db.execute(_SELECT, (0,))) as cursor:
            while rows := cursor.fetchmany(500):
                file.write("".join(_line(row) for row in rows).encode())
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
        try:
            last = last_origin(self.path)
            self._last = 0 if last is None else last.id
            self._torn = not _ends_with_newline(self._handle)
        except BaseException:
            self.close()
            raise


def read_origins(path: Path) -> Iterator[Origin]:
    """Yield the lines in order; what is damaged is left out.

    Raises
    ------
    OSError
        The log is there and cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if (found := _parse(line)) is not None:
                yield found


def last_origin(path: Path) -> Origin | None:
    """Last whole line, or None if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            tail = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    whole = (_parse(line) for line in reversed(tail))
    return next((found for found in whole if found is not None), None)


def _line(row: Iterable[Any]) -> str:
    known = asdict(Origin(*row))
    text = json.dumps({key: value for key, value in known.items() if value is not None})
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _parse(line: bytes) -> Origin | None:
    crc, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text):
        return None
    return Origin(**json.loads(text))


def _ends_with_newline(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size == 0 or os.pread(handle, 1, size - 1) == b"\n"


def _write_all(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]
