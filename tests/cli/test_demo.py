"""The demo runs the real service and ends in order."""

import os
import pty
import re
import subprocess
import sys
import time
from collections import Counter

import pytest

from edge_daemon import errors
from edge_daemon.cli.status import holder


def test_once_as_json(spawn, tmp_path):
    done = spawn("demo", "--once", "--json", "--events", 2000, "--data-dir", tmp_path / "clinic")
    assert done.code == 0, done.err
    assert done.json["simulated"] is True
    results = done.json["results"]
    assert {r["species"] for r in results} == {"dog", "cat", "horse"}
    assert all(r["simulated"] for r in results)
    assert all(r["headline"] in {"OK", "Review", "Failed"} and r["reason"] for r in results)
    assert len(results) == 6
    profiles = Counter(r["profile"].partition("/")[0] for r in results)
    assert profiles == {"sim_optical4": 3, "sim_pulse4": 3}


def test_pipe_ends_after_the_samples_and_says_where_to_look(spawn, tmp_path):
    clinic = tmp_path / "clinic"
    done = spawn("demo", "--samples", 2, "--events", 2000, "--data-dir", clinic)
    assert done.code == 0, done.err
    heading, *rows = done.out.splitlines()
    assert heading.startswith("Sample")
    assert len(rows) == 2
    assert all(row.endswith("SIMULATED") for row in rows)
    assert f"edge-daemon results --data-dir {clinic}" in done.err
    assert len(spawn("results", "--json", "--data-dir", clinic).json) == 2


def test_second_demo_in_the_same_folder_goes_on(spawn, tmp_path):
    clinic = tmp_path / "clinic"
    for expected in (1, 2):
        args = ("demo", "--samples", 2, "--events", 2000, "--json", "--data-dir", clinic)
        assert len(spawn(*args).json["results"]) == 2
        found = spawn("results", "--json", "--data-dir", clinic).json
        assert len({r["sample_id"] for r in found}) == 2 * expected


def test_folder_of_a_clinic_is_left_alone(spawn, clinic):
    clinic.add(simulated=False)
    before = sorted(clinic.path.rglob("*"))
    done = spawn("demo", "--once", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_FAILED
    assert "not empty" in done.err
    assert sorted(clinic.path.rglob("*")) == before


def test_clinic_of_the_environment_gets_no_simulated_result(spawn, clinic, tmp_path):
    clinic.add(simulated=False)
    env = {"EDGE_DAEMON_DATA": str(clinic.path), "TMPDIR": str(tmp_path)}
    done = spawn("demo", "--samples", 1, "--events", 2000, "--json", env=env)
    assert done.code == 0, done.err
    assert len(spawn("results", "--json", "--data-dir", clinic.path).json) == 1


def test_service_that_cannot_start_is_said_at_once(spawn, tmp_path):
    from edge_daemon.clock import SystemClock
    from edge_daemon.store.writer import Store

    clinic = tmp_path / "clinic"
    clinic.mkdir()
    (clinic / "demo.toml").touch()
    with Store.open(clinic, SystemClock()):
        done = spawn("demo", "--once", "--data-dir", clinic)
    assert done.code == errors.EXIT_FAILED
    assert f"ended with exit code {errors.EXIT_RETRY_LATER}" in done.err
    assert str(clinic / "service.log") in done.err


def test_killed_demo_takes_its_service_with_it(tmp_path):
    clinic = tmp_path / "clinic"
    command = [sys.executable, "-m", "edge_daemon.cli", "demo", "--samples", "1000"]
    command += ["--events", "500", "--data-dir", clinic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as demo:
        try:
            demo.stdout.readline()
            demo.stdout.readline()  # the first result: the service runs
            assert holder(clinic) is not None
        finally:
            demo.kill()
    deadline = time.monotonic() + 30
    while holder(clinic) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("ending", [b"\x03", None], ids=["ctrl-c", "hang-up"])
def test_in_a_terminal_it_goes_on_until_the_person_ends_it(tmp_path, ending):
    clinic = tmp_path / "clinic"
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "edge_daemon.cli", "demo"]
        options = ["--every", "0", "--events", "500", "--data-dir", str(clinic)]
        os.execv(sys.executable, [*command, *options])
    shown = b""
    # More rows than a demo in a pipe would show.
    while len(re.findall(rb"SIM\d+-\d{4}", shown)) < 8:
        shown += os.read(terminal, 4096)
        assert len(shown) < 100_000, shown
    if ending:
        os.write(terminal, ending)
        while b"Remove them" not in shown:
            shown += os.read(terminal, 4096)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        os.close(terminal)
    else:
        os.close(terminal)
        os.waitpid(pid, 0)
    # The service has gone with the demo: its data folder can be locked at once.
    done = subprocess.run(
        [sys.executable, "-m", "edge_daemon.cli", "status", "--data-dir", clinic],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "not running" in done.stdout
