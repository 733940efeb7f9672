"""`process_files` over real captures, with real workers and a real store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.errors import EdgeError, Fatal
from edge_daemon.pipeline import default_plan, process_files, select_files
from edge_daemon.simulator.cohort import simulate
from edge_daemon.store import queries
from edge_daemon.store.writer import Store


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    def process(*paths: Path, **options: Any) -> list[dict[str, Any]]:
        return list(process_files(paths, data_dir=tmp_path / "data", workers=2, **options))

    return process


@pytest.fixture
def data_rows(tmp_path: Path):
    def data_rows(query: str) -> list[tuple[Any, ...]]:
        db = queries.connect(tmp_path / "data")
        try:
            return [tuple(row) for row in db.execute(query)]
        finally:
            db.close()

    return data_rows


def test_results_come_in_input_order_and_are_json(process, cohort):
    files = sorted(cohort.glob("*.fcs"), reverse=True)
    ticks: list[tuple[int, int]] = []
    results = process(*files, progress=lambda done, total: ticks.append((done, total)))
    assert [r["file"] for r in results] == [str(f) for f in files]
    assert ticks == [(n + 1, len(files)) for n in range(len(files))]
    assert json.loads(json.dumps(results)) == results
    assert {r["profile"] for r in results} == {"sim_optical4/1.0"}
    assert {r["events"] for r in results} == {600}
    assert all(r["simulated"] and r["sample_id"] for r in results)
    for result in results:
        assert result["status"] == "classified", result["reason"]
        assert sum(result["counts"].values()) == 600
        assert {m["code"] for m in result["measurements"]} >= {"RBC", "PLT", "RETIC%"}


def test_a_folder_gives_what_some_profile_takes_and_names_the_rest(process, cohort):
    skipped: list[str] = []
    results = process(cohort, skipped=lambda path: skipped.append(path.name))
    assert len(results) == 12
    assert sorted(skipped) == ["references.csv", "truth.csv", "truth.npz"]


def test_a_named_file_is_taken_whatever_its_name(process, cohort, tmp_path):
    odd = tmp_path / "export.bin"
    shutil.copy(min(cohort.glob("*.fcs")), odd)
    assert process(odd)[0]["profile"] == "sim_optical4/1.0"
    assert select_files([tmp_path], default_plan()) == []


def test_the_same_bytes_are_analysed_once(process, cohort, tmp_path, data_rows):
    file = min(cohort.glob("*.fcs"))
    twin = tmp_path / "twin.fcs"
    shutil.copy(file, twin)
    first, same_call = process(file, twin)
    assert first["duplicate_of"] is None
    assert same_call["duplicate_of"]["capture_id"] == first["capture_id"]
    assert same_call["duplicate_of"]["name"] == file.name
    assert same_call["duplicate_of"]["sighting"]
    (later,) = process(file)
    assert later["run_id"] == first["run_id"]
    for key in ("status", "counts", "measurements", "flags", "model", "profile", "events"):
        assert later[key] == same_call[key] == first[key]
    assert data_rows("SELECT count(*) FROM runs") == [(1,)]


def test_replay_makes_a_new_run_and_keeps_the_old(process, cohort, data_rows):
    file = min(cohort.glob("*.fcs"))
    (first,) = process(file)
    (again,) = process(file, replay=True)
    assert again["capture_id"] == first["capture_id"]
    assert again["run_id"] > first["run_id"]
    assert again["counts"] == first["counts"]
    assert data_rows("SELECT number FROM runs ORDER BY id") == [(1,), (2,)]


def test_another_profile_is_another_analysis(process, cohort):
    file = min(cohort.glob("*.fcs"))
    (first,) = process(file)
    (raw,) = process(file, profile_id="generic_fcs")
    assert (raw["status"], raw["profile"], raw["events"]) == ("decoded", "generic_fcs", 600)
    assert raw["counts"] is None
    (same,) = process(file, profile_id="generic_fcs")
    assert same["status"] == "decoded"
    (back,) = process(file, profile_id="sim_optical4/1.0")
    assert back["counts"] == first["counts"]


def test_data_sets_of_one_file_are_told_apart(process, corpus, data_rows):
    file = corpus / "fcs" / "gallios_ploidy_a.lmd"

    def events(dataset: int) -> int:
        (result,) = process(file, profile_id="generic_fcs", dataset=dataset)
        assert result["status"] == "decoded", result["reason"]
        return result["events"]

    assert [events(1), events(2), events(2), events(1)] == [6163] * 4
    notes = [json.loads(row[0]) for row in data_rows("SELECT notes FROM decodings ORDER BY id")]
    assert ["data set 2 of the file" in note for note in notes] == [False, True, False]


def test_what_cannot_be_used_has_a_reason_and_an_action(process, corpus, tmp_path):
    fifo = tmp_path / "pipe.fcs"
    link = tmp_path / "link.fcs"
    link.symlink_to(corpus / "fcs" / "accuri_c6_plus.fcs")
    os.mkfifo(fifo)
    results = process(
        corpus / "fcs" / "corrupted.fcs",
        corpus / "fcs" / "accuri_c6_plus.fcs",
        tmp_path / "absent.fcs",
        fifo,
        link,
    )
    found = [(r["status"], r["reason"]["code"]) for r in results]
    assert found == [
        ("quarantined", "not_recognised"),
        ("quarantined", "no_profile"),
        ("refused", "refused"),
        ("refused", "refused"),
        ("refused", "refused"),
    ]
    for result in results:
        assert Path(result["file"]).name in result["reason"]["message"]
        assert result["reason"]["action"]
        assert result["counts"] is None


def test_a_quarantined_file_is_tried_again(process, corpus):
    file = corpus / "fcs" / "accuri_c6_plus.fcs"
    assert process(file)[0]["status"] == "quarantined"
    (again,) = process(file, profile_id="generic_fcs")
    assert (again["status"], again["events"]) == ("decoded", 1589)
    assert process(file)[0]["status"] == "decoded"


def test_an_unknown_profile_is_an_error_before_anything_is_stored(process, cohort, tmp_path):
    with pytest.raises(EdgeError, match="sim_optical4/1\\.0"):
        process(cohort, profile_id="sim_optical4/1.00")
    assert not (tmp_path / "data").exists()


def test_the_data_folder_belongs_to_one_process(process, cohort, tmp_path):
    with Store.open(tmp_path / "data", SystemClock()), pytest.raises(Fatal) as caught:
        process(cohort)
    assert caught.value.exit_code == 75


def test_stopping_halfway_leaves_the_rest_for_later(process, cohort, tmp_path, data_rows):
    results = process_files([cohort], data_dir=tmp_path / "data", workers=1)
    next(results)
    results.close()
    assert len(process(cohort)) == 12
    assert data_rows("SELECT count(*), count(DISTINCT capture_id) FROM runs") == [(12, 12)]


@pytest.mark.campaign
def test_the_largest_run_fits_into_a_worker_of_the_default_size(tmp_path):
    simulate(tmp_path / "large", samples=1, events=1_000_000, seed=5, firmware="1.0")
    (result,) = process_files([tmp_path / "large"], data_dir=tmp_path / "data")
    assert (result["status"], result["events"]) == ("classified", 1_000_000)
