"""Passing–Bablok regression: a straight line between two methods that both err."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.errors import EdgeError
from edge_daemon.quality.pairs import as_pairs
from edge_daemon.quality.student import Z95

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Interval = tuple[float, float]

MAX_PAIRS: Final = 2000
"""Slopes grow with the square of pairs: these take 16 MB and a third of a second."""

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class PassingBablok:
    """Ours = `intercept` + `slope` × theirs.

    Attributes
    ----------
    n
        Pairs used.
    left_out
        Pairs beyond `MAX_PAIRS`, the first ones, that were not used.
    slope, intercept
        Estimates.
    slope_ci, intercept_ci
        95 % confidence intervals; an end is infinite where the data set none.
    """

    n: int
    left_out: int
    slope: float
    intercept: float
    slope_ci: Interval
    intercept_ci: Interval


def passing_bablok(ours: ArrayLike, theirs: ArrayLike) -> PassingBablok:
    """Fit the line.

    After Passing and Bablok, J Clin Chem Clin Biochem 1983; 21: 709-720: the median of all
    slopes between two points, shifted so that exchanging the methods gives the inverse line.
    Slopes of −1 do not count, nor do pairs of equal points. The shift is done by order: slopes
    above −1 up to vertical, then those beyond it, so that the sign of a vertical slope has no
    part in it. Of an even number, the geometric mean of the middle two is taken, which keeps
    the exchange exact.

    Parameters
    ----------
    ours, theirs
        ``(pairs,)``, in the same unit; of more than `MAX_PAIRS` the last are used.

    Raises
    ------
    EdgeError
        Too few pairs, a value that is not finite, or values that show no rising line: nearly
        all alike, or unrelated.
    """
    y, x = as_pairs(ours, theirs)
    left_out = max(y.size - MAX_PAIRS, 0)
    y, x = y[left_out:], x[left_out:]
    n = int(y.size)
    slopes = _slopes(y, x)
    count = int(slopes.size)
    reach = Z95 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    first = round((count - reach) / 2.0)
    if first < 1:
        raise EdgeError(
            f"of {n} pairs too many have equal values for a regression line",
            action="let samples run that differ more, such as anaemic ones",
        )
    slope = _middle(slopes)
    low, high = _bound(slopes[first - 1]), _bound(slopes[count - first])
    if not 0.0 < slope < math.inf:
        raise EdgeError(
            f"the values of {n} pairs are not related: no rising line fits them",
            action="check that the reports belong to these runs",
        )
    return PassingBablok(
        n=n,
        left_out=left_out,
        slope=slope,
        intercept=_intercept(y, x, slope),
        slope_ci=(low, high),
        intercept_ci=(_intercept(y, x, high), _intercept(y, x, low)),
    )


def _slopes(y: Floats, x: Floats) -> Floats:
    """Return slopes of all pairs of points, in the order of their angle from −45° on."""
    i, j = np.triu_indices(y.size, 1)
    dy, dx = y[j] - y[i], x[j] - x[i]
    differ = (dy != 0.0) | (dx != 0.0)
    dy, dx = dy[differ], dx[differ]
    upright = dx == 0.0
    slopes = np.full(dy.shape, np.inf)
    np.divide(dy, dx, out=slopes, where=~upright)
    # Decimal values are not exact in binary: their slope of −1 is found within rounding.
    above, below = slopes[slopes > -1.0 + _ROUNDING], slopes[slopes < -1.0 - _ROUNDING]
    return np.concatenate([np.sort(above), np.sort(below)])


def _middle(slopes: Floats) -> float:
    half = slopes.size // 2
    if slopes.size % 2:
        return float(slopes[half])
    one, other = float(slopes[half - 1]), float(slopes[half])
    return math.sqrt(one * other) if one > 0.0 and other > 0.0 else 0.5 * (one + other)


def _bound(slope: float) -> float:
    """Return an end of the interval; one that has turned past vertical is none."""
    return float(slope) if slope > -1.0 else math.inf


def _intercept(y: Floats, x: Floats, slope: float) -> float:
    if math.isinf(slope):
        return -math.inf
    return float(np.median(y - slope * x))
