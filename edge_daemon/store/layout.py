"""Names inside the data directory, and the schema revision this software reads and writes.

Standard library only: the query commands import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

REVISION: Final = "0004"
"""Newest migration; revisions are zero-padded so that text order is age."""

DATABASE_NAME: Final = "edge.sqlite3"
LOCK_NAME: Final = "lock"
ARCHIVE_NAME: Final = "captures"
BACKUPS_NAME: Final = "backups"


def database_path(data_dir: Path) -> Path:
    """Path of the database in a data directory."""
    return data_dir / DATABASE_NAME
