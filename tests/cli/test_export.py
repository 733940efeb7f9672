"""`edge-daemon export` as FCS, HL7 and FHIR; CSV and JSON Lines are in test_results.py."""

import hashlib
import io
import json
import shutil
import sqlite3
from contextlib import closing

import flowio
import numpy as np
import pytest

from edge_daemon import errors
from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import decode, load_profile
from edge_daemon.pipeline import process_files
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.simulator.cohort import simulate
from edge_daemon.store import layout


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder with three captures and their stored runs."""
    folder = tmp_path_factory.mktemp("site")
    simulate(folder / "in", firmware="1.0", samples=3, events=3000, seed=31)
    done = list(process_files([folder / "in"], data_dir=folder / "data", workers=1))
    assert [one["status"] for one in done] == ["classified"] * 3
    return folder


@pytest.fixture
def own(site, tmp_path):
    """Copy of the data that a test may spoil."""
    shutil.copytree(site / "data", tmp_path / "data")
    return tmp_path / "data"


def test_fcs_holds_the_cells_as_decoded_and_called(invoke, site, tmp_path):
    done = invoke("export", "--fcs", "-o", tmp_path / "cells", "--data-dir", site / "data")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"Wrote 3 files into {tmp_path / 'cells'}.\n"
    files = sorted((tmp_path / "cells").iterdir())
    assert [file.name for file in files] == [f"run-{n:06d}_SIM31-{n:04d}.fcs" for n in (1, 2, 3)]
    capture = min((site / "in").glob("*.fcs"))
    profile = load_profile(profiles_dir() / "sim_optical4" / "1.0.toml")
    batch = decode(capture.read_bytes(), profile)
    bundle = BundleShelf.load((models_dir(),)).for_profile(profile.id, batch.sample.species)
    calls = Classifier(bundle).classify(batch)
    flow = flowio.FlowData(io.BytesIO(files[0].read_bytes()))
    table = dict(zip(flow.pnn_labels, flow.as_array(preprocess=False).T, strict=True))
    for column, name in enumerate(batch.channels):
        assert np.array_equal(table[name].astype(np.float32), batch.signals[:, column])
    assert np.array_equal(table["CLASS"], calls.codes)
    assert np.array_equal(table["P_platelet"].astype(np.float32), calls.posterior[:, 3])
    assert flow.text["edge_capture"] == hashlib.sha256(capture.read_bytes()).hexdigest()
    assert flow.text["edge_reproduced"] == "1"
    assert flow.text["edge_simulated"] == "1"


def test_an_exported_file_is_not_taken_for_a_capture(invoke, site, tmp_path):
    invoke("export", "1", "-o", tmp_path / "one.fcs", "--data-dir", site / "data")
    [done] = process_files([tmp_path / "one.fcs"], data_dir=tmp_path / "fresh", workers=1)
    assert done["status"] == "quarantined"


def test_one_run_into_one_file_chosen_by_its_ending(invoke, site, tmp_path):
    where = ("--data-dir", site / "data")
    assert invoke("export", "run:2", "-o", tmp_path / "a.fcs", *where).code == 0
    assert flowio.FlowData(str(tmp_path / "a.fcs")).text["edge_run"] == "2"
    assert invoke("export", "SIM31-0003", "-o", tmp_path / "a.hl7", *where).code == 0
    assert b"|SIM31-0003|3^EDGE_DAEMON^" in (tmp_path / "a.hl7").read_bytes()


def test_fcs_of_several_runs_does_not_fit_one_file(invoke, site, tmp_path):
    done = invoke("export", "-o", tmp_path / "a.fcs", "--data-dir", site / "data")
    assert done.code == errors.EXIT_USAGE
    assert "several match: name one run, or a folder" in done.err
    assert list(tmp_path.iterdir()) == []
    done = invoke("export", "--fcs", "--data-dir", site / "data")
    assert done.code == errors.EXIT_USAGE
    assert "-o" in done.err


def test_a_run_that_cannot_be_made_again_does_not_end_the_others(invoke, own, tmp_path):
    [archived] = [p for p in (own / "captures").rglob("*.raw") if p.name.startswith(sha(own, 2))]
    archived.unlink()
    done = invoke("export", "--fcs", "-o", tmp_path / "cells", "--data-dir", own)
    assert done.code == errors.EXIT_WARNINGS
    assert "Run 2 was not written:" in done.err
    assert "Wrote 2 files" in done.err
    names = sorted(file.name for file in (tmp_path / "cells").iterdir())
    assert [name[:10] for name in names] == ["run-000001", "run-000003"]
    done = invoke("export", "2", "-o", tmp_path / "two.fcs", "--data-dir", own)
    assert done.code == errors.EXIT_FAILED
    assert not (tmp_path / "two.fcs").exists()


def sha(data, run):
    with closing(sqlite3.connect(layout.database_path(data))) as db:
        query = (
            "SELECT sha256 FROM captures JOIN runs ON capture_id = captures.id WHERE runs.id = ?"
        )
        return db.execute(query, [run]).fetchone()[0]


def test_a_corrected_run_has_its_cells_under_the_corrected_sample(invoke, own, tmp_path):
    said = ("--by", "Ann", "--reason", "two tubes were mixed up")
    done = invoke("correct", "1", "--sample", "D-9", *said, "--data-dir", own)
    assert done.code == 0, done.err
    assert invoke("export", "D-9", "-o", tmp_path / "a.fcs", "--data-dir", own).code == 0
    told = flowio.FlowData(str(tmp_path / "a.fcs")).text
    assert told["smno"] == "D-9"


def test_a_changed_result_is_not_written_as_cells(invoke, own, tmp_path):
    with closing(sqlite3.connect(layout.database_path(own))) as db:
        db.execute("UPDATE runs SET n_platelet = n_platelet + 1 WHERE id = 1")
        db.commit()
    done = invoke("export", "1", "-o", tmp_path / "a.fcs", "--data-dir", own)
    assert done.code == errors.EXIT_FAILED
    assert "it was changed after it was stored" in done.err
    assert "--replay" in done.err


def test_hl7_on_stdout_is_one_message_after_the_other(invoke, clinic):
    for name in ("Bello", "Mieze^|~&\\"):
        clinic.add(patient_name=name)
    done = invoke("export", "--hl7", "--data-dir", clinic.path)
    assert done.code == 0
    lines = done.out.replace("\n", "\r").split("\r")
    assert [line[:3] for line in lines].count("MSH") == 2
    pid = [line.split("|")[5] for line in lines if line.startswith("PID")]
    assert pid == ["^Mieze\\S\\\\F\\\\R\\\\T\\\\E\\", "^Bello"]


def test_messages_carry_the_intervals_of_this_site(invoke, clinic):
    clinic.add()
    out = invoke("export", "--hl7", "--data-dir", clinic.path).out.replace("\n", "\r")
    rbc = next(line.split("|") for line in out.split("\r") if "789-8" in line)
    assert rbc[7:9] == ["5.65-8.87", "N"]


def test_fhir_is_a_bundle_a_line_or_a_file(invoke, clinic, tmp_path):
    for _ in range(2):
        clinic.add(sample_id="../../etc/x")
    bundles = invoke("export", "--fhir", "--data-dir", clinic.path).lines
    assert [b["resourceType"] for b in bundles] == ["Bundle", "Bundle"]
    assert len({b["identifier"]["value"] for b in bundles}) == 2
    done = invoke("export", "--fhir", "-o", tmp_path / "all", "--data-dir", clinic.path)
    assert done.err == f"Wrote 2 files into {tmp_path / 'all'}.\n"
    files = sorted((tmp_path / "all").iterdir())
    # The sample id chooses a part of the name and nothing else.
    assert [f.name for f in files] == [f"run-{n:06d}_etc-x.json" for n in (1, 2)]
    assert json.loads(files[1].read_text(encoding="utf-8")) == bundles[0]
    invoke("export", "--fhir", "-o", tmp_path / "all.ndjson", "--data-dir", clinic.path)
    assert len((tmp_path / "all.ndjson").read_text(encoding="utf-8").splitlines()) == 2


def test_filters_choose_what_is_written(invoke, clinic):
    clinic.add(species="cat")
    clinic.add(species="dog")
    found = invoke("export", "--fhir", "--species", "cat", "--data-dir", clinic.path).lines
    assert len(found) == 1
    done = invoke("export", "--hl7", "--species", "horse", "--data-dir", clinic.path)
    assert (done.code, done.out) == (0, "")
    assert done.err == "No result matches; nothing was written.\n"


@pytest.mark.parametrize("form", ["--hl7", "--fhir"])
def test_nothing_to_write_makes_no_file(invoke, empty, tmp_path, form):
    suffix = ".hl7" if form == "--hl7" else ".json"
    done = invoke("export", form, "-o", tmp_path / f"a{suffix}", "--data-dir", empty)
    assert done.code == 0
    assert not list(tmp_path.glob(f"*{suffix}"))


def test_a_run_that_is_not_there(invoke, clinic, tmp_path):
    clinic.add()
    done = invoke("export", "1", "99", "-o", tmp_path / "a.csv", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_NOT_FOUND
    assert "'99'" in done.err
    assert not (tmp_path / "a.csv").exists()


def test_a_superseded_run_can_be_named(invoke, clinic):
    clinic.add()
    clinic.replay(1)
    found = invoke("export", "run:1", "--jsonl", "--data-dir", clinic.path).lines
    assert [record["id"] for record in found] == [1]


def test_forms_exclude_each_other(invoke, clinic):
    done = invoke("export", "--hl7", "--fhir", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_USAGE
    assert "--hl7, --fhir exclude each other" in done.err


def test_a_table_does_not_go_into_a_folder(invoke, clinic, tmp_path):
    clinic.add()
    done = invoke("export", "-o", tmp_path, "--data-dir", clinic.path)
    assert done.code == errors.EXIT_USAGE
    assert "is a folder" in done.err
