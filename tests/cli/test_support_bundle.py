"""`edge-daemon support-bundle`: names are planted everywhere, and none may be found again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from edge_daemon import errors
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.cohort import sample
from edge_daemon.store import queries

PLANTED = ("zebedee", "plantagenet", "zbd-plant", "quillfeather")


def members(file):
    with tarfile.open(file) as archive:
        return {m.name.split("/")[1]: archive.extractfile(m).read() for m in archive}


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def drop(export):
    """Put captures with names in their bytes and in their own names into the export folder."""
    taken = sample(0, events=600, seed=1, species=("dog",), firmware="1.0").data
    named = taken.replace(b"SIM1-0001", b"ZBD-PLANT")
    named = named.replace(
        b"Simulated data, not from a patient", b"Zebedee of Miss A. Quillfeather   "
    )
    (export / "Zebedee Plantagenet 0001.fcs").write_bytes(named)
    (export / "Plantagenet broken.fcs").write_bytes(b"Zebedee is no capture" * 10)
    (export / "Plantagenet short.fcs").write_bytes(taken[:-100])
    (export / "Plantagenet link.fcs").symlink_to("/etc/Quillfeather")
    folder = profiles_dir() / "mindray_bc_vet"
    message = next(folder.glob("*.hl7")).read_bytes()
    lines = [
        b"|".join([*line.split(b"|")[:5], b"Zebedee^Plantagenet", *line.split(b"|")[6:]])
        if line.startswith(b"PID")
        else line
        for line in message.split(b"\r")
    ]
    (export / "Quillfeather.hl7").write_bytes(b"\r".join(lines))


def ended(data):
    try:
        db = queries.connect(data)
    except errors.EdgeError:
        return 0
    try:
        found = queries.status(db)
    finally:
        db.close()
    return found["states"], found["pending"], found["refusals"]


@pytest.fixture
def box(tmp_path):
    """Run the service over planted names; yield config, data folder and its log."""
    export, data = tmp_path / "home" / "Zebedee" / "export", tmp_path / "data"
    export.mkdir(parents=True)
    config = tmp_path / "config.toml"
    config.write_text(
        f'# the dog Zebedee of Miss Quillfeather\n[box]\ndata_dir = "{data}"\n'
        f'[[source]]\nname = "an1"\npath = "{export}"\npatterns = ["*.fcs", "*.hl7"]\n'
        "settle_s = 0.05\nstall_s = 0.2\nrescan_s = 0.3\n"
        "[workers]\ncount = 1\n[limits]\nmin_free_mb = 1\n[log]\nlevel = 'debug'\n"
    )
    log = tmp_path / "log"
    command = [sys.executable, "-m", "edge_daemon.cli", "run", "-c", str(config)]
    with log.open("wb") as stream:
        service = subprocess.Popen(command, stderr=stream)
    try:
        until((data / "run" / "status.json").is_file)
        drop(export)
        wanted = {"received": 0, "decoded": 1, "classified": 1, "quarantined": 2}
        until(lambda: ended(data) == (wanted, 0, 1))
        yield config, data, log
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)


@pytest.fixture
def with_journal(tmp_path):
    """A journalctl that shows the service's log, with lines that a value got into."""

    def make(log):
        leaks = ["Traceback (most recent call last):", "ValueError: Zebedee Plantagenet", "Zebedee"]
        lines = [*log.read_text().splitlines(), *leaks]
        entries = "\n".join(json.dumps({"MESSAGE": line, "_PID": "7"}) for line in lines)
        (tmp_path / "entries").write_text(entries)
        tool = tmp_path / "bin" / "journalctl"
        tool.parent.mkdir()
        tool.write_text(f"#!/bin/sh\ncat {tmp_path / 'entries'}\n")
        tool.chmod(0o755)
        return {"PATH": f"{tool.parent}:{os.environ['PATH']}"}

    return make


def found_in(content: bytes) -> list[str]:
    return [word for word in PLANTED if word.encode() in content.lower()]


def test_no_planted_name_is_in_the_bundle_or_the_log(box, spawn, tmp_path, with_journal):
    config, data, log = box
    target = tmp_path / "out.tar.gz"
    done = spawn(
        "support-bundle", "-o", target, "-c", config, "--data-dir", data, env=with_journal(log)
    )
    assert done.code == 0, done.err
    assert target.stat().st_mode & 0o777 == 0o600
    parts = members(target)
    assert set(parts) == {
        "README.txt", "versions.json", "config.json", "doctor.json", "status.json",
        "database.json", "quarantine.json", "runs.json", "journal.txt", "missing.json",
    }  # fmt: skip
    for name, content in parts.items():
        assert found_in(content) == [], name
    assert found_in(log.read_bytes()) == []
    journal = parts["journal.txt"].decode()
    assert '"event": "capture_classified"' in journal
    assert "ValueError\n" in journal
    assert "(1 other lines withheld)" in journal
    (run,) = json.loads(parts["runs.json"])
    assert (run["status"], run["simulated"], len(run["sample"])) == ("review", 1, 12)
    reasons = json.loads(parts["quarantine.json"])
    assert {row["code"] for row in reasons["by_code"]} >= {"not_recognised", "refused"}
    assert json.loads(parts["missing.json"]) == {}
    assert json.loads(parts["database.json"])["tables"]["runs"] == 1
    # The names are there to be found: the store has them, and a capture that is asked for.
    with_names = spawn("export", "--data-dir", data).out + spawn("reports", "--data-dir", data).out
    assert "ZBD-PLANT" in with_names
    asked = spawn(
        "support-bundle", "-o", target, "-c", config, "--data-dir", data, "--with-capture", 1
    )
    assert "may name patients" in asked.err
    assert found_in(b"".join(members(target).values()))


def test_what_cannot_be_read_is_left_out_and_said(spawn, tmp_path):
    target = tmp_path / "out.tar.gz"
    where = ("-c", tmp_path / "none.toml", "--data-dir", tmp_path / "none")
    done = spawn("support-bundle", "-o", target, *where, "--json")
    assert done.code == errors.EXIT_WARNINGS
    assert "database.json" in done.json["missing"]
    assert "database.json" not in members(target)
    assert json.loads(members(target)["missing.json"])["database.json"] == "Fatal"


def test_a_capture_that_does_not_exist(spawn, clinic, tmp_path):
    clinic.add()
    target = tmp_path / "out.tar.gz"
    where = ("-c", tmp_path / "none.toml", "--data-dir", clinic.path)
    done = spawn("support-bundle", "-o", target, *where, "--with-capture", 99)
    assert done.code == errors.EXIT_NOT_FOUND
    assert not target.exists()
    done = spawn("support-bundle", "-o", target, *where, "--with-capture", 1)
    assert members(target)["capture-1.raw"] == b"capture 1"


def test_a_mistaken_configuration_tells_its_keys_and_not_its_values(spawn, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[box]\nname = "Zebedee Plantagenet"\n')
    target = tmp_path / "out.tar.gz"
    spawn("support-bundle", "-o", target, "-c", config, "--data-dir", tmp_path / "none")
    parts = members(target)
    assert "box.name" in json.loads(parts["config.json"])["problems"]
    assert found_in(b"".join(parts.values())) == []
