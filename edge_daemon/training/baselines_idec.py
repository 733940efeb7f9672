"""Plain IDEC as its paper has it: an autoencoder, three clusters, nothing about blood.

Improved deep embedded clustering (Guo et al. 2017): pretraining by reconstruction, k-means for
the centres, then reconstruction together with the divergence of the Student-t assignments from
their sharpened, evened-out target. No reported value enters. Calibration on the red-cell peak
and the inputs are the bundle's, so that only the learning differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.records import CELL_CLASSES, CellCalls
from edge_daemon.training import idec
from edge_daemon.training.graphs import CLIP, encoder_inputs
from edge_daemon.training.network import adam_init, adam_step, init_mlp, mlp
from edge_daemon.training.scores import OTHER, PLATELET, PURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.records import CellBatch
    from edge_daemon.training.oracle import Labelled

    Floats = NDArray[np.float32]
    Params = dict[str, Any]

CLUSTERS: Final = 3
CELLS: Final = 400_000
PRETRAIN, EPOCHS, BATCH = 10, 10, 2048
RATE: Final = 1e-3
GAMMA: Final = 0.1
"""Weight of the clustering loss, as in the paper."""


class PlainIdec:
    """Three clusters, named by size: the largest is red cells, the smaller of the rest by light.

    Parameters
    ----------
    params
        Encoder and centres.
    names
        Class code of each cluster.
    bundle, cells
        Channels, anchor and scaling of the inputs.
    """

    name = "plain IDEC"
    tells: frozenset[str] = frozenset()

    def __init__(self, params: Params, names: list[int], bundle: Bundle, cells: Labelled) -> None:
        self._params, self._names = params, names
        self._bundle, self._cells = bundle, cells

    def classify(self, batch: CellBatch) -> CellCalls:
        """Assign every event softly to the clusters."""
        bundle, cells = self._bundle, self._cells
        signals = batch.signals[:, [batch.channels.index(c) for c in bundle.channels]]
        peak = red_cell_peak(signals, bundle.channels, bundle.manifest.input.anchor)
        inputs = encoder_inputs(signals, peak, cells.absolute)
        x = np.clip((inputs - cells.shift) * cells.scale, -CLIP, CLIP)
        # Padded to a round number of rows, so that few shapes are compiled.
        padded = np.pad(x, [(0, -len(x) % 4096), (0, 0)])
        shares = np.asarray(_assign(self._params, padded))[: len(x)]
        posterior = np.zeros((len(x), len(CELL_CLASSES)), dtype=np.float32)
        for cluster, code in enumerate(self._names):
            posterior[:, code] += shares[:, cluster]
        return CellCalls(posterior, posterior.argmax(axis=1).astype(np.uint8))


def plain_idec(
    bundle: Bundle,
    cells: Labelled,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PlainIdec:
    """Train on cells without a look at their labels, and name the clusters by a simple rule."""
    rng = np.random.default_rng(0)
    x = cells.x[rng.permutation(len(cells.x))[:CELLS]]
    params: Params = {
        "encoder": init_mlp(rng, [x.shape[1], *idec.HIDDEN, idec.LATENT]),
        "decoder": init_mlp(rng, [idec.LATENT, *idec.HIDDEN[::-1], x.shape[1]]),
    }
    params = _descend(params, x, _rebuilt, rng, PRETRAIN, lambda e: progress(e, PRETRAIN + EPOCHS))
    params["centres"] = _centres(params, x)
    params = _descend(
        params, x, _clustered, rng, EPOCHS, lambda e: progress(PRETRAIN + e, PRETRAIN + EPOCHS)
    )
    called = np.asarray(_assign(params, x)).argmax(axis=1)
    return PlainIdec(params, _name(called, x[:, bundle.channels.index("EXT.A")]), bundle, cells)


def _descend(
    params: Params,
    x: Floats,
    loss: Callable[[Params, Any, Any], Any],
    rng: np.random.Generator,
    epochs: int,
    progress: Callable[[int], None],
) -> Params:
    state = adam_init(params)

    @jax.jit
    def step(params: Params, state: Any, rows: Any, sizes: Any) -> tuple[Any, Any]:
        return adam_step(params, jax.grad(loss)(params, rows, sizes), state, RATE)

    size = min(BATCH, len(x))
    for epoch in range(epochs):
        # The target evens out cluster sizes, which are those of the whole data.
        sizes = np.asarray(_assign(params, x)).mean(axis=0) if "centres" in params else None
        order = rng.permutation(len(x))
        for start in range(0, len(x) - size + 1, size):
            params, state = step(params, state, x[order[start : start + size]], sizes)
        progress(epoch + 1)
    return params


def _rebuilt(params: Params, x: Any, _sizes: Any) -> Any:
    return jnp.mean((mlp(params["decoder"], mlp(params["encoder"], x)) - x) ** 2)


def _clustered(params: Params, x: Any, sizes: Any) -> Any:
    q = _assign(params, x)
    p = q**2 / sizes
    p = jax.lax.stop_gradient(p / jnp.sum(p, axis=1, keepdims=True))
    divergence = jnp.mean(jnp.sum(p * jnp.log((p + 1e-12) / (q + 1e-12)), axis=1))
    return _rebuilt(params, x, sizes) + GAMMA * divergence


@jax.jit
def _assign(params: Params, x: Any) -> Any:
    """Student-t assignments with one degree of freedom, ``(cells, clusters)``."""
    z = mlp(params["encoder"], x)
    q = 1 / (1 + jnp.sum((z[:, None, :] - params["centres"]) ** 2, axis=-1))
    return q / jnp.sum(q, axis=1, keepdims=True)


def _centres(params: Params, x: Floats) -> Any:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - only here, and slow to import

    z = np.asarray(mlp(params["encoder"], x[:50_000]))
    fitted = KMeans(CLUSTERS, n_init=10, random_state=0).fit(z)
    return jnp.asarray(fitted.cluster_centers_, jnp.float32)


def _name(called: NDArray[np.intp], extinction: Floats) -> list[int]:
    """Name the largest cluster red cells; of the others the one with less light is platelets."""
    sizes = np.bincount(called, minlength=CLUSTERS)
    light = [
        float(np.median(extinction[called == k])) if sizes[k] else np.inf for k in range(CLUSTERS)
    ]
    rest = sorted((k for k in range(CLUSTERS) if k != int(sizes.argmax())), key=lambda k: light[k])
    names = [PURE] * CLUSTERS
    names[rest[0]], names[rest[1]] = PLATELET, OTHER
    return names
