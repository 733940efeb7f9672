"""Carry-over and background: two checks that need no control material. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Z95: Final = 1.959964

CARRY_OVER_LIMITS: Final = {"RBC": 0.5, "PLT": 1.0}
"""Percent; Mindray BC-20s manual, p. 20."""

HIGHS: Final = {"RBC": 6.0, "PLT": 300.0}
LOWS: Final = {"RBC": 1.5, "PLT": 30.0}
"""What the same manual asks of the samples: above the first three times, below the second."""

BLANK_LIMITS: Final = {"RBC": 0.05, "PLT": 10.0}
"""Highest background in M/µL and K/µL. Published veterinary limits were not found: these are this
product's own, a third of the platelets below which bleeding is feared and one cell in a hundred."""

CARRY_OVER_ACTION: Final = (
    "rinse and repeat; if it stays, clean the needle and the flow cell as the analyzer's manual "
    "says, and look again at low platelets that followed a high sample"
)
BLANK_ACTION: Final = (
    "rinse and repeat with fresh diluent; if it stays, look for bubbles, dirt and old reagent, "
    "and let the analyzer be cleaned"
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its 95 % interval, where one is known."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def variance(self) -> float:
        """Of the value, from its interval; 0 where none is known."""
        if self.low is None or self.high is None:
            return 0.0
        return ((self.high - self.low) / (2.0 * Z95)) ** 2


@dataclass(frozen=True, slots=True)
class CarryOver:
    """How much of a high sample is found in the next low one.

    Attributes
    ----------
    percent
        (j1 − j3) / (i3 − j3) × 100 of three highs i and three lows j.
    low, high
        95 % interval, as far as those of the values are known.
    limit
        Percent.
    unfit
        Why the samples do not fit the check; empty if they do.
    """

    code: str
    percent: float
    low: float
    high: float
    limit: float
    unfit: str

    @property
    def passes(self) -> bool:
        """Whether it is within the limit; samples that do not fit prove nothing."""
        return not self.unfit and self.percent <= self.limit


def carry_over(
    code: str,
    highs: Sequence[Measured],
    lows: Sequence[Measured],
    *,
    limits: Mapping[str, float] = CARRY_OVER_LIMITS,
) -> CarryOver:
    """Check carry-over with three runs of a high sample and three of a low one after them.

    Parameters
    ----------
    code
        A key of `limits`.
    highs, lows
        Three each, in the order in which they were measured, in our units.
    limits
        Percent by code.

    Raises
    ------
    EdgeError
        There are not three of each, or the third high is not above the third low.
    """
    if len(highs) != 3 or len(lows) != 3:
        raise EdgeError(
            "carry-over needs three runs of a high sample, then three of a low one",
            action="give the six runs in the order in which they were measured",
        )
    last, first, third = highs[2], lows[0], lows[2]
    span = last.value - third.value
    if span <= 0:
        raise EdgeError(
            f"{code}: the third high run ({last.value:g}) is not above the third low one "
            f"({third.value:g})",
            action="give the three runs of the high sample first",
        )
    share = (first.value - third.value) / span
    # First order: the numerator moves with j1 and j3, the span with i3 and j3.
    variance = (
        first.variance + (1.0 - share) ** 2 * third.variance + share**2 * last.variance
    ) / span**2
    spread = 100.0 * Z95 * math.sqrt(variance)
    percent = 100.0 * share
    unfit = _unfit(code, highs, lows)
    return CarryOver(code, percent, percent - spread, percent + spread, limits[code], unfit)


def _unfit(code: str, highs: Sequence[Measured], lows: Sequence[Measured]) -> str:
    if code in HIGHS and min(one.value for one in highs) <= HIGHS[code]:
        return f"the high sample must be above {HIGHS[code]:g} three times"
    if code in LOWS and max(one.value for one in lows) >= LOWS[code]:
        return f"the low sample must be below {LOWS[code]:g} three times"
    return ""


@dataclass(frozen=True, slots=True)
class Background:
    """What a blank run counts of one value; `value` is None where it was not reported."""

    code: str
    value: float | None
    limit: float

    @property
    def passes(self) -> bool:
        """Whether it is within the limit; what was not reported proves nothing."""
        return self.value is not None and self.value <= self.limit


def background(
    values: Mapping[str, float | None], *, limits: Mapping[str, float] = BLANK_LIMITS
) -> tuple[Background, ...]:
    """Check a blank run: diluent alone, in our units. Flags on it say nothing of cells."""
    return tuple(Background(code, values.get(code), limit) for code, limit in limits.items())
