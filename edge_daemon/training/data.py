"""Captures and their reported values, ready for training."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.decode import decode
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.parts import PartNames, read_run
from edge_daemon.records import SPECIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_daemon.decode.registry import Registry
    from edge_daemon.records import CellBatch

HEADER: Final = (
    "capture", "species", "rbc_10e6_per_ul", "plt_10e3_per_ul", "retic_pct", "dilution",
    "volume_ul",
)  # fmt: skip
ANCHOR: Final = "EXT.A"
MIN_RUNS: Final = 12
"""Fewer runs than this cannot tell the population that varies from the one that does not."""
MAX_DROPPED: Final = 0.2
MAX_COUNT_RATIO: Final = 1.5

_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "rbc_10e6_per_ul": (0.1, 40.0),
    "plt_10e3_per_ul": (0.0, 5000.0),
    "retic_pct": (0.0, 60.0),
    "dilution": (1.0, 1e6),
    "volume_ul": (1e-4, 1e5),
}


@dataclass(frozen=True)
class Reference:
    """What an analyzer reported for one capture; None is not known."""

    capture: str
    species: str | None
    rbc: float
    plt: float | None
    retic_pct: float | None
    dilution: float
    volume_ul: float

    @property
    def blood_ul(self) -> float:
        """Undiluted blood that passed the detectors, µL."""
        return self.volume_ul / self.dilution


@dataclass(frozen=True)
class Run:
    """One capture with its calibration and reported values.

    Attributes
    ----------
    signals
        float32 ``(events, channels)``.
    peak
        float32 ``(channels,)``.
    """

    reference: Reference
    signals: NDArray[np.float32]
    peak: NDArray[np.float32]

    @property
    def events(self) -> int:
        """Recorded events."""
        return len(self.signals)

    @property
    def logs(self) -> NDArray[np.float32]:
        """Natural logarithm of every signal over the red-cell peak."""
        ratio = np.maximum(self.signals / self.peak, np.float32(1e-3))
        logs: NDArray[np.float32] = np.log(ratio)
        return logs


@dataclass(frozen=True)
class Cohort:
    """All usable runs of one instrument.

    Attributes
    ----------
    channels
        Canonical channels all runs have, in order.
    profiles, species
        What the runs cover.
    dropped
        Why captures were left out, one line each.
    references_sha256
        Digest of the reference file.
    simulated
        Whether any run is simulated.
    """

    runs: tuple[Run, ...]
    channels: tuple[str, ...]
    profiles: tuple[str, ...]
    species: tuple[str, ...]
    dropped: tuple[str, ...]
    references_sha256: str
    simulated: bool


def load_references(file: Path) -> tuple[list[Reference], str]:
    """Read ``references.csv``.

    Returns
    -------
    tuple
        The rows that state RBC, volume and dilution, and the file's SHA-256.

    Raises
    ------
    EdgeError
        The file is not of the expected form, or holds a value that cannot be; every problem
        is listed with its line.
    """
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in HEADER if name not in (reader.fieldnames or ())]
    if missing:
        raise EdgeError(
            f"{file}: line 1: no column {', '.join(missing)}; expected {','.join(HEADER)}",
            action="write the file with this header; leave a field empty where nothing is known",
        )
    problems: list[str] = []
    rows: dict[str, Reference] = {}
    try:
        for line, record in enumerate(reader, start=2):
            _add(rows, record, line, problems)
    except csv.Error as error:
        problems.append(f"line {reader.line_num}: {error}")
    if problems:
        shown = "; ".join(problems[:20]) + (" …" if len(problems) > 20 else "")
        raise EdgeError(
            f"{file}: {len(problems)} problem(s): {shown}",
            action="correct these lines; a value that is not known stays empty",
        )
    return list(rows.values()), hashlib.sha256(raw).hexdigest()


def _add(
    rows: dict[str, Reference],
    record: dict[str, str | None],
    line: int,
    problems: list[str],
) -> None:
    name = (record["capture"] or "").strip()
    values: dict[str, float | None] = {}
    found = len(problems)
    for column, (low, high) in _LIMITS.items():
        cell = (record[column] or "").strip()
        values[column] = _number(cell)
        value = values[column]
        if cell and (value is None or not low <= value <= high):
            problems.append(f"line {line}: {column} is {cell!r}, expected {low:g} to {high:g}")
    species = (record["species"] or "").strip() or None
    if species is not None and species not in SPECIES:
        problems.append(f"line {line}: species {species!r}, expected one of {', '.join(SPECIES)}")
    if not name or "/" in name:
        problems.append(f"line {line}: capture {name!r} is not a file name")
    rbc, volume, dilution = (values[c] for c in ("rbc_10e6_per_ul", "volume_ul", "dilution"))
    if len(problems) > found or rbc is None or volume is None or dilution is None:
        return
    row = Reference(
        name, species, rbc, values["plt_10e3_per_ul"], values["retic_pct"], dilution, volume
    )
    if rows.setdefault(name, row) != row:
        problems.append(f"line {line}: capture {name} has two rows that contradict each other")


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def load_cohort(
    captures: Path,
    references: Path,
    registry: Registry,
    *,
    profile_id: str | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Cohort:
    """Decode every capture that has reported values, and check that the two agree.

    Parameters
    ----------
    captures
        Folder of captures.
    references
        Their reported values (`HEADER`).
    registry
        Instrument profiles.
    profile_id
        Use only captures that match this profile. None: whatever each capture matches.

    Raises
    ------
    EdgeError
        Too few usable captures, or too many that contradict their reported values; the
        reasons are listed.
    """
    rows, digest = load_references(references)
    loader = _Loader(registry, profile_id)
    for done, row in enumerate(rows, start=1):
        loader.add(captures / row.capture, row)
        progress(done, len(rows))
    loader.refuse_if_unusable(captures, len(rows))
    return Cohort(
        runs=tuple(loader.runs),
        channels=loader.channels,
        profiles=tuple(sorted(loader.profiles)),
        species=tuple(s for s in SPECIES if s in loader.species),
        dropped=tuple(loader.dropped),
        references_sha256=digest,
        simulated=loader.simulated,
    )


class _Loader:
    """Collects runs; a capture that cannot be used is left out with its reason."""

    def __init__(self, registry: Registry, profile_id: str | None) -> None:
        self._registry = registry
        self._names = PartNames(registry.part_patterns)
        self._only = registry.get(profile_id).id if profile_id else None
        self.runs: list[Run] = []
        self.channels: tuple[str, ...] = ()
        self.profiles: set[str] = set()
        self.species: set[str] = set()
        self.dropped: list[str] = []
        self.simulated = False

    def add(self, file: Path, row: Reference) -> None:
        """Decode one capture and keep it if it agrees with its reported values."""
        try:
            name, data = read_run(file, self._names)
            profile = self._registry.match(data, name)
            if self._only is not None and profile.id != self._only:
                return
            batch = decode(data, profile, name=name)
            channels = self.channels or batch.channels
            if batch.channels != channels:
                self.dropped.append(f"{file.name}: other channels than the first capture")
                return
            if ANCHOR not in channels:
                self.dropped.append(f"{file.name}: no channel {ANCHOR}, which training needs")
                return
            peak = red_cell_peak(batch.signals, channels, ANCHOR)
        except OSError as error:
            self.dropped.append(f"{file.name}: {error.strerror}")
            return
        except Quarantine as error:
            self.dropped.append(f"{file.name}: {error.message}")
            return
        against = contradiction(batch, row)
        if against:
            self.dropped.append(f"{file.name}: {against}")
            return
        self.channels = channels
        self.runs.append(Run(row, batch.signals, peak))
        self.profiles.add(batch.profile)
        self.species |= {s for s in (row.species or batch.sample.species,) if s}
        self.simulated |= batch.sample.simulated

    def refuse_if_unusable(self, captures: Path, rows: int) -> None:
        """Raise when too little is left or too much contradicts."""
        reasons = "; ".join(self.dropped[:10]) + (" …" if len(self.dropped) > 10 else "")
        platelets = sum(run.reference.plt is not None for run in self.runs)
        if platelets < MIN_RUNS:
            raise EdgeError(
                f"{captures}: {platelets} usable captures with reported RBC and PLT, at least "
                f"{MIN_RUNS} are needed" + (f"; left out: {reasons}" if reasons else ""),
                action="add captures with their reported values, dilution and volume",
            )
        if len(self.dropped) > MAX_DROPPED * rows:
            raise EdgeError(
                f"{captures}: {len(self.dropped)} of {rows} captures contradict their reported "
                f"values or cannot be read: {reasons}",
                action="check that the reference rows belong to these captures and their units",
            )


def contradiction(batch: CellBatch, row: Reference) -> str | None:
    """Say how a capture and its reported values cannot both be right, or None."""
    if batch.sample.species and row.species and batch.sample.species != row.species:
        return f"species {batch.sample.species} in the capture, {row.species} in the references"
    expected = (row.rbc * 1e6 + (row.plt or 0.0) * 1e3) * row.blood_ul
    ratio = batch.events / expected
    if not 1 / MAX_COUNT_RATIO < ratio < MAX_COUNT_RATIO:
        return (
            f"{batch.events} events recorded, but the reported counts, dilution and volume "
            f"give {expected:.0f}"
        )
    return None
