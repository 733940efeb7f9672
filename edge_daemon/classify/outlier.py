"""Tell a run that is like those the bundle was trained on from one it knows nothing of.

A classifier calls any cell it is given. Whether the calls mean anything shows in the run as a
whole: where its red-cell peak lies, how wide it is, how its channels go together, and how sure
the calls are. Training keeps what is usual; a run far from it is not classified. Detectors whose
gain is wrong show closer by: red cells of each species stand in a fixed place in all of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.columns import channels_of, median, quantiles
from edge_daemon.classify.kinds import distances, learn_kinds
from edge_daemon.classify.manifest import Habit, Heights
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.records import CellBatch, CellCalls

    Floats = NDArray[np.float32]
    Real = NDArray[np.float64]

SUMMARY_EVENTS: Final = 20_000
"""Events, evenly spread over the run, that a summary is made from."""
GAIN_TOLERANCE: Final = 0.2
"""A detector may stand so far from where it stood in training, natural-log units; calls are made
in units of the run's own peak and do not suffer."""
HEIGHT_TOLERANCE: Final = 0.1
"""The same against red cells of the same species, where a wrong gain shows."""
MARGIN: Final = 1.3
"""A run may be so much further out than the furthest one of training."""
MIN_RUNS: Final = 60
"""Training runs below which nothing is called unusual."""
MIN_KIND_RUNS: Final = 10
"""Training runs of a species below which it is not known where its red cells stand."""

_DYE = "FL."
_PEAK_HALF_WIDTH = 0.4  # natural-log units around the peak that hold single red cells
_SMALL = -1.0  # log extinction over the peak below which lie platelets and debris
_FEWEST = 30
_FEWEST_SMALL = 100
"""Medians of fewer small events vary by themselves as much as those of usual runs do."""
_FLOOR = 1e-6
_RANK_BINS = 1 << 14
_UNSURE = 0.9
_WINSOR = 4.0
_SHRINK = 0.1
_FOLDS = 5


def run_summary(
    signals: Floats, channels: Sequence[str], peak: Floats, posterior: Floats, anchor: str
) -> dict[str, float]:
    """Describe a run in a few numbers that need no calls to be right.

    Parameters
    ----------
    signals
        float32 ``(events, channels)``.
    channels
        Names of the columns.
    peak
        float32 ``(channels,)``: the run's red-cell peak.
    posterior
        float32 ``(events, 5)``.
    anchor
        Channel that haemoglobin dominates.

    Returns
    -------
    dict
        For every channel the logarithm of its peak; for every height its rank correlation with
        the anchor among single red cells, and where small events lie relative to the peak; for
        every height but the dye's its spread among single red cells; how unsure the calls are.
        NaN where too few events say anything.
    """
    every = -(-len(signals) // SUMMARY_EVENTS)
    ratios = np.maximum(signals.T[:, ::every] / peak[:, None], np.float32(_FLOOR))
    axis = np.log(ratios[list(channels).index(anchor)])
    singles = np.flatnonzero(np.abs(axis) < _PEAK_HALF_WIDTH)
    above = ratios.min(axis=0) > np.float32(math.e * _FLOOR)
    small = np.flatnonzero((axis < _SMALL) & above)
    size_ranks = ranks(axis.take(singles))
    summary: dict[str, float] = {}
    for i, channel in enumerate(channels):
        summary[f"peak {channel}"] = float(np.log(peak[i]))
        if not channel.endswith(".H"):
            continue
        logs = np.log(ratios[i])
        height = logs.take(singles)
        # The dye's spread is the patient's: reticulocytes widen it up to a hundredfold.
        if not channel.startswith(_DYE):
            low, high = quantiles(height, (0.1587, 0.8413)) if len(height) else (np.nan, np.nan)
            summary[f"spread {channel}"] = float(np.log(max(high - low, 1e-3)))
        summary[f"tie {channel}"] = _correlation(ranks(height), size_ranks)
        summary[f"small {channel}"] = (
            median(logs.take(small) - axis.take(small)) if len(small) >= _FEWEST_SMALL else np.nan
        )
    return summary | _certainty(np.ascontiguousarray(posterior.T[:, ::every]))


def _certainty(p: Floats) -> dict[str, float]:
    """How sure the calls are, and the share of red cells, from posteriors ``(5, events)``."""
    unsure = float((p.max(axis=0) < _UNSURE).mean())
    entropy = float(-(p * np.log(np.maximum(p, np.float32(_FLOOR)))).sum(axis=0).mean())
    red = float(p[:3].sum(axis=0).mean())
    return {
        "unsure": float(np.log(unsure + 1e-3)),
        "entropy": float(np.log(entropy + 1e-3)),
        "red": float(np.log((red + 1e-3) / (1.0 - red + 1e-3))),
    }


def ranks(values: Floats) -> Real:
    """Rank of each value, from counts in `_RANK_BINS` steps of their range: no sort is needed.

    Values within a step share its middle rank. Of the single red cells of a summary a step holds
    one on average, so a correlation of ranks moves by less than 1e-4.
    """
    if not len(values):
        return np.empty(0)
    low = values.min()
    width = max(float(values.max() - low), _FLOOR)
    step = ((values - low) * np.float32((_RANK_BINS - 1) / width)).astype(np.intp)
    counts = np.bincount(step, minlength=_RANK_BINS)
    middle = np.cumsum(counts) - 0.5 * (counts + 1)
    found: Real = middle.take(step)
    return found


def _correlation(a: Real, b: Real) -> float:
    """Correlation of ranks as Fisher's z, so that it is about normal."""
    if len(a) < _FEWEST:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    together = float(a @ b) / math.sqrt(max(float(a @ a) * float(b @ b), _FLOOR))
    return float(np.arctanh(np.clip(together, -0.999, 0.999)))


def learn_habit(
    summaries: Sequence[Mapping[str, float]], species: Sequence[str | None]
) -> Habit | None:
    """Find centre, scales and precision of training runs, and where red cells of a species stand.

    Parameters
    ----------
    summaries
        `run_summary` of every training run.
    species
        Of every training run.

    Returns
    -------
    Habit or None
        None for fewer than `MIN_RUNS`: they do not show what is usual.
    """
    if len(summaries) < MIN_RUNS:
        return None
    names = list(summaries[0])
    table = np.array([[run[name] for name in names] for run in summaries])
    centre, scale, precision = _usual(table, names)
    # How far out a run may be is judged on runs that were not among those learnt from.
    furthest = 0.0
    for away in _folds(len(table)):
        found = _usual(table[~away], names)
        furthest = max(
            furthest, *(_distance(_scaled(row, *found[:2]), found[2]) for row in table[away])
        )
    return Habit(
        features=names,
        centre=centre.tolist(),
        scale=scale.tolist(),
        precision=precision.tolist(),
        limit=round(MARGIN * furthest, 3),
        heights=_learn_heights(summaries, species),
    )


def _folds(runs: int) -> Iterator[NDArray[np.bool_]]:
    for fold in range(_FOLDS):
        yield np.arange(runs) % _FOLDS == fold


def _learn_heights(
    summaries: Sequence[Mapping[str, float]], species: Sequence[str | None]
) -> Heights | None:
    features = [name for name in summaries[0] if name.startswith("peak ") and name.endswith(".H")]
    known = {s for s in species if s is not None and species.count(s) >= MIN_KIND_RUNS}
    rows = [
        ([run[name] for name in features], of)
        for run, of in zip(summaries, species, strict=True)
        if of in known
    ]
    if not rows or not features:
        return None
    table, of = np.array([row for row, _ in rows]), np.array([name for _, name in rows])
    doubt = HEIGHT_TOLERANCE**2 * np.eye(len(features))
    furthest = 0.0
    for away in _folds(len(table)):
        kinds = learn_kinds(table[~away], of[~away].tolist(), doubt)
        furthest = max(furthest, *(min(distances(row, kinds).values()) for row in table[away]))
    return Heights(
        features=features,
        limit=round(MARGIN * math.sqrt(furthest), 3),
        kinds=learn_kinds(table, of.tolist(), doubt),
    )


def _usual(table: Real, names: Sequence[str]) -> tuple[Real, Real, Real]:
    centre = np.round(np.nanmedian(table, axis=0), 5)
    offset = np.where(np.isfinite(table), table - centre, 0.0)
    scale = np.round(1.4826 * np.median(np.abs(offset), axis=0) + 1e-3, 5)
    # Winsorised, so that a few odd runs among the training runs do not make all odd runs usual.
    z = np.clip(offset / scale, -_WINSOR, _WINSOR)
    tolerance = np.array([GAIN_TOLERANCE if name.startswith("peak ") else 0.0 for name in names])
    shrink = max(_SHRINK, len(names) / len(table))
    covariance = np.cov(z, rowvar=False) + np.diag(shrink + (tolerance / scale) ** 2)
    return centre, scale, np.round(np.linalg.inv(covariance), 6)


def _scaled(values: Real, centre: Real, scale: Real) -> Real:
    """Offset in robust SDs; NaN where the run does not say."""
    scaled: Real = (values - centre) / scale
    return scaled


def strangeness(
    summary: Mapping[str, float], habit: Habit, species: str | None = None
) -> tuple[float, str]:
    """Mahalanobis distance of a run from those of training, over the largest admissible.

    A feature that the run does not say, or that is no longer looked at, does not count. Where red
    cells of the run's species are known to stand, those of the run must stand near those of some
    species: it need not be its own, which may have been entered wrong.

    Returns
    -------
    tuple
        The ratio (above 1: not a run the bundle knows), and the feature that is furthest out.
    """
    values = np.array([summary.get(name, np.nan) for name in habit.features])
    centre, scale, precision = (np.array(v) for v in (habit.centre, habit.scale, habit.precision))
    shares = _shares(_scaled(values, centre, scale), precision)
    ratio = math.sqrt(max(float(shares.sum()), 0.0)) / habit.limit
    found = ratio, habit.features[int(np.argmax(shares))]
    if habit.heights is None or species not in habit.heights.kinds:
        return found
    return max(found, _detached(summary, habit.heights))


def _detached(summary: Mapping[str, float], heights: Heights) -> tuple[float, str]:
    """Distance to the red cells of the nearest species, and the detector furthest out."""
    values = np.array([summary.get(name, np.nan) for name in heights.features])
    apart = distances(values, heights.kinds)
    nearest = heights.kinds[min(apart, key=lambda kind: apart[kind])]
    offset = np.nan_to_num(values - np.array(nearest.centre))
    shares = offset * (np.array(nearest.precision) @ offset)
    ratio = math.sqrt(max(float(shares.sum()), 0.0)) / heights.limit
    return ratio, heights.features[int(np.argmax(shares))]


def _distance(z: Real, precision: Real) -> float:
    return math.sqrt(max(float(_shares(z, precision).sum()), 0.0))


def _shares(z: Real, precision: Real) -> Real:
    """Share the squared distance out to the features; those not known are integrated out."""
    known = np.isfinite(z)
    if known.all():
        return z * (precision @ z)
    shares = np.zeros(len(z))
    across = precision[np.ix_(known, ~known)]
    marginal = precision[np.ix_(known, known)] - across @ np.linalg.solve(
        precision[np.ix_(~known, ~known)], across.T
    )
    shares[known] = z[known] * (marginal @ z[known])
    return shares


def refuse_stranger(batch: CellBatch, calls: CellCalls, bundle: Bundle) -> None:
    """Refuse a run unlike those of training; a bundle that kept no habit refuses none.

    Raises
    ------
    Quarantine
        ``not_classified``, with how far out the run is and in what.
    """
    habit = bundle.manifest.habit
    if habit is None:
        return
    signals = channels_of(batch, bundle.channels)
    anchor = bundle.manifest.input.anchor
    peak = calls.peak
    if peak is None:
        peak = red_cell_peak(signals, bundle.channels, anchor)
    summary = run_summary(signals, bundle.channels, peak, calls.posterior, anchor)
    ratio, feature = strangeness(summary, habit, batch.sample.species)
    if ratio > 1.0:
        raise Quarantine(
            "not_classified",
            f"the run is {ratio:.2f} times as far from the runs that model {bundle.id} was trained "
            f"on as it may be, most of all in {feature!r}",
            action="check that blood was run, on the instrument the profile is for, with all "
            "detectors and the stain; if it was, train a model for this instrument",
        )
