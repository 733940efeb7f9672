"""Bland–Altman limits of agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_daemon.errors import EdgeError
from edge_daemon.quality.pairs import as_pairs
from edge_daemon.quality.student import Z95, t_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """How far apart two methods are on the same samples.

    Attributes
    ----------
    n
        Pairs.
    bias
        Mean of the differences, ours − theirs.
    sd
        Standard deviation of the differences.
    low, high
        Limits of agreement: bias ∓ 1.96 SD, where 95 % of differences are expected.
    bias_ci, low_ci, high_ci
        95 % confidence intervals of the three.
    percent
        Everything is in percent of each pair's mean instead of in the unit of the values.
    """

    n: int
    bias: float
    sd: float
    low: float
    high: float
    bias_ci: Interval
    low_ci: Interval
    high_ci: Interval
    percent: bool


def bland_altman(ours: ArrayLike, theirs: ArrayLike, *, percent: bool = False) -> BlandAltman:
    """Find bias and limits of agreement, with their confidence intervals.

    After Bland and Altman, Lancet 1986; i: 307-310. The variance of a limit is that of their
    Stat Methods Med Res 1999; 8: 135-160, s²(1/n + 1.96²/2(n − 1)), of which the 3 s²/n of 1986
    is a rounding. Percent is for differences that grow with the value, as those of platelets.

    Parameters
    ----------
    ours, theirs
        ``(pairs,)``, in the same unit.
    percent
        Take each difference in percent of the mean of its pair.

    Raises
    ------
    EdgeError
        Too few pairs, a value that is not finite, or, for percent, a pair whose mean is not
        positive.
    """
    y, x = as_pairs(ours, theirs)
    difference = y - x
    if percent:
        mean = 0.5 * (y + x)
        if (mean <= 0.0).any():
            raise EdgeError(
                "a pair's mean is not positive, so it has no percentage",
                action="leave such pairs out",
            )
        difference = 100.0 * difference / mean
    n = int(difference.size)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    t = t_quantile(0.975, n - 1)
    of_bias = t * sd / math.sqrt(n)
    of_limit = t * sd * math.sqrt(1.0 / n + Z95**2 / (2.0 * (n - 1)))
    low, high = bias - Z95 * sd, bias + Z95 * sd
    return BlandAltman(
        n=n,
        bias=bias,
        sd=sd,
        low=low,
        high=high,
        bias_ci=(bias - of_bias, bias + of_bias),
        low_ci=(low - of_limit, low + of_limit),
        high_ci=(high - of_limit, high + of_limit),
        percent=percent,
    )
