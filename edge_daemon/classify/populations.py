"""Mean, width and content of a population of cells, each with its uncertainty.

Two things make a value uncertain: that a finite number of cells was seen, and that the gains of
the detectors are known only so well. For the second, every statistic is computed again with one
height changed by one per cent, which gives its sensitivity, correlations included. The same
sensitivities say how much the noise of the heights broadens the distribution of volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.classify.columns import quantiles
from edge_daemon.classify.intervals import Z95
from edge_daemon.classify.optics import EXT, HA, LA, invert

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.classify.optics import Inverse, RedCells
    from edge_daemon.records import OpticalCalibration

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Real = NDArray[np.floating[Any]]

MAIN_POPULATION: Final = 3.5
"""Red cells further than this many robust SDs of log-volume from the median are left out: so far
out lie more coincidences and fragments that were called red cells than red cells."""
PROBED: Final = 4096
"""Cells that sensitivities are computed from."""

_PROBE: Final = 0.01
_PROBES: Final = ((1.0 + _PROBE, 1.0), (1.0, 1.0 + _PROBE))
"""Factors on the LA and the HA height."""
_NO_WIDTH: Final = 1e-6
_TINY: Final = 1e-6
_AT_20_PERCENT: Final = math.sqrt(2.0 * math.log(5.0))
"""Standard deviations from the peak at which a normal density has fallen to 20 %."""
_MEDIAN_VARIANCE: Final = math.pi / 2
_SD_QUANTILES: Final = (0.1587, 0.5, 0.8413)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A positive value with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, variance: float) -> Estimate:
        """Make one from a value and its relative variance."""
        factor = math.exp(Z95 * math.sqrt(variance))
        return cls(value, value / factor, value * factor)

    @property
    def variance(self) -> float:
        """Relative variance."""
        return (math.log(self.high / self.value) / Z95) ** 2

    def doubted(self, variance: float) -> Estimate:
        """Add relative variance from another cause."""
        return Estimate.of(self.value, self.variance + variance)

    def narrowed(self, noise: float) -> Estimate:
        """Take a broadening off a width, in quadrature and down to zero."""
        return Estimate(
            *(math.sqrt(max(0.0, v**2 - noise**2)) for v in (self.value, self.low, self.high))
        )


@dataclass(frozen=True, slots=True)
class Check:
    """How far a height that was not used lies from what the others say.

    Attributes
    ----------
    deviation
        Natural logarithm of measured over expected, median over cells.
    uncertainty
        Standard uncertainty of that.
    """

    deviation: float
    uncertainty: float

    @classmethod
    def of(cls, measured: Singles, log_expected: Real, variance: float) -> Check:
        """Compare heights with their expectation, which has this relative variance."""
        ratio = np.log(np.maximum(measured, np.float32(_TINY))) - log_expected
        low, median, high = quantiles(ratio, _SD_QUANTILES)
        sampling = _MEDIAN_VARIANCE * (0.5 * (high - low)) ** 2 / len(ratio)
        return cls(median, math.sqrt(variance + sampling))

    def missed_by(self, factor: float) -> bool:
        """Tell whether the deviation exceeds so many standard uncertainties."""
        return abs(self.deviation) > factor * self.uncertainty


@dataclass(frozen=True, slots=True)
class RedPopulation:
    """Volume, fL, its CV, haemoglobin in a cell, pg, and its concentration in cells, g/dL.

    The concentration is all haemoglobin over all volume. The CV is that of the cells: what the
    measurement adds has been taken off.
    """

    volume_fl: Estimate
    volume_cv: Estimate
    hb_pg: Estimate
    hc_g_dl: Estimate
    extinction: Check


@dataclass(frozen=True, slots=True)
class PlateletPopulation:
    """Mean volume, fL, and the width of the distribution of volume at 20 % of its peak, fL."""

    volume_fl: Estimate
    width_fl: Estimate
    mid_angle: Check


def red_population(
    calibration: OpticalCalibration, heights: Singles, cells: RedCells
) -> RedPopulation | None:
    """Describe single red cells.

    Parameters
    ----------
    calibration
        Of the instrument.
    heights
        float32 ``(3, cells)``: LA, HA and EXT of red cells that are on the grid, two or more; of
        `some` of them.
    cells
        What the first two heights say of all of them.

    Returns
    -------
    RedPopulation
        None where the cells lie so near the edge of the grid that no probe stays on it.
    """
    inverse = invert(calibration)
    values, variance = _red_statistics(cells.volume_fl, cells.hc_g_dl)
    probed, seen = _probed(inverse, heights)
    if probed.shape[1] < 2:
        return None
    base, low, mid = map(_see_red, seen)
    statistics = _slopes(base[0], low[0], mid[0])
    log_fl = _slopes(base[1], low[1], mid[1])
    extinction = _slopes(base[2], low[2], mid[2])
    variance += _gain_variance(calibration, statistics)
    variance[2:] += calibration.increment_uncertainty**2
    noise = _noise_variance(calibration, probed[:EXT], log_fl)
    slopes = np.array([*-np.median(extinction, axis=1), 1.0])[:, None]
    doubt = float(_gain_variance(calibration, slopes)[0])
    pairs = zip(values.tolist(), variance.tolist(), strict=True)
    mcv, cv, hb, hc = (Estimate.of(value, doubt) for value, doubt in pairs)
    return RedPopulation(
        volume_fl=mcv,
        volume_cv=cv.narrowed(math.sqrt(float(np.mean(noise)))),
        hb_pg=hb,
        hc_g_dl=hc,
        extinction=Check.of(probed[EXT], base[2], doubt),
    )


def _probed(inverse: Inverse, heights: Singles) -> tuple[Singles, list[Singles]]:
    """Heights of cells that stay on the grid when they are probed, and what is seen of them.

    The latter is float32 ``(3, cells)`` for no change, a change of LA and one of HA: volume,
    concentration and log expected extinction.
    """
    seen = []
    for low, mid in ((1.0, 1.0), *_PROBES):
        la, ha = heights[LA] * np.float32(low), heights[HA] * np.float32(mid)
        cells, extinction = inverse.all_of(la, ha)
        seen.append(np.stack([cells.volume_fl, cells.hc_g_dl, np.log(extinction)]))
    steady = np.isfinite(seen[1][0]) & np.isfinite(seen[2][0])
    return heights[:, steady], [values[:, steady] for values in seen]


def _see_red(seen: Singles) -> tuple[Floats, Singles, Singles]:
    """Log-statistics, log-volumes and log expected extinctions."""
    volume, hc, log_extinction = seen
    values, _ = _red_statistics(volume, hc)
    return np.log(values), np.log(volume), log_extinction


def _red_statistics(volume: Singles, hc: Singles) -> tuple[Floats, Floats]:
    """MCV, CV of volume, MCH and MCHC, and their relative variances for so many cells."""
    low, median, high = quantiles(volume, _SD_QUANTILES)
    reach = (high / low) ** (0.5 * MAIN_POPULATION)
    main = np.flatnonzero((volume >= median / reach) & (volume <= median * reach))
    v = volume.take(main).astype(np.float64)
    hb = v * hc.take(main) * 0.01
    number = len(v)
    mcv, mch = v.mean(), hb.mean()
    v /= mcv
    v -= 1.0
    hb /= mch
    hb -= 1.0
    square = np.square(v)
    cv = max(math.sqrt(square.mean()), _NO_WIDTH)
    kurtosis = max(1.0, float(square @ square) / number / cv**4)
    mchc = 100.0 * mch / mcv
    in_mch = float(hb @ hb) / number
    hb -= v
    in_mchc = float(hb @ hb) / number  # of a ratio of two means
    variance = np.array([cv**2, (kurtosis - 1.0) / 4.0 + cv**2, in_mch, in_mchc])
    return np.array([mcv, cv, mch, mchc]), variance / number


def platelet_population(
    calibration: OpticalCalibration, heights: Singles, volume: Singles
) -> PlateletPopulation | None:
    """Describe platelets.

    Parameters
    ----------
    calibration
        Of the instrument.
    heights
        float32 ``(3, cells)`` of platelets that are on the grid, two or more; of `some` of them.
    volume
        Volumes of all of them, fL, at the calibrated index step.

    Returns
    -------
    PlateletPopulation
        None where they lie so near the edge of the table that no probe stays in it.
    """
    inverse = invert(calibration)
    step = calibration.platelet_index_step
    higher = inverse.platelet_volumes(heights[LA] * np.float32(1.0 + _PROBE), step)
    probed = heights[:, np.isfinite(higher)]
    if probed.shape[1] < 2:
        return None
    base, low, index = (
        _see_platelets(inverse, probed, *factors)
        for factors in ((1.0, step), (1.0 + _PROBE, step), (1.0, step * (1.0 + _PROBE)))
    )
    log_fl = _slopes(base[0], low[0], index[0])
    mid_angle = _slopes(base[1], low[1], index[1])
    noise = _noise_variance(calibration, probed[:HA], log_fl[:1])
    noise += (log_fl[1] * calibration.platelet_index_cv) ** 2
    broadening = math.sqrt(float(np.median(noise)))
    index_uncertainty = calibration.platelet_index_uncertainty
    to_low, to_index = np.median(log_fl, axis=1).tolist()
    shift = float(_gain_variance(calibration, np.array([[to_low]]))[0])
    shift += (to_index * index_uncertainty) ** 2
    to_low, to_index = np.median(mid_angle, axis=1).tolist()
    doubt = float(_gain_variance(calibration, np.array([[-to_low], [1.0]]))[0])
    doubt += (to_index * index_uncertainty) ** 2
    mean, mean_variance = _mean(volume)
    width, width_variance = _width(volume, broadening)
    return PlateletPopulation(
        volume_fl=Estimate.of(mean, mean_variance + shift),
        width_fl=Estimate.of(width, width_variance + shift),
        mid_angle=Check.of(probed[HA], base[1], doubt),
    )


def _see_platelets(
    inverse: Inverse, heights: Singles, low: float, step: float
) -> tuple[Singles, Singles]:
    """Log-volumes and log expected HA heights, with LA multiplied and another index step."""
    volume = inverse.platelet_volumes(heights[LA] * np.float32(low), step)
    return np.log(volume), np.log(inverse.expected_mid_angle(volume, step))


def _mean(volume: Singles) -> tuple[float, float]:
    mean = float(volume.mean(dtype=np.float64))
    return mean, float(volume.var(dtype=np.float64)) / mean**2 / len(volume)


def _width(volume: Singles, broadening: float) -> tuple[float, float]:
    """Width of a log-normal distribution at 20 % of its peak, and its relative variance."""
    low, median, high = quantiles(volume, _SD_QUANTILES)
    observed = 0.5 * math.log(high / low)
    sigma = max(math.sqrt(max(observed**2 - broadening**2, 0.0)), _NO_WIDTH)
    half = _AT_20_PERCENT * sigma
    width = 2.0 * median * math.exp(-(sigma**2)) * math.sinh(half)
    # Of quantiles: of log-sigma 0.93/n before the broadening is taken off, of the median π/2 σ²/n.
    slope = -2.0 * sigma**2 + half / math.tanh(half)
    variance = 0.93 * slope**2 * (observed / sigma) ** 4 + _MEDIAN_VARIANCE * observed**2
    return width, min(variance / len(volume), 1.0)


def some(events: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pick about `PROBED` of these events, evenly spread."""
    return events[:: max(1, len(events) // PROBED)]


def _slopes(base: Real, *changed: Real) -> Real:
    """Sensitivities to the probed quantities, ``(probed, …)``, from logarithms."""
    slopes: Real = np.stack([(after - base) / math.log1p(_PROBE) for after in changed])
    return slopes


def _gain_variance(calibration: OpticalCalibration, sensitivity: Real) -> Floats:
    """Relative variance from gains and light, given ``(signals, values)`` log-sensitivities."""
    gains = np.array(calibration.gain_uncertainty[: len(sensitivity)])[:, None]
    light = calibration.light_uncertainty * sensitivity.sum(axis=0)
    variance: Floats = np.square(sensitivity * gains).sum(axis=0) + np.square(light)
    return variance


def _noise_variance(calibration: OpticalCalibration, heights: Singles, sensitivity: Real) -> Real:
    """Variance of each cell's log-volume from the noise of its heights, both ``(signals, n)``."""
    signals = len(heights)
    floor = np.array(calibration.noise_floor[:signals], dtype=np.float32)[:, None]
    shot = np.array(calibration.noise_shot[:signals], dtype=np.float32)[:, None]
    # Below its noise floor a height says nothing.
    height = np.maximum(heights, np.maximum(floor, np.float32(_TINY)))
    relative = (floor**2 + shot * height) / height**2
    light = np.square(calibration.light_cv * sensitivity.sum(axis=0))
    variance: Real = (np.square(sensitivity) * relative).sum(axis=0) + light
    return variance
