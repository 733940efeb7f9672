"""The whole path through the commands, as a clinic would use them."""

import os
import shutil

import pytest

from edge_daemon import errors
from edge_daemon.cli.operate import PROCESS_KEYS
from edge_daemon.records import CELL_CLASSES
from edge_daemon.resources import profiles_dir


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Captures of a dog, a cat and a horse."""
    from edge_daemon.simulator.cohort import sample

    folder = tmp_path_factory.mktemp("cohort")
    for index, species in enumerate(("dog", "cat", "horse")):
        run = sample(index, events=3000, seed=5, species=(species,), condition="healthy")
        (folder / run.name).write_bytes(run.data)
    return folder


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def test_simulate_process_results_show(spawn, tmp_path, data):
    out = tmp_path / "cohort"
    made = spawn("simulate", out, "--samples", 3, "--events", 3000, "--seed", 2)
    assert (made.code, made.out) == (0, "")
    assert "SIMULATED" in made.err
    done = spawn("process", out, "--data-dir", data, "--json")
    assert done.code == 0
    captures = sorted(out.glob("*.fcs"))
    assert [r["file"] for r in done.lines] == [str(c) for c in captures]
    listed = spawn("results", "--data-dir", data, "--json").json
    assert len(listed) == 3
    for result in listed:
        shown = spawn("show", result["sample_id"], "--data-dir", data).out
        assert "SIMULATED" in shown
        assert "95 % interval" in shown


def test_each_species_is_called_and_counted(invoke, cohort, data):
    lines = invoke("process", cohort, "--data-dir", data, "--json").lines
    assert len(lines) == 3
    for record in lines:
        assert tuple(record) == PROCESS_KEYS
        assert record["status"] == "classified"
        assert record["reason"] is None
        assert record["profile"].startswith("sim_optical4/")
        assert set(record["counts"]) == set(CELL_CLASSES)
        assert sum(record["counts"].values()) == record["events"] == 3000
        assert "simulated" in [flag["code"] for flag in record["flags"]]
        rbc = next(m for m in record["measurements"] if m["code"] == "RBC")
        assert rbc["low"] < rbc["value"] < rbc["high"]
    species = {r["species"] for r in invoke("results", "--data-dir", data, "--json").json}
    assert species == {"dog", "cat", "horse"}


def test_same_file_twice_is_one_result(invoke, cohort, data):
    first = invoke("process", cohort, "--data-dir", data, "--json").lines
    again = invoke("process", cohort, "--data-dir", data, "--json").lines
    assert again == first
    assert len(invoke("results", "--data-dir", data, "--json", "--all-runs").json) == 3


def test_same_bytes_under_another_name_are_one_result_and_a_sighting(
    invoke, cohort, data, tmp_path
):
    original = min(cohort.iterdir())
    copy = tmp_path / "copy of it.fcs"
    shutil.copy(original, copy)
    invoke("process", original, "--data-dir", data)
    done = invoke("process", copy, "--data-dir", data)
    assert f"known as {original.name}" in done.out
    (result,) = invoke("results", "--data-dir", data, "--json").json
    shown = invoke("show", result["id"], "--data-dir", data, "--json").json
    assert [s["name"] for s in shown["sightings"]] == ["copy of it.fcs"]


def test_replay_makes_a_new_run_and_keeps_the_old(invoke, cohort, data):
    original = min(cohort.iterdir())
    invoke("process", original, "--data-dir", data)
    assert invoke("process", original, "--replay", "--data-dir", data).code == 0
    assert len(invoke("results", "--data-dir", data, "--json").json) == 1
    assert len(invoke("results", "--data-dir", data, "--json", "--all-runs").json) == 2


def test_bad_file_delays_no_good_one(invoke, cohort, data, tmp_path):
    bad = tmp_path / "bad.fcs"
    good = min(cohort.iterdir())
    bad.write_bytes(good.read_bytes()[:5000])
    done = invoke("process", bad, good, "--data-dir", data, "--json")
    assert done.code == errors.EXIT_WARNINGS
    assert [r["status"] for r in done.lines] == ["quarantined", "classified"]
    assert done.lines[0]["reason"]["code"] == "truncated"
    assert "bad.fcs" in invoke("quarantine", "--data-dir", data).out


def test_person_reads_each_reason_once(invoke, data, tmp_path):
    for index in range(3):
        (tmp_path / f"noise{index}.fcs").write_bytes(b"noise%d" % index)
    done = invoke("process", *sorted(tmp_path.glob("*.fcs")), "--data-dir", data)
    assert done.code == errors.EXIT_WARNINGS
    assert done.out.count("quarantined") == 3
    assert done.err.count("not_recognised") == 1
    assert "and 2 more" in done.err
    assert "\n→ " in done.err


def test_decode_only_profile_gives_no_result(invoke, cohort, data):
    done = invoke("process", cohort, "--profile", "generic_fcs", "--data-dir", data, "--json")
    assert done.code == 0
    assert {r["status"] for r in done.lines} == {"decoded"}
    assert {r["counts"] for r in done.lines} == {None}
    assert invoke("results", "--data-dir", data, "--json").json == []


def test_missing_path_is_not_found_and_nothing_is_done(invoke, cohort, data, tmp_path):
    done = invoke("process", cohort, tmp_path / "no.fcs", "--data-dir", data)
    assert done.code == errors.EXIT_NOT_FOUND
    assert "no.fcs" in done.err
    assert not data.exists()


def test_unknown_profile_names_the_near_ones(invoke, cohort, data):
    done = invoke("process", cohort, "--profile", "sim_optical4/3.0", "--data-dir", data)
    assert done.code == errors.EXIT_FAILED
    assert "sim_optical4/2.0" in done.err


def test_profiles_of_the_box_are_those_of_its_service(invoke, cohort, data, tmp_path):
    own = tmp_path / "site" / "generic_own"
    own.mkdir(parents=True)
    text = (profiles_dir() / "generic_fcs" / "any.toml").read_text(encoding="utf-8")
    text = text.replace('model = "generic_fcs"', 'model = "generic_own"')
    (own / "any.toml").write_text(text, encoding="utf-8")
    config = tmp_path / "config.toml"
    lines = ["[profiles]", 'extra_dirs = ["site"]', "[[source]]", 'name = "a"', 'path = "a"']
    config.write_text("\n".join(lines), encoding="utf-8")
    args = ("process", cohort, "--profile", "generic_own", "--data-dir", data, "--json")
    assert invoke(*args).code == errors.EXIT_FAILED
    env = {"EDGE_DAEMON_CONFIG": str(config)}
    done = invoke(*args, env=env)
    assert "generic_own" in invoke("profile", "list", env=env).out
    assert {r["profile"] for r in done.lines} == {"generic_own"}


def test_folder_without_captures_says_so(invoke, data, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x", encoding="utf-8")
    done = invoke("process", tmp_path / "in", "--data-dir", data)
    assert (done.code, done.out) == (0, "")
    assert "notes.txt" in done.err
    assert "No captures found." in done.err


def test_data_folder_in_use_names_the_process(spawn, cohort, data):
    from edge_daemon.clock import SystemClock
    from edge_daemon.store.writer import Store

    with Store.open(data, SystemClock()):
        done = spawn("process", cohort, "--data-dir", data)
    assert done.code == errors.EXIT_RETRY_LATER
    assert str(os.getpid()) in done.err


@pytest.mark.parametrize("profile", [None, "generic_fcs"])
def test_foreign_files_are_quarantined_or_decoded_and_never_classified(
    invoke, corpus, data, profile
):
    option = ["--profile", profile] if profile else []
    done = invoke("process", corpus / "fcs", *option, "--data-dir", data, "--json")
    assert done.code == errors.EXIT_WARNINGS
    assert len(done.lines) == len(list((corpus / "fcs").iterdir()))
    allowed = {"decoded", "quarantined"} if profile else {"quarantined"}
    assert {r["status"] for r in done.lines} == allowed
    for record in done.lines:
        if record["status"] == "quarantined":
            assert record["reason"]["message"]
            assert record["reason"]["action"]
        else:
            assert record["events"] > 0
    assert invoke("results", "--data-dir", data, "--json").json == []
