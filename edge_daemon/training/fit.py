"""Train both stages on a cohort of runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.strata import STRATA, Strata
from edge_daemon.training import idec, vade
from edge_daemon.training.data import ANCHOR
from edge_daemon.training.doubt import platelet_precision
from edge_daemon.training.graphs import CLIP, Network, encoder_inputs
from edge_daemon.training.network import adapt, rule_out
from edge_daemon.training.sampling import (
    CELLS_PER_RUN,
    scaling,
    stack,
    stage1_groups,
    stage2_groups,
    thin,
)
from edge_daemon.training.settle import STEPS, settle
from edge_daemon.training.soft_labels import (
    beyond_doubt,
    chance_rate,
    expected_platelets,
    holds_several,
    run_doublets,
    start_stage1,
    start_stage2,
)
from edge_daemon.training.trainer import Report, Schedule, posteriors, train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_daemon.training.checkpoint import Checkpoint
    from edge_daemon.training.data import Cohort, Run
    from edge_daemon.training.network import Cells, Params
    from edge_daemon.training.sampling import Group

    Floats = NDArray[np.float32]

VALIDATION_SHARE: Final = 0.15
ABSOLUTE: Final = ("LA.A", "HA.A", "EXT.A")
"""Channels that also enter without the run's gain calibration (`graphs.Network`)."""


@dataclass(frozen=True)
class Fitted:
    """Two trained stages and what the cohort taught about them.

    Attributes
    ----------
    networks
        Stage 1 and stage 2.
    priors
        Class frequencies of the training cohort: ``(strata, classes)`` of each stage.
    validation
        Indices of runs that no gradient came from.
    coincidence_ul
        Volume of diluted sample within which two cells are one event.
    history
        Validation loss by stage and epoch.
    """

    networks: tuple[Network, Network]
    priors: tuple[Floats, Floats]
    validation: tuple[int, ...]
    coincidence_ul: float
    history: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class _Thinned:
    """Chosen cells of one run."""

    run: Run
    index: NDArray[np.intp]
    weight: Floats
    logs: Floats


def fit(
    cohort: Cohort,
    *,
    seed: int,
    schedule: Schedule | None = None,
    report: Report | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Train stage 1, then stage 2 on the cells that stage 1 calls red.

    Parameters
    ----------
    cohort
        Runs with their reported values.
    seed
        Same seed, same machine, same cohort: same networks.
    schedule
        How long and how hard; the default is what ships.
    report
        Called after every epoch.
    checkpoint
        Where an interrupted training is taken up again.
    """
    plan = schedule or Schedule()
    rng = np.random.default_rng(seed)
    count = len(cohort.runs)
    validation = np.sort(rng.permutation(count)[: max(2, round(VALIDATION_SHARE * count))])
    anchor = cohort.channels.index(ANCHOR)
    small = [_thin(run, stage1_groups(run.logs, anchor), rng) for run in cohort.runs]
    large = [_thin(run, stage2_groups(run.logs), rng) for run in cohort.runs]
    absolute = tuple(i for i, c in enumerate(cohort.channels) if c in ABSOLUTE)
    shift, scale = scaling([_inputs(t, absolute) for t in small], [t.weight for t in small])
    scaled = partial(_scaled, absolute=absolute, shift=shift, scale=scale)

    rate = chance_rate(cohort)
    cells1 = _stage1_cells(cohort, small, [scaled(t) for t in small], rate)
    stage1 = train(idec.STAGE, cells1, validation, plan, rng, report, checkpoint)
    training = np.setdiff1d(np.arange(count), validation)
    steps = min(STEPS, plan.steps(len(training)))
    params1 = settle(stage1.params, cells1, training, rng, report, steps)
    del cells1
    x = [scaled(t) for t in large]
    red = _red(params1, _stage1_cells(cohort, large, x, rate))
    cells2 = _stage2_cells(cohort, large, x, red)
    stage2 = train(vade.STAGE, cells2, validation, plan, rng, report, checkpoint)
    return Fitted(
        networks=(
            idec.export(params1, absolute, (shift, scale)),
            vade.export(stage2.params, absolute, (shift, scale)),
        ),
        coincidence_ul=rate,
        priors=(params1["prior"], stage2.params["prior"]),
        validation=tuple(int(i) for i in validation),
        history={"stage1": stage1.history, "stage2": stage2.history},
    )


def _thin(run: Run, groups: Sequence[Group], rng: np.random.Generator) -> _Thinned:
    index, weight = thin(groups, CELLS_PER_RUN, rng)
    return _Thinned(run, index, weight, run.logs[index])


def _inputs(thinned: _Thinned, absolute: tuple[int, ...]) -> Floats:
    return encoder_inputs(thinned.run.signals[thinned.index], thinned.run.peak, absolute)


def _scaled(thinned: _Thinned, absolute: tuple[int, ...], shift: Floats, scale: Floats) -> Floats:
    scaled: Floats = np.clip((_inputs(thinned, absolute) - shift) * scale, -CLIP, CLIP)
    return scaled


def _red(params: Params, cells: Cells) -> Floats:
    """Probability of each cell to be red, under its own run's class frequencies."""
    raw = rule_out(posteriors(idec.STAGE, params, cells), cells.possible)
    red = adapt(raw, cells.weight, params["prior"], cells.strata, cells.doublets)[..., 0]
    return np.asarray(red)


def _stage1_cells(
    cohort: Cohort, thinned: Sequence[_Thinned], x: Sequence[Floats], rate: float
) -> Cells:
    strata = Strata.of(cohort.channels, ANCHOR)
    one_hot = np.eye(STRATA, dtype=np.float32)
    platelets = [expected_platelets(t.run, rate) for t in thinned]
    return stack(
        x,
        [t.weight for t in thinned],
        [start_stage1(t.run, cohort.channels, rate)[t.index] for t in thinned],
        [(np.nan, expected, np.nan) for expected in platelets],
        strata=[one_hot[strata.split(t.run.signals[t.index], t.run.peak)] for t in thinned],
        doublets=[run_doublets(t.run, cohort.channels, rate) for t in thinned],
        possible=[
            strata.possible(t.run.signals[t.index], t.run.peak).astype(np.float32) for t in thinned
        ],
        sure=[beyond_doubt(t.run, cohort.channels)[t.index].astype(np.float32) for t in thinned],
        groups=[t.run.reference.species for t in thinned],
        precision=[
            (0.0, platelet_precision(t.run.reference, expected), 0.0)
            for t, expected in zip(thinned, platelets, strict=True)
        ],
    )


def _stage2_cells(
    cohort: Cohort, thinned: Sequence[_Thinned], x: Sequence[Floats], red: Floats
) -> Cells:
    """Stage 2 sees the same cells, each weighted by its probability of being red."""
    start, weight, target = [], [], []
    for row, t in enumerate(thinned):
        weight.append(t.weight * red[row, : len(t.index)])
        several = holds_several(t.run.logs, cohort.channels)[t.index]
        percent = t.run.reference.retic_pct
        singles = float(weight[-1][~several].sum())
        expected = np.nan if percent is None else percent / 100 * singles
        start.append(start_stage2(t.logs, cohort.channels, weight[-1], several, expected))
        target.append((np.nan, expected, np.nan))
    return stack(x, weight, start, target)
