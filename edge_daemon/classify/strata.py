"""Strata of events within which class frequencies are re-estimated on their own.

"Other" is debris, chance doublets and white cells at once, and each has its own reason to be
common: a dirty diluent raises the debris, a concentrated blood the doublets. Re-estimated as one,
a run with much debris would turn antibody clumps into doublets. Size and dye part them.

The number of chance doublets is known before any cell is called: single cells arrive at random,
so doublets are the coincidence window times the square of the concentration of red cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SINGLE, LARGE, BRIGHT = range(3)
STRATA: Final = 3

LARGE_RATIO: Final = 1.45
"""Anchor signal over the red-cell peak from which an event may hold several red cells."""
BRIGHT_RATIO: Final = 15.0
"""Fluorescence area over the peak from which a large event may be a white cell."""
RED_RATIO: Final = 0.4
"""Anchor signal over the peak from which an event counts as at least one red cell."""
NO_RED_RATIO: Final = 0.27
"""Anchor signal over the peak below which no event is a red cell; fragments are not."""


@dataclass(frozen=True, slots=True)
class Strata:
    """Where size and dye are found.

    Attributes
    ----------
    size
        Column of the anchor channel.
    dye
        Column of the fluorescence area; None without the detector.
    """

    size: int
    dye: int | None

    @classmethod
    def of(cls, channels: Sequence[str], anchor: str) -> Self:
        """Find the columns by the names of the channels."""
        dye = channels.index("FL.A") if "FL.A" in channels else None
        return cls(channels.index(anchor), dye)

    def split(self, signals: NDArray[np.float32], peak: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Stratum of each event: `SINGLE`, `LARGE` or `BRIGHT` (large and bright).

        Parameters
        ----------
        signals
            float32 ``(events, channels)``, canonical units.
        peak
            float32 ``(channels,)``: the run's red-cell peak.

        Returns
        -------
        NDArray
            uint8 ``(events,)``.
        """
        large = signals[:, self.size] > np.float32(LARGE_RATIO) * peak[self.size]
        strata: NDArray[np.uint8] = large.astype(np.uint8)
        if self.dye is not None:
            bright = signals[:, self.dye] > np.float32(BRIGHT_RATIO) * peak[self.dye]
            strata[large & bright] = BRIGHT
        return strata

    def possible(
        self, signals: NDArray[np.float32], peak: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Say which of stage 1's classes an event of this size can be.

        A tiny event is no red cell, one larger than a red cell no platelet. Left to the
        network, a thousandth of them would outnumber the platelets of a thrombocytopenic run.

        Returns
        -------
        NDArray
            bool ``(events, 3)``: red cell, platelet, other.
        """
        size = signals[:, self.size]
        possible = np.ones((3, len(signals)), dtype=np.bool_).T
        possible[:, 0] = size >= np.float32(NO_RED_RATIO) * peak[self.size]
        possible[:, 1] = size <= np.float32(LARGE_RATIO) * peak[self.size]
        return possible

    def red_events(self, signals: NDArray[np.float32], peak: NDArray[np.float32]) -> int:
        """Events that hold at least one red cell, by size alone."""
        return int((signals[:, self.size] > np.float32(RED_RATIO) * peak[self.size]).sum())


def expected_doublets(red_events: int, volume_ul: float | None, window_ul: float) -> float | None:
    """Chance doublets of red cells in a run; None where the metered volume is not known.

    Parameters
    ----------
    red_events
        Events that hold a red cell (`Strata.red_events`).
    volume_ul
        Metered volume of diluted sample, µL.
    window_ul
        Volume within which two cells are one event, µL.
    """
    if volume_ul is None or not np.isfinite(volume_ul) or volume_ul <= 0 or window_ul <= 0:
        return None
    return window_ul * red_events**2 / volume_ul
