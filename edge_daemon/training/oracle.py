"""The ceiling: the bundle's own networks, supervised with the true label of every cell.

No method that sees only sample-level values can be expected to do better. Everything but the
weights is the box's own path: calibration, two stages, re-estimated class frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.strata import STRATA, Strata
from edge_daemon.decode import decode
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.parts import PartNames, read_run
from edge_daemon.training import idec, vade
from edge_daemon.training.evaluate import Called
from edge_daemon.training.fit import ABSOLUTE
from edge_daemon.training.graphs import CLIP, Head, Network, build_graph, encoder_inputs
from edge_daemon.training.network import adam_init, adam_step, init_mlp, mlp
from edge_daemon.training.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.decode.registry import Registry

    Floats = NDArray[np.float32]
    Codes = NDArray[np.uint8]

MAX_CELLS: Final = 3_000_000
"""Cells trained on; of a larger cohort every run gives the same number, evenly spread."""
EPOCHS: Final = 12
MIN_STEPS: Final = 1200
"""A small cohort is passed over more often than `EPOCHS`."""
BATCH: Final = 4096
RATE: Final = 3e-3
_CLUMP = 2


@dataclass(frozen=True)
class Labelled:
    """Cells of a cohort with their classes.

    Attributes
    ----------
    x
        float32 ``(cells, inputs)``: scaled inputs as the encoder sees them.
    codes
        uint8 ``(cells,)``, in the order of `CELL_CLASSES`.
    strata
        uint8 ``(cells,)``: stratum in which the box re-estimates the cell's class.
    absolute, shift, scale
        As in `Network`.
    """

    x: Floats
    codes: Codes
    strata: Codes
    absolute: tuple[int, ...]
    shift: Floats
    scale: Floats


def load_labelled(
    bundle: Bundle,
    captures: Path,
    truth: Path,
    registry: Registry,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Labelled:
    """Read a cohort with every true label.

    Raises
    ------
    EdgeError
        There is no per-cell truth, it does not belong to the captures, or none can be read.
    """
    known = Truth(truth)
    if not known.has_cells:
        raise EdgeError(
            f"{truth}: no truth.npz beside it, which an oracle learns from",
            action="give the truth.csv of a cohort that `edge-daemon simulate` wrote",
        )
    absolute = tuple(i for i, c in enumerate(bundle.channels) if c in ABSOLUTE)
    quota = MAX_CELLS // len(known.samples)
    split = Strata.of(bundle.channels, bundle.manifest.input.anchor).split
    inputs, labels, strata = [], [], []
    for done, sample in enumerate(known.samples, start=1):
        file = captures / sample.capture
        try:
            name, data = read_run(file, PartNames(registry.part_patterns))
            batch = decode(data, registry.match(data, name), name=name)
            columns = [batch.channels.index(channel) for channel in bundle.channels]
            signals = batch.signals[:, columns]
            peak = red_cell_peak(signals, bundle.channels, bundle.manifest.input.anchor)
        except (OSError, ValueError, Quarantine) as error:
            raise EdgeError(f"{file}: cannot be learnt from: {error}") from error
        step = max(1, -(-batch.events // max(quota, 1)))
        inputs.append(encoder_inputs(signals[::step], peak, absolute))
        strata.append(split(signals[::step], peak))
        labels.append(known.codes(sample)[::step])
        progress(done, len(known.samples))
    x = np.concatenate(inputs)
    shift, scale = x.mean(axis=0), 1 / np.maximum(x.std(axis=0), 1e-2)
    np.clip((x - shift) * scale, -CLIP, CLIP, out=x)
    return Labelled(x, np.concatenate(labels), np.concatenate(strata), absolute, shift, scale)


def oracle(
    bundle: Bundle,
    cells: Labelled,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Called:
    """Train the two networks of a bundle with every label, and put them in its place."""
    stage1 = np.maximum(cells.codes, _CLUMP) - _CLUMP
    strata = cells.strata if len(bundle.manifest.stage1.by_stratum) > 1 else None
    red = cells.codes <= _CLUMP
    first = _train(
        cells.x, stage1, (*idec.HIDDEN, idec.LATENT), lambda done, of: progress(done, 2 * of)
    )
    second = _train(
        cells.x[red],
        cells.codes[red],
        (*vade.HIDDEN, vade.LATENT),
        lambda done, of: progress(of + done, 2 * of),
    )
    graphs = [
        build_graph(_network(layers, cells), name).SerializeToString()
        for layers, name in ((first, "stage1"), (second, "stage2"))
    ]
    manifest = bundle.manifest.model_copy(
        update={
            "stage1": bundle.manifest.stage1.model_copy(update={"priors": _priors(stage1, strata)}),
            "stage2": bundle.manifest.stage2.model_copy(
                update={"priors": _shares(cells.codes[red])}
            ),
        }
    )
    taught = replace(bundle, stage1=graphs[0], stage2=graphs[1], manifest=manifest)
    return Called(taught, "oracle")


def _train(
    x: Floats, codes: Codes, sizes: tuple[int, ...], progress: Callable[[int, int], None]
) -> list[tuple[Floats, Floats]]:
    """Cross-entropy over every cell; the last layer is the linear head."""
    rng = np.random.default_rng(0)
    params: dict[str, Any] = {
        "encoder": init_mlp(rng, [x.shape[1], *sizes]),
        "head": init_mlp(rng, [sizes[-1], 3]),
    }
    state = adam_init(params)

    def loss(params: dict[str, Any], rows: Any, classes: Any) -> Any:
        logits = jax.nn.log_softmax(mlp(params["head"], mlp(params["encoder"], rows)))
        return -jnp.mean(jnp.take_along_axis(logits, classes[:, None], axis=1))

    @jax.jit
    def step(params: Any, state: Any, rows: Any, classes: Any, rate: Any) -> tuple[Any, Any]:
        return adam_step(params, jax.grad(loss)(params, rows, classes), state, rate)

    size = min(BATCH, len(x))
    epochs = max(EPOCHS, -(-MIN_STEPS * size // len(x)))
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / epochs)) + 1e-5
        for start in range(0, len(x) - size + 1, size):
            pick = order[start : start + size]
            params, state = step(params, state, x[pick], codes[pick].astype(np.int32), rate)
        progress(epoch + 1, epochs)
    layers = [*params["encoder"], *params["head"]]
    return [(np.asarray(weight), np.asarray(bias)) for weight, bias in layers]


def _network(layers: list[tuple[Floats, Floats]], cells: Labelled) -> Network:
    weight, bias = layers[-1]
    head = Head(
        quadratic=np.zeros_like(weight),
        linear=weight,
        constant=bias,
        student=None,
        log_weight=np.zeros(3, dtype=np.float32),
        groups=np.eye(3, dtype=np.float32),
    )
    return Network(cells.absolute, cells.shift, cells.scale, layers[:-1], head)


def _priors(codes: Codes, strata: Codes | None) -> list[float] | list[list[float]]:
    """Class frequencies, by stratum where the bundle re-estimates them so."""
    if strata is None:
        return _shares(codes)
    return [_shares(codes[strata == stratum]) for stratum in range(STRATA)]


def _shares(codes: Codes) -> list[float]:
    counts = np.bincount(codes, minlength=3) + 1.0
    return [float(share) for share in counts / counts.sum()]
