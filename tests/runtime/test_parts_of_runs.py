"""A run in several files, from the files an analyzer leaves to the stored capture."""

from __future__ import annotations

import shutil

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.config import load_config
from edge_daemon.decode import Registry
from edge_daemon.decode.kit import read_sample
from edge_daemon.lines import make_source
from edge_daemon.parts import split
from edge_daemon.pipeline import default_plan, process_files, select_files
from edge_daemon.resources import profiles_dir
from edge_daemon.sources.folder import Handlers

PROFILE = "sysmex_xn_ret/00-15"
PREFIX = "00-15.sample."


@pytest.fixture
def export(tmp_path):
    """Folder with the two files of the shipped sample, under their own names."""
    folder = tmp_path / "export"
    folder.mkdir()
    for path in (profiles_dir() / "sysmex_xn_ret").glob(f"{PREFIX}RET*"):
        shutil.copy(path, folder / path.name.removeprefix(PREFIX))
    assert len(list(folder.iterdir())) == 2
    return folder


def process(tmp_path, *paths):
    return list(process_files(paths, data_dir=tmp_path / "data", workers=1))


def test_a_folder_a_part_or_all_parts_give_the_one_run(export, tmp_path):
    files = sorted(export.iterdir())
    results = process(tmp_path, export, files[0], *files)
    assert len(results) == 1
    (result,) = results
    assert result["profile"] == PROFILE
    assert (result["events"], result["sample_id"]) == (450, "GENERATED-1")
    assert result["status"] == "quarantined"
    assert result["reason"]["code"] == "no_bundle"
    assert result["file"].endswith(".116.csv")
    sample = read_sample(profiles_dir() / f"{PROFILE}.toml")
    assert len(split(sample.data)) == 2
    again = process(tmp_path, next(f for f in files if "(1)" in f.name))
    assert again[0]["duplicate_of"]["capture_id"] == result["capture_id"]


def test_a_run_without_its_first_part_is_refused(export, tmp_path):
    next(f for f in export.iterdir() if "(1)" not in f.name).unlink()
    (result,) = process(tmp_path, export)
    assert result["status"] == "refused"
    assert "part 0 of this run is not there" in result["reason"]["message"]


def test_tables_beside_runs_are_taken_only_by_a_profile_that_is_named(export):
    (export / "references.csv").write_text("capture\n", encoding="utf-8")
    assert len(select_files([export], default_plan())) == 1
    named = select_files([export], default_plan(), profile_id="generic_csv")
    assert [path.name for path in named][-1] == "references.csv"


def test_the_service_knows_the_parts_of_every_profile(tmp_path):
    """What the profiles say of names reaches the sources of the service."""
    config = tmp_path / "edge.toml"
    config.write_text(
        '[[source]]\nname = "xn"\npath = "export"\npatterns = ["*.csv"]\n', encoding="utf-8"
    )
    settings = load_config(config)
    registry = Registry.load([profiles_dir()])
    ignore = Handlers(lambda _: None, lambda *_: None, lambda _: True, lambda *_: None)
    source = make_source(settings, settings.source[0], registry, (ignore, None), SystemClock())
    assert source.spec.parts == registry.part_patterns
    assert len(registry.part_patterns) >= 2
