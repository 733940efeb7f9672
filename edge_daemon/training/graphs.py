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
_TINY: Final = 1e-12
"""What a logarithm is taken of at least; below `FLOOR` over any peak."""
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
    """Build the float graph of a stage: ``signals, peak`` → ``latent, posterior``."""
    builder = _Builder()
    hidden = _preprocess(builder, network)
    # The encoder: what is quantized.
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
    """Logarithms over the peak, shifted and scaled by one product, clipped.

    The own logarithm of a channel is that over the peak and the peak's: no column is read twice.
    `FLOOR` is applied to what was scaled, where it is another number for each input.
    """
    channels = len(network.shift) - len(network.absolute)
    sources = [*range(channels), *network.absolute]
    weight = np.zeros((channels, len(sources)), dtype=np.float32)
    weight[sources, range(len(sources))] = network.scale
    own = weight.copy()
    own[:, :channels] = 0
    positive = builder.node(
        "Max", [builder.node("Div", ["signals", "peak"]), builder.constant(np.float32(_TINY))]
    )
    logs = builder.node("Log", [positive])
    of_peak = builder.node("MatMul", [builder.node("Log", ["peak"]), builder.constant(own)])
    offset = builder.node("Sub", [of_peak, builder.constant(network.shift * network.scale)])
    scaled = builder.node("Gemm", [logs, builder.constant(weight), offset], name=EXACT)
    least = (np.float32(np.log(FLOOR)) - network.shift) * network.scale
    scaled = builder.node("Max", [scaled, builder.constant(least)])
    limits = [builder.constant(np.float32(-CLIP)), builder.constant(np.float32(CLIP))]
    return builder.node("Clip", [scaled, *limits])


def _density_head(builder: _Builder, head: Head) -> None:
    """Posterior of the classes: densities of the components, added up and over their sum.

    Rows of a dozen components are slow to go through one by one, as a softmax does; what is here
    goes over all events at once.
    """
    both = np.concatenate([head.quadratic, head.linear])
    squared = builder.node("Mul", ["latent", "latent"])
    powers = builder.node("Concat", [squared, "latent"], axis=1)
    if head.student is None:
        found = _normal(builder, powers, both, head)
    else:
        found = _student(builder, powers, both, head, head.student)
    classes = head.groups.shape[1]
    ones = builder.constant(np.ones((classes, classes), dtype=np.float32))
    builder.node("Div", [found, builder.node("MatMul", [found, ones])], output="posterior")


def _student(
    builder: _Builder, powers: str, both: NDArray[np.float32], head: Head, freedom: float
) -> str:
    """Kernels (1 + d² / ν) to the power of -(ν + 1) / 2, weighed: ``(events, classes)``."""
    nu = np.float32(freedom)
    form = builder.node(
        "Gemm",
        [powers, builder.constant(both / nu), builder.constant(head.constant / nu + 1)],
        name=EXACT,
    )
    # Rounding may leave a tiny negative squared distance at a cluster's centre.
    kernel = builder.node("Max", [form, builder.constant(np.float32(1))])
    near = _power(builder, builder.node("Reciprocal", [kernel]), round(freedom + 1))
    weight = np.exp(head.log_weight - head.log_weight.max())[:, None] * head.groups
    return builder.node("MatMul", [near, builder.constant(weight)])


def _normal(builder: _Builder, powers: str, both: NDArray[np.float32], head: Head) -> str:
    """Densities over the greatest of each event; components lie one after the other."""
    constant = (head.constant + head.log_weight)[:, None]
    form = builder.node(
        "Gemm",
        [builder.constant(both.T), powers, builder.constant(constant)],
        name=EXACT,
        transB=1,
    )
    greatest = builder.node("ReduceMax", [form], axes=[0], keepdims=1)
    density = builder.node("Exp", [builder.node("Sub", [form, greatest])])
    groups = builder.constant(head.groups)
    return builder.node("Gemm", [density, groups], name=EXACT, transA=1)


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

    def constant(self, value: NDArray[np.float32] | np.float32) -> str:
        name = f"c{len(self.initializers)}"
        array = np.array(value, dtype=np.float32, order="C")
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
