"""Per-run gain calibration on the run's own red-cell peak.

Detector gains drift by a few percent a day and cell size differs between species and patients.
Red cells are the one population that every run holds in plenty, so every run is measured in
units of its own red-cell peak: training and the box call the same function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_PEAK_EVENTS: Final = 200
"""Events the peak must hold for its position to be known to about 1 %."""

MEDIAN_EVENTS: Final = 20_000
"""Events, evenly spread over the run, that suffice for medians to 0.2 %."""

_BIN = 0.05  # natural-log units
_NEIGHBOURHOOD = 0.3  # half-width of the peak, natural-log units; about the RDW of a wide run
_SMOOTHING = np.array([1.0, 3.0, 5.0, 6.0, 5.0, 3.0, 1.0])


def red_cell_peak(
    signals: NDArray[np.float32], channels: tuple[str, ...], anchor: str
) -> NDArray[np.float32]:
    """Locate the red-cell peak of one run.

    The mode of the anchor channel on a logarithmic axis marks the red cells (platelets and
    debris are fewer and spread over decades); the median of every channel over the events
    around that mode is the peak.

    Parameters
    ----------
    signals
        float32 ``(events, channels)``, canonical units.
    channels
        Canonical names of the columns.
    anchor
        Channel whose mode marks the red cells, one that haemoglobin dominates.

    Returns
    -------
    NDArray
        float32 ``(channels,)``, canonical units, all positive.

    Raises
    ------
    Quarantine
        ``not_classified`` when no peak of at least `MIN_PEAK_EVENTS` events stands out.
    """
    values = signals[:, channels.index(anchor)]
    usable = np.isfinite(values) & (values > 0)
    if usable.all():
        rows = _around_mode(np.log(values))
    else:
        positive = np.flatnonzero(usable)
        rows = positive.take(_around_mode(np.log(values.take(positive))))
    found = len(rows)
    if found < MIN_PEAK_EVENTS:
        raise Quarantine(
            "not_classified",
            f"no red-cell peak in {anchor}: {found} events around its mode, expected at least "
            f"{MIN_PEAK_EVENTS}",
            action="check that the run aspirated blood and was not stopped early; repeat it",
        )
    some = rows[:: -(-len(rows) // MEDIAN_EVENTS)]
    peak = _medians(signals.T.take(some, axis=1))
    if not np.all(np.isfinite(peak)) or np.any(peak <= 0):
        channel = channels[int(np.flatnonzero(~(np.isfinite(peak) & (peak > 0)))[0])]
        raise Quarantine(
            "not_classified",
            f"channel {channel} has no positive median over the red-cell peak",
            action="check the profile's gain and offset for this channel, and the detector",
        )
    return peak.astype(np.float32)


def _medians(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of each row, as `numpy.median` has it, with one selection and not two."""
    number = columns.shape[1]
    parted = np.partition(columns, number // 2, axis=1)
    upper: NDArray[np.float32] = parted[:, number // 2]
    if number % 2:
        return upper
    lower: NDArray[np.float32] = parted[:, : number // 2].max(axis=1)
    return (lower + upper) / np.float32(2)


def _around_mode(log_anchor: NDArray[np.float32]) -> NDArray[np.intp]:
    """Events around the mode of the anchor's logarithms."""
    if not len(log_anchor):
        return np.empty(0, dtype=np.intp)
    low, high = float(log_anchor.min()), float(log_anchor.max())
    # Never fewer bins than the smoothing kernel has.
    bins = max(len(_SMOOTHING), int(np.ceil((high - low) / _BIN)))
    places = ((log_anchor - np.float32(low)) * np.float32(1 / _BIN)).astype(np.intp)
    histogram = np.bincount(np.minimum(places, bins - 1), minlength=bins)
    smooth = np.convolve(histogram, _SMOOTHING, mode="same")
    mode = low + _BIN * (int(np.argmax(smooth)) + 0.5)
    return np.flatnonzero(np.abs(log_anchor - mode) < _NEIGHBOURHOOD)
