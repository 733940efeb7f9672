"""The whole way, in processes of their own: commands, service, server, and kills of both."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress

import pytest

from edge_daemon.errors import EXIT_NOT_FOUND, EXIT_RETRY_LATER, EXIT_WARNINGS, EdgeError
from edge_daemon.simulator.cohort import sample
from edge_daemon.store import queries

COMMAND = [sys.executable, "-m", "edge_daemon.cli"]
CONFIG = """
[box]
data_dir = "data"
[[source]]
name = "an1"
path = "export"
settle_s = 0.1
rescan_s = 0.5
[workers]
count = 1
[limits]
min_free_mb = 1
[web]
enabled = false
[sync]
simulated = true
"""


def wait(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Fleet:
    """A server and a box, as their operators run them."""

    def __init__(self, folder):
        self.folder = folder
        self.centre = folder / "centre"
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        (folder / "export").mkdir()
        (folder / "config.toml").write_text(CONFIG)
        self.env = {
            **os.environ,
            "EDGE_CENTRAL_DIR": str(self.centre),
            "EDGE_DAEMON_CONFIG": str(folder / "config.toml"),
        }
        self.processes = {}

    def run(self, *args, code=0):
        done = subprocess.run(
            [*COMMAND, *map(str, args)],
            capture_output=True,
            text=True,
            env=self.env,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    def start(self, name, *args):
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            self.processes[name] = subprocess.Popen(
                [*COMMAND, *map(str, args)], stdout=log, stderr=log, env=self.env
            )

    def serve(self):
        self.start("central", "central", "serve", "--listen", f"127.0.0.1:{self.port}")

    def work(self):
        self.start("service", "run")

    def kill(self, name):
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def export(self, *numbers):
        for number in numbers:
            made = sample(number, events=600, seed=3)
            part = self.folder / "export" / f".{made.name}"
            part.write_bytes(made.data)
            part.replace(self.folder / "export" / made.name)

    def outbox(self):
        with suppress(EdgeError), closing(queries.connect(self.data)) as db:
            return [tuple(r) for r in db.execute("SELECT state, digest FROM outbox ORDER BY seq")]
        return []

    def arrived(self):
        return json.loads(self.run("central", "boxes", "--json").stdout)[0]["documents"]

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path)
    yield made
    made.close()


def test_a_box_is_enrolled_sends_and_goes_on_after_kills_of_both_ends(fleet):
    fleet.run("central", "init", "--host", "127.0.0.1")
    clinic = fleet.run("central", "add-clinic", "Clinic by the river").stdout.strip()
    code = fleet.run("central", "claim", "--clinic", clinic, "--box", "Room 2").stdout.strip()
    fleet.work()
    fleet.export(0, 1)
    wait(lambda: len(fleet.outbox()) == 2)
    assert "not enrolled" in fleet.run("sync", "status", code=EXIT_NOT_FOUND).stderr
    enrol = ("sync", "enrol", fleet.url, "--code", code, "--fleet", fleet.centre / "fleet.pem")
    assert "same command again" in fleet.run(*enrol, code=EXIT_RETRY_LATER).stderr
    fleet.serve()
    wait(lambda: "listening" in (fleet.folder / "central.log").read_text())
    wait(lambda: _listens(fleet.port))
    assert "'Room 2'" in fleet.run(*enrol).stdout
    fleet.kill("service")
    fleet.work()
    wait(lambda: all(state == "stored" for state, _ in fleet.outbox()))
    fleet.kill("central")
    fleet.export(2, 3)
    wait(lambda: len(fleet.outbox()) == 4)
    refused = fleet.run("sync", "now", code=EXIT_WARNINGS)
    assert "unreachable" in refused.stdout
    fleet.serve()
    wait(lambda: _listens(fleet.port))
    said = fleet.run("sync", "now", "--json")
    assert json.loads(said.stdout)["waiting"] == 0
    fleet.run("sync", "status")
    assert [state for state, _ in fleet.outbox()] == ["stored"] * 4
    assert fleet.arrived() == 4
    box = json.loads(fleet.run("central", "boxes", "--json").stdout)[0]
    assert (box["clinic"], box["name"]) == ("Clinic by the river", "Room 2")
    fleet.run("central", "revoke", box["id"])
    fleet.export(4)
    wait(lambda: len(fleet.outbox()) == 5)
    held = fleet.run("sync", "now", "--json", code=EXIT_WARNINGS)
    told = json.loads(held.stdout)
    assert (told["code"], told["waiting"]) == ("status_403", 1)
    assert fleet.arrived() == 4
    assert fleet.run("sync", "dead-letters").stdout == ""


def test_what_is_not_there_is_said(fleet):
    fleet.run("central", "init", "--host", "127.0.0.1")
    again = fleet.run("central", "init", "--host", "127.0.0.1", code=1)
    assert "is there already" in again.stderr
    assert (
        "no clinic 7" in fleet.run("central", "claim", "--clinic", 7, "--box", "x", code=1).stderr
    )
    assert "no box" in fleet.run("central", "revoke", "x", code=EXIT_NOT_FOUND).stderr
    assert "--dir" in fleet.run("central", "boxes", "--help").stdout


def _listens(port):
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
