"""95 % intervals of counts and fractions, honest down to zero events.

Three sources are kept apart and added in quadrature on each side: counting, cells whose call
is uncertain, and the relative error from run to run, which acts as a factor.
"""

from __future__ import annotations

import math
from typing import Final

Z95: Final = 1.959964


def count_interval(
    count: float, ambiguity: float = 0.0, relative: float = 0.0, missing: float = 0.0
) -> tuple[float, float]:
    """Interval of a count.

    Counting follows Byar's approximation of the exact Poisson limits.

    Parameters
    ----------
    count
        Expected number of events, ≥ 0.
    ambiguity
        Variance from uncertain calls, events².
    relative
        Relative SD from run to run.
    missing
        Relative SD of what cannot be counted; it raises the upper limit only.

    Returns
    -------
    tuple
        Low and high, events. A count of zero gives ``(0, 3.7)``.
    """
    low = 0.0
    if count > 0:
        low = count * max(0.0, 1 - 1 / (9 * count) - Z95 / (3 * math.sqrt(count))) ** 3
    above = count + 1
    high = above * (1 - 1 / (9 * above) + Z95 / (3 * math.sqrt(above))) ** 3
    low, high = _widen(count, low, high, ambiguity, relative)
    return low, count + math.hypot(high - count, Z95 * missing * count)


def fraction_interval(
    part: float,
    whole: float,
    ambiguity: float = 0.0,
    relative: float = 0.0,
    missing: float = 0.0,
) -> tuple[float, float]:
    """Interval of a fraction; counting follows Wilson.

    Parameters
    ----------
    part, whole
        Events, ``0 <= part <= whole``, ``whole > 0``.
    ambiguity
        Variance of `part` from uncertain calls, events².
    relative
        Relative SD of `part` from run to run.
    missing
        SD of the fraction that was not found; it raises the upper limit only.

    Returns
    -------
    tuple
        Low and high as fractions in [0, 1].
    """
    p = min(part / whole, 1.0)
    shrink = 1 + Z95**2 / whole
    centre = (p + Z95**2 / (2 * whole)) / shrink
    half = Z95 * math.sqrt(p * (1 - p) / whole + Z95**2 / (4 * whole**2)) / shrink
    # At 0 and 1 Wilson's limit is the fraction itself, up to rounding.
    low, high = min(centre - half, p), max(centre + half, p)
    low, high = _widen(p, low, high, ambiguity / whole**2, relative)
    return low, min(p + math.hypot(high - p, Z95 * missing), 1.0)


def _widen(
    value: float, low: float, high: float, variance: float, relative: float
) -> tuple[float, float]:
    spread = Z95**2 * variance
    down = math.sqrt((value - low) ** 2 + spread + (value * -math.expm1(-Z95 * relative)) ** 2)
    up = math.sqrt((high - value) ** 2 + spread + (value * math.expm1(Z95 * relative)) ** 2)
    return max(0.0, value - down), value + up
