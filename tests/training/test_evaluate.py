import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edge_daemon.classify.bundle import load_bundle
from edge_daemon.decode import decode
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.records import CellCalls
from edge_daemon.simulator.cohort import simulate
from edge_daemon.training.baselines import Mixture, Threshold, name_component
from edge_daemon.training.card import MEASURED, add_evaluation
from edge_daemon.training.cells import Confusion, densities
from edge_daemon.training.evaluate import evaluate, float_twin
from edge_daemon.training.measures import text
from edge_daemon.training.scores import (
    CLUMP,
    CLUMPS,
    OTHER,
    PLATELET,
    PURE,
    RETIC,
    Score,
    score_calls,
)
from edge_daemon.training.table import rows
from edge_daemon.training.truth import Sample, Truth, read_truth


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("busy")
    simulate(folder, samples=5, events=1500, seed=5, species=("dog", "cat"), event_rate=4.0)
    return folder


@pytest.fixture(scope="module")
def evaluation(trained, captures, registry, busy):
    return evaluate(
        trained, captures, captures / "truth.csv", registry,
        others=[Threshold(), Mixture()], exact=trained, busy=busy,
    )  # fmt: skip


@pytest.fixture
def table(evaluation):
    return {row.name: row for row in evaluation.table()}


def score(found, **changes):
    """Return the score of one dog with 3 % true reticulocytes, `found` of them called."""
    base = Score("a.fcs", "dog", "healthy", 300.0, plt=0.0, red=0.0, retic=found, true_retic=3.0)
    return replace(base, **changes)


def test_every_method_has_a_value_on_the_same_runs(evaluation, table):
    assert list(evaluation.scores) == ["bundle", "threshold", "mixture"]
    assert {len(scores) for scores in evaluation.scores.values()} == {14}
    row = table["PLT events, median error"]
    assert row.runs <= 14
    assert set(row.values) == set(evaluation.scores)
    assert all(value is not None for value in row.values.values())
    assert not evaluation.failed


def test_the_table_has_every_slice_and_measure(table):
    for name in ("PLT < 50 K", "cats", "heavy debris", "dog", "cat"):
        assert f"PLT events within ±25 %: {name}" in table
    assert "RETIC%, CV: 1–2 %" in table
    assert "False regeneration: horses" in table
    assert (
        table["PLT events within ±25 %: dog"].runs + table["PLT events within ±25 %: cat"].runs
        == table["PLT events within ±25 %"].runs
    )
    assert table["95 % interval holds truth: RBC"].runs == 14


def test_the_document_is_json(evaluation):
    document = json.loads(json.dumps(evaluation.as_dict()))
    assert document["runs"] == 14
    assert sum(map(sum, document["confusion"])) == 14 * 1500


def test_a_bundle_agrees_with_itself_as_its_float_twin(table, evaluation):
    assert table["Int8 against float, events called the same"].values["bundle"] == 1.0
    assert all(twin.counts == 0 for twin in evaluation.twins)


def test_the_rise_of_clumps_is_measured_on_the_runs_present_at_both_rates(table, evaluation):
    row = table["CLUMP% by a higher event rate, median"]
    assert row.runs == 5
    assert "threshold" not in row.values
    assert "mixture" in row.values


def test_float_graphs_that_are_not_there_are_asked_for(trained, tmp_path):
    with pytest.raises(EdgeError, match="in float"):
        float_twin(trained, tmp_path)
    for name in ("stage1.onnx", "stage2.onnx"):
        shutil.copy(trained.path / name, tmp_path)
    assert float_twin(trained, tmp_path).stage1 == trained.stage1


def test_a_capture_that_cannot_be_read_is_listed(trained, captures, registry, tmp_path):
    lines = (captures / "truth.csv").read_text().splitlines()
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join([*lines, lines[1].replace(lines[1].split(",")[0], "no.fcs")]))
    result = evaluate(trained, captures, truth, registry)
    assert len(result.failed) == 1
    assert "no.fcs" in result.failed[0]
    assert result.confusion is None, "no truth.npz beside this table"


def test_a_run_that_is_refused_counts_as_not_classified_and_not_as_wrong(
    trained, captures, registry
):
    class Shy(Threshold):
        name = "shy"

        def classify(self, batch):
            raise Quarantine("not_classified", "I would rather not", action="ask again")

    result = evaluate(trained, captures, captures / "truth.csv", registry, others=[Shy()])
    table = {row.name: row for row in result.table()}
    assert table["Not classified"].values == {"bundle": 0.0, "shy": 1.0}
    assert table["PLT events within ±25 %"].values["shy"] is None


def test_nothing_that_can_be_classified_is_an_error(trained, captures, registry, tmp_path):
    with pytest.raises(EdgeError, match="no capture of"):
        evaluate(trained, tmp_path, captures / "truth.csv", registry)


@pytest.mark.parametrize("content", ["", "capture\nx", "a,b\n1,2\n"])
def test_a_truth_file_of_another_form_is_refused(tmp_path, content):
    file = tmp_path / "t.csv"
    file.write_text(content)
    with pytest.raises(EdgeError, match="no column"):
        read_truth(file)


@pytest.mark.parametrize("bad", ["many", "nan", "-1", ""])
def test_a_truth_that_is_not_a_number_is_named_by_line(captures, tmp_path, bad):
    lines = (captures / "truth.csv").read_text().splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:-1], bad])
    file = tmp_path / "t.csv"
    file.write_text("\n".join(lines))
    with pytest.raises(EdgeError, match="line 3: retic_pct"):
        read_truth(file)


def test_cells_of_another_cohort_are_refused(captures, busy, tmp_path):
    shutil.copy(captures / "truth.csv", tmp_path)
    shutil.copy(busy / "truth.npz", tmp_path)
    truth = Truth(tmp_path / "truth.csv")
    with pytest.raises(EdgeError, match="events per class"):
        truth.codes(truth.samples[0])


def test_a_measured_table_goes_into_the_card_once(trained, evaluation, tmp_path):
    folder = tmp_path / "brief-0.0.1"
    shutil.copytree(trained.path, folder)
    for sentence in ("First.", "Second."):
        bundle = add_evaluation(load_bundle(folder), evaluation, sentence)
    card = (folder / "card.md").read_text()
    assert card.count(MEASURED) == 1
    assert "Second." in card
    assert "First." not in card
    assert bundle.stage1 == trained.stage1


def test_scores_are_relative_to_the_recorded_truth():
    posterior = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]])
    calls = CellCalls(posterior.astype(np.float32), posterior.argmax(axis=1).astype(np.uint8))
    sample = Sample("a", "dog", "healthy", (1.0, 0.0, 1.0, 1.0, 1.0), 7.0, 300.0, 1.0)
    found = score_calls(sample, calls, frozenset({CLUMPS}))
    assert found.plt == 1.0
    assert found.red == 0.0
    assert found.retic is None
    assert (found.clump, found.true_clump) == (0.0, 50.0)


def test_bars_are_met_or_missed_by_the_bundle_and_the_oracle():
    own = [score(3.0, plt=0.02), score(3.0, plt=0.03)]
    for oracle, met in ((0.02, True), (0.01, False)):
        table = {
            r.name: r for r in rows({"bundle": own, "oracle": [score(3.0, plt=oracle)]}, (), {})
        }
        assert table["PLT events, median error"].met is met
    alone = {r.name: r for r in rows({"bundle": own}, (), {})}
    assert alone["PLT events, median error"].met is None
    assert alone["PLT events within ±25 %"].met is True


def test_an_interval_that_holds_too_often_misses_its_bar():
    own = [score(3.0, intervals={"PLT": (0.0, 1e6, 300.0)}) for _ in range(20)]
    row = next(r for r in rows({"bundle": own}, (), {}) if r.group == "PLT")
    assert row.values["bundle"] == 1.0
    assert row.met is False


def test_regeneration_is_false_only_where_there_is_none():
    horses = [
        score(retic, species="horse", true_retic=true)
        for retic, true in ((0.1, 0.05), (0.9, 0.05), (0.9, 0.8))
    ]
    table = {r.name: r for r in rows({"bundle": horses}, (), {})}
    assert table["False regeneration: horses"].values["bundle"] == 1.0


def test_confusion_counts_cells_and_knows_how_often_a_posterior_is_right():
    posterior = np.zeros((10, 5), dtype=np.float32)
    posterior[:, PURE], posterior[:, PLATELET] = 0.75, 0.25
    codes = np.array([PURE] * 8 + [PLATELET] * 2, dtype=np.uint8)
    confusion = Confusion()
    confusion.add(CellCalls(posterior, posterior.argmax(axis=1).astype(np.uint8)), codes)
    classes = {entry["class"]: entry for entry in confusion.classes()}
    assert confusion.matrix[PLATELET, PURE] == 2
    assert classes["pure_rbc"]["precision"] == 0.8
    assert classes["platelet"]["recall"] == 0.0
    assert classes["platelet"]["calibration"][-1] == {"cells": 10, "posterior": 0.25, "true": 0.2}
    assert classes["reticulocyte"]["recall"] is None


def test_a_value_below_zero_does_not_stretch_the_scattergram(captures, registry):
    data = next(captures.glob("*.fcs")).read_bytes()
    batch = decode(data, registry.match(data, "x"))
    batch.signals[:100] = -1.0
    for view in densities("dog", batch, np.zeros(batch.events, np.uint8)):
        assert view.counts.sum() == batch.events
        assert all(high <= 1.001e4 * low for low, high in view.spans)


def test_density_keeps_every_event(captures, registry):
    data = next(captures.glob("*.fcs")).read_bytes()
    batch = decode(data, registry.match(data, "x"))
    codes = np.zeros(batch.events, dtype=np.uint8)
    views = densities("dog", batch, codes)
    assert len(views) == 3
    assert all(view.counts.sum() == batch.events for view in views)


def test_the_threshold_method_calls_by_fixed_limits(cohort, captures, registry):
    data = (captures / cohort.runs[0].reference.capture).read_bytes()
    batch = decode(data, registry.match(data, "x"))
    codes = Threshold().classify(batch).codes
    platelets = batch.signals[codes == PLATELET, batch.channels.index("EXT.H")]
    assert 0 < len(platelets) < 750
    assert platelets.min() >= 1.0
    assert platelets.max() < 16.0


@pytest.mark.parametrize(
    ("extinction", "dye", "code"),
    [
        (0, 0, PURE),
        (0, 2, RETIC),
        (0.7, 0, CLUMP),
        (-3, -2, PLATELET),
        (-5, -5, OTHER),
        (1, 4, OTHER),
    ],
)
def test_components_are_named_by_where_they_lie(extinction, dye, code):
    channels = ("EXT.A", "FL.A")
    assert name_component(np.array([extinction, dye], dtype=float), channels) == code


def test_values_are_written_as_people_read_them():
    assert text("share", 0.975) == "97.5 %"
    assert text("fine", 0.00098) == "0.098 %"
    assert text("points", 0.3) == "0.30"
    assert text("count", None) == "–"
