"""The loop both stages are trained with: soft start, then all objectives, early stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from edge_daemon.errors import EdgeError
from edge_daemon.training.network import (
    AdamState,
    Cells,
    Params,
    adam_init,
    adam_step,
    adapt,
    batches,
    proportion_loss,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Report = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with stage, epochs done, epochs at most, and the losses by name."""

Loss = Callable[[Params, tuple[Any, ...], Mapping[str, Any], Any], tuple[Any, Mapping[str, Any]]]

RUNS_PER_STEP: Final = 8


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes
    ----------
    pretrain, epochs
        Passes over the runs with the soft start alone, then with all objectives.
    rate
        Adam's step size at the start; it falls as a cosine.
    patience
        Epochs without a better validation loss before stopping.
    """

    pretrain: int = 8
    epochs: int = 24
    rate: float = 3e-3
    patience: int = 10


@dataclass(frozen=True)
class Stage:
    """What the loop must know of a method.

    Attributes
    ----------
    name
        ``stage1`` or ``stage2``.
    init
        ``(rng, channels) -> params``.
    pretrain_loss
        ``(params, batch) -> loss, parts``.
    place
        ``(params, cells, rng) -> params``: put the clusters where the pretrained cells lie.
    loss
        ``(params, batch, weights, noise) -> loss, parts``.
    posterior
        ``(params, x) -> (…, classes)``.
    latent
        Dimensions of the noise.
    weights
        Of the objectives; ``start`` fades over the first half.
    faded
        Part of the weight of ``start`` that is left in the second half.
    """

    name: str
    init: Callable[[np.random.Generator, int], Params]
    pretrain_loss: Callable[[Params, tuple[Any, ...]], tuple[Any, Mapping[str, Any]]]
    place: Callable[[Params, Cells, np.random.Generator], Params]
    loss: Loss
    posterior: Callable[[Params, Any], Any]
    latent: int
    weights: Mapping[str, float] = field(default_factory=dict)
    faded: float = 0.1


@dataclass(frozen=True)
class Trained:
    """Parameters of the best epoch, and the validation loss of every epoch."""

    params: Params
    history: tuple[float, ...]


def train(
    stage: Stage,
    cells: Cells,
    validation: NDArray[np.intp],
    plan: Schedule,
    rng: np.random.Generator,
    report: Report | None = None,
) -> Trained:
    """Train one stage.

    Parameters
    ----------
    cells
        All runs.
    validation
        Rows of `cells` that no gradient comes from; they decide when to stop.

    Raises
    ------
    EdgeError
        The loss is no longer finite.
    """
    training = np.setdiff1d(np.arange(cells.runs), validation)
    params = _pretrain(stage, cells, training, plan, rng, report)
    params = stage.place(params, _only(cells, training), rng)
    step = _stepper(stage)
    state = adam_init(params)
    best, best_params, since = np.inf, params, 0
    history: list[float] = []
    for epoch in range(plan.epochs):
        weights = _weights_at(stage, epoch, plan.epochs)
        rate = plan.rate * 0.5 * (1 + np.cos(np.pi * epoch / plan.epochs)) + 1e-5
        losses: list[Mapping[str, Any]] = []
        for rows in batches(rng, len(training), min(RUNS_PER_STEP, len(training))):
            batch = cells.take(training[rows])
            noise = rng.standard_normal((*batch[1].shape, stage.latent)).astype(np.float32)
            params, state, parts = step(params, state, batch, weights, noise, rate)
            losses.append(parts)
        score = _score(stage, params, cells, validation)
        if not np.isfinite(score):
            raise EdgeError(
                f"{stage.name}: the loss is no longer finite at epoch {epoch + 1}",
                action="train with another --seed; if it stays, check the captures for outliers",
            )
        history.append(score)
        if report is not None:
            report(stage.name, epoch + 1, plan.epochs, _mean(losses) | {"validation": score})
        best, best_params, since = (
            (score, params, 0) if score < best else (best, best_params, since + 1)
        )
        if since >= plan.patience:
            break
    return Trained(jax.tree.map(np.asarray, best_params), tuple(history))


def _pretrain(
    stage: Stage,
    cells: Cells,
    training: NDArray[np.intp],
    plan: Schedule,
    rng: np.random.Generator,
    report: Report | None,
) -> Params:
    params = stage.init(rng, cells.x.shape[-1])
    state = adam_init(params)

    @jax.jit
    def step(params: Params, state: AdamState, batch: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        gradient, parts = jax.grad(stage.pretrain_loss, has_aux=True)(params, batch)
        return *adam_step(params, gradient, state, plan.rate), parts

    for epoch in range(plan.pretrain):
        losses: list[Mapping[str, Any]] = []
        for rows in batches(rng, len(training), min(RUNS_PER_STEP, len(training))):
            params, state, parts = step(params, state, cells.take(training[rows]))
            losses.append(parts)
        if report is not None:
            report(f"{stage.name} start", epoch + 1, plan.pretrain, _mean(losses))
    return params


def _stepper(stage: Stage) -> Callable[..., tuple[Params, AdamState, Mapping[str, Any]]]:
    @jax.jit
    def step(
        params: Params,
        state: AdamState,
        batch: tuple[Any, ...],
        weights: Mapping[str, Any],
        noise: Any,
        rate: Any,
    ) -> tuple[Params, AdamState, Mapping[str, Any]]:
        gradient, parts = jax.grad(stage.loss, has_aux=True)(params, batch, weights, noise)
        return *adam_step(params, gradient, state, rate), parts

    return step


def _weights_at(stage: Stage, epoch: int, epochs: int) -> dict[str, float]:
    left = max(stage.faded, 1 - 2 * epoch / epochs)
    return dict(stage.weights) | {"start": stage.weights["start"] * left}


def _score(stage: Stage, params: Params, cells: Cells, rows: NDArray[np.intp]) -> float:
    """Regression loss on runs that no gradient came from."""
    x, weight, _, target, strata, doublets, *_ = cells.take(rows)
    raw = stage.posterior(params, jnp.asarray(x))
    posterior = adapt(raw, weight, params["prior"], strata, doublets)
    return float(proportion_loss(posterior, weight, target))


def posteriors(stage: Stage, params: Params, cells: Cells) -> Floats:
    """Class posteriors of all cells, ``(runs, cells, classes)``."""
    run = jax.jit(stage.posterior)
    return np.stack([np.asarray(run(params, rows)) for rows in cells.x])


def _only(cells: Cells, rows: NDArray[np.intp]) -> Cells:
    return Cells(*cells.take(rows))


def _mean(losses: list[Mapping[str, Any]]) -> dict[str, float]:
    return {name: float(np.mean([part[name] for part in losses])) for name in losses[0]}
