"""ONNX graphs of the two stages, built by hand from numpy weights.

Both stages are the same graph: logarithms over the run's red-cell peak, scale, encoder (Gemm +
ReLU), latent, and a head of densities over the latent space. IDEC's head is a Student-t kernel
around its cluster centres, VaDE's a Gaussian mixture; both are quadratic forms of the latent, so
one graph serves. Only the encoder is quantized; the heads stay float, where a rare class is
decided by far tails. Before the encoder and after it channels and classes are rows: what holds
for a channel then goes over all events at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_daemon.classify.session import LATENT, LOGS, PEAK, POSTERIOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

OPSET: Final = 17
IR_VERSION: Final = 8
FLOOR: Final = 1e-3
"""Smallest signal over the red-cell peak that the logarithm still tells apart."""
CLIP: Final = 4.0
"""Scaled inputs are clipped to ±`CLIP`, so that int8 steps are not spent on outliers."""


EXACT: Final = "exact_"
"""How the names of products begin that are not quantized."""


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
        Degrees of freedom, a whole number: the form is a squared distance under a Student-t
        kernel. None: the form is a log density already.
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
    """Build the float graph of a stage: ``logs, peak`` → ``latent, posterior``.

    Logarithms of the signals are ``(channels, events)``, the latent is ``(events, dimensions)``,
    the posterior ``(classes, events)``.
    """
    builder = _Builder()
    hidden = _preprocess(builder, network)
    # The encoder: what is quantized.
    for index, (weight, bias) in enumerate(network.layers):
        last = index == len(network.layers) - 1
        inputs = [hidden, builder.constant(weight), builder.constant(bias)]
        hidden = builder.node("Gemm", inputs, output=LATENT if last else None)
        if not last:
            hidden = builder.node("Relu", [hidden])
    _density_head(builder, network.head)
    channels = len(network.shift) - len(network.absolute)
    classes = network.head.groups.shape[1]
    graph = helper.make_graph(
        builder.nodes,
        name,
        [_tensor(LOGS, [channels, "events"]), _tensor(PEAK, [channels])],
        [_tensor(LATENT, ["events", network.latent]), _tensor(POSTERIOR, [classes, "events"])],
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
    """Logarithms over the peak and of some channels their own, scaled, clipped: a row an event."""
    rows = builder.constant(np.array([1], dtype=np.int64))
    over_peak = builder.node(
        "Sub", [LOGS, builder.node("Unsqueeze", [builder.node("Log", [PEAK]), rows])]
    )
    if network.absolute:
        own = builder.node(
            "Gather", [LOGS, builder.constant(np.array(network.absolute, dtype=np.int64))], axis=0
        )
        over_peak = builder.node("Concat", [over_peak, own], axis=0)
    logs = builder.node("Max", [over_peak, builder.constant(np.log(np.float32(FLOOR)))])
    weight = np.diag(network.scale)
    offset = -network.shift * network.scale
    scaled = builder.node(
        "Gemm",
        [logs, builder.constant(weight), builder.constant(offset)],
        name=EXACT,
        transA=1,
    )
    limits = [builder.constant(np.float32(-CLIP)), builder.constant(np.float32(CLIP))]
    return builder.node("Clip", [scaled, *limits])


def _density_head(builder: _Builder, head: Head) -> None:
    """Posterior of the classes: densities of the components, added up and over their sum.

    Components are rows. A dozen numbers of an event are slow to go through one by one, as a
    softmax does; what is here goes over all events at once.
    """
    both = np.concatenate([head.quadratic, head.linear])
    squared = builder.node("Mul", [LATENT, LATENT])
    powers = builder.node("Concat", [squared, LATENT], axis=1)
    if head.student is None:
        found = _normal(builder, powers, both, head)
    else:
        found = _student(builder, powers, both, head, head.student)
    classes = builder.constant(np.array([0], dtype=np.int64))
    total = builder.node("ReduceSum", [found, classes], keepdims=1)
    builder.node("Div", [found, total], output=POSTERIOR)


def _student(
    builder: _Builder, powers: str, both: NDArray[np.float32], head: Head, freedom: float
) -> str:
    """Kernels (1 + d² / ν) to the power of -(ν + 1) / 2, weighed: ``(classes, events)``."""
    nu = np.float32(freedom)
    kernel = _forms(builder, powers, both / nu, head.constant / nu + 1)
    near = _power(builder, builder.node("Reciprocal", [kernel]), round(freedom + 1))
    weight = np.exp(head.log_weight - head.log_weight.max())[:, None] * head.groups
    return builder.node("MatMul", [builder.constant(weight.T), near])


def _normal(builder: _Builder, powers: str, both: NDArray[np.float32], head: Head) -> str:
    """Densities over the greatest of each event, ``(classes, events)``."""
    form = _forms(builder, powers, both, head.constant + head.log_weight)
    greatest = builder.node("ReduceMax", [form], axes=[0], keepdims=1)
    density = builder.node("Exp", [builder.node("Sub", [form, greatest])])
    return builder.node("MatMul", [builder.constant(head.groups.T), density])


def _forms(
    builder: _Builder, powers: str, both: NDArray[np.float32], constant: NDArray[np.float32]
) -> str:
    """Quadratic forms of the latent, ``(components, events)``."""
    return builder.node(
        "Gemm",
        [builder.constant(both.T), powers, builder.constant(constant[:, None])],
        name=EXACT,
        transB=1,
    )


def _power(builder: _Builder, base: str, halves: int) -> str:
    """Raise to the power of `halves` / 2, by multiplying."""
    factors = [builder.node("Sqrt", [base])] if halves % 2 else []
    left = halves // 2
    while left:
        if left % 2:
            factors.append(base)
        left //= 2
        if left:
            base = builder.node("Mul", [base, base])
    product = factors[0]
    for factor in factors[1:]:
        product = builder.node("Mul", [product, factor])
    return product


def _tensor(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Builder:
    """Collects nodes and initializers under numbered names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.float32] | NDArray[np.int64] | np.float32) -> str:
        name = f"c{len(self.initializers)}"
        kind = np.int64 if value.dtype == np.int64 else np.float32
        array = np.array(value, dtype=kind, order="C")
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        output: str | None = None,
        name: str = "",
        **attributes: Any,
    ) -> str:
        out = output or f"n{len(self.nodes)}"
        name = f"{name}{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=name, **attributes))
        return out
