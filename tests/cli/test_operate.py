"""run, status, config, and the options that decide where data lies."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from edge_daemon import config, errors
from edge_daemon.cli import options
from edge_daemon.cli.status import size
from edge_daemon.conditions import Board
from edge_daemon.disk import Disk
from edge_daemon.findings import of_sources


def write_config(folder, **box):
    export = folder / "export"
    export.mkdir(exist_ok=True)
    lines = ["[box]", *(f'{k} = "{v}"' for k, v in box.items())]
    lines += ["[[source]]", 'name = "analyzer"', f'path = "{export}"', "settle_s = 0.1"]
    path = folder / "config.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_config_init_check_round_trip(invoke, tmp_path):
    file = tmp_path / "etc" / "edge-daemon" / "config.toml"  # as on a fresh box, without the folder
    assert invoke("config", "init", file).code == 0
    assert file.read_text(encoding="utf-8") == invoke("config", "init").out
    done = invoke("config", "check", file)
    assert done.code == errors.EXIT_WARNINGS  # the example's export folder does not exist here
    assert "analyzer-1" in done.out
    assert "no such folder" in done.err


def test_config_init_changes_no_existing_file(invoke, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("mine", encoding="utf-8")
    done = invoke("config", "init", file)
    assert done.code == errors.EXIT_FAILED
    assert "--force" in done.err
    assert file.read_text(encoding="utf-8") == "mine"
    assert invoke("config", "init", file, "--force").code == 0
    assert file.read_text(encoding="utf-8") != "mine"


def test_config_check_lists_every_problem(invoke, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(
        '[box]\nnmae = "x"\n[[source]]\nname = "a"\npath = "e"\nsettle_s = -1\n', encoding="utf-8"
    )
    done = invoke("config", "check", file)
    assert done.code == errors.EXIT_BAD_CONFIG
    assert "box.nmae" in done.err
    assert "source[0].settle_s" in done.err
    as_json = invoke("config", "check", file, "--json")
    assert as_json.code == errors.EXIT_BAD_CONFIG
    assert as_json.json["ok"] is False
    assert len(as_json.json["problems"]) == 2


def test_config_check_of_a_good_file(invoke, tmp_path):
    file = write_config(tmp_path)
    done = invoke("config", "check", file, "--json")
    assert (done.code, done.json["ok"], done.json["problems"]) == (0, True, [])


LINES = """
[[source]]
name = "s1"
kind = "serial"
port = "{port}"
{serial}

[[source]]
name = "t1"
kind = "tcp"
listen = "127.0.0.1:5100"
{tcp}
"""


def check_lines(invoke, tmp_path, serial, tcp, *more):
    file = tmp_path / "lines.toml"
    text = LINES.format(port=tmp_path / "port", serial=serial, tcp=tcp)
    file.write_text(text, encoding="utf-8")
    return invoke("config", "check", file, *more)


def test_config_check_of_lines(invoke, tmp_path):
    good = ('profile = "sysmex_xn550/00-24"', 'framing = "mllp"')
    done = check_lines(invoke, tmp_path, *good)
    assert done.code == errors.EXIT_WARNINGS
    assert "s1:" in done.out
    assert "as sysmex_xn550/00-24 says" in done.out
    assert "listens on 127.0.0.1:5100 (framing mllp)" in done.out
    assert "no such port" in done.err
    (tmp_path / "port").touch()
    assert check_lines(invoke, tmp_path, *good).code == errors.EXIT_OK


def test_config_check_asks_the_profiles_for_the_framing(invoke, tmp_path):
    bad = ('profile = "sysmex_xn550/99"', 'framing = "morse"')
    done = check_lines(invoke, tmp_path, *bad, "--json")
    assert done.code == errors.EXIT_BAD_CONFIG
    found = {problem["key"]: problem["message"] for problem in done.json["problems"]}
    assert set(found) == {"source[0].profile", "source[1].framing"}
    assert "near it are sysmex_xn550/00-24" in found["source[0].profile"]
    assert "expected one of astm, block, mllp, packet" in found["source[1].framing"]
    unframed = ('profile = "sim_optical4/1.0"', 'framing = "astm"\nframing_options = {max_txt = 1}')
    done = check_lines(invoke, tmp_path, *unframed)
    assert "says no framing" in done.err
    assert "unknown key max_txt" in done.err


def test_config_check_doubts_a_folder_that_is_not_there(invoke, tmp_path):
    """Nothing else would say so: each capture would lack a profile."""
    (tmp_path / "mine").mkdir()
    file = tmp_path / "box.toml"
    file.write_text(
        f'[[source]]\nname = "a"\npath = "{tmp_path}"\n[profiles]\nextra_dirs = ["mine", "mien"]\n'
        '[models]\nextra_dirs = ["gone"]\n'
    )
    done = invoke("config", "check", file, "--json")
    assert done.code == 3
    told = [(one["key"], one["value"].rpartition("/")[2]) for one in done.json["problems"]]
    assert told == [("profiles.extra_dirs", "mien"), ("models.extra_dirs", "gone")]


@pytest.mark.parametrize("command", [["config", "check"], ["run", "-c"]])
def test_missing_configuration_says_how_to_make_one(invoke, tmp_path, command):
    done = invoke(*command, tmp_path / "none.toml")
    assert done.code == errors.EXIT_BAD_CONFIG
    assert "no such file" in done.err
    assert "edge-daemon config init" in done.err


def test_config_schema(invoke):
    assert "properties" in invoke("config", "schema").json


def test_run_with_bad_configuration(invoke, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[box", encoding="utf-8")
    done = invoke("run", "-c", file)
    assert done.code == errors.EXIT_BAD_CONFIG
    assert "is not TOML" in done.err


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail("the condition did not come true")


def test_run_takes_a_file_in_and_status_sees_it(spawn, tmp_path):
    from edge_daemon.simulator.cohort import sample

    file = write_config(tmp_path)
    data = tmp_path / "data"
    command = [sys.executable, "-m", "edge_daemon.cli", "run", "-c", file, "--data-dir", data]
    service = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until((data / "run" / "status.json").is_file)
        taken = sample(0, events=1000, seed=1, species=("dog",))
        (tmp_path / "export" / taken.name).write_bytes(taken.data)
        until(lambda: spawn("status", "--json", "--data-dir", data).json["runs"] == 1)
        done = spawn("status", "--json", "--data-dir", data)
        assert done.code == 0
        assert done.json["running_pid"] == service.pid
        assert done.json["sources"][0]["name"] == "analyzer"
        assert done.json["newest_capture"]["state"] == "classified"
        shown = spawn("status", "--data-dir", data).out
        assert f"in use by process {service.pid}" in shown
        assert "SIMULATED" in shown
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
    done = spawn("status", "--data-dir", data)
    assert done.code == errors.EXIT_WARNINGS
    assert "not running" in done.out


def test_status_of_a_killed_service_is_not_running(invoke, clinic):
    clinic.add()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (clinic.path / "lock").write_text(f"{dead.pid}\n", encoding="ascii")
    done = invoke("status", "--data-dir", clinic.path, "--json")
    assert done.json["running_pid"] is None
    assert done.code == errors.EXIT_WARNINGS


def test_status_counts(invoke, clinic):
    clinic.add()
    clinic.set_aside()
    found = invoke("status", "--data-dir", clinic.path, "--json").json
    assert found["states"] == {"received": 0, "decoded": 0, "classified": 1, "quarantined": 1}
    assert found["refusals"] == 1
    assert found["outbox_waiting"] == 1
    shown = invoke("status", "--data-dir", clinic.path)
    assert "1 classified, 1 quarantined" in shown.out
    assert "edge-daemon quarantine" in shown.err


def test_status_says_when_an_analyzer_was_last_heard(invoke, clinic):
    clinic.add()
    told = {"name": "s1", "kind": "serial", "state": "degraded", "reason": "no such port"}
    told |= {"messages": 1200, "incomplete": 0, "warning": "ttyUSB0 may be another device"}
    told |= {"discarded": {"noise": {"times": 2, "bytes": 1500}}}
    sources = [{**told, "heard_at": time.monotonic() - 130}, {**told, "heard_at": None}]
    (clinic.path / "run").mkdir()
    board = Board()
    board.update(of_sources(sources, {}, 0.0, 0.0), "2026-01-01T00:00:00.000000Z", 0.0)
    page = "http://127.0.0.1:8470/"
    content = {"sources": sources, "health": board.describe(), "web": {"url": page, "reason": ""}}
    (clinic.path / "run" / "status.json").write_text(json.dumps(content))
    holder = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", "edge_daemon"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline()  # until it runs, its command line may still be empty
    (clinic.path / "lock").write_text(f"{holder.pid}\n", encoding="ascii")
    shown = invoke("status", "--data-dir", clinic.path)
    as_json = invoke("status", "--data-dir", clinic.path, "--json").json
    holder.communicate(b"\n")
    assert shown.code == errors.EXIT_WARNINGS
    assert page in shown.out
    assert as_json["page"] == page
    assert "last heard 2 min ago, 1,200 messages, 1.5 kB discarded" in shown.out
    assert "not heard yet" in shown.out
    assert "ttyUSB0 may be another device" in shown.out
    assert "Check the cable" in shown.out
    (first, second) = as_json["sources"]
    assert 129 < first["heard_s"] < 200
    assert (second["heard_s"], first["discarded"]["noise"]["bytes"]) == (None, 1500)


def test_status_without_database(invoke, tmp_path):
    assert invoke("status", "--data-dir", tmp_path).code == errors.EXIT_NOT_FOUND


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2.5 TB")]
)
def test_sizes(number, text):
    assert size(number) == text


@pytest.mark.parametrize("configured", [None, "kept", "/absolute/kept"])
def test_default_data_folder_is_that_of_the_service(monkeypatch, tmp_path, configured):
    box = {"data_dir": configured} if configured else {}
    file = write_config(tmp_path, **box)
    monkeypatch.setenv(options.CONFIG_VARIABLE, str(file))
    settings = config.load_config(file)
    expected = settings if configured else None
    assert options.configured_data_dir() == config.resolve_data_dir(None, os.environ, expected)


def test_default_data_folder_without_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv(options.CONFIG_VARIABLE, str(tmp_path / "none.toml"))
    for home in (None, tmp_path / "share"):
        if home:
            monkeypatch.setenv("XDG_DATA_HOME", str(home))
        expected = config.resolve_data_dir(None, os.environ)
        assert options.configured_data_dir() == expected


def test_names_are_those_of_the_configuration():
    assert options.SYSTEM_DATA_DIR == config.SYSTEM_DATA_DIR
    assert options.DATA_VARIABLE == config.DATA_DIR_VARIABLE


def test_unreadable_configuration_is_said_where_data_is_wanted(invoke, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("[box", encoding="utf-8")
    done = invoke("results", env={options.CONFIG_VARIABLE: str(file)})
    assert done.code == errors.EXIT_BAD_CONFIG
    assert "--data-dir" in done.err


def moment(text):
    return options.Moment().convert(text, None, None)


def test_moments():
    now = datetime.now(UTC)
    assert moment("2026-11-22T14:30:00+01:00") == "2026-11-22T13:30:00.000000Z"
    local = datetime(2026, 11, 22).astimezone().astimezone(UTC)
    assert moment("2026-11-22") == local.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for text, age in (("30m", 1 / 48), ("12h", 0.5), ("7d", 7), ("2w", 14)):
        found = datetime.fromisoformat(moment(text))
        assert abs(now - timedelta(days=age) - found) < timedelta(minutes=1)
    assert moment("yesterday") < moment("today") <= moment("0m")


@pytest.mark.parametrize("text", ["", "d", "7x", "2026-13-01", "99999999999d", "-1d"])
def test_moments_that_are_none(text):
    with pytest.raises(click.BadParameter, match="is not a time"):
        moment(text)


def test_completion_script_works_in_bash(tmp_path, invoke):
    script = tmp_path / "complete.sh"
    script.write_text(invoke("completion", "bash").out, encoding="utf-8")
    (tmp_path / "edge-daemon").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m edge_daemon.cli "$@"\n', encoding="utf-8"
    )
    (tmp_path / "edge-daemon").chmod(0o755)
    probe = (
        f"source {script}; COMP_WORDS=(edge-daemon qua); COMP_CWORD=1; "
        '_edge_daemon_completion edge-daemon; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.stdout.strip() == "quarantine"


def test_json_schema_of_the_config_is_json(spawn):
    assert json.loads(spawn("config", "schema").out)["type"] == "object"


def test_relative_configuration_path(spawn, tmp_path):
    write_config(tmp_path, data_dir="kept")
    done = spawn("results", env={options.CONFIG_VARIABLE: "config.toml"}, cwd=tmp_path)
    assert done.code == errors.EXIT_NOT_FOUND
    assert str(Path(tmp_path) / "kept") in done.err


def test_status_of_a_damaged_database_still_tells_what_it_can(invoke, clinic):
    clinic.add()
    (clinic.path / "edge.sqlite3").write_bytes(
        b"no database, but a text of more than 100 bytes" * 9
    )
    done = invoke("status", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_WARNINGS
    assert "the database cannot be read" in done.out
    assert "not running" in done.out
    found = invoke("status", "--data-dir", clinic.path, "--json").json
    assert found["state"] == "failing"
    codes = [problem["code"] for problem in found["problems"]]
    assert codes == ["service_not_running", "database_unreadable"]


def test_status_sees_a_full_disk_that_the_service_could_not_write_down(invoke, clinic, monkeypatch):
    clinic.add()
    board = Board()
    board.update([], "2026-01-01T00:00:00.000000Z", 0.0)
    (clinic.path / "run").mkdir()
    content = {"sources": [], "health": board.describe()}
    (clinic.path / "run" / "status.json").write_text(json.dumps(content))
    monkeypatch.setattr("edge_daemon.cli.status.holder", lambda _: 7)
    assert invoke("status", "--data-dir", clinic.path).code == errors.EXIT_OK
    full = Disk(free_mb=3, read_only=True)
    monkeypatch.setattr("edge_daemon.disk.read_disk", lambda _: full)
    found = invoke("status", "--data-dir", clinic.path, "--json").json
    assert found["state"] == "failing"
    assert {problem["code"] for problem in found["problems"]} == {"disk_read_only", "disk_low"}


def test_status_names_a_wrong_configuration(invoke, clinic, tmp_path):
    clinic.add()
    file = tmp_path / "config.toml"
    file.write_text("[box]\nnmae = 1\n", encoding="utf-8")
    env = {options.CONFIG_VARIABLE: str(file)}
    done = invoke("status", "--data-dir", clinic.path, env=env)
    assert "the configuration cannot be used: 2 problem(s)" in done.out
    assert "config check" in done.out
