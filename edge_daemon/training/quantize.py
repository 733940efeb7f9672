"""Static int8 quantization of a stage's encoder (QDQ, per channel, reduced range)."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from edge_daemon.classify.session import LOGS, PEAK, logarithms
from edge_daemon.training.graphs import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

CHUNK: Final = 4096


def quantize(
    model: onnx.ModelProto,
    runs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> bytes:
    """Quantize the encoder of a float graph.

    Weights are int8 per output channel in reduced range (7 bits): processors without VNNI
    saturate 16-bit sums of 8-bit products, and results must agree between processor families.

    Parameters
    ----------
    model
        Float graph of `edge_daemon.training.graphs.build_graph`.
    runs
        ``(signals, peak)`` of runs that cover every population, to calibrate activations with.

    Returns
    -------
    bytes
        The serialised int8 graph.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        with _no_advice():
            quantize_static(
                str(source),
                str(target),
                _Runs(runs),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Gemm", "Relu"],
                nodes_to_exclude=[n.name for n in model.graph.node if n.name.startswith(EXACT)],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        quantized = onnx.load(target)
    del quantized.metadata_props[:]
    return bytes(quantized.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _no_advice() -> Iterator[None]:
    """Hush the root logger: the quantizer advises shape inference, which Gemm does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Runs(CalibrationDataReader):  # type: ignore[misc]
    """Feeds runs to the calibrator in chunks."""

    def __init__(self, runs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> None:
        self._feeds = iter(
            {LOGS: logarithms(signals[start : start + CHUNK]), PEAK: peak}
            for signals, peak in runs
            for start in range(0, len(signals), CHUNK)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next feed, None at the end."""
        return next(self._feeds, None)


def input_step(model: bytes) -> float:
    """Return the int8 step of the scaled inputs of a quantized graph."""
    graph = onnx.load_from_string(model).graph
    clipped = {node.output[0] for node in graph.node if node.op_type == "Clip"}
    scales = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in clipped:
            return float(numpy_helper.to_array(scales[node.input[1]]))
    raise ValueError("the graph does not quantize its clipped inputs")
