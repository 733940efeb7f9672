"""How far one run's result lies from its truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.classify.quantify import Quantified
    from edge_daemon.records import CellBatch, CellCalls
    from edge_daemon.training.truth import Sample

PURE, RETIC, CLUMP, PLATELET, OTHER = range(5)
RETICULOCYTES: Final = "RETIC%"
CLUMPS: Final = "CLUMP%"

Interval = tuple[float, float, float]
"""Low, high and the truth."""


class Method(Protocol):
    """Anything that calls the cells of a run."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    @property
    def tells(self) -> frozenset[str]:
        """Which of `RETICULOCYTES` and `CLUMPS` it tells apart."""

    def classify(self, batch: CellBatch) -> CellCalls:
        """Call every event; raises `Quarantine` when it refuses."""


@dataclass(frozen=True, slots=True)
class Score:
    """One run by one method; None where nothing is said or nothing can be.

    Attributes
    ----------
    plt_k
        True platelets of the blood, 10³/µL.
    plt
        Platelet events found over true platelet events, minus 1.
    red
        Red-cell share of the events found over the true one, minus 1.
    retic, true_retic
        Reticulocytes, % of the recorded single red cells.
    clump, true_clump
        Clumps, % of the recorded red-cell events.
    refused
        Why the run was not classified; empty when it was.
    intervals
        By measurand: the 95 % interval and the truth. Of the bundle only.
    """

    capture: str
    species: str
    condition: str
    plt_k: float
    plt: float | None = None
    red: float | None = None
    retic: float | None = None
    true_retic: float = 0.0
    clump: float | None = None
    true_clump: float = 0.0
    refused: str = ""
    intervals: Mapping[str, Interval] = field(default_factory=dict)


def refused(sample: Sample, reason: str) -> Score:
    """Score of a run that was not classified."""
    return Score(sample.capture, sample.species, sample.condition, sample.plt, refused=reason)


def score_calls(sample: Sample, calls: CellCalls, tells: frozenset[str]) -> Score:
    """Score a method by the sums of its posteriors."""
    found = calls.posterior.sum(axis=0, dtype=float).tolist()
    return Score(
        capture=sample.capture,
        species=sample.species,
        condition=sample.condition,
        plt_k=sample.plt,
        plt=_relative(found[PLATELET], sample.events[PLATELET]),
        red=_relative(_red_share(found), _red_share(sample.events)),
        retic=_retic_pct(found) if RETICULOCYTES in tells else None,
        true_retic=_retic_pct(sample.events),
        clump=_clump_pct(found) if CLUMPS in tells else None,
        true_clump=_clump_pct(sample.events),
    )


def score_result(sample: Sample, result: Quantified) -> Score:
    """Score what the box would report."""
    value = {m.code: m for m in result.measurements}
    found = [float(result.counts[name]) for name in CELL_CLASSES]
    truth = {
        "RBC": sample.rbc,
        "PLT": sample.plt,
        "RETIC": sample.rbc * 10 * sample.retic_pct,
        RETICULOCYTES: sample.retic_pct,
        CLUMPS: _clump_pct(sample.events),
    }
    return Score(
        capture=sample.capture,
        species=sample.species,
        condition=sample.condition,
        plt_k=sample.plt,
        plt=_relative(found[PLATELET], sample.events[PLATELET]),
        red=_relative(_red_share(found), _red_share(sample.events)),
        retic=value[RETICULOCYTES].value,
        true_retic=_retic_pct(sample.events),
        clump=value[CLUMPS].value,
        true_clump=truth[CLUMPS],
        intervals={
            code: (value[code].low, value[code].high, true)  # type: ignore[misc]  # next line
            for code, true in truth.items()
            if value[code].low is not None and value[code].high is not None
        },
    )


def _relative(found: float, true: float) -> float | None:
    return found / true - 1 if true > 0 else None


def _red_share(events: tuple[float, ...] | list[float]) -> float:
    return sum(events[: CLUMP + 1]) / max(sum(events), 1.0)


def _retic_pct(events: tuple[float, ...] | list[float]) -> float:
    return 100 * events[RETIC] / max(events[PURE] + events[RETIC], 1.0)


def _clump_pct(events: tuple[float, ...] | list[float]) -> float:
    return 100 * events[CLUMP] / max(sum(events[: CLUMP + 1]), 1.0)
