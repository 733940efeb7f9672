"""Soft class probabilities to start from, and expected counts to regress on.

Nobody labels a cell. A run's reported platelet count says how many of its events are platelets;
ranking the events by a physical quantity says which ones first: of the small events the dimmest
are debris, the others platelets; the widest of the large ones are cells that passed together by
chance; the brightest red cells are reticulocytes. The ranking is only a start, which training
leaves behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.strata import BRIGHT, Strata, expected_doublets
from edge_daemon.training.data import ANCHOR, MIN_RUNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_daemon.training.data import Cohort, Run

    Floats = NDArray[np.float32]

CONFIDENCE: Final = 0.99998
"""Probability of the class that the ranking says; the others share the rest.

Red cells are twenty to a thousand times commoner than platelets: a hundredth as much doubt about
each would outnumber the platelets of a thrombocytopenic patient.
"""
SURE: Final = 0.35
"""Log extinction area, either way of the red-cell peak, within which all events are red cells."""
TWO: Final = float(np.log(1.9))
"""Log extinction area over the red-cell peak of two cells, less the noise."""
LARGE: Final = float(np.log(1.45))
"""The same for an event that is also too wide for one cell."""
_SPREADS = 3.5  # SDs of single cells beyond which an event is too large for one of them
_FEWEST = 0.1  # part of the runs that have practically no clumps
GHOST_NEAR: Final = 5.0
"""SDs by which an event is smaller than red cells (`_smaller`) from which it is no ghost."""
GHOST_DYE: Final = 0.3
"""Log dye that each SD nearer takes off: what is as large as a red cell is as bright."""
RETIC_DYE: Final = float(np.log(3.0))
"""Log fluorescence over the red-cell peak used where no reticulocyte value was reported."""


def spread(values: Floats) -> tuple[float, float]:
    """Lower and upper SD of the red-cell peak of a log channel, from its own quantiles."""
    near = values[np.abs(values) < 0.7]
    low, middle, high = np.quantile(near, [0.159, 0.5, 0.841])
    return float(middle - low), float(high - middle)


def chance_rate(cohort: Cohort) -> float:
    """Coincidence window, µL of diluted sample: doublets over the square of red events per µL.

    Chance doublets grow with the concentration, antibody clumps do not; the runs with the
    fewest large events for their concentration have practically no clumps. Runs whose cells differ
    so in size that two need not stand out from one would be taken for such runs, and are left out.
    """
    strata = Strata.of(cohort.channels, ANCHOR)
    rates, distinct = [], []
    for run in cohort.runs:
        logs = run.logs
        several = holds_several(logs, cohort.channels)
        several &= strata.split(run.signals, run.peak) != BRIGHT
        single = strata.red_events(run.signals, run.peak)
        rates.append(several.sum() / max(single, 1) ** 2 * run.reference.volume_ul)
        distinct.append(_SPREADS * spread(logs[:, cohort.channels.index(ANCHOR)])[1] < TWO)
    if sum(distinct) < MIN_RUNS:
        distinct = [True] * len(rates)
    return float(np.quantile(np.array(rates)[distinct], _FEWEST))


def holds_several(logs: Floats, channels: Sequence[str]) -> NDArray[np.bool_]:
    """Mark events whose extinction is that of more than one red cell: bool ``(events,)``."""
    area = logs[:, channels.index("EXT.A")]
    noise = spread(area)[1]
    several: NDArray[np.bool_] = area > max(TWO, _SPREADS * noise)
    if "EXT.W" in channels:
        width = logs[:, channels.index("EXT.W")]
        several |= (area > max(LARGE, 2.3 * noise)) & (width > 2.0 * spread(width)[1])
    return several


def start_stage1(run: Run, channels: Sequence[str], per_event: float) -> Floats:
    """Red cell, platelet, other: ``(events, 3)``.

    Parameters
    ----------
    run
        One run.
    channels
        Names of its columns.
    per_event
        `chance_rate` of the cohort.
    """
    logs = run.logs
    area = logs[:, channels.index("EXT.A")]
    label = np.zeros(run.events, dtype=np.intp)
    order = np.argsort(area, kind="stable")
    small = int((area < -max(3.5 * spread(area)[0], 0.5)).sum())
    if "FL.A" in channels:
        dye = _platelet_dye(logs, channels)[order[:small]]
        order[:small] = order[np.argsort(dye, kind="stable")]
    platelets = expected_platelets(run, per_event)
    if not np.isfinite(platelets):
        platelets = 0.8 * small
    platelets = min(round(platelets), run.events // 2)
    debris = max(small - platelets, 0)
    label[order[:debris]] = 2
    label[order[debris : debris + platelets]] = 1
    several = np.flatnonzero(holds_several(logs, channels))
    chance = round(run_doublets(run, channels, per_event))
    width = logs[several, channels.index("EXT.W")]
    label[several[np.argsort(-width, kind="stable")[:chance]]] = 2
    label[pairs_with_small(run, channels, per_event)] = 2
    label[Strata.of(channels, ANCHOR).split(run.signals, run.peak) == BRIGHT] = 2
    return soften(label)


def _platelet_dye(logs: Floats, channels: Sequence[str]) -> Floats:
    """Dye as far as it speaks for a platelet, natural logarithm over the peak, ``(events,)``.

    Platelets hold RNA, debris and fragments of red cells do not. A ghost, a red cell that has lost
    its haemoglobin, is as small in extinction and as bright, but whole in size (`_smaller`).
    """
    dye = logs[:, channels.index("FL.A")]
    smaller = _smaller(logs, channels)
    if smaller is None:
        return dye
    less: Floats = dye - np.float32(GHOST_DYE) * np.maximum(GHOST_NEAR - smaller, 0)
    return less


def _smaller(logs: Floats, channels: Sequence[str]) -> Floats | None:
    """SDs of red cells by which scatter says that an event is smaller, ``(events,)``.

    What is small scatters to all sides; a whole cell mostly forwards, whatever it holds. None
    without both detectors.
    """
    if not {"LA.A", "HA.A"} <= set(channels):
        return None
    ratio = logs[:, channels.index("LA.A")] - logs[:, channels.index("HA.A")]
    smaller: Floats = (-ratio / spread(ratio)[0]).astype(np.float32)
    return smaller


def run_doublets(run: Run, channels: Sequence[str], window_ul: float) -> float:
    """Chance doublets of red cells that a run's concentration makes."""
    red = Strata.of(channels, ANCHOR).red_events(run.signals, run.peak)
    return expected_doublets(red, run.reference.volume_ul, window_ul) or 0.0


def pairs_with_small(run: Run, channels: Sequence[str], window_ul: float) -> NDArray[np.intp]:
    """Choose the events in which a red cell and a small event passed by chance together.

    They are as large as one red cell. How many there are follows from the concentrations of
    both, and the widest pulses, over all detectors, are likeliest to be theirs.

    Returns
    -------
    NDArray
        Rows of `run.signals`.
    """
    logs = run.logs
    red = Strata.of(channels, ANCHOR).red_events(run.signals, run.peak)
    pairs = round(2 * window_ul * red * (run.events - red) / run.reference.volume_ul)
    single = np.flatnonzero(np.abs(logs[:, channels.index(ANCHOR)]) < SURE)
    wide = np.zeros(len(single))
    for column, channel in enumerate(channels):
        if channel.endswith(".W"):
            width = logs[single, column]
            wide += np.maximum((width - np.median(width)) / max(spread(width)[1], 1e-6), 0.0)
    return single[np.argsort(-wide, kind="stable")[:pairs]]


def beyond_doubt(run: Run, channels: Sequence[str]) -> NDArray[np.bool_]:
    """Mark events whose start is kept, bool ``(events,)``: one red cell's size, or white cells."""
    strata = Strata.of(channels, ANCHOR)
    single = np.abs(run.logs[:, strata.size]) < SURE
    sure: NDArray[np.bool_] = single | (strata.split(run.signals, run.peak) == BRIGHT)
    return sure


def start_stage2(
    logs: Floats,
    channels: Sequence[str],
    weight: Floats,
    several: NDArray[np.bool_],
    expected: float,
) -> Floats:
    """Pure, reticulocyte, clumped: ``(cells, 3)``.

    Parameters
    ----------
    logs
        float32 ``(cells, channels)`` of the thinned cells of one run.
    channels
        Names of the columns.
    weight
        float32 ``(cells,)``: red-cell events that each cell stands for.
    several
        bool ``(cells,)``: events that hold several cells (`holds_several`).
    expected
        Reticulocyte events that the reported percentage predicts, NaN where not known.
    """
    label = np.zeros(len(logs), dtype=np.intp)
    if "FL.A" in channels:
        dye = logs[:, channels.index("FL.A")]
        candidates = np.where(several, -np.inf, dye)
        order = np.argsort(-candidates, kind="stable")
        counted = np.cumsum(np.where(several, 0.0, weight)[order])
        threshold = RETIC_DYE if np.isnan(expected) else -np.inf
        chosen = (counted <= (np.inf if np.isnan(expected) else expected)) & (
            candidates[order] > threshold
        )
        label[order[chosen]] = 1
    label[several] = 2
    return soften(label)


def soften(label: NDArray[np.intp]) -> Floats:
    """Turn labels into soft probabilities of `CONFIDENCE`."""
    rest = np.float32((1 - CONFIDENCE) / 2)
    soft = np.full((len(label), 3), rest, dtype=np.float32)
    soft[np.arange(len(label)), label] = CONFIDENCE
    return soft


def expected_platelets(run: Run, per_event: float) -> float:
    """Platelets that pass alone, by the reported count; NaN where none was reported.

    A platelet is alone if no other event follows, nor went before it, within the coincidence
    window, of which `per_event` is the mean number of events by chance (`chance_rate`).
    """
    reference = run.reference
    if reference.plt is None:
        return float("nan")
    alone = np.exp(-2 * per_event * run.events / reference.volume_ul)
    return float(reference.plt * 1e3 * reference.blood_ul * alone)
