import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from edge_daemon.cli import cli, models
from edge_daemon.resources import models_dir

(BUNDLE,) = models_dir().glob("sim_optical4-*/")
SHIPPED = BUNDLE.name.replace("-", "@")


@pytest.fixture
def run(tmp_path):
    """Run through the root group, as a person does."""

    def call(*args):
        return CliRunner().invoke(cli, [str(a) for a in args])

    return call


def test_list_shows_the_shipped_bundle(run, tmp_path):
    result = run("model", "list", "--json", "--data-dir", tmp_path)
    assert result.exit_code == 0
    records = {r["bundle"]: r for r in json.loads(result.stdout)}
    assert records[SHIPPED]["simulated"] is True
    assert "sim_optical4/2.0" in records[SHIPPED]["profiles"]


def test_list_shows_a_broken_bundle_with_its_reason(run, tmp_path, trained):
    folder = tmp_path / "models" / "b"
    shutil.copytree(trained.path, folder)
    (folder / "stage2.onnx").write_bytes(b"")
    result = run("model", "list", "--data-dir", tmp_path)
    assert result.exit_code == 3
    assert "broken" in result.stdout
    assert "SIMULATED" in result.stdout
    assert "stage2.onnx" in result.stderr


def test_list_follows_the_boxs_configuration(run, tmp_path, trained, monkeypatch):
    shutil.copytree(trained.path, tmp_path / "more" / "brief")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[source]]\nname = "a"\npath = "{tmp_path}"\n'
        f'[models]\nextra_dirs = ["{tmp_path / "more"}"]\n'
    )
    monkeypatch.setenv("EDGE_DAEMON_CONFIG", str(config))
    result = run("model", "list", "--json", "--data-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert "brief@0.0.1" in {r["bundle"] for r in json.loads(result.stdout)}


def test_verify_passes_the_shipped_bundles(run):
    result = run("model", "verify")
    assert result.exit_code == 0
    assert SHIPPED in result.stdout


def test_verify_says_file_expected_and_found(run, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(BUNDLE, folder)
    (folder / "golden.npz").write_bytes(b"x")
    result = run("model", "verify", folder)
    assert result.exit_code == 1
    assert "golden.npz" in result.stdout
    as_json = run("model", "verify", "--json", folder)
    record = json.loads(as_json.stdout)[0]
    assert record["status"] == "broken"
    assert record["expected"]
    assert record["found"]


def test_train_then_evaluate(run, captures, tmp_path):
    out = tmp_path / "tiny-0.2.0"
    references = captures / "references.csv"
    result = run(
        "train", "--captures", captures, "--references", references, "--out", out, "--epochs", 1
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "stage2" in result.stderr
    truth = captures / "truth.csv"
    result = run("evaluate", "--bundle", out, "--captures", captures, "--truth", truth, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["bundle"] == "tiny@0.2.0"
    assert document["methods"] == ["bundle"]
    assert document["table"][0]["values"]["bundle"] is not None
    result = run(
        "evaluate", "--bundle", out, "--captures", captures, "--truth", truth,
        "--into-card", "Measured on the cohort it was trained on.",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "PLT events within" in result.stdout
    assert "trained on" in (out / "card.md").read_text()
    assert run("model", "verify", out).exit_code == 0


def test_train_says_why_it_refuses(run, captures, tmp_path):
    table = tmp_path / "r.csv"
    lines = (captures / "references.csv").read_text().splitlines()
    table.write_text("\n".join(lines[:4]))
    out = tmp_path / "b"
    result = run("train", "--captures", captures, "--references", table, "--out", out)
    assert result.exit_code == 1
    assert "3 usable captures" in result.stderr
    assert not out.exists()


def test_training_asks_for_its_extra(run, captures, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "jax" else find(name)
    )
    result = run(
        "train", "--captures", captures, "--references", captures / "references.csv",
        "--out", captures / "x",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "edge-daemon[train]" in result.stderr


def test_help_and_classifying_import_no_training_framework():
    code = (
        "import sys; import edge_daemon.cli.models; import edge_daemon.training.evaluate; "
        "from edge_daemon.classify.bundle import BundleShelf; "
        "from edge_daemon.resources import models_dir; "
        "assert BundleShelf.load([models_dir()]).bundles; "
        "print([m for m in ('jax', 'onnx', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert models.train.name == "train"
