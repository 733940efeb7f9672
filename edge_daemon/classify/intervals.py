"""95 % intervals of counts and fractions, exact enough down to zero events."""

from __future__ import annotations

import math
from typing import Final

Z95: Final = 1.959964


def count_interval(count: float, extra_variance: float = 0.0) -> tuple[float, float]:
    """Score interval of a Poisson count with further variance on top.

    Parameters
    ----------
    count
        Expected number of events, ≥ 0.
    extra_variance
        Variance from classification, events².

    Returns
    -------
    tuple
        Low and high, events. A count of zero gives ``(0, 3.84)``.
    """
    centre = count + Z95**2 / 2
    half = Z95 * math.sqrt(count + extra_variance + Z95**2 / 4)
    return max(0.0, centre - half), centre + half


def fraction_interval(
    part: float, whole: float, extra_variance: float = 0.0
) -> tuple[float, float]:
    """Wilson interval of a fraction with further variance of the part on top.

    Parameters
    ----------
    part, whole
        Events, ``0 <= part <= whole``, ``whole > 0``.
    extra_variance
        Variance of `part` from classification, events².

    Returns
    -------
    tuple
        Low and high as fractions in [0, 1].
    """
    p = part / whole
    shrink = 1 + Z95**2 / whole
    centre = (p + Z95**2 / (2 * whole)) / shrink
    variance = p * (1 - p) / whole + extra_variance / whole**2 + Z95**2 / (4 * whole**2)
    half = Z95 * math.sqrt(variance) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)
