"""Names inside the data directory, and the schema revision this software reads and writes.

Standard library only: the query commands import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

REVISION: Final = "0009"
"""Newest migration; revisions are zero-padded so that text order is age."""

DATABASE_NAME: Final = "edge.sqlite3"
LOCK_NAME: Final = "lock"
ARCHIVE_NAME: Final = "captures"
BACKUPS_NAME: Final = "backups"
ORIGINS_NAME: Final = "origins.log"
WRITTEN_NAME: Final = "written.log"
SET_ASIDE_NAME: Final = "set-aside"
RESTORING_NAME: Final = "restoring.sqlite3"
OPEN_NAME: Final = "open"
DAMAGED_NAME: Final = "damaged"


MEND: Final = (
    "restart the service, or stop it and run `edge-daemon restore`: a damaged database is set aside"
    " and the newest good backup restored"
)
"""What a person does about a damaged database."""

BACK_KEY: Final = "take_in_again"
"""Key in ``meta`` while what stands in the archive may be missing in the database."""

RECOVERED_KEY: Final = "recovered"
"""Key in ``meta``: what the last recovery found and did (JSON)."""


def database_path(data_dir: Path) -> Path:
    """Path of the database in a data directory."""
    return data_dir / DATABASE_NAME
