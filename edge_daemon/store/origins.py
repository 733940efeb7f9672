"""A second record of where each capture came from, in case the database is lost.

The archive names a capture's bytes by their digest alone, and a result is only the same result
when its instrument is the same. So every accepted capture gets a line here too, written after
its COMMIT and synced before anybody is answered, in the order of the captures' ids. Hence a line
whose capture is not in the database proves that the database lost something, and says what.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.store.rowlog import RowLog, parse, read_rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

_COLUMNS: Final = (
    "id", "instrument", "sha256", "source", "name", "size", "received_wall", "received_clock",
    "received_boot", "received_monotonic_s", "reason_code", "reason_message", "reason_action",
    "reason_candidates",
)  # fmt: skip
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM captures WHERE id > ? ORDER BY id"  # noqa: S608
_TAIL: Final = 1 << 16
_PAGE: Final = 500


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
        self._log = RowLog(path)
        self._last = _last_id(path)

    def catch_up(self, db: sqlite3.Connection) -> None:
        """Append every capture that has no line yet, and return when that is on the disk.

        Raises
        ------
        OSError
            It cannot be written; the next call tries the same lines again.
        """
        for page in _pages(db, self._last):
            self._log.append(map(_row, page))
            self._last = page[-1][0]

    def rewrite(self, db: sqlite3.Connection) -> None:
        """Replace the log by one that says what the database says.

        Raises
        ------
        OSError
            It cannot be written; the old log is then still there.
        """
        self._log.replace(_row(row) for page in _pages(db, 0) for row in page)
        self._last = _last_id(self.path)

    def close(self) -> None:
        """Close the file; everything in it is on the disk already."""
        self._log.close()


def read_origins(path: Path) -> Iterator[Origin]:
    """Yield the lines in order; what is damaged is left out.

    Raises
    ------
    OSError
        The log is there and cannot be read.
    """
    return (Origin(**row) for row in read_rows(path))


def last_origin(path: Path) -> Origin | None:
    """Last whole line, or None if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            tail = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    whole = (parse(line) for line in reversed(tail))
    return next((Origin(**row) for row in whole if row is not None), None)


def _last_id(path: Path) -> int:
    last = last_origin(path)
    return 0 if last is None else last.id


def _pages(db: sqlite3.Connection, after: int) -> Iterator[list[tuple[Any, ...]]]:
    with closing(db.execute(_SELECT, (after,))) as cursor:
        while page := cursor.fetchmany(_PAGE):
            yield page


def _row(row: tuple[Any, ...]) -> dict[str, Any]:
    return asdict(Origin(*row))
