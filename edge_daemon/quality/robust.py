"""The median and its confidence interval, which outliers and skewed differences do not bend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FEWEST = 6
"""Below it no interval between two of the values holds the median with 95 %."""


@dataclass(frozen=True, slots=True)
class Median:
    """Where the middle of some values lies.

    Attributes
    ----------
    n
        Values.
    median
        Their middle.
    low, high
        95 % confidence interval of the median; at least that, whatever the distribution.
    spread
        1.4826 times the median distance from the median: what a standard deviation would be
        without outliers.
    """

    n: int
    median: float
    low: float
    high: float
    spread: float


def median_interval(values: ArrayLike) -> Median:
    """Find the median, and between which of the values it lies with 95 %.

    The k-th smallest and largest values hold the median with 1 − 2 P(B < k), B binomial with
    n and ½ (Thompson, Ann Math Stat 1936; 7: 122-128).

    Parameters
    ----------
    values
        ``(n,)``, finite.

    Raises
    ------
    EdgeError
        Fewer than `FEWEST` values, or one that is not finite.
    """
    x = np.sort(np.asarray(values, np.float64))
    if x.size < FEWEST:
        raise EdgeError(f"{x.size} values are too few for an interval; {FEWEST} are needed")
    if not np.isfinite(x).all():
        raise EdgeError("a value is not a finite number", action="leave such values out")
    middle = float(np.median(x))
    k = _rank(x.size)
    return Median(
        n=int(x.size),
        median=middle,
        low=float(x[k]),
        high=float(x[x.size - 1 - k]),
        spread=1.4826 * float(np.median(np.abs(x - middle))),
    )


def _rank(n: int) -> int:
    """Return the most values that may be cut off at each end: the largest k with P(B ≤ k) ≤ 2.5 %.

    Counted from 0, so that k = 0 is the interval from the smallest to the largest.
    """
    below, k = 0.0, -1
    log_half = n * math.log(0.5)
    while k < n // 2:
        term = math.lgamma(n + 1) - math.lgamma(k + 2) - math.lgamma(n - k) + log_half
        below += math.exp(term)
        if below > 0.025:
            break
        k += 1
    return max(k, 0)
