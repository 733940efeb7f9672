"""Particles that pass the beam together by chance, from the event rate alone.

Particles arrive independently. Those closer than the coincidence window are one event, so a run
of N events held N exp(x) particles, a particle passed alone with probability exp(-2x), and
x = c w is the mean number of particles within a window: c their concentration in the diluted
sample, w the window's volume. Nothing in this depends on what the particles are, so neither does
a count that is corrected by it depend on the haematocrit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_daemon.records import SampleInfo

CROWDED: Final = 0.15
"""Red cells within a window from which a quarter of them pass in company."""
_LIMIT = 0.3
_STEPS = 40


def crowding(events: float, sample: SampleInfo, window_ul: float) -> float:
    """Mean number of particles within one coincidence window.

    Parameters
    ----------
    events
        Recorded events of the particles in question.
    sample
        Of the run; without a usable metered volume nothing is known and nothing corrected.
    window_ul
        Volume of diluted sample within which two particles are one event, µL.

    Returns
    -------
    float
        x with ``events / volume × window = x exp(-x)``; at most 0.3, beyond which a stream is no
        longer one of single cells.
    """
    volume = sample.volume_ul
    if volume is None or not (math.isfinite(volume) and volume > 0):
        return 0.0
    seen = events / volume * window_ul
    x = min(seen, _LIMIT)
    for _ in range(_STEPS):
        x = min(seen * math.exp(x), _LIMIT)
    return x


def together(x: float) -> float:
    """Events of two or more particles, as a share of all events."""
    return -math.expm1(-x)


def passed(x: float) -> float:
    """Particles over events."""
    return math.exp(x)


def alone(x: float) -> float:
    """Share of the particles that pass alone."""
    return math.exp(-2 * x)
