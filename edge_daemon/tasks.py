"""What the service and a worker tell each other: the plan, one task, its limits.

Both ends of the pipe import it; neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DATASET_NOTE: Final = "data set "
"""How the note begins that is stored with a result of any data set but the first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What every analysis of one service or command has in common.

    Attributes
    ----------
    profile_dirs, model_dirs
        Folders searched for instrument profiles and model bundles, shipped ones included.
    max_bytes
        Larger captures are quarantined unread.
    """

    profile_dirs: tuple[Path, ...]
    model_dirs: tuple[Path, ...]
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Task:
    """One analysis to do; the worker reads the archived bytes itself.

    Attributes
    ----------
    path
        Archived file; its digest must be `sha256`.
    profile
        Id of the profile to use, or None to let the registry match one.
    dataset
        Which data set of the file, from 1.
    species
        What people have corrected the instrument's species to, or None.
    """

    capture_id: int
    path: str
    sha256: str
    instrument: str
    source: str
    name: str
    profile: str | None = None
    dataset: int = 1
    species: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one worker may use."""

    memory_mb: int = 512
    cpu_s: int = 30
    wall_s: float = 35.0
    tasks: int = 500


def dataset_of(notes: Iterable[str]) -> int:
    """Which data set of the file a result with these notes is of."""
    for note in notes:
        number = note.removeprefix(DATASET_NOTE).partition(" ")[0]
        if note.startswith(DATASET_NOTE) and number.isascii() and number.isdigit():
            return int(number)
    return 1


def dataset_note(dataset: int) -> str:
    """Note that is stored with the result of this data set."""
    return f"{DATASET_NOTE}{dataset} of the file"
