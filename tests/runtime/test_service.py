"""The service as a real process: bursts, kills, orderly stops, a second one beside it."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tomllib
from pathlib import Path

import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.resources import systemd_dir
from edge_daemon.simulator.cohort import simulate
from edge_daemon.store import queries


def counted(service, query: str = "SELECT count(*) FROM captures WHERE finished = 1") -> int:
    try:
        db = queries.connect(service.data)
    except EdgeError:  # not made yet, or being made
        return 0
    try:
        return int(db.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0
    finally:
        db.close()


def test_a_dropped_capture_becomes_a_result_and_stays_in_place(service, cohort, wait_until):
    service.start()
    wait_until(lambda: service.logged("service_ready"))
    file = min(cohort.glob("*.fcs"))
    shutil.copy(file, service.export / file.name)
    wait_until(lambda: counted(service) == 1)
    assert counted(service, "SELECT count(*) FROM runs") == 1
    assert (service.export / file.name).read_bytes() == file.read_bytes()
    status = json.loads((service.data / "run" / "status.json").read_text())
    assert status["pid"] == service.process.pid
    assert status["sources"][0]["name"] == "an1"
    assert file.name not in service.log.read_text()


def test_a_well_box_says_nothing_to_worry_about(service, wait_until):
    process = service.start()
    wait_until((service.data / "run" / "status.json").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    events = [json.loads(line) for line in service.log.read_text().splitlines()]
    # A test machine may lack a time server, and a kernel what confines workers.
    usual = {"clock_unsynchronised", "workers_unconfined"}
    worrying = [
        entry
        for entry in events
        if entry["level"] in ("warning", "error")
        and entry["event"] != "workers_unconfined"
        and entry.get("condition") not in usual
    ]
    assert worrying == []


def test_sigterm_is_orderly_and_quick(service, wait_until):
    process = service.start()
    wait_until(lambda: service.logged("service_ready"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    events = [json.loads(line)["event"] for line in service.log.read_text().splitlines()]
    assert "service_stopping" in events
    assert events[-1] == "service_stopped"
    assert not (service.data / "run" / "status.json").exists()


def test_a_second_service_on_the_same_data_is_refused(service, wait_until):
    first = service.start()
    wait_until(lambda: service.logged("service_ready"))
    second = service.start()
    assert second.wait(30) == 75
    assert f"process {first.pid}" in service.log.read_text()
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0


def test_systemd_hears_ready_watchdog_and_stopping(service, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        process = service.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="300000")
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        while (word := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert word == b"STOPPING=1"
        assert process.wait(10) == 0


def test_a_writer_that_stands_still_gets_no_watchdog_beat(service, tmp_path, wait_until):
    """A stopped process is what systemd sees of any hung loop."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        process = service.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="300000")
        wait_until(lambda: service.logged("service_ready"))
        process.send_signal(signal.SIGSTOP)
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while manager.recv(100):  # what was sent before it stopped
                pass
        manager.settimeout(1.0)  # ten beats
        with pytest.raises(TimeoutError):
            manager.recv(100)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_burst_survives_kills_with_every_result_once(service, tmp_path, wait_until):
    total, chance = 200, random.Random(7)
    simulate(tmp_path / "burst", samples=total, events=600, seed=7)
    files = sorted((tmp_path / "burst").glob("*.fcs"))
    process = service.start()
    for kill in range(8):
        for _ in range(total // 8):
            file = files.pop()
            shutil.copy(file, service.export / file.name)
        target = min(counted(service) + chance.randrange(25), total)
        ready = kill + 1
        wait_until(lambda n=ready: service.logged("service_ready") >= n)
        wait_until(lambda n=target, k=kill: counted(service) >= min(n, 25 * (k + 1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = service.start()
    wait_until(lambda: counted(service) == total, 120)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert counted(service, "SELECT count(*) FROM captures") == total
    assert counted(service, "SELECT count(*) FROM runs") == total
    assert counted(service, "SELECT count(DISTINCT capture_id) FROM runs") == total
    assert counted(service, "SELECT count(*) FROM outbox") == total
    assert counted(service, "SELECT count(*) FROM captures WHERE state = 'classified'") == total


@pytest.mark.parametrize("drop_in", [None, "lines.conf", "web.conf", "sync.conf"])
def test_the_unit_is_hardened_and_agrees_with_the_service(tmp_path, drop_in):
    unit = tmp_path / "edge-daemon.service"
    shutil.copy(systemd_dir() / unit.name, unit)
    if drop_in:
        # systemd's own checker reads no drop-in of a unit given by its path.
        with unit.open("a") as stream:
            stream.write((systemd_dir() / "edge-daemon.service.d" / drop_in).read_text())
    text = unit.read_text()
    assert "Type=notify" in text
    assert "RestartPreventExitStatus=78" in text
    assert "ORT_DISABLE_TELEMETRY=1" in text
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("system: systemd-analyze is not installed")
    checked = subprocess.run(
        [tool, "security", "--offline=yes", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_commented_configuration_is_what_the_unit_expects():
    from edge_daemon.config import SYSTEM_DATA_DIR, default_config_text

    unit = (systemd_dir() / "edge-daemon.service").read_text()
    assert f"StateDirectory={SYSTEM_DATA_DIR.name}" in unit
    assert Path("/var/lib/edge-daemon") == SYSTEM_DATA_DIR
    assert tomllib.loads(default_config_text())["source"]


def test_a_damaged_database_is_replaced_and_every_result_comes_back(service, cohort, wait_until):
    files = sorted(cohort.glob("*.fcs"))[:3]
    for file in files:
        shutil.copy(file, service.export / file.name)
    process = service.start()
    wait_until(lambda: counted(service) == 3)
    process.send_signal(signal.SIGTERM)  # else the log would mend the first page
    assert process.wait(15) == 0
    digests = "SELECT group_concat(digest) FROM (SELECT digest FROM outbox ORDER BY digest)"
    with contextlib.closing(queries.connect(service.data)) as db:
        sent = db.execute(digests).fetchone()[0]
    with (service.data / "edge.sqlite3").open("r+b") as file:
        file.write(bytes(4096))
    service.start()
    wait_until(lambda: service.logged("store_recovered"))
    wait_until(lambda: counted(service) == 3)
    assert service.logged("store_damaged") == 1
    with contextlib.closing(queries.connect(service.data)) as db:
        assert db.execute(digests).fetchone()[0] == sent
    assert (service.data / "set-aside" / "0001" / "edge.sqlite3").exists()
