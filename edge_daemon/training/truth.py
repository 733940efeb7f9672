"""What is true of a simulated cohort: of every sample, and of every cell.

Only evaluation reads it; training has no way to it.
"""

from __future__ import annotations

import csv
import math
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CELLS: Final = "truth.npz"
_TEXT: Final = ("capture", "species", "condition")
_NUMBERS: Final = (
    *(f"n_{name}" for name in CELL_CLASSES),
    "rbc_10e6_per_ul",
    "plt_10e3_per_ul",
    "retic_pct",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample's truth.

    Attributes
    ----------
    events
        Recorded events of each class, in the order of `CELL_CLASSES`.
    rbc, plt, retic_pct
        Of the blood: all red cells, 10⁶/µL; all platelets, 10³/µL; reticulocytes, %.
    """

    capture: str
    species: str
    condition: str
    events: tuple[float, ...]
    rbc: float
    plt: float
    retic_pct: float


class Truth:
    """The truth of a cohort.

    Parameters
    ----------
    file
        ``truth.csv``; per-cell truth is read from ``truth.npz`` beside it where that exists.

    Attributes
    ----------
    samples
        In the order of the file.
    has_cells
        Whether every cell's class is known.

    Raises
    ------
    EdgeError
        A file is not of the expected form.
    """

    def __init__(self, file: Path) -> None:
        self.samples = read_truth(file)
        self._file = file.with_name(CELLS)
        self.has_cells = self._file.exists()

    def codes(self, sample: Sample) -> NDArray[np.uint8]:
        """Class of every event of a sample, ``(events,)``.

        Raises
        ------
        EdgeError
            The file cannot be read, lacks the sample, or contradicts ``truth.csv``.
        """
        try:
            with np.load(self._file, allow_pickle=False) as archive:
                codes: NDArray[np.uint8] = archive[sample.capture]
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise EdgeError(
                f"{self._file}: no classes of {sample.capture}: {error}",
                action="give the truth.csv and truth.npz that were written together",
            ) from error
        counts = np.bincount(codes.ravel(), minlength=len(CELL_CLASSES))
        if codes.ndim != 1 or tuple(counts) != sample.events:
            raise EdgeError(
                f"{self._file}: {sample.capture}: {counts.tolist()} events per class, "
                f"truth.csv says {[int(n) for n in sample.events]}",
                action="give the truth.csv and truth.npz that were written together",
            )
        return codes


def read_truth(file: Path) -> tuple[Sample, ...]:
    """Read ``truth.csv`` and check its header and numbers.

    Raises
    ------
    EdgeError
        The file is not of the expected form; the line and column are named.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EdgeError(f"{file}: cannot be read as CSV in UTF-8: {error}") from error
    missing = [c for c in (*_TEXT, *_NUMBERS) if not rows or c not in rows[0]]
    if missing:
        raise EdgeError(
            f"{file}: no rows, or no column {', '.join(missing)}; "
            f"expected {','.join((*_TEXT, *_NUMBERS))}",
            action="give the truth.csv that belongs to these captures",
        )
    return tuple(_sample(file, line, row) for line, row in enumerate(rows, start=2))


def _sample(file: Path, line: int, row: Mapping[str, str | None]) -> Sample:
    numbers = {column: _number(file, line, column, row[column]) for column in _NUMBERS}
    capture, species, condition = (row[column] or "" for column in _TEXT)
    if not capture or "/" in capture:
        raise EdgeError(f"{file}: line {line}: capture {capture!r} is not a file name")
    return Sample(
        capture=capture,
        species=species,
        condition=condition,
        events=tuple(numbers[f"n_{name}"] for name in CELL_CLASSES),
        rbc=numbers["rbc_10e6_per_ul"],
        plt=numbers["plt_10e3_per_ul"],
        retic_pct=numbers["retic_pct"],
    )


def _number(file: Path, line: int, column: str, cell: str | None) -> float:
    try:
        value = float(cell or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise EdgeError(f"{file}: line {line}: {column} is {cell!r}, not a number")
    return value
