import pytest

from edge_daemon.classify.bundle import load_bundle
from edge_daemon.errors import EdgeError
from edge_daemon.resources import models_dir
from edge_daemon.training.build import train_bundle
from edge_daemon.training.card import MEASURED

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


def test_every_shipped_bundle_proves_right_and_stays_small():
    folders = sorted(p.parent for p in models_dir().glob("*/manifest.toml"))
    assert folders
    for folder in folders:
        bundle = load_bundle(folder)
        assert folder.name == f"{bundle.manifest.bundle.name}-{bundle.manifest.bundle.version}"
        assert sum(p.stat().st_size for p in folder.iterdir()) < 300_000
        assert MEASURED in (folder / "card.md").read_text()
