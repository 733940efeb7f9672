"""The loop both stages are trained with: soft start, then all objectives, early stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
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
    rule_out,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.training.checkpoint import Checkpoint

    Floats = NDArray[np.float32]

Report = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with stage, epochs done, epochs at most, and the losses by name."""

Loss = Callable[[Params, tuple[Any, ...], Mapping[str, Any], Any], tuple[Any, Mapping[str, Any]]]

_Moving = tuple[Params, AdamState, Params]

RUNS_PER_STEP: Final = 8
PRETRAIN_STEPS: Final = 540
STEPS: Final = 4000
AVERAGE: Final = 0.998
"""Part of the parameters' moving average that every step leaves; what is exported is the average,
which the noise of the last steps does not move."""


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes
    ----------
    pretrain, epochs
        Passes over the runs with the soft start alone, then with all objectives; None: as many
        as give `PRETRAIN_STEPS` and `STEPS` steps, so that a small cohort is learnt as well.
    rate
        Adam's step size at the start; it falls as a cosine.
    patience
        Part of the epochs without a better validation loss before stopping.
    """

    pretrain: int | None = None
    epochs: int | None = None
    rate: float = 3e-3
    patience: float = 0.25

    def passes(self, runs: int) -> tuple[int, int]:
        """Say how many passes that is over so many training runs: ``(pretrain, epochs)``."""
        steps = -(-runs // min(RUNS_PER_STEP, runs))
        epochs = self.epochs or -(-STEPS // steps)
        return self.pretrain or min(-(-PRETRAIN_STEPS // steps), epochs), epochs

    def steps(self, runs: int) -> int:
        """Say how many steps with all objectives those passes are at most."""
        return self.passes(runs)[1] * -(-runs // min(RUNS_PER_STEP, runs))


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
    judged
        Part of the epochs that is not judged: none of them is kept, none counts for stopping.
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
    judged: float = 0.0


@dataclass(frozen=True)
class Trained:
    """Averaged parameters of the best epoch, and the validation loss of every epoch."""

    params: Params
    history: tuple[float, ...]


@dataclass
class _State:
    """Where training stands after an epoch."""

    params: Params
    adam: AdamState
    average: Params
    best: Params
    history: list[float] = field(default_factory=list)


def train(
    stage: Stage,
    cells: Cells,
    validation: NDArray[np.intp],
    plan: Schedule,
    rng: np.random.Generator,
    report: Report | None = None,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train one stage.

    Parameters
    ----------
    cells
        All runs.
    validation
        Rows of `cells` that no gradient comes from; they decide when to stop.
    rng
        Of every random choice; its state is part of what is kept.
    report
        Told the losses of every epoch; those of an interrupted training first.
    checkpoint
        Where the state is kept after every epoch, and taken up again.

    Raises
    ------
    EdgeError
        The loss is no longer finite, or the state cannot be kept.
    """
    loop = _Loop(stage, cells, validation, plan, rng, report)
    state = loop.resume(checkpoint) if checkpoint is not None else None
    state = state or loop.start()
    while not loop.finished(state):
        loop.step_over(state)
        if checkpoint is not None:
            loop.keep(state, checkpoint)
    return Trained(jax.tree.map(np.asarray, state.best), tuple(state.history))


class _Loop:
    """One stage, the runs it is trained on, and what has been told of it."""

    def __init__(
        self,
        stage: Stage,
        cells: Cells,
        validation: NDArray[np.intp],
        plan: Schedule,
        rng: np.random.Generator,
        report: Report | None,
    ) -> None:
        self._stage, self._cells, self._validation = stage, cells, validation
        self._training = np.setdiff1d(np.arange(cells.runs), validation)
        self._pretrain, self._epochs = plan.passes(len(self._training))
        self._first = min(int(stage.judged * self._epochs), self._epochs - 1)
        self._plan, self._rng, self._report = plan, rng, report
        self._told: list[list[Any]] = []
        self._step = _stepper(stage.loss)

    def start(self) -> _State:
        """Pretrain, and put the clusters where the cells lie."""
        stage = self._stage
        params = stage.init(self._rng, self._cells.x.shape[-1])
        adam, step = adam_init(params), _pretrainer(stage.pretrain_loss)
        for epoch in range(self._pretrain):
            losses: list[Mapping[str, Any]] = []
            for batch in self._batches():
                params, adam, parts = step(params, adam, batch, self._plan.rate)
                losses.append(parts)
            self._tell(f"{stage.name} start", epoch + 1, self._pretrain, _mean(losses))
        params = stage.place(params, _only(self._cells, self._training), self._rng)
        return _State(params, adam_init(params), params, params)

    def finished(self, state: _State) -> bool:
        """Whether all epochs are done, or none of the last ones was better."""
        done, judged = len(state.history), state.history[self._first :]
        since = len(judged) - 1 - int(np.argmin(judged)) if judged else 0
        return done >= self._epochs or since >= max(self._plan.patience * self._epochs, 2)

    def step_over(self, state: _State) -> None:
        """Step once over all training runs with all objectives."""
        epoch, stage = len(state.history), self._stage
        weights = _weights_at(stage, epoch, self._epochs)
        rate = self._plan.rate * 0.5 * (1 + np.cos(np.pi * epoch / self._epochs)) + 1e-5
        losses: list[Mapping[str, Any]] = []
        for batch in self._batches():
            noise = self._rng.standard_normal((*batch[1].shape, stage.latent)).astype(np.float32)
            moving = state.params, state.adam, state.average
            moved, parts = self._step(moving, batch, weights, noise, rate)
            state.params, state.adam, state.average = moved
            losses.append(parts)
        score = _score(stage, state.average, self._cells, self._validation)
        if not np.isfinite(score):
            raise EdgeError(
                f"{stage.name}: the loss is no longer finite at epoch {epoch + 1}",
                action="train with another --seed; if it stays, check the captures for outliers",
            )
        if score < min(state.history[self._first :], default=np.inf):
            state.best = state.average
        state.history.append(score)
        self._tell(stage.name, epoch + 1, self._epochs, _mean(losses) | {"validation": score})

    def keep(self, state: _State, checkpoint: Checkpoint) -> None:
        """Write everything that the next epoch follows from."""
        rng = self._rng.bit_generator.state
        facts = {"history": state.history, "told": self._told, "rng": rng}
        trees = {name: getattr(state, name) for name in ("params", "average", "best")}
        checkpoint.keep(self._stage.name, facts, trees | state.adam._asdict())

    def resume(self, checkpoint: Checkpoint) -> _State | None:
        """Take up what was kept, the random generator's state too; None where there is none."""
        found = checkpoint.stage(self._stage.name)
        if found is None:
            return None
        facts, trees = found
        self._rng.bit_generator.state = facts["rng"]
        for name, epoch, epochs, losses in facts["told"]:
            self._tell(name, epoch, epochs, losses)
        adam = AdamState(trees["mean"], trees["square"], trees["step"])
        return _State(
            trees["params"], adam, trees["average"], trees["best"], list(facts["history"])
        )

    def _batches(self) -> Iterator[tuple[NDArray[np.float32], ...]]:
        size = min(RUNS_PER_STEP, len(self._training))
        for rows in batches(self._rng, len(self._training), size):
            yield self._cells.take(self._training[rows])

    def _tell(self, name: str, epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
        self._told.append([name, epoch, epochs, dict(losses)])
        if self._report is not None:
            self._report(name, epoch, epochs, losses)


# Compiled once a process: compiling takes longer than the first epochs.
@cache
def _pretrainer(loss: Callable[..., Any]) -> Callable[..., tuple[Params, AdamState, Any]]:
    """Compile one step of the soft start."""

    @jax.jit
    def step(
        params: Params, adam: AdamState, batch: tuple[Any, ...], rate: Any
    ) -> tuple[Params, AdamState, Any]:
        gradient, parts = jax.grad(loss, has_aux=True)(params, batch)
        return *adam_step(params, gradient, adam, rate), parts

    return step


@cache
def _stepper(loss: Callable[..., Any]) -> Callable[..., tuple[_Moving, Mapping[str, Any]]]:
    """Compile one step of parameters, moments and average."""

    @jax.jit
    def step(
        moving: _Moving, batch: tuple[Any, ...], weights: Mapping[str, Any], noise: Any, rate: Any
    ) -> tuple[_Moving, Mapping[str, Any]]:
        params, adam, average = moving
        gradient, parts = jax.grad(loss, has_aux=True)(params, batch, weights, noise)
        params, adam = adam_step(params, gradient, adam, rate)
        return (params, adam, _average(average, params, adam.step)), parts

    return step


def _average(average: Params, params: Params, step: Any) -> Params:
    """Move the average of the parameters; over the first steps it follows faster."""
    kept = jnp.minimum(AVERAGE, (1 + step) / (10 + step))
    moved: Params = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, params)
    return moved


def _weights_at(stage: Stage, epoch: int, epochs: int) -> dict[str, float]:
    left = max(stage.faded, 1 - 2 * epoch / epochs)
    return dict(stage.weights) | {"start": stage.weights["start"] * left}


def _score(stage: Stage, params: Params, cells: Cells, rows: NDArray[np.intp]) -> float:
    """Regression loss on runs that no gradient came from."""
    x, weight, _, target, strata, doublets, _, possible, *_ = cells.take(rows)
    known = (x, weight, target, strata, doublets, possible)
    return float(_scorer(stage.posterior)(params, known))


@cache
def _scorer(posterior: Callable[..., Any]) -> Callable[..., Any]:
    @jax.jit
    def score(params: Params, known: tuple[Any, ...]) -> Any:
        x, weight, target, strata, doublets, possible = known
        raw = rule_out(posterior(params, x), possible)
        adapted = adapt(raw, weight, params["prior"], strata, doublets)
        return proportion_loss(adapted, weight, target)

    return score


def posteriors(stage: Stage, params: Params, cells: Cells) -> Floats:
    """Class posteriors of all cells, ``(runs, cells, classes)``."""
    run = _compiled(stage.posterior)
    return np.stack([np.asarray(run(params, rows)) for rows in cells.x])


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function)


def _only(cells: Cells, rows: NDArray[np.intp]) -> Cells:
    return Cells(*cells.take(rows))


def _mean(losses: list[Mapping[str, Any]]) -> dict[str, float]:
    return {name: float(np.mean([part[name] for part in losses])) for name in losses[0]}
