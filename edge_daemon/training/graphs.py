"""ONNX graphs of the two stages, built by hand from numpy weights.

Both stages are the same graph: divide by the run's red-cell peak, logarithm, scale, encoder
(Gemm + ReLU), latent, and a head of densities over the latent space. IDEC's head is a Student-t
kernel around its cluster centres, VaDE's a Gaussian mixture; both are quadratic forms of the
latent, so one graph serves. Only the encoder is quantized; the heads stay float, where a rare
class is decided by far tails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

OPSET: Final = 17
IR_VERSION: Final = 8
FLOOR: Final = 1e-3
"""Smallest signal over the red-cell peak that the logarithm still tells apart."""
CLIP: Final = 4.0
"""Scaled inputs are clipped to ±`CLIP`, so that int8 steps are not spent on outliers."""


@dataclass(frozen=True)
class Head:
    """Densities of ``components`` over a latent space, grouped into classes.

    Attributes
    ----------
    quadratic, linear
        float32 ``(latent, components)``: form ``z² @ quadratic + z @ linear + constant``.
    constant
        float32 ``(components,)``.
    student
        Degrees of freedom: the form is a squared distance under a Student-t kernel. None: the
        form is a log density already.
    log_weight
        float32 ``(components,)``, added after the kernel.
    groups
        float32 ``(components, classes)``, one-hot rows.
    """

    quadratic: NDArray[np.float32]
    linear: NDArray[np.float32]
    constant: NDArray[np.float32]
    student: float | None
    log_weight: NDArray[np.float32]
    groups: NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """One trained stage.

    Attributes
    ----------
    absolute
        Columns whose own logarithm is an input too. The red-cell peak takes the gain out, and
        with it the size of the red cells; a platelet is small against a dog's red cell and not
        against a goat's, so the areas also enter as they are.
    shift, scale
        float32 ``(channels + absolute,)``: `encoder_inputs` come to ``(input - shift) * scale``.
    layers
        ``(weight (in, out), bias (out,))`` of the encoder; ReLU after all but the last.
    head
        Densities over the latent space.
    """

    absolute: tuple[int, ...]
    shift: NDArray[np.float32]
    scale: NDArray[np.float32]
    layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    head: Head

    @property
    def latent(self) -> int:
        """Dimensions of the latent space."""
        return int(self.layers[-1][1].shape[0])


def encoder_inputs(
    signals: NDArray[np.float32], peak: NDArray[np.float32], absolute: Sequence[int]
) -> NDArray[np.float32]:
    """Unscaled inputs of the encoder, as the graph computes them.

    Parameters
    ----------
    signals
        float32 ``(events, channels)``, canonical units.
    peak
        float32 ``(channels,)``.
    absolute
        Columns that enter a second time, not divided by the peak.

    Returns
    -------
    NDArray
        float32 ``(events, channels + absolute)``, natural logarithms.
    """
    both = np.concatenate([signals / peak, signals[:, list(absolute)]], axis=1)
    logs: NDArray[np.float32] = np.log(np.maximum(both, np.float32(FLOOR)))
    return logs


def build_graph(network: Network, name: str) -> onnx.ModelProto:
    """Build the float graph of a stage: ``signals, peak`` → ``latent, posterior``."""
    builder = _Builder()
    hidden = _preprocess(builder, network)
    for index, (weight, bias) in enumerate(network.layers):
        last = index == len(network.layers) - 1
        inputs = [hidden, builder.constant(weight), builder.constant(bias)]
        hidden = builder.node("Gemm", inputs, output="latent" if last else None)
        if not last:
            hidden = builder.node("Relu", [hidden])
    _density_head(builder, network.head)
    channels = len(network.shift) - len(network.absolute)
    classes = network.head.groups.shape[1]
    graph = helper.make_graph(
        builder.nodes,
        name,
        [_tensor("signals", ["events", channels]), _tensor("peak", [channels])],
        [_tensor("latent", ["events", network.latent]), _tensor("posterior", ["events", classes])],
        builder.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge_daemon",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _preprocess(builder: _Builder, network: Network) -> str:
    ratio = builder.node("Div", ["signals", "peak"])
    if network.absolute:
        columns = builder.integers(network.absolute)
        own = builder.node("Gather", ["signals", columns], axis=1)
        ratio = builder.node("Concat", [ratio, own], axis=1)
    positive = builder.node("Max", [ratio, builder.constant(np.float32(FLOOR))])
    logs = builder.node("Log", [positive])
    centred = builder.node("Sub", [logs, builder.constant(network.shift)])
    scaled = builder.node("Mul", [centred, builder.constant(network.scale)])
    limits = [builder.constant(np.float32(-CLIP)), builder.constant(np.float32(CLIP))]
    return builder.node("Clip", [scaled, *limits])


def _density_head(builder: _Builder, head: Head) -> None:
    squared = builder.node("Mul", ["latent", "latent"])
    quadratic = builder.node("MatMul", [squared, builder.constant(head.quadratic)])
    linear = builder.node("MatMul", ["latent", builder.constant(head.linear)])
    form = builder.node("Add", [quadratic, linear])
    form = builder.node("Add", [form, builder.constant(head.constant)])
    if head.student is not None:
        nu = head.student
        # Rounding may leave a tiny negative squared distance at a cluster's centre.
        form = builder.node("Max", [form, builder.constant(np.float32(0))])
        form = builder.node("Mul", [form, builder.constant(np.float32(1 / nu))])
        form = builder.node("Add", [form, builder.constant(np.float32(1))])
        form = builder.node("Log", [form])
        form = builder.node("Mul", [form, builder.constant(np.float32(-(nu + 1) / 2))])
    form = builder.node("Add", [form, builder.constant(head.log_weight)])
    soft = builder.node("Softmax", [form], axis=1)
    builder.node("MatMul", [soft, builder.constant(head.groups)], output="posterior")


def _tensor(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Builder:
    """Collects nodes and initializers under numbered names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.float32] | np.float32) -> str:
        name = f"c{len(self.initializers)}"
        array = np.asarray(value, dtype=np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, values: Sequence[int]) -> str:
        name = f"c{len(self.initializers)}"
        array = np.asarray(values, dtype=np.int64)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(
        self, kind: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any
    ) -> str:
        name = output or f"n{len(self.nodes)}"
        node = helper.make_node(
            kind, list(inputs), [name], name=f"{kind}_{len(self.nodes)}", **attributes
        )
        self.nodes.append(node)
        return name
