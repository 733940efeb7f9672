"""The learning loop whole: simulated boxes, a real centre, and what `train` makes of its export."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from contextlib import closing

import pytest
from click.testing import CliRunner

from edge_daemon.central.training_set import is_held_out
from edge_daemon.cli import cli
from edge_daemon.clock import SystemClock
from edge_daemon.decode import Registry
from edge_daemon.errors import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_OK, EXIT_WARNINGS
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.cohort import sample
from edge_daemon.store.writer import Store
from edge_daemon.sync.client import SyncClient
from edge_daemon.sync.raw import Rule
from edge_daemon.training.data import load_cohort, load_references

LIS = r"""
schema = 1
[profile]
title = "Simulated analyzer: results over ASTM"
vendor = "edge_daemon"
model = "sim_lis"
firmware = "1.0"
revision = 1
simulated = true
classify = false
reports = true
provenance = "generated"
[source]
kind = "serial"
[framing]
name = "astm"
[match]
format = "astm"
keywords = { "H.5.1" = "SimLis", "H.5.2" = "1.0" }
[codec]
name = "astm"
[metadata]
sample_id = { keyword = "O.3" }
patient_name = { keyword = "P.6" }
acquired_at = { keyword = "R.13" }
[[reported]]
code = "RBC"
name = "RBC"
[[reported]]
code = "PLT"
name = "PLT"
[[reported]]
code = "RETIC%"
name = "RET%"
"""


def report_of(run):
    """What the analyzer itself says of a run over its line, in ASTM."""
    table = dict(re.findall(rb"(SIM\d+-\d+|\d{4}-\d\d-\d\dT[\d:]{8})(?:Z)?()", run.data))
    sample_id = next(word for word in table if word.startswith(b"SIM")).decode()
    at = next(word for word in table if b"T" in word).decode()
    moment = re.sub(r"[-:T]", "", at) + "+0000"
    value = run.reference
    lines = [
        ("RBC", value.rbc_10e6_per_ul, "10*6/uL"),
        ("PLT", value.plt_10e3_per_ul, "10*3/uL"),
        ("RET%", value.retic_pct, "%"),
    ]
    told = [
        f"R|{n}|^^^^{name}^1|{number!r}|{unit}||N||F||||{moment}"
        for n, (name, number, unit) in enumerate(lines, start=1)
        if number is not None
    ]
    head = [r"H|\^&|||SimLis^1.0^SimOptical4-0001|||||||P|E1394-97", "P|1|||EX-1|^Rex^Miller"]
    return "\r".join([*head, f"O|1|{sample_id}", *told, "L|1|N", ""]).encode()


def command(*args, code=EXIT_OK, env=None):
    done = CliRunner().invoke(cli, [str(a) for a in args], env=env)
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def cohort():
    """Simulated runs, by clinic: what analyzers of two clinics would export."""
    return [
        [sample(n, events=1200, seed=seed) for n in range(count)]
        for seed, count in ((3, 14), (4, 3))
    ]


@pytest.fixture(scope="module")
def boxes(cohort, tmp_path_factory):
    """Boxes that have analysed their clinic's runs and read its analyzer's reports."""
    made = []
    for number, runs in enumerate(cohort):
        folder = tmp_path_factory.mktemp(f"box{number}")
        (folder / "site" / "sim_lis").mkdir(parents=True)
        (folder / "site" / "sim_lis" / "1.0.toml").write_text(LIS)
        (folder / "config.toml").write_text(
            '[profiles]\nextra_dirs = ["site"]\n[[source]]\nname = "a"\npath = "."\n'
        )
        (folder / "in").mkdir()
        for run in runs:
            (folder / "in" / run.name).write_bytes(run.data)
            (folder / "in" / f"{run.name}.astm").write_bytes(report_of(run))
        env = {"EDGE_DAEMON_CONFIG": str(folder / "config.toml")}
        files = sorted((folder / "in").iterdir())
        command("process", *files, "--data-dir", folder / "data", "--json", env=env)
        made.append(folder / "data")
    return made


def synced(running, data_dir, clinic):
    """Let a box send everything it has, results and raw captures."""
    who = running.enrol(data_dir, running.store.add_clinic(clinic))
    rule = Rule(which="all", simulated=True)
    with Store.open(data_dir, SystemClock()) as store:
        client = SyncClient(
            store, data_dir, SystemClock(), identity=who, connect_server=running.connect,
            rule=rule, rng=random.Random(1),
        )  # fmt: skip
        with closing(client):
            client.step()
            assert client.describe()["waiting"] == 0


@pytest.fixture
def fleet(running, boxes, tmp_path):
    """A centre that has everything of two clinics; gives its commands."""
    import shutil

    for number, data in enumerate(boxes):
        copy = shutil.copytree(data, tmp_path / f"data{number}")
        synced(running, copy, f"clinic {number + 1}")
    env = {"EDGE_CENTRAL_DIR": str(running.folder)}
    database = os.environ.get("EDGE_CENTRAL_DATABASE")
    assert database is None

    def run(*args, code=EXIT_OK):
        return command("central", *args, code=code, env=env)

    run.folder = running.folder
    return run


def consent(fleet, *clinics):
    for clinic in clinics:
        fleet("consent", "--clinic", clinic, "--give", "--by", "Dr Ada", "--reason", "contract 7")


SET = ("training-set", "--instrument", "sim_optical4", "--kind", "simulated")
sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@sqlite
def test_what_boxes_sent_is_what_training_reads(fleet, cohort, tmp_path):
    """Nothing is changed by hand: every capture is accepted, every value is the reported one."""
    consent(fleet, 1, 2)
    seed = next(s for s in range(99) if is_held_out(2, 0.5, s) and not is_held_out(1, 0.5, s))
    out = tmp_path / "set"
    told = json.loads(fleet(*SET, "--held-out", 0.5, "--seed", seed, "-o", out, "--json").stdout)
    assert told["simulated"] is True
    assert told["captures"] == {"train": 14, "held-out": 3}
    assert told["clinics"] == {"train": [1], "held-out": [2]}
    assert told["left_out"] == {}
    registry = Registry.load([profiles_dir()])
    for part, runs in zip(("train", "held-out"), cohort, strict=True):
        given = {hashlib.sha256(run.data).hexdigest(): run.reference for run in runs}
        rows, digest = load_references(out / part / "references.csv")
        assert digest == told["references_sha256"][part]
        assert len(rows) == len(runs)
        for row in rows:
            value = given[row.capture.removesuffix(".raw")]
            assert (row.rbc, row.plt, row.retic_pct) == (
                value.rbc_10e6_per_ul, value.plt_10e3_per_ul, value.retic_pct,
            )  # fmt: skip
            assert row.dilution == value.dilution
            assert row.volume_ul == pytest.approx(value.volume_ul, rel=1e-12)  # read as nL
            assert row.species == value.species
            capture = out / part / "captures" / row.capture
            assert hashlib.sha256(capture.read_bytes()).hexdigest() in given
    read = load_cohort(out / "train" / "captures", out / "train" / "references.csv", registry)
    assert (len(read.runs), read.dropped, read.simulated) == (14, (), True)
    for file in out.rglob("*"):
        if file.is_file():
            body = file.read_bytes()
            assert b"Miller" not in body
            assert b"Rex" not in body
            assert b"clinic 1" not in body
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["files"]) == 17
    assert {f["names_overwritten"] for f in manifest["files"]} == {0}
    again = fleet(*SET, "-o", out, code=EXIT_FAILED)
    assert "is there already" in again.output


@sqlite
def test_only_of_clinics_that_consented_and_not_after_they_withdrew(fleet, tmp_path):
    nobody = fleet(*SET, "-o", tmp_path / "a", code=EXIT_FAILED)
    assert "no clinic has consented" in nobody.output
    consent(fleet, 2)
    few = fleet(*SET, "--held-out", 0, "-o", tmp_path / "b", code=EXIT_WARNINGS)
    assert "3 are too few" in few.output
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["clinics"] == {"train": [2], "held-out": []}
    states = json.loads(fleet("consent", "--json").stdout)
    assert [one["given"] for one in states] == [False, True]
    fleet("consent", "--clinic", 2, "--withdraw", "--by", "Dr Ada", "--reason", "letter of today")
    fleet(*SET, "-o", tmp_path / "c", code=EXIT_FAILED)
    assert not (tmp_path / "c").exists()
    assert "no clinic 9" in fleet(
        "consent", "--clinic", 9, "--give", "--by", "A", "--reason", "r", code=EXIT_NOT_FOUND
    ).output  # fmt: skip
    assert "--by and --reason" in fleet("consent", "--clinic", 1, "--give", code=2).output


@sqlite
def test_simulated_and_real_never_mix_and_damage_is_left_out(fleet, tmp_path):
    consent(fleet, 1, 2)
    clinical = fleet("training-set", "--instrument", "sim_optical4", "-o", tmp_path / "a",
                     code=EXIT_FAILED)  # fmt: skip
    assert "no clinical capture of sim_optical4" in clinical.output
    raw = sorted((fleet.folder / "raw").rglob("*.raw"))
    fcs = next(path for path in raw if path.read_bytes().startswith(b"FCS"))
    fcs.write_bytes(fcs.read_bytes()[:-1] + b"\x00")
    other = next(p for p in raw if p != fcs and p.read_bytes().startswith(b"FCS"))
    other.unlink()
    told = json.loads(fleet(*SET, "--held-out", 0, "-o", tmp_path / "b", "--json").stdout)
    assert told["left_out"] == {"the raw capture is damaged or gone": 2}
    assert told["captures"]["train"] == 15
    one = fleet(*SET, "--species", "dog=2", "--held-out", 0, "-o", tmp_path / "c", "--json",
                code=EXIT_WARNINGS)  # fmt: skip
    assert json.loads(one.stdout)["species"] == {"dog": 2}
    assert "write dog or dog=40" in fleet(*SET, "--species", "yak", "-o", tmp_path / "d",
                                          code=2).output  # fmt: skip
    firmware = fleet(*SET, "--profile", "sim_optical4/1.0", "--held-out", 0, "-o", tmp_path / "e",
                     "--json", code=EXIT_WARNINGS)  # fmt: skip
    assert set(json.loads(firmware.stdout)["profiles"]) == {"sim_optical4/1.0"}


@sqlite
def test_a_control_is_no_example(fleet, running, tmp_path):
    from sqlalchemy import text

    consent(fleet, 1, 2)
    with running.store.engine.begin() as db:
        row = db.execute(text("SELECT * FROM documents WHERE type = 'run.simulated'")).first()
        body = {
            "instrument": json.loads(row.body)["instrument"], "capture": row.capture,
            "simulated": True, "kind": "control", "lot": "1", "level": "n", "by": "Ann",
            "made_at": row.created_at, "made_clock": "synchronised",
        }  # fmt: skip
        mark = {**row._mapping, "type": "mark.simulated", "body": json.dumps(body)}
        del mark["id"]
        columns = ", ".join(mark)
        values = ", ".join(f":{name}" for name in mark)
        db.execute(text(f"INSERT INTO documents ({columns}) VALUES ({values})"), mark)
        other = db.execute(
            text("SELECT * FROM documents WHERE type = 'run.simulated' AND capture <> :capture"),
            {"capture": row.capture},
        ).first()
        known = json.dumps({**json.loads(other.body), "kind": "blank"})
        query = "UPDATE documents SET body = :body WHERE id = :id"
        db.execute(text(query), {"body": known, "id": other.id})
    told = json.loads(fleet(*SET, "--held-out", 0, "-o", tmp_path / "b", "--json").stdout)
    assert told["left_out"] == {"no patient's": 2}


def test_a_clinic_is_held_out_whatever_other_clinics_there_are():
    drawn = [is_held_out(clinic, 0.2, 1) for clinic in range(2000)]
    assert 300 < sum(drawn) < 500
    assert drawn == [is_held_out(clinic, 0.2, 1) for clinic in range(2000)]
    assert not any(is_held_out(clinic, 0.0, 1) for clinic in range(100))
    assert all(is_held_out(c, 0.5, 1) for c in range(200) if is_held_out(c, 0.2, 1))


@pytest.mark.campaign
@sqlite
def test_a_bundle_is_trained_from_what_the_centre_exports(fleet, tmp_path):
    """`pytest -m campaign tests/central/test_training_set.py`: the whole training, minutes."""
    consent(fleet, 1, 2)
    out, bundle = tmp_path / "set", tmp_path / "fleet-0.0.1"
    fleet(*SET, "--held-out", 0, "-o", out)
    args = ("--captures", out / "train/captures", "--references", out / "train/references.csv")
    command("train", *args, "--out", bundle)
    command("model", "verify", bundle)
    assert "simulated = true" in (bundle / "manifest.toml").read_text()
