"""Moving averages of patients' results: drift that no control material was run to show.

Bull's algorithm: the indices of red cells hardly differ between mixed groups of patients of one
species, so when the average of 20 animals moves, it is rather the instrument that moved. Bull,
Elashoff, Heilbron and Couperus, Am J Clin Pathol 1974; 61: 473-481. One stream per species and
instrument, since MCV spans 16 to 78 fL between species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

State = Literal["too_few", "in_control", "drift"]

BATCH: Final = 20
BASELINE_BATCHES: Final = 5
"""The first batches, 100 animals, set the target."""
INDEX_LIMIT: Final = 3.0
"""Percent about the target within which the average of an index stays."""
INDICES: Final = frozenset({"MCV", "MCH", "MCHC"})


@dataclass(frozen=True, slots=True)
class Stream:
    """The moving average of one value of one species on one instrument.

    Attributes
    ----------
    values
        Results used, and `repeats` of a patient left out of them.
    target
        Mean of the averages of the first `BASELINE_BATCHES`; None before there are so many.
    limit_percent
        Control limits about the target.
    averages
        One per full batch, oldest first, `percent` the same about the target in percent of it.
    state
        Of the newest batch, which must come after those that set the target.
    drifting
        Batches in a row, the newest last, that lie beyond the limits.
    """

    values: int
    repeats: int
    target: float | None
    limit_percent: float | None
    averages: tuple[float, ...]
    percent: tuple[float, ...]
    state: State
    drifting: int


def bull_averages(
    values: Sequence[float], start: float, *, batch: int = BATCH
) -> tuple[float, ...]:
    """Average batch after batch.

    Each result pulls the average its way by the square root of its distance, so that a few
    very ill patients pull little. With d the distances of a batch from the average before it
    and S = mean(sign(d)·√|d|), the average moves by sign(S)·S².

    Parameters
    ----------
    values
        Oldest first; a last part that fills no batch waits.
    start
        Average before the first batch.
    batch
        Results in a batch.
    """
    averages = []
    average = float(start)
    for first in range(0, len(values) - batch + 1, batch):
        distance = np.asarray(values[first : first + batch], np.float64) - average
        pull = float(np.mean(np.sign(distance) * np.sqrt(np.abs(distance))))
        average += math.copysign(pull * pull, pull)
        averages.append(average)
    return tuple(averages)


def without_repeats(
    results: Iterable[tuple[str | None, float]], *, batch: int = BATCH
) -> tuple[tuple[float, ...], int]:
    """Leave out of each batch what a patient already gave to it.

    A ward's one patient measured ten times is not a mixed group.

    Parameters
    ----------
    results
        Patient, or None where not known, and value, oldest first.

    Returns
    -------
    tuple
        The values kept, and how many were left out.
    """
    kept: list[float] = []
    present: set[str] = set()
    left_out = 0
    for patient, value in results:
        if len(kept) % batch == 0:
            present.clear()
        if patient is not None and patient in present:
            left_out += 1
            continue
        if patient is not None:
            present.add(patient)
        kept.append(value)
    return tuple(kept), left_out


def stream(code: str, results: Iterable[tuple[str | None, float]]) -> Stream:
    """Follow one value of one species on one instrument.

    The limits are ±3 % for MCV, MCH and MCHC. Counts and rates differ more between patients:
    theirs are three standard errors of a batch, from the spread of the results that set the
    target, and never below 3 %.

    Parameters
    ----------
    code
        Of the value; decides the limits.
    results
        Patient and value, oldest first; finite values only.
    """
    values, repeats = without_repeats(results)
    first = values[: BATCH * BASELINE_BATCHES]
    if len(first) < BATCH * BASELINE_BATCHES or (middle := float(np.median(first))) <= 0.0:
        return Stream(len(values), repeats, None, None, (), (), "too_few", 0)
    averages = bull_averages(values, middle)
    target = float(np.mean(averages[:BASELINE_BATCHES]))
    limit = INDEX_LIMIT if code in INDICES else max(INDEX_LIMIT, _three_errors(first, middle))
    percent = tuple(100.0 * (average / target - 1.0) for average in averages)
    later = percent[BASELINE_BATCHES:]
    drifting = 0
    for deviation in reversed(later):
        if abs(deviation) <= limit:
            break
        drifting += 1
    state: State = "drift" if drifting else "in_control" if later else "too_few"
    return Stream(len(values), repeats, target, limit, averages, percent, state, drifting)


def _three_errors(values: Sequence[float], middle: float) -> float:
    """Three standard errors of a batch's mean in percent; of the spread, outliers are no part."""
    spread = 1.4826 * float(np.median(np.abs(np.asarray(values) - middle)))
    return 100.0 * 3.0 * spread / middle / math.sqrt(BATCH)
