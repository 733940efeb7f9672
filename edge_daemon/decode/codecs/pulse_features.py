"""What is measured on a digitised pulse: height, area, width, time of flight, skewness.

A pulse is ``y[0] … y[n-1]`` at equal intervals, the baseline already taken away.

======  ==========================================================================================
H       vertex of the parabola through the largest sample and its neighbours, those below the
        baseline counting as on it; the sample itself at either end of the record
A       sum of all samples × interval
W       from the first to the last crossing of H / 2, linear between samples; a pulse that is
        above it at an end of the record crosses there
TOF     time of flight: the same at H / 10
SKEW    third standardised moment of time, weighted with the samples from the first to the last
        one above H / 10; positive where a pulse falls more slowly than it rises
======  ==========================================================================================

Where no sample lies above the baseline there is no pulse: all but A are 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Places = NDArray[np.intp]

FEATURES: Final = ("H", "A", "W", "TOF", "SKEW")
MIN_SAMPLES: Final = 3
_BLOCK: Final = 1 << 16
"""Samples worked on at a time, so that what is made of them stays in the processor's cache."""


def subtract_baseline(samples: NDArray[Any], count: int) -> Floats:
    """Take the mean of the first `count` samples from all, along the last axis.

    Returns
    -------
    ndarray
        float32, of the shape of `samples`.
    """
    pulses = samples.astype(np.float32)
    pulses -= pulses[..., :count].mean(axis=-1, keepdims=True)
    return pulses


def pulse_features(pulses: Floats, interval: float) -> Floats:
    """Measure pulses.

    Parameters
    ----------
    pulses
        float32 ``(..., samples)``, at least `MIN_SAMPLES` of them, above the baseline.
    interval
        Time from sample to sample; the unit of W and TOF.

    Returns
    -------
    ndarray
        float32 ``(..., features)`` in the order of `FEATURES`.
    """
    samples = pulses.shape[-1]
    rows = pulses.reshape(-1, samples)
    found = np.empty((len(rows), len(FEATURES)), np.float32)
    step = max(1, _BLOCK // samples)
    for begin in range(0, len(rows), step):
        block = slice(begin, begin + step)
        _measure(np.ascontiguousarray(rows[block]), np.float32(interval), found[block])
    return found.reshape(*pulses.shape[:-1], len(FEATURES))


def _measure(y: Floats, interval: np.float32, out: Floats) -> None:
    at = np.arange(0, y.size, y.shape[1])
    height = _height(y, at)
    there = height > 0
    out[:, 0] = height
    out[:, 1] = y.sum(axis=1) * interval
    left, right, _, _ = _crossings(y, at, height * np.float32(0.5))
    out[:, 2] = (right - left) * interval * there
    left, right, first, last = _crossings(y, at, height * np.float32(0.1))
    out[:, 3] = (right - left) * interval * there
    out[:, 4] = _skewness(y, first, last) * there


def _height(y: Floats, at: Places) -> Floats:
    """Peak of each row; `at` are the rows' beginnings in the flat array."""
    flat = y.ravel()
    top = y.argmax(axis=1)
    peak = flat[at + top]
    last = y.shape[1] - 1
    inner = (top > 0) & (top < last) & (peak > 0)
    # One pad either side, so that the neighbours of a peak at an end exist; they are not used.
    before = np.maximum(flat[at + np.maximum(top - 1, 0)], 0)
    after = np.maximum(flat[at + np.minimum(top + 1, last)], 0)
    bend = 2 * peak - before - after
    bent = inner & (bend > 0)
    bend[~bent] = 1
    rise: Floats = (after - before) ** 2 / (8 * bend)
    height: Floats = np.where(bent, peak + rise, np.maximum(peak, 0))
    return height


def _crossings(y: Floats, at: Places, level: Floats) -> tuple[Floats, Floats, Places, Places]:
    """Place where each row first rises above `level`, where it last falls below, in samples.

    Returns
    -------
    tuple
        Both places, and the first and the last sample that is not below.
    """
    flat = y.ravel()
    end = y.shape[1] - 1
    above = y >= level[:, None]
    first = above.argmax(axis=1)
    last = end - above[:, ::-1].argmax(axis=1)
    left = first - _beyond(flat, at + first, at + np.maximum(first - 1, 0), level)
    right = last + _beyond(flat, at + last, at + np.minimum(last + 1, end), level)
    return left, right, first, last


def _beyond(flat: Floats, inside: Places, outside: Places, level: Floats) -> Floats:
    """Part of an interval from a sample not below `level` to where its neighbour crosses it."""
    upper = flat[inside]
    fall = upper - flat[outside]
    part = np.zeros_like(upper)
    np.divide(upper - level, fall, out=part, where=fall > 0)
    return part


def _skewness(y: Floats, first: Places, last: Places) -> Floats:
    samples = y.shape[1]
    index = np.arange(samples)
    weights = np.maximum(y, 0)
    weights *= (index >= first[:, None]) & (index <= last[:, None])
    # About the middle of the record, or single precision would lose the central moments.
    place = (index - 0.5 * (samples - 1)).astype(np.float32)
    sums = weights @ np.stack([place**k for k in range(4)], axis=1)
    total, one, two, three = sums.T.astype(np.float64)
    total[total <= 0] = 1.0
    mean = one / total
    spread = two / total - mean**2
    third = three / total - 3.0 * mean * spread - mean**3
    wide = spread > 1e-3  # a single sample has no width, but a rounding error of one
    spread[~wide] = 1.0
    skew: Floats = np.where(wide, third / spread**1.5, 0.0).astype(np.float32)
    return skew
