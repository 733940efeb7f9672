"""A bundle's graph without quantization, as a list of operations that any library can run."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

ATTRIBUTES = {"axis": -1, "axes": None, "transA": 0, "transB": 0, "keepdims": 1, "perm": None}


def without_quantization(model: bytes) -> onnx.ModelProto:
    """Float twin of an int8 graph: weights as they are after rounding, activations not rounded."""
    proto = onnx.load_from_string(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    same: dict[str, str] = {}
    kept = []
    for node in proto.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            scale = constants[node.input[1]]
            zero = constants[node.input[2]] if len(node.input) > 2 else 0
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            exact = constants[node.input[0]].astype(np.float32) - np.float32(zero)
            shape = [1] * exact.ndim
            if np.ndim(scale):
                shape[axis if axis < exact.ndim else 0] = -1
            exact = exact if not np.ndim(zero) else _shifted(constants, node, shape)
            constants[node.output[0]] = np.float32(exact * np.reshape(scale, shape))
        elif node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            same[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    outputs = {same.get(out.name, out.name): out.name for out in proto.graph.output}
    for node in kept:
        for names in (node.input, node.output):
            names[:] = [outputs.get(name, name) for name in names]
    used = {name for node in kept for name in node.input}
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(kept)
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in constants.items() if name in used
    )
    onnx.checker.check_model(proto)
    return proto


def _shifted(constants: dict[str, Any], node: onnx.NodeProto, shape: list[int]) -> Any:
    whole, zero = constants[node.input[0]], constants[node.input[2]]
    return whole.astype(np.float32) - zero.astype(np.float32).reshape(shape)


def operations(proto: onnx.ModelProto) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Operations in order, JSON-able, and the constants they use."""
    listed = []
    for node in proto.graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        listed.append(
            {
                "op": node.op_type,
                "in": list(node.input),
                "out": node.output[0],
                **{key: given.get(key, default) for key, default in ATTRIBUTES.items()},
            }
        )
    constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    return listed, constants
