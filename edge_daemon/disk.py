"""What the disk of a folder can still take. Standard library only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """One look at a disk.

    Attributes
    ----------
    free_mb
        Space an ordinary user may still take, MB.
    read_only
        Whether it is mounted, or became, read-only.
    reason
        Why it could not be asked; empty when it answered.
    """

    free_mb: int = 0
    read_only: bool = False
    reason: str = ""


def read_disk(folder: Path) -> Disk:
    """Look at the disk of a folder."""
    try:
        status = os.statvfs(folder)
    except OSError as error:
        return Disk(reason=error.strerror or str(error))
    return Disk(
        free_mb=(status.f_bavail * status.f_frsize) >> 20,
        read_only=bool(status.f_flag & os.ST_RDONLY),
    )
