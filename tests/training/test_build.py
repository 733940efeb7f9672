import json

import pytest

from edge_daemon.classify.bundle import load_bundle
from edge_daemon.errors import EdgeError
from edge_daemon.resources import models_dir
from edge_daemon.training.build import train_bundle
from edge_daemon.training.card import MEASURED, add_evaluation
from edge_daemon.training.evaluate import baseline, evaluate, read_truth

FILES = {"manifest.toml", "stage1.onnx", "stage2.onnx", "golden.npz", "card.md"}


def test_a_trained_bundle_is_complete_small_and_marked(trained, cohort):
    assert {p.name for p in trained.path.iterdir()} == FILES
    assert sum(p.stat().st_size for p in trained.path.iterdir()) < 300_000
    assert trained.id == "brief@0.0.1"
    manifest = trained.manifest
    assert manifest.provenance.simulated
    assert manifest.provenance.captures == len(cohort.runs)
    assert "Simulated runs only" in (trained.path / "card.md").read_text()
    assert manifest.coincidence.window_ul > 0


def test_the_same_seed_writes_the_same_bytes(captures, registry, trained, brief, tmp_path):
    references = captures / "references.csv"
    again = train_bundle(
        captures, references, tmp_path / "brief-0.0.1", registry, seed=3, schedule=brief
    )
    assert again.manifest_sha256 == trained.manifest_sha256


def test_a_bundle_is_never_overwritten(captures, registry, trained):
    before = trained.manifest_sha256
    with pytest.raises(EdgeError, match="exists already"):
        train_bundle(captures, captures / "references.csv", trained.path, registry, seed=1)
    assert load_bundle(trained.path).manifest_sha256 == before


@pytest.fixture(scope="module")
def evaluation(trained, captures, registry):
    return evaluate(trained, captures, captures / "truth.csv", registry)


def test_evaluation_has_a_row_for_all_and_for_every_group(evaluation):
    rows = {(row["group"], row["name"]): row for row in evaluation.table()}
    assert rows["all", "all"]["runs"] == 14
    species = [row for (group, _), row in rows.items() if group == "species"]
    assert sum(row["runs"] for row in species) == 14
    assert not evaluation.failed
    assert json.loads(json.dumps(evaluation.as_dict()))["runs"] == 14


def test_errors_are_relative_to_the_recorded_truth(evaluation, captures):
    rows = {row["capture"]: row for row in read_truth(captures / "truth.csv")}
    for score in evaluation.scores:
        if int(rows[score.capture]["n_platelet"]):
            assert score.plt_events >= -1
            assert score.baseline_plt_events is not None
        else:
            assert score.plt_events is None


def test_a_capture_that_cannot_be_read_is_listed(trained, captures, registry, tmp_path):
    lines = (captures / "truth.csv").read_text().splitlines()
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join([*lines, lines[1].replace(lines[1].split(",")[0], "no.fcs")]))
    result = evaluate(trained, captures, truth, registry)
    assert len(result.failed) == 1
    assert "no.fcs" in result.failed[0]


@pytest.mark.parametrize("text", ["", "capture\nx", "a,b\n1,2\n"])
def test_a_truth_file_of_another_form_is_refused(tmp_path, text):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(EdgeError, match="no column"):
        read_truth(file)


def test_a_truth_that_is_not_a_number_is_named_by_line(captures, tmp_path):
    lines = (captures / "truth.csv").read_text().splitlines()
    cells = lines[2].split(",")
    cells[-1] = "many"
    lines[2] = ",".join(cells)
    file = tmp_path / "t.csv"
    file.write_text("\n".join(lines))
    with pytest.raises(EdgeError, match="line 3: retic_pct is 'many'"):
        read_truth(file)


def test_a_measured_table_goes_into_the_card_once(trained, evaluation, tmp_path):
    import shutil

    folder = tmp_path / "brief-0.0.1"
    shutil.copytree(trained.path, folder)
    for sentence in ("First.", "Second."):
        bundle = add_evaluation(load_bundle(folder), evaluation, sentence)
    card = (folder / "card.md").read_text()
    assert card.count(MEASURED) == 1
    assert "Second." in card
    assert "First." not in card
    assert bundle.stage1 == trained.stage1


def test_the_baseline_counts_by_fixed_thresholds(cohort, captures, registry):
    from edge_daemon.decode import decode

    run = cohort.runs[0]
    data = (captures / run.reference.capture).read_bytes()
    platelets, percent = baseline(decode(data, registry.match(data, "x")))
    assert 0 < platelets < 750
    assert 0 <= percent <= 100


def test_every_shipped_bundle_proves_right_and_stays_small():
    folders = sorted(p.parent for p in models_dir().glob("*/manifest.toml"))
    assert folders
    for folder in folders:
        bundle = load_bundle(folder)
        assert folder.name == f"{bundle.manifest.bundle.name}-{bundle.manifest.bundle.version}"
        assert sum(p.stat().st_size for p in folder.iterdir()) < 300_000
        assert MEASURED in (folder / "card.md").read_text()
