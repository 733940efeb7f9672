"""Which SQLite this process runs on, and whether it has a known bug that concerns us."""

from __future__ import annotations

import sqlite3
from typing import Final

_FIRST: Final = (3, 7, 0)
_FIXED: Final = (3, 51, 3)
_BACKPORTS: Final = {(3, 44): 6, (3, 50): 7}

Version = tuple[int, int, int]


def has_wal_reset_bug(version: Version = sqlite3.sqlite_version_info) -> bool:
    """Whether two connections that write or checkpoint at one moment can damage a database.

    Upstream's bug of the write-ahead log (https://sqlite.org/wal.html) is in 3.7.0 to 3.51.2,
    mended in 3.51.3 and, for their series, in 3.44.6 and 3.50.7. The service has one such
    connection and every other is read-only, so it needs a second program that writes.

    Parameters
    ----------
    version
        Of the engine; the one in use unless given.
    """
    if not _FIRST <= version < _FIXED:
        return False
    mended = _BACKPORTS.get(version[:2])
    return mended is None or version[2] < mended
