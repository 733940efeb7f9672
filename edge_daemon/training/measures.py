"""Measures over a group of runs: each says over how many runs, and how much."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_daemon.training.scores import Score

Kind = Literal["share", "error", "fine", "points", "number", "count"]
"""A share, a relative error, a fine one, percentage points, a plain number, a count."""

_WRITTEN: Final[dict[Kind, tuple[float, int, str]]] = {
    "share": (100, 1, " %"),
    "error": (100, 1, " %"),
    "fine": (100, 3, " %"),
    "points": (1, 2, ""),
    "number": (1, 3, ""),
    "count": (1, 0, ""),
}
"""Scale, decimals and unit."""

Measured = tuple[int, float | None]
"""Runs that have a value, and the measure over them; None where it is not defined."""

PLT_GOAL: Final = 0.25
REGENERATION_PCT: Final = 0.5
"""Horses release practically no reticulocytes: a percentage above this is false regeneration."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How to sum up the scores of some runs.

    Attributes
    ----------
    kind
        How to write the value.
    of
        Scores of one method to runs counted and value.
    """

    kind: Kind
    of: Callable[[Sequence[Score]], Measured]


def text(kind: Kind, value: float | None) -> str:
    """One value as people read it."""
    if value is None:
        return "–"
    scale, decimals, unit = _WRITTEN[kind]
    return f"{scale * value:.{decimals}f}{unit}"


def _median(sizes: Sequence[float]) -> Measured:
    return len(sizes), statistics.median(sizes) if sizes else None


def _plt_error(scores: Sequence[Score]) -> Measured:
    return _median([abs(s.plt) for s in scores if s.plt is not None])


def _plt_within(scores: Sequence[Score]) -> Measured:
    sizes = [abs(s.plt) for s in scores if s.plt is not None]
    return len(sizes), sum(e <= PLT_GOAL for e in sizes) / len(sizes) if sizes else None


def _red(scores: Sequence[Score]) -> Measured:
    return _median([abs(s.red) for s in scores if s.red is not None])


def _clump(scores: Sequence[Score]) -> Measured:
    return _median([abs(s.clump - s.true_clump) for s in scores if s.clump is not None])


def _correlation(scores: Sequence[Score]) -> Measured:
    pairs = [(s.retic, s.true_retic) for s in scores if s.retic is not None]
    if len(pairs) < 3:
        return len(pairs), None
    found, true = np.array(pairs, dtype=float).T
    if not found.std() or not true.std():
        return len(pairs), None
    return len(pairs), float(np.corrcoef(found, true)[0, 1])


def _ratios(scores: Sequence[Score]) -> list[float]:
    return [s.retic / s.true_retic for s in scores if s.retic is not None and s.true_retic > 0]


def _cv(scores: Sequence[Score]) -> Measured:
    ratios = _ratios(scores)
    if len(ratios) < 3 or not sum(ratios):
        return len(ratios), None
    return len(ratios), float(np.std(ratios, ddof=1) / np.mean(ratios))


def _bias(scores: Sequence[Score]) -> Measured:
    ratios = _ratios(scores)
    return len(ratios), statistics.median(ratios) - 1 if ratios else None


def _false(scores: Sequence[Score]) -> Measured:
    told = [s for s in scores if s.retic is not None]
    false = [s for s in told if (s.retic or 0.0) > REGENERATION_PCT > s.true_retic]
    return len(told), float(len(false)) if told else None


def _unclassified(scores: Sequence[Score]) -> Measured:
    return len(scores), sum(bool(s.refused) for s in scores) / len(scores) if scores else None


PLT_ERROR: Final = Measure("error", _plt_error)
PLT_WITHIN: Final = Measure("share", _plt_within)
RED_ERROR: Final = Measure("fine", _red)
CLUMP_DIFFERENCE: Final = Measure("points", _clump)
RETIC_R: Final = Measure("number", _correlation)
RETIC_CV: Final = Measure("error", _cv)
RETIC_BIAS: Final = Measure("error", _bias)
FALSE_REGENERATION: Final = Measure("count", _false)
NOT_CLASSIFIED: Final = Measure("share", _unclassified)
