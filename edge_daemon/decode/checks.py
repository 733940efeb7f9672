"""Whether decoded cells look like what the profile promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.decode.profile import Profile
    from edge_daemon.records import CellBatch


_MEDIAN_EVENTS = 20_000
"""Events, evenly spread over the run, that give a median to 1 % of the population's spread."""


def check_plausible(batch: CellBatch, profile: Profile) -> None:
    """Compare a batch with the profile's plausibility limits.

    Raises
    ------
    Quarantine
        ``implausible``, naming the channel, the figure and the limit.
    """
    limits = profile.plausibility
    if batch.events < limits.min_events:
        raise _implausible(
            f"{batch.events} events, profile {profile.id} expects at least {limits.min_events}",
            "Check that the sample was aspirated and the export is complete; run it again.",
        )
    # Column by column is five times as fast as one mean over the rows.
    fractions = [np.count_nonzero(column) / batch.events for column in batch.saturated.T]
    worst = int(np.argmax(fractions))
    if fractions[worst] > limits.max_saturated_fraction:
        raise _implausible(
            f"channel {batch.channels[worst]}: {fractions[worst]:.1%} of the events stand at the "
            f"converter's limit, profile {profile.id} allows {limits.max_saturated_fraction:.1%}",
            "Have the detector's gain checked; a changed gain needs its own profile.",
        )
    every = max(1, -(-batch.events // _MEDIAN_EVENTS))
    for name, allowed in limits.channels.items():
        median = _median(batch.signals[::every, batch.channels.index(name)])
        if not allowed.median_min <= median <= allowed.median_max:
            raise _implausible(
                f"channel {name}: median {median:.6g}, profile {profile.id} expects "
                f"{allowed.median_min:g} to {allowed.median_max:g}",
                "Check that the profile fits the analyzer's firmware, and its calibration.",
            )


def _median(values: NDArray[np.float32]) -> float:
    """Median of one or more values; one selection is many times as fast as `numpy.median`."""
    half = len(values) // 2
    parted = np.partition(values, half)
    if len(values) % 2:
        return float(parted[half])
    return float((parted[:half].max() + parted[half]) / np.float32(2))


def _implausible(message: str, action: str) -> Quarantine:
    return Quarantine("implausible", message, action=action)
