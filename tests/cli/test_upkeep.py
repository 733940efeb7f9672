"""``backup`` and ``restore`` as a person uses them."""

import os
from pathlib import Path

from edge_daemon.clock import SystemClock
from edge_daemon.store import layout
from edge_daemon.store.writer import Store


def test_a_backup_is_made_while_the_service_has_the_folder(clinic, invoke):
    clinic.add()
    with Store.open(clinic.path, SystemClock()):
        done = invoke("backup", "--data-dir", clinic.path, "--json")
    assert done.code == 0
    told = done.json
    assert told["made"] is True
    assert told["bytes"] == Path(told["file"]).stat().st_size
    again = invoke("backup", "--data-dir", clinic.path)
    assert (again.code, "nothing has changed" in again.out) == (0, True)


def test_a_backup_for_the_stick_overwrites_nothing(clinic, invoke, tmp_path):
    clinic.add()
    out = tmp_path / "stick.db"
    assert invoke("backup", "--out", out, "--data-dir", clinic.path).code == 0
    before = out.read_bytes()
    done = invoke("backup", "--out", out, "--data-dir", clinic.path)
    assert done.code == 1
    assert "exists already" in done.err
    assert out.read_bytes() == before


def test_a_folder_without_a_store_is_said_to_be_one(invoke, tmp_path):
    assert invoke("backup", "--data-dir", tmp_path).code == 4
    done = invoke("restore", "--data-dir", tmp_path)
    assert (done.code, "neither backups nor captures" in done.err) == (4, True)
    assert invoke("restore", tmp_path / "absent.db", "--data-dir", tmp_path).code == 4
    assert list(tmp_path.iterdir()) == []


def test_restore_brings_back_what_came_after_the_backup(clinic, invoke, tmp_path):
    clinic.add()
    out = tmp_path / "stick.db"
    invoke("backup", "--out", out, "--data-dir", clinic.path)
    clinic.add()
    clinic.add()
    done = invoke("restore", out, "--data-dir", clinic.path, "--json")
    assert done.code == 0, done.err
    told = done.json
    assert (told["backup"], told["taken"], told["waiting"]) == ("stick.db", 2, 2)
    assert told["set_aside"] == str(clinic.path / layout.SET_ASIDE_NAME / "0001")
    assert len(invoke("results", "--json", "--data-dir", clinic.path).json) == 1


def test_restore_without_a_file_takes_the_newest_and_then_the_archive(clinic, invoke):
    clinic.add()
    layout.database_path(clinic.path).unlink()
    refused = invoke("results", "--data-dir", clinic.path)
    assert refused.code == 4
    done = invoke("restore", "--data-dir", clinic.path)
    assert done.code == 0, done.err
    assert "no good backup" in done.out
    assert "1 capture " in done.out


def test_restore_waits_for_the_service_to_be_stopped(clinic, invoke, tmp_path):
    clinic.add()
    before = layout.database_path(clinic.path).read_bytes()
    with Store.open(clinic.path, SystemClock()):
        done = invoke("restore", "--data-dir", clinic.path)
    assert done.code == 75
    assert f"process {os.getpid()}" in done.err
    assert layout.database_path(clinic.path).read_bytes() == before


def test_a_letter_is_no_backup(clinic, invoke, tmp_path):
    clinic.add()
    letter = tmp_path / "letter.db"
    letter.write_text("Dear editor " * 500)
    done = invoke("restore", letter, "--data-dir", clinic.path)
    assert done.code == 1
    assert "cannot be restored" in done.err
    assert len(invoke("results", "--json", "--data-dir", clinic.path).json) == 1
