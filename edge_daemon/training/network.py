"""What both stages share: a small multilayer perceptron, Adam, and the data they step over."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edge_daemon.classify.priors import (
    DOUBLET_SD,
    MAX_FALL,
    MAX_RISE,
    NEVER,
    OTHER,
    RULED_FLOOR,
)
from edge_daemon.classify.strata import LARGE, SINGLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

Params = dict[str, Any]

EM_STEPS: Final = 6
FEW: Final = 3.0
"""Events added to found and expected ones before they are compared."""
GRID: Final = 64
"""Steps from zero to the largest weight: int8 in reduced range."""


@dataclass(frozen=True)
class Cells:
    """Weighted cells of many runs, stacked for training.

    Attributes
    ----------
    x
        float32 ``(runs, cells, channels)``, scaled inputs as the encoder sees them.
    weight
        float32 ``(runs, cells)``: events each cell stands for; 0 is padding.
    start
        float32 ``(runs, cells, classes)``: soft probabilities to start from.
    target
        float32 ``(runs, classes)``: expected events per class, NaN where nothing is known.
    strata
        float32 ``(runs, cells, strata)``: one-hot; within each, class frequencies are adapted.
    doublets
        float32 ``(runs,)``: chance doublets expected among the large events; used with more
        than one stratum.
    sure
        float32 ``(runs, cells)``: 1 where the start is beyond doubt and is kept.
    possible
        float32 ``(runs, cells, classes)``: 1 for the classes that an event of this size can be.
    share, peers
        float32 ``(runs, strata, classes)``: class frequencies that the reported values give for
        a run, and their mean over the runs it is compared with.
    precision
        float32 ``(runs, classes)``: one over the variance of the logarithm of `target`.
    group
        int32 ``(runs,)``: which runs are of one species.
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float32]
    start: NDArray[np.float32]
    target: NDArray[np.float32]
    strata: NDArray[np.float32]
    doublets: NDArray[np.float32]
    sure: NDArray[np.float32]
    possible: NDArray[np.float32]
    share: NDArray[np.float32]
    peers: NDArray[np.float32]
    precision: NDArray[np.float32]
    group: NDArray[np.int32]

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.x)

    def take(self, runs: NDArray[np.intp]) -> tuple[NDArray[Any], ...]:
        """Arrays of some runs, in the order of the attributes."""
        return tuple(getattr(self, entry.name)[runs] for entry in fields(self))


class AdamState(NamedTuple):
    """First and second moments and the step count."""

    mean: Params
    square: Params
    step: Any


def adam_init(params: Params) -> AdamState:
    """Start with zero moments."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return AdamState(zeros, zeros, jnp.zeros((), jnp.float32))


def adam_step(
    params: Params, gradient: Params, state: AdamState, rate: float
) -> tuple[Params, AdamState]:
    """One step of Adam (Kingma and Ba 2015) with their default decay rates."""
    step = state.step + 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mean, gradient)
    square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state.square, gradient)
    size = rate * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    moved = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + 1e-8), params, mean, square)
    return moved, AdamState(mean, square, step)


def init_mlp(rng: np.random.Generator, sizes: Sequence[int]) -> list[Any]:
    """He-initialised layers as ``[(weight, bias), …]``."""
    return [
        (
            jnp.asarray(rng.normal(0, np.sqrt(2 / a), (a, b)), jnp.float32),
            jnp.zeros(b, jnp.float32),
        )
        for a, b in itertools.pairwise(sizes)
    ]


def mlp(layers: Sequence[Any], x: Any) -> Any:
    """ReLU after every layer but the last."""
    for index, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        if index < len(layers) - 1:
            x = jax.nn.relu(x)
    return x


def on_grid(layers: Sequence[Any]) -> list[Any]:
    """Layers with their weights on the grid that int8 will store; gradients pass straight through.

    Trained so, a network loses nothing when its weights are quantized: only activations are still
    rounded. The step is a 64th of an output channel's largest weight, the quantizer's own.
    """
    rounded = []
    for weight, bias in layers:
        step = jnp.maximum(jnp.max(jnp.abs(weight), axis=0), 1e-12) / GRID
        off = jnp.round(weight / step) * step - weight
        rounded.append((weight + jax.lax.stop_gradient(off), bias))
    return rounded


def proportion_loss(posterior: Any, weight: Any, target: Any) -> Any:
    """Huber loss on the log ratio of found to expected events, per run and class.

    This is the regression on sample-level values: no cell has a label, but the posteriors of
    a run must add up to what its analyzer reported. On the log scale a run with few platelets
    counts as much as one with many.

    Parameters
    ----------
    posterior
        ``(runs, cells, classes)``.
    weight
        ``(runs, cells)``.
    target
        ``(runs, classes)``, NaN where not known.
    """
    known = jnp.isfinite(target)
    size = jnp.abs(jnp.where(known, log_ratio(posterior, weight, target), 0.0))
    delta = 0.25
    huber = jnp.where(size < delta, 0.5 * size**2 / delta, size - 0.5 * delta)
    return jnp.sum(jnp.where(known, huber, 0.0)) / jnp.maximum(jnp.sum(known), 1)


def log_ratio(posterior: Any, weight: Any, target: Any) -> Any:
    """Logarithm of found over expected events, ``(runs, classes)``; NaN where none is expected."""
    found = jnp.einsum("rc,rck->rk", weight, posterior)
    known = jnp.isfinite(target)
    # A few events either way are counting noise, not an error of the model.
    error = jnp.log((found + FEW) / (jnp.where(known, target, 1.0) + FEW))
    return jnp.where(known, error, jnp.nan)


def adapt(posterior: Any, weight: Any, prior: Any, strata: Any, doublets: Any) -> Any:
    """Posteriors under each run's own class frequencies, as the box will compute them.

    The same expectation-maximisation as `edge_daemon.classify.priors`, unrolled, so that the
    regression judges what is reported in the end and not an intermediate.

    Parameters
    ----------
    posterior
        ``(runs, cells, classes)`` under the training priors.
    weight
        ``(runs, cells)``.
    prior
        ``(strata, classes)``: the training priors.
    strata
        ``(runs, cells, strata)``, one-hot.
    doublets
        ``(runs,)``: chance doublets expected among the large events.
    """
    inside = weight[..., None] * strata
    total = jnp.maximum(jnp.sum(inside, axis=1), 1e-6)
    common = jnp.argmax(prior, axis=1)[None, :, None]
    adapted = posterior
    for _ in range(EM_STEPS):
        share = jnp.einsum("rcs,rck->rsk", inside, adapted) / total[..., None]
        if prior.shape[0] > 1:
            share = share.at[:, LARGE].set(_pull(share[:, LARGE], total[:, LARGE], doublets))
        shift = share / prior
        shift = shift / jnp.maximum(jnp.take_along_axis(shift, common, axis=2), 1e-12)
        bounded = jnp.clip(shift, 1 / MAX_FALL, jnp.where(prior < NEVER, 1.0, MAX_RISE))
        scaled = posterior * jnp.einsum("rcs,rsk->rck", strata, bounded)
        adapted = scaled / jnp.maximum(jnp.sum(scaled, axis=-1, keepdims=True), 1e-12)
    return adapted


def rule_out(posterior: Any, possible: Any) -> Any:
    """Share the posterior of impossible classes out, as `classify.priors.rule_out` does."""
    kept = (posterior + RULED_FLOOR) * possible
    return kept / jnp.maximum(jnp.sum(kept, axis=-1, keepdims=True), 1e-12)


def _pull(share: Any, events: Any, doublets: Any) -> Any:
    """Draw the share of "other" towards the chance doublets, as `Expected.doublets` does."""
    mean = jnp.clip(doublets / events, 1e-4, 0.97)
    variance = 1 / jnp.maximum(doublets, 1.0) + DOUBLET_SD**2
    strength = jnp.maximum((1 - mean) / (mean * variance) - 1, 0.0)
    other = (share[:, OTHER] * events + mean * strength) / (events + strength)
    cells = share[:, :OTHER] / jnp.maximum(jnp.sum(share[:, :OTHER], axis=1, keepdims=True), 1e-9)
    return jnp.concatenate([cells * (1 - other)[:, None], other[:, None]], axis=1)


def start_prior(cells: Cells) -> NDArray[np.float32]:
    """Class frequencies of the soft start in each stratum, each run weighing the same."""
    weight = cells.weight / cells.weight.sum(axis=1, keepdims=True)
    sums = np.einsum("rcs,rck->sk", weight[..., None] * cells.strata, cells.start)
    mean = np.maximum(sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12), 1e-5)
    prior: NDArray[np.float32] = (mean / mean.sum(axis=1, keepdims=True)).astype(np.float32)
    return prior


def contrast(posterior: Any, weight: Any, strata: Any, own: Any, peers: Any) -> Any:
    """Likelihood of each cell to be of its own run rather than of the run's peers.

    Where platelets are commoner than usual, a cell that looks as cells there do is likelier a
    platelet: with P and D the densities of two classes and π a run's known frequencies, its
    cells have the density πP + (1-π)D. The ratio of that to the peers' density depends on the
    posterior alone, and its likelihood is highest at the true posterior. No cell needs a label,
    and what runs of one species have in common cannot pass for a class.

    Parameters
    ----------
    posterior, weight, strata
        As in `adapt`.
    own, peers
        ``(runs, strata, classes)``: how much commoner each class is in the run, and among its
        peers, than in training.
    """
    here = jnp.einsum("rcs,rsk,rck->rc", strata, own, posterior)
    there = jnp.einsum("rcs,rsk,rck->rc", strata, peers, posterior)
    return run_mean(jnp.log(there + 1e-6) - jnp.log(here + 1e-6), weight)


def with_steady(ratio: Any) -> Any:
    """Add a class that is as common in every run to frequencies over those of training.

    Fragments of red cells are no red cells, but do not come and go as debris does. Without a
    place of their own the contrast of runs would part them between debris and platelets. Of
    larger events there are none: there the added class is `OTHER` again.
    """
    steady = ratio[:, :, OTHER:].at[:, SINGLE].set(1.0)
    return jnp.concatenate([ratio, steady], axis=2)


def run_mean(values: Any, weight: Any) -> Any:
    """Mean over the events of a run, then over runs: what calibrates a posterior."""
    share = weight / jnp.maximum(jnp.sum(weight, axis=1, keepdims=True), 1e-6)
    return jnp.mean(jnp.sum(values * share, axis=1))


def weighted_mean(values: Any, weight: Any) -> Any:
    """Mean over cells; the square root tempers the weight of the common cells."""
    w = jnp.sqrt(weight)
    return jnp.sum(values * w) / jnp.maximum(jnp.sum(w), 1.0)


def batches(rng: np.random.Generator, runs: int, size: int) -> Iterator[NDArray[np.intp]]:
    """Random batches of runs, all of the same size so that one compiled step serves."""
    order = rng.permutation(runs)
    short = -runs % size
    padded = np.concatenate([order, order[:short]]) if short <= runs else order
    for start in range(0, len(padded) - size + 1, size):
        yield padded[start : start + size]
