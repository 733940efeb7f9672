from dataclasses import replace

import numpy as np
import onnx
import pytest

from edge_daemon.classify import runtime
from edge_daemon.classify.bundle import load_bundle
from edge_daemon.classify.runtime import Classifier
from edge_daemon.errors import Quarantine

COUNTS = [9300, 200, 60, 300, 140]


@pytest.fixture(scope="module")
def classifier(bundle):
    return Classifier(bundle)


def test_separate_populations_are_called_right_whatever_the_gain(classifier, make_cells):
    for gain in (0.7, 1.0, 1.6):
        batch, codes = make_cells(COUNTS, seed=1, gain=gain)
        calls = classifier.classify(batch)
        assert (calls.codes == codes).mean() > 0.999


def test_rows_sum_to_one_and_the_called_class_is_the_likeliest(classifier, make_cells):
    batch, _ = make_cells(COUNTS, seed=2)
    calls = classifier.classify(batch)
    assert calls.posterior.dtype == np.float32
    assert calls.posterior.shape == (batch.events, 5)
    np.testing.assert_allclose(calls.posterior.sum(axis=1), 1, atol=1e-5)
    assert calls.posterior.min() >= 0
    np.testing.assert_array_equal(calls.codes, calls.posterior.argmax(axis=1))


def test_the_same_run_gives_the_same_bits(bundle, make_cells):
    batch, _ = make_cells(COUNTS, seed=3)
    first, second = (Classifier(bundle).classify(batch).posterior for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("rows", [1000, 3333, 10**6])
def test_the_batch_size_changes_nothing(classifier, make_cells, monkeypatch, rows):
    batch, _ = make_cells(COUNTS, seed=4)
    whole = classifier.classify(batch).posterior
    monkeypatch.setattr(runtime, "BATCH_ROWS", rows)
    np.testing.assert_array_equal(classifier.classify(batch).posterior, whole)


def test_the_order_of_channels_is_the_bundles_own(classifier, make_cells):
    batch, _ = make_cells(COUNTS, seed=5)
    order = np.random.default_rng(0).permutation(len(batch.channels))
    shuffled = replace(
        batch,
        signals=batch.signals[:, order],
        channels=tuple(batch.channels[i] for i in order),
    )
    np.testing.assert_array_equal(
        classifier.classify(shuffled).posterior, classifier.classify(batch).posterior
    )


def test_a_missing_channel_is_named(classifier, make_cells):
    batch, _ = make_cells(COUNTS)
    short = replace(batch, signals=batch.signals[:, :11], channels=batch.channels[:11])
    with pytest.raises(Quarantine, match=r"FL\.W") as caught:
        classifier.classify(short)
    assert caught.value.code == "not_classified"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_by_its_channel(classifier, make_cells, value):
    batch, _ = make_cells(COUNTS)
    signals = batch.signals.copy()
    signals[17, 4] = value
    with pytest.raises(Quarantine, match=r"HA\.A") as caught:
        classifier.classify(replace(batch, signals=signals))
    assert caught.value.code == "not_classified"


def test_zero_and_negative_signals_are_classified(classifier, make_cells):
    batch, codes = make_cells(COUNTS, seed=6)
    signals = batch.signals.copy()
    signals[codes == 4] = -1.0
    calls = classifier.classify(replace(batch, signals=signals))
    assert np.isfinite(calls.posterior).all()


@pytest.mark.parametrize("counts", [[0] * 5, [50, 0, 0, 10, 0], [0, 0, 0, 0, 150]])
def test_a_run_without_a_red_cell_peak_is_not_classified(classifier, make_cells, counts):
    batch, _ = make_cells(counts)
    with pytest.raises(Quarantine, match="red-cell peak") as caught:
        classifier.classify(batch)
    assert caught.value.code == "not_classified"


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize(
    "bad", [[0.5, 0.5, 0.5], [np.nan, 0.5, 0.5], [1.2, -0.2, 0.0], [0.0, 0.0, 0.0]]
)
def test_outputs_out_of_range_are_not_classified(bundle, make_cells, monkeypatch, bad, stage):
    batch, _ = make_cells(COUNTS)
    classifier = Classifier(bundle)

    def spoiled(signals, peak):
        good, posterior = np.tile(np.float32([1, 0, 0]), (2, len(signals), 1))
        posterior[-1] = bad
        return (good, posterior) if stage == 2 else (posterior, good)

    monkeypatch.setattr(classifier._stages, "posteriors", spoiled)
    with pytest.raises(Quarantine, match="posteriors") as caught:
        classifier.classify(batch)
    assert caught.value.code == "not_classified"


def _spoiled_by(operator, model):
    """Add to the posterior what is 0 for positive signals and no number for others."""
    made = onnx.load_from_string(model)
    graph = made.graph
    last = next(node for node in graph.node if "posterior" in node.output)
    last.output[list(last.output).index("posterior")] = "honest"
    helper = onnx.helper
    graph.node.extend(
        [
            helper.make_node("Add", ["logs", "above"], ["raised"]),
            helper.make_node(operator, ["raised"], ["odd"]),
            helper.make_node("ReduceSum", ["odd", "channels"], ["sum"], keepdims=1),
            helper.make_node("Sub", ["sum", "sum"], ["nothing"]),
            helper.make_node("Add", ["honest", "nothing"], ["posterior"]),
        ]
    )
    graph.initializer.append(helper.make_tensor("channels", onnx.TensorProto.INT64, [1], [0]))
    # What is not positive counts as 1e-12, whose logarithm is -27.6.
    graph.initializer.append(helper.make_tensor("above", onnx.TensorProto.FLOAT, [1], [20.0]))
    return made.SerializeToString()


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_model_that_passes_its_golden_vectors_and_then_gives_nan_labels_nothing(
    copy, replace_file, make_cells, stage
):
    batch, _ = make_cells(COUNTS, seed=6)
    signals = batch.signals.copy()
    signals[::50, 5] = -1.0
    odd = replace(batch, signals=signals)
    assert len(Classifier(load_bundle(copy)).classify(odd).codes) == odd.events
    folder = replace_file(
        f"{stage}.onnx", _spoiled_by("Sqrt", (copy / f"{stage}.onnx").read_bytes())
    )
    classifier = Classifier(load_bundle(folder))
    assert len(classifier.classify(batch).codes) == batch.events
    with pytest.raises(Quarantine, match="posteriors") as caught:
        classifier.classify(odd)
    assert caught.value.code == "not_classified"


def _taking_rows(model):
    """The same graph as earlier bundles hold it: signals and posteriors event by event."""
    made = onnx.load_from_string(model)
    graph, helper = made.graph, onnx.helper
    channels = graph.input[0].type.tensor_type.shape.dim[0].dim_value
    for node in graph.node:
        node.output[:] = ["by_class" if name == "posterior" else name for name in node.output]
    ahead = [
        helper.make_node("Transpose", ["signals"], ["by_channel"]),
        helper.make_node("Max", ["by_channel", "tiny"], ["positive"]),
        helper.make_node("Log", ["positive"], ["logs"]),
    ]
    nodes = [*ahead, *graph.node, helper.make_node("Transpose", ["by_class"], ["posterior"])]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(helper.make_tensor("tiny", onnx.TensorProto.FLOAT, [1], [1e-12]))
    float32 = onnx.TensorProto.FLOAT
    graph.input[0].CopyFrom(helper.make_tensor_value_info("signals", float32, ["n", channels]))
    graph.output[1].CopyFrom(helper.make_tensor_value_info("posterior", float32, ["n", 3]))
    return made.SerializeToString()


def test_bundles_whose_graphs_take_rows_are_used_as_before(copy, replace_file, make_cells):
    batch, _ = make_cells(COUNTS, seed=8)
    now = Classifier(load_bundle(copy)).classify(batch)
    for stage in ("stage1", "stage2"):
        folder = replace_file(f"{stage}.onnx", _taking_rows((copy / f"{stage}.onnx").read_bytes()))
    before = Classifier(load_bundle(folder)).classify(batch)
    np.testing.assert_allclose(before.posterior, now.posterior, atol=1e-5)
    assert (before.codes == now.codes).all()
