"""The end of stage 1: what all runs of a species are off by in the mean is taken back.

What one run is off from its reported platelets is mostly the analyzer's error, several times the
network's. What the runs of a species are off by in the mean is the network's, some per cent, since
the contrast of runs cannot see what they have in common. So every run is moved by what its species
is off by, while the posteriors of all cells stay as near to those learnt as that allows. The
species is no input: the network has to tell it from the cells.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from edge_daemon.training import idec
from edge_daemon.training.network import (
    adam_init,
    adam_step,
    adapt,
    batches,
    log_ratio,
    rule_out,
    run_mean,
)
from edge_daemon.training.trainer import RUNS_PER_STEP, posteriors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_daemon.training.network import Cells, Params
    from edge_daemon.training.trainer import Report

    Floats = NDArray[np.float32]

STEPS: Final = 600
RATE: Final = 1e-3
KEPT: Final = 100.0
"""Weight of what is kept: the divergence from the posteriors learnt, per event."""
TIED: Final = 300.0
"""The same for an event as large as a red cell may be: what a species' debris is called too often
is not to be made up for by its giant platelets."""
APART: Final = 1.5
"""SDs of the analyzer that a run may be off the other way and still be moved with its species."""
MOVED: Final = 6000.0
"""Weight of the squared distance of a run from where it is to be."""

_RED = 0  # column of stage 1


def settle(
    params: Params,
    cells: Cells,
    training: NDArray[np.intp],
    rng: np.random.Generator,
    report: Report | None = None,
    steps: int = STEPS,
) -> Params:
    """Move stage 1 to where every species agrees with its reported platelets in the mean.

    Parameters
    ----------
    params
        As trained.
    cells
        All runs.
    training
        Rows that a gradient may come from.
    rng
        Of the order of the runs.
    report
        Told the losses of every quarter.
    steps
        How many.

    Returns
    -------
    Params
        The same with another encoder, centres and weights of centres.
    """
    fixed = {"prior": params["prior"]}
    moving = {name: value for name, value in params.items() if name not in ("prior", "decoder")}
    learnt = posteriors(idec.STAGE, params, cells)
    goal = run_errors(params, cells, training)
    goal -= moved_with(goal, shared_error(goal, cells), cells)
    adam, size = adam_init(moving), min(RUNS_PER_STEP, len(training))
    told: list[dict[str, float]] = []
    quarter = max(1, steps // 4)
    while len(told) < steps:
        for picked in islice(batches(rng, len(training), size), steps - len(told)):
            rows = training[picked]
            rate = RATE * 0.5 * (1 + np.cos(np.pi * len(told) / steps))
            batch = (*_known(cells, rows), cells.precision[rows], goal[rows], learnt[rows])
            moving, adam, parts = _step(moving, adam, fixed, batch, rate)
            told.append({name: float(value) for name, value in parts.items()})
            if report is not None and len(told) % quarter == 0:
                report("stage1 end", len(told) // quarter, steps // quarter, _mean(told[-quarter:]))
    settled: Params = jax.tree.map(np.asarray, moving) | fixed
    return settled


def shared_error(errors: Floats, cells: Cells) -> Floats:
    """Tell what the runs of each species are off by together, as far as it is no chance.

    The mean over a species is known to the analyzer's imprecision over the root of its runs. By as
    much as the means of species differ more than that, they are believed (empirical Bayes).

    Parameters
    ----------
    errors
        Of every run (`run_errors`).
    cells
        The runs.

    Returns
    -------
    NDArray
        ``(runs, classes)``: that of the run's species; 0 where nothing is known.
    """
    known = np.isfinite(errors)
    worth = np.where(known, cells.precision, 0.0)
    members = cells.group[:, None] == np.unique(cells.group)
    total = members.T.astype(np.float64) @ worth
    mean = members.T @ (worth * np.where(known, errors, 0.0)) / np.maximum(total, 1e-9)
    chance = 1 / np.maximum(total, 1e-9)
    told = total > 0
    excess = np.where(told, mean**2 - chance, 0.0).sum(axis=0) / np.maximum(told.sum(axis=0), 1)
    excess = np.maximum(excess, 0.0)
    believed = np.where(told, mean * excess / (excess + chance), 0.0)
    shared: Floats = (members @ believed).astype(np.float32)
    return shared


def moved_with(errors: Floats, shared: Floats, cells: Cells) -> Floats:
    """Tell how far each run is moved: as its species, unless it is itself far off the other way.

    Where platelets are giants, too few are found although the species has too many.

    Parameters
    ----------
    errors, shared
        ``(runs, classes)``: of `run_errors` and `shared_error`.
    cells
        The runs.
    """
    limit = APART / np.sqrt(np.maximum(cells.precision, 1e-9))
    other = np.isfinite(errors) & (np.sign(shared) * errors < -limit)
    moved: Floats = np.where(other, 0.0, shared).astype(np.float32)
    return moved


def _mean(told: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([parts[name] for parts in told])) for name in told[0]}


def _known(cells: Cells, rows: NDArray[np.intp]) -> tuple[NDArray[np.float32], ...]:
    known = (cells.x, cells.weight, cells.target, cells.strata, cells.doublets, cells.possible)
    return tuple(array[rows] for array in known)


def run_errors(params: Params, cells: Cells, rows: NDArray[np.intp]) -> Floats:
    """Log ratio of platelets found to expected ones; NaN for runs that are not among `rows`."""
    errors = np.full_like(cells.target, np.nan)
    for row in rows:
        errors[row] = _found(params, _known(cells, np.array([row])))[0]
    return errors


def _error(params: Params, known: tuple[Any, ...]) -> tuple[Any, Any]:
    x, weight, target, strata, doublets, possible = known
    posterior = idec.posterior(params, x)
    raw = rule_out(posterior, possible)
    adapted = adapt(raw, weight, params["prior"], strata, doublets)
    return posterior, log_ratio(adapted, weight, target)


@jax.jit
def _found(params: Params, known: tuple[Any, ...]) -> Any:
    return _error(params, known)[1]


def _loss(moving: Params, fixed: Params, batch: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
    *known, precision, goal, learnt = batch
    posterior, error = _error(moving | fixed, tuple(known))
    away = jnp.sum(learnt * (jnp.log(learnt + 1e-7) - jnp.log(posterior + 1e-7)), axis=-1)
    tied = jnp.where(known[-1][..., _RED] > 0, TIED, 1.0)
    kept = run_mean(away * tied, batch[1])
    seen = jnp.isfinite(error) & jnp.isfinite(goal)
    distance = jnp.where(seen, error - goal, 0.0)
    worth = jnp.where(seen, precision, 0.0)
    moved = jnp.sum(worth * distance**2) / jnp.maximum(jnp.sum(worth), 1e-6)
    return KEPT * kept + MOVED * moved, {"kept": kept, "moved": moved}


@jax.jit
def _step(
    moving: Params, adam: Any, fixed: Params, batch: tuple[Any, ...], rate: Any
) -> tuple[Params, Any, dict[str, Any]]:
    gradient, parts = jax.grad(_loss, has_aux=True)(moving, fixed, batch)
    return *adam_step(moving, gradient, adam, rate), parts
