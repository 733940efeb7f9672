import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_daemon.classify.session import Stages, StageSession
from edge_daemon.classify.sharing import share

CHANNELS, EVENTS = 12, 500


@pytest.fixture
def events():
    rng = np.random.default_rng(0)
    signals = rng.lognormal(0.0, 2.0, (EVENTS, CHANNELS)).astype(np.float32)
    signals[::7, 3] = -1.0
    return signals, rng.lognormal(0.0, 0.2, CHANNELS).astype(np.float32)


def test_graphs_that_begin_alike_are_cut_and_give_the_same_bits(bundle, events):
    stages = Stages(bundle.stage1, bundle.stage2, "cut")
    assert stages.shared
    apart = [StageSession(m, "whole").posterior(*events) for m in (bundle.stage1, bundle.stage2)]
    for found, whole in zip(stages.posteriors(*events), apart, strict=True):
        np.testing.assert_array_equal(found, whole)


def test_what_is_cut_off_is_what_the_first_stage_computes(bundle):
    shared = share(bundle.stage1, bundle.stage2)
    first, second = (onnx.load_from_string(model) for model in (shared.first, shared.second))
    for model in (first, second):
        onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in second.graph.input] == [shared.inputs]
    assert first.graph.output[-1].name == shared.inputs
    whole = onnx.load_from_string(bundle.stage2)
    kinds = [node.op_type for node in second.graph.node]
    assert len(kinds) < len(whole.graph.node)
    assert "Log" not in kinds
    assert list(onnx.load_from_string(bundle.stage1).graph.node) == list(first.graph.node)


def changed(model, change):
    made = onnx.load_from_string(model)
    change(made.graph)
    return made.SerializeToString()


def other_scale(graph):
    node = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    scale = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
    twice = 2 * numpy_helper.to_array(scale)
    scale.CopyFrom(numpy_helper.from_array(twice, scale.name))


def another_look_at_the_logarithms(graph):
    last = next(node for node in graph.node if "posterior" in node.output)
    last.output[list(last.output).index("posterior")] = "honest"
    nothing = helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0])
    graph.initializer.extend([nothing, helper.make_tensor("by", TensorProto.INT64, [1], [0])])
    graph.node.extend(
        [
            helper.make_node("Mul", ["logs", "nothing"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros", "by"], ["zero"], keepdims=1),
            helper.make_node("Add", ["honest", "zero"], ["posterior"]),
        ]
    )


@pytest.mark.parametrize(
    ("stage", "change"), [(0, other_scale), (1, other_scale), (1, another_look_at_the_logarithms)]
)
def test_graphs_that_begin_otherwise_are_left_whole(bundle, events, stage, change):
    models = [bundle.stage1, bundle.stage2]
    models[stage] = changed(models[stage], change)
    assert share(*models) is None
    stages = Stages(*models, "whole")
    assert not stages.shared
    wanted = [StageSession(model, "whole").posterior(*events) for model in models]
    for found, whole in zip(stages.posteriors(*events), wanted, strict=True):
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_bytes_that_are_no_graph_are_left_alone(bundle, cut):
    assert share(bundle.stage1[:-cut], bundle.stage2) is None
    assert share(bundle.stage1, b"\x0b" + bundle.stage2) is None
