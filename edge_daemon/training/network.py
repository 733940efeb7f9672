"""What both stages share: a small multilayer perceptron, Adam, and the data they step over."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edge_daemon.classify.priors import MAX_FALL, MAX_RISE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

Params = dict[str, Any]

EM_STEPS: Final = 6


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
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float32]
    start: NDArray[np.float32]
    target: NDArray[np.float32]

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.x)

    def take(self, runs: NDArray[np.intp]) -> tuple[NDArray[np.float32], ...]:
        """Arrays of some runs, in the order of the attributes."""
        return self.x[runs], self.weight[runs], self.start[runs], self.target[runs]


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
    found = jnp.einsum("rc,rck->rk", weight, posterior)
    known = jnp.isfinite(target)
    expected = jnp.where(known, target, 1.0)
    # A few events either way are counting noise, not an error of the model.
    error = jnp.log((found + 3.0) / (expected + 3.0))
    delta = 0.25
    size = jnp.abs(error)
    huber = jnp.where(size < delta, 0.5 * size**2 / delta, size - 0.5 * delta)
    return jnp.sum(jnp.where(known, huber, 0.0)) / jnp.maximum(jnp.sum(known), 1)


def adapt(posterior: Any, weight: Any, prior: Any) -> Any:
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
        ``(classes,)``: the training priors.
    """
    total = jnp.sum(weight, axis=1, keepdims=True)
    common = jnp.argmax(prior)
    adapted = posterior
    for _ in range(EM_STEPS):
        shift = jnp.einsum("rc,rck->rk", weight, adapted) / total / prior
        shift = shift / jnp.maximum(shift[:, common, None], 1e-12)
        scaled = posterior * jnp.clip(shift, 1 / MAX_FALL, MAX_RISE)[:, None, :]
        adapted = scaled / jnp.sum(scaled, axis=-1, keepdims=True)
    return adapted


def start_prior(cells: Cells) -> NDArray[np.float32]:
    """Class frequencies of the soft start, each run weighing the same."""
    sums = np.einsum("rc,rck->rk", cells.weight, cells.start)
    mean = np.maximum((sums / sums.sum(axis=1, keepdims=True)).mean(axis=0), 1e-4)
    prior: NDArray[np.float32] = (mean / mean.sum()).astype(np.float32)
    return prior


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
