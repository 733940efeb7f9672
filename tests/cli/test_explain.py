"""`edge-daemon explain` on stored runs of simulated captures."""

import contextlib
import hashlib
import json
import re
import shutil
import sqlite3

import pytest
import tomlkit
from click.testing import CliRunner

from edge_daemon import errors
from edge_daemon.classify.bundle import BundleShelf, load_bundle
from edge_daemon.cli.lazy import Entry, LazyGroup
from edge_daemon.clock import SystemClock
from edge_daemon.decode import decode
from edge_daemon.decode.registry import Registry
from edge_daemon.pipeline import process_files
from edge_daemon.records import CELL_CLASSES, Classified, Decoded, RawCapture, SampleInfo
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.simulator.cohort import sample
from edge_daemon.store.writer import Store
from edge_daemon.tasks import Plan

CHANNELS = tuple(f"{d}.{f}" for d in ("LA", "HA", "EXT", "FL") for f in "HAW")
MODEL = "elsewhere-1.0.0"


def edit(model, **identity):
    """Change the identity a bundle states about itself."""
    manifest = model / "manifest.toml"
    table = tomlkit.parse(manifest.read_text(encoding="utf-8"))
    table["bundle"].update(identity)
    manifest.write_text(tomlkit.dumps(table), encoding="utf-8")


@pytest.fixture(scope="module")
def capture():
    return sample(0, events=4000, seed=9, species=("dog",), condition="regenerative_anaemia")


@pytest.fixture(scope="module")
def batch(capture):
    profile = Registry.load([profiles_dir()]).match(capture.data, capture.name)
    return decode(capture.data, profile)


@pytest.fixture(scope="module")
def site(tmp_path_factory, capture, batch):
    """Folder with a model, a configuration that names it, and one stored run."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "export").mkdir()
    (folder / "export" / capture.name).write_bytes(capture.data)
    shipped = BundleShelf.load([models_dir()]).for_profile(batch.profile, "dog")
    shutil.copytree(shipped.path, folder / "models" / MODEL)
    edit(folder / "models" / MODEL, name="elsewhere", version="1.0.0")
    (folder / "config.toml").write_text(
        '[[source]]\nname = "a"\npath = "export"\n[models]\nextra_dirs = ["models"]\n'
    )
    plan = Plan(profile_dirs=(profiles_dir(),), model_dirs=(folder / "models",), max_bytes=1 << 26)
    (done,) = process_files([folder / "export"], data_dir=folder / "data", plan=plan, workers=1)
    assert done["status"] == "classified", done["reason"]
    return folder


@pytest.fixture
def own(site, tmp_path):
    """Copy of the site that a test may spoil."""
    shutil.copytree(site, tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def explain():
    """Run the command as the root group would; return (exit code, stdout, stderr)."""
    group = LazyGroup({"Results": {"explain": Entry("explain:explain", "Explain.")}}, name="x")

    def run(site, *args, config="config.toml"):
        given = ["--data-dir", site / "data", *(["--config", site / config] if config else [])]
        result = CliRunner().invoke(group, ["explain", *map(str, [*args, *given])])
        return result.exit_code, result.stdout, result.stderr

    return run


def as_json(done):
    code, out, err = done
    assert (code, err) == (0, "")
    return json.loads(out)


def test_says_what_made_the_calls(explain, site, batch):
    code, out, err = explain(site, 1)
    assert (code, err) == (0, "")
    heading, mark, made = out.splitlines()[:3]
    assert heading.startswith("Run 1, sample ")
    assert heading.endswith("4,000 events")
    assert "SIMULATED" in mark
    assert made == f"Called by elsewhere@1.0.0 through profile {batch.profile}"
    assert re.search(r"Called reticulocyte because FL\.A is [\d.]+ × the red-cell median", out)
    assert re.search(r"with FL\.A below [\d.]+ × it would have been called pure red cell", out)
    assert "fluorescence: RNA dye" in out


def test_sample_id_and_run_number_give_the_same(explain, site):
    by_run = as_json(explain(site, "run:1", "--json"))
    assert as_json(explain(site, by_run["sample_id"], "--json")) == by_run


def test_json_carries_the_origin_and_every_value(explain, site):
    found = as_json(explain(site, 1, "--json"))
    assert found["run"] == 1
    assert found["simulated"] is True
    assert found["reproduced"] is True
    assert found["model"] == "elsewhere@1.0.0"
    retic = next(c for c in found["classes"] if c["name"] == "reticulocyte")
    values = {d["name"]: d["value"] for d in retic["attributions"][0]["detectors"]}
    assert max(values, key=values.get) == "FL"
    channels = [c["name"] for c in retic["attributions"][0]["channels"]]
    assert channels == list(CHANNELS)
    explained = {c["name"] for c in found["classes"]} | set(found["too_few"])
    assert explained == set(CELL_CLASSES)


def test_one_event(explain, site, batch):
    found = as_json(explain(site, 1, "--cell", 17, "--json"))
    assert found["event"] == 17
    assert sum(found["posterior"].values()) == pytest.approx(1)
    assert list(found["multiples"]) == list(CHANNELS)
    _, out, _ = explain(site, 1, "--cell", 17)
    assert "Event 17\nCalled " in out
    assert found["sentence"] in out
    for channel, multiple in found["multiples"].items():
        assert f"{channel:<6}{multiple:>8.2f} ×" in out


def test_event_that_is_not_there(explain, site):
    code, out, err = explain(site, 1, "--cell", 4000)
    assert (code, out) == (errors.EXIT_FAILED, "")
    assert "0 to 3999" in err


def test_seed_is_used(explain, site):
    one, two = (as_json(explain(site, 1, "--seed", n, "--json")) for n in (1, 2))
    assert (one["seed"], two["seed"]) == (1, 2)
    assert one["classes"][0]["attributions"] != two["classes"][0]["attributions"]


def test_works_while_the_service_holds_the_folder_and_changes_nothing(explain, own):
    with Store.open(own / "data", SystemClock()):
        unfinished = own / "data" / "captures" / "incoming" / "being-written"
        unfinished.write_bytes(b"half")
        before = {p: p.stat().st_mtime_ns for p in (own / "data" / "captures").rglob("*")}
        assert explain(own, 1)[0] == 0
        after = {p: p.stat().st_mtime_ns for p in (own / "data" / "captures").rglob("*")}
    assert after == before


def test_unknown_run_is_not_found(explain, site):
    code, out, err = explain(site, "NOBODY")
    assert (code, out) == (errors.EXIT_NOT_FOUND, "")
    assert "'NOBODY'" in err


def test_model_that_is_gone_is_named(explain, own):
    shutil.rmtree(own / "models" / MODEL)
    code, out, err = explain(own, 1)
    assert (code, out) == (errors.EXIT_FAILED, "")
    assert "model elsewhere@1.0.0, which made run 1, is not on this box" in err
    assert "→ " in err


def test_model_that_cannot_be_used_says_why(explain, own):
    (own / "models" / MODEL / "stage1.onnx").write_bytes(b"damaged")
    code, _, err = explain(own, 1)
    assert code == errors.EXIT_FAILED
    assert "stage1.onnx: expected" in err


def test_without_configuration_only_shipped_models_are_searched(explain, own):
    code, _, err = explain(own, 1, config=None)
    assert code == errors.EXIT_FAILED
    assert "elsewhere@1.0.0" in err


def test_configuration_that_is_not_there_is_said(explain, own):
    code, _, err = explain(own, 1, config="absent.toml")
    assert code == errors.EXIT_BAD_CONFIG
    assert "absent.toml" in err


def test_other_model_of_the_same_name_and_version_is_refused(explain, own):
    edit(own / "models" / MODEL, title="Another")
    other = load_bundle(own / "models" / MODEL)
    code, out, err = explain(own, 1)
    assert (code, out) == (errors.EXIT_FAILED, "")
    assert "model elsewhere@1.0.0 is not the one that made run 1" in err
    assert other.manifest_sha256 in err


@pytest.fixture
def store_run(own, capture, batch):
    """Return a function that stores a run of the capture made by given profile and model."""

    def store(profile=batch.profile, profile_sha256=None, counts=(4000, 0, 0, 0, 0)):
        known = Registry.load([profiles_dir()]).get(batch.profile)
        bundle = load_bundle(own / "models" / MODEL)
        digest = hashlib.sha256(capture.data).hexdigest()
        decoded = Decoded(
            profile, profile_sha256 or known.sha256, 4000, CHANNELS, SampleInfo(sample_id="S2")
        )
        counts = dict(zip(CELL_CLASSES, counts, strict=True))
        called = Classified(bundle.id, bundle.manifest_sha256, counts, (), ())
        with Store.open(own / "data", SystemClock()) as opened:
            taken = opened.accept(RawCapture("other", "export", "x.fcs", digest, capture.data))
            opened.record_decoded(taken.capture_id, decoded)
            return opened.record_run(taken.capture_id, decoded, called)

    return store


def test_other_profile_of_the_same_id_is_refused(explain, own, store_run, batch):
    run = store_run(profile_sha256="ab" * 32)
    code, out, err = explain(own, f"run:{run}")
    assert (code, out) == (errors.EXIT_FAILED, "")
    assert f"profile {batch.profile} is not the one that made run {run}" in err
    assert "abab" in err


def test_profile_that_is_gone_is_named(explain, own, store_run):
    run = store_run(profile="gone/1.0")
    code, _, err = explain(own, f"run:{run}")
    assert code == errors.EXIT_FAILED
    assert "profile gone/1.0, which made run" in err


def test_counts_that_come_out_otherwise_are_a_warning(explain, own, store_run):
    code, out, err = explain(own, f"run:{store_run()}")
    assert code == errors.EXIT_WARNINGS
    assert "Called reticulocyte" in out
    assert "counts otherwise" in err


def archived(site):
    (path,) = (site / "data" / "captures").glob("??/*.raw")
    return path


@pytest.mark.parametrize("harm", ["missing", "changed", "link"])
def test_damaged_capture_is_refused(explain, own, tmp_path, harm):
    path = archived(own)
    data = path.read_bytes()
    path.unlink()
    if harm == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    code, out, err = explain(own, 1)
    assert (code, out) == (errors.EXIT_FAILED, "")
    assert path.name in err
    assert "→ Export the run" in err


def test_run_that_was_changed_is_refused(explain, own):
    with contextlib.closing(sqlite3.connect(own / "data" / "edge.sqlite3")) as db:
        db.execute("UPDATE runs SET n_platelet = n_platelet + 1")
        db.commit()
    code, out, err = explain(own, 1)
    assert (code, out) == (errors.EXIT_FAILED, "")
    assert "changed after it was stored" in err
