"""Measure a bundle against a cohort whose truth is known, beside a simple baseline.

The only place besides the simulator that reads truth.
"""

from __future__ import annotations

import csv
import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import decode
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.decode.registry import Registry
    from edge_daemon.records import CellBatch

PLATELET_EXTINCTION: Final = (1.0, 16.0)
"""Baseline: an event is a platelet between these extinction heights, µm²; below is debris.

Fixed for all species, as an instrument set up once on dogs would have it (domain: dog platelets
near 2 µm², cat platelets near 7, goat red cells near 14, dog red cells near 57).
"""
RETICULOCYTE_DYE: Final = 3.0
"""Baseline: a red cell brighter than this is a reticulocyte; a mature dog cell is 1."""

PLT_GOAL: Final = 0.25
RBC_GOAL: Final = 0.05
RETIC_GOAL: Final = 0.25
MIN_RETIC_PCT: Final = 0.5
"""Below this a relative reticulocyte error is counting noise."""

_TRUTH_COLUMNS: Final = (
    "capture",
    "species",
    "condition",
    *(f"n_{name}" for name in CELL_CLASSES),
    "rbc_10e6_per_ul",
    "plt_10e3_per_ul",
    "retic_pct",
)


@dataclass(frozen=True, slots=True)
class Score:
    """One run: relative errors of the bundle and of the baseline; None where not defined.

    Attributes
    ----------
    plt_events, baseline_plt_events
        Platelet events found over true platelet events, minus 1: the classification alone.
    plt, rbc
        Reported concentration over the truth of the blood, minus 1: with everything that
        metering, coincidence, clumps and aggregates do.
    retic, baseline_retic
        Reported over true percentage of the recorded single red cells that are reticulocytes,
        minus 1, where that is at least `MIN_RETIC_PCT`.
    plt_covered, rbc_covered
        Whether the 95 % interval held the truth.
    """

    capture: str
    species: str
    condition: str
    plt_events: float | None
    baseline_plt_events: float | None
    plt: float | None
    rbc: float | None
    retic: float | None
    baseline_retic: float | None
    clump_points: float
    plt_covered: bool | None
    rbc_covered: bool | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All runs of a cohort.

    Attributes
    ----------
    failed
        Captures that could not be classified, with the reason.
    """

    bundle: str
    scores: tuple[Score, ...]
    failed: tuple[str, ...]

    def table(self) -> list[dict[str, Any]]:
        """Accuracy over all runs, by species and by condition; one row a group."""
        rows = [{"group": "all", "name": "all"} | _summary(self.scores)]
        for group in ("species", "condition"):
            for name in sorted({getattr(s, group) for s in self.scores}):
                members = [s for s in self.scores if getattr(s, group) == name]
                rows.append({"group": group, "name": name} | _summary(members))
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "bundle": self.bundle,
            "runs": len(self.scores),
            "failed": list(self.failed),
            "table": self.table(),
            "scores": [asdict(score) for score in self.scores],
        }


def evaluate(
    bundle: Bundle,
    captures: Path,
    truth: Path,
    registry: Registry,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Classify every capture of a cohort and compare with its truth.

    Raises
    ------
    EdgeError
        The truth file is not of the expected form, or no capture could be classified.
    """
    rows = read_truth(truth)
    classifier = Classifier(bundle)
    scores: list[Score] = []
    failed: list[str] = []
    for done, row in enumerate(rows, start=1):
        file = captures / row["capture"]
        try:
            data = file.read_bytes()
            batch = decode(data, registry.match(data, file.name))
            scores.append(_score(bundle, classifier, batch, row))
        except OSError as error:
            failed.append(f"{file.name}: {error.strerror}")
        except Quarantine as error:
            failed.append(f"{file.name}: {error.message}")
        progress(done, len(rows))
    if not scores:
        reasons = "; ".join(failed[:5])
        raise EdgeError(f"{captures}: no capture of {truth} could be classified: {reasons}")
    return Evaluation(bundle.id, tuple(scores), tuple(failed))


def read_truth(file: Path) -> list[dict[str, str]]:
    """Read ``truth.csv`` and check its header and numbers."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EdgeError(f"{file}: cannot be read as CSV in UTF-8: {error}") from error
    missing = [c for c in _TRUTH_COLUMNS if not rows or c not in rows[0]]
    if missing:
        raise EdgeError(
            f"{file}: no rows, or no column {', '.join(missing)}; "
            f"expected {','.join(_TRUTH_COLUMNS)}",
            action="give the truth.csv that belongs to these captures",
        )
    for line, row in enumerate(rows, start=2):
        for column in _TRUTH_COLUMNS[3:]:
            try:
                good = math.isfinite(float(row[column]))
            except (TypeError, ValueError):
                good = False
            if not good:
                raise EdgeError(f"{file}: line {line}: {column} is {row[column]!r}, not a number")
    return rows


def _score(
    bundle: Bundle, classifier: Classifier, batch: CellBatch, row: Mapping[str, str]
) -> Score:
    result = quantify(batch, classifier.classify(batch), bundle)
    value = {m.code: m for m in result.measurements}
    true = {column: float(row[column]) for column in _TRUTH_COLUMNS[3:]}
    n_plt = true["n_platelet"]
    red_events = sum(true[f"n_{name}"] for name in CELL_CLASSES[:3])
    base_plt, base_retic = baseline(batch)
    singles = true["n_pure_rbc"] + true["n_reticulocyte"]
    share = 100 * true["n_reticulocyte"] / max(singles, 1.0)
    percent = share if share >= MIN_RETIC_PCT else None
    plt, rbc = value["PLT"], value["RBC"]
    return Score(
        capture=row["capture"],
        species=row["species"],
        condition=row["condition"],
        plt_events=_relative(result.counts["platelet"], n_plt),
        baseline_plt_events=_relative(base_plt, n_plt),
        plt=_relative(plt.value, true["plt_10e3_per_ul"]),
        rbc=_relative(rbc.value, true["rbc_10e6_per_ul"]),
        retic=_relative(value["RETIC%"].value, percent),
        baseline_retic=_relative(base_retic, percent),
        clump_points=(value["CLUMP%"].value or 0.0)
        - 100 * true["n_clumped_rbc"] / max(red_events, 1),
        plt_covered=_inside(plt.low, plt.high, true["plt_10e3_per_ul"]),
        rbc_covered=_inside(rbc.low, rbc.high, true["rbc_10e6_per_ul"]),
    )


def baseline(batch: CellBatch) -> tuple[float, float | None]:
    """Platelet events and reticulocyte % by fixed thresholds on extinction and dye."""
    extinction = batch.signals[:, batch.channels.index("EXT.H")]
    low, high = PLATELET_EXTINCTION
    platelets = float(((extinction >= low) & (extinction < high)).sum())
    if "FL.H" not in batch.channels:
        return platelets, None
    red = extinction >= high
    bright = red & (batch.signals[:, batch.channels.index("FL.H")] > RETICULOCYTE_DYE)
    return platelets, 100 * float(bright.sum()) / max(float(red.sum()), 1.0)


def _relative(found: float | None, true: float | None) -> float | None:
    if found is None or true is None or true <= 0:
        return None
    return found / true - 1


def _inside(low: float | None, high: float | None, true: float) -> bool | None:
    return None if low is None or high is None else low <= true <= high


def _summary(scores: Sequence[Score]) -> dict[str, Any]:
    return {
        "runs": len(scores),
        "plt_within_25": _within([s.plt_events for s in scores], PLT_GOAL),
        "plt_median_error": _median(s.plt_events for s in scores),
        "plt_bias": _bias(s.plt_events for s in scores),
        "plt_blood_within_25": _within([s.plt for s in scores], PLT_GOAL),
        "plt_covered": _share(s.plt_covered for s in scores),
        "rbc_within_5": _within([s.rbc for s in scores], RBC_GOAL),
        "rbc_median_error": _median(s.rbc for s in scores),
        "rbc_covered": _share(s.rbc_covered for s in scores),
        "retic_within_25": _within([s.retic for s in scores], RETIC_GOAL),
        "retic_median_error": _median(s.retic for s in scores),
        "retic_bias": _bias(s.retic for s in scores),
        "clump_points": float(np.median([abs(s.clump_points) for s in scores])),
        "baseline_plt_within_25": _within([s.baseline_plt_events for s in scores], PLT_GOAL),
        "baseline_retic_within_25": _within([s.baseline_retic for s in scores], RETIC_GOAL),
    }


def _within(errors: Iterable[float | None], goal: float) -> float | None:
    return _share(abs(e) <= goal for e in errors if e is not None)


def _median(errors: Iterable[float | None]) -> float | None:
    sizes = [abs(e) for e in errors if e is not None]
    return statistics.median(sizes) if sizes else None


def _bias(errors: Iterable[float | None]) -> float | None:
    known = [e for e in errors if e is not None]
    return statistics.median(known) if known else None


def _share(marks: Iterable[bool | None]) -> float | None:
    known = [mark for mark in marks if mark is not None]
    return sum(known) / len(known) if known else None
