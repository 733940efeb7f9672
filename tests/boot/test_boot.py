"""The unit under a real systemd: confined, ready, watched over, stopped.

A campaign: a hang is noticed after WatchdogSec, and one test waits for that.
"""

from __future__ import annotations

import json
import re

import pytest

from edge_daemon.config import Workers
from edge_daemon.resources import profiles_dir

from .conftest import CONFIG, DATA, UNIT, take, wait

pytestmark = pytest.mark.campaign


def test_it_is_ready_soon_and_takes_a_file(box):
    begun = int(box.show("InactiveExitTimestampMonotonic"))
    ready = int(box.show("ActiveEnterTimestampMonotonic"))
    took = take(box, 1)
    print(f"ready after {(ready - begun) / 1e6:.1f} s, result after {took:.1f} s")  # noqa: T201 - a figure of the campaign
    assert box.show("NRestarts") in ("0", "1")
    assert box.show("SubState") == "running"


def test_it_runs_as_nobody_with_nothing(box):
    said = box.text(f"/proc/{box.pid}/status")
    fields = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert box.run("stat", "-c", "%U %a", DATA) == "edge-daemon 750"


def exposure(box) -> float:
    said = box.run("systemd-analyze", "security", UNIT, "--no-pager")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    print(f"exposure {found[1]}")  # noqa: T201 - a figure of the campaign
    return float(found[1])


def test_its_exposure_is_at_most_two(box):
    assert exposure(box) <= 2.0


def test_its_workers_limit_themselves_under_the_filter(box):
    take(box, 2)
    workers = box.run("sh", "-c", f"cat /proc/{box.pid}/task/*/children").split()
    assert len(workers) == 2
    for worker in workers:
        limits = box.text(f"/proc/{worker}/limits")
        (data,) = re.findall(r"^Max data size\s+(\d+)", limits, re.MULTILINE)
        assert int(data) == Workers().memory_mb << 20
        (core,) = re.findall(r"^Max core file size\s+(\d+)", limits, re.MULTILINE)
        assert int(core) == 0


def test_a_hang_is_ended_by_the_watchdog_and_begun_again(box):
    take(box, 3)
    pid, restarts = box.pid, int(box.show("NRestarts"))
    box.run("kill", "-STOP", str(pid))
    gone = wait(lambda: box.pid != pid)
    again = gone + wait(lambda: box.active() and box.pid not in (0, pid))
    print(f"hung process gone after {gone:.1f} s, ready again after {again:.1f} s")  # noqa: T201 - a figure of the campaign
    assert again <= 90.0
    assert int(box.show("NRestarts")) == restarts + 1
    take(box, 4)


def test_it_stops_cleanly_and_leaves_nothing_running(box):
    take(box, 5)
    box.run("systemctl", "stop", UNIT)
    assert box.show("ActiveState") == "inactive"
    assert (box.show("Result"), box.show("ExecMainStatus")) == ("success", "0")
    assert box.run("pgrep", "-u", "edge-daemon") == ""


def test_it_learns_whether_a_time_server_sets_the_clock(box):
    take(box, 6)
    newest = json.loads(box.edge("results", "--json", "--limit", "1", "--data-dir", DATA))[0]
    assert newest["created_clock"] in ("synchronised", "unsynchronised")


def test_doctor_finds_nothing_wrong_with_the_unit(box):
    found = lines_of_doctor(box)
    doubts = [check for check in found.values() if check["verdict"] != "ok"]
    print(json.dumps(doubts, indent=1))  # noqa: T201 - a figure of the campaign
    for name in ("configuration", "data folder", "models", "service", "source analyzer-1"):
        assert found[name]["verdict"] == "ok", found[name]


def test_the_journal_holds_our_events_and_no_refused_call(box):
    said = box.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager")
    assert '"event": "service_ready"' in said
    assert "Operation not permitted" not in said
    assert "Traceback" not in said
    assert "workers_unconfined" not in said


LINE = """
[[source]]
name = "lis"
kind = "tcp"
framing = "mllp"
listen = "127.0.0.1:5100"
"""
ASK = """
import socket, sys, urllib.request
message = sys.stdin.buffer.read()
with socket.create_connection(("127.0.0.1", 5100), 60) as line:
    line.sendall(bytes([11]) + message + bytes([28, 13]))
    answer = line.recv(4096)
page = urllib.request.urlopen("http://127.0.0.1:8470/", timeout=60)
print(b"MSA|AA" in answer, page.status)
"""


def lines_of_doctor(box):
    said = json.loads(box.edge("doctor", "--json", "--data-dir", DATA))
    return {check["name"]: check for check in said["checks"]}


def test_drop_ins_open_lines_and_page_and_no_more(box):
    """Without them the unit has no network; doctor says so and names the cure."""
    folder = "/run/systemd/system/edge-daemon.service.d"
    former = box.text(CONFIG)
    box.write(CONFIG, f"{former}\n{LINE}".encode())
    try:
        box.run("systemctl", "restart", UNIT)
        found = lines_of_doctor(box)["source lis"]
        assert found["verdict"] == "bad"
        assert "lines.conf" in found["fix"]
        box.run("mkdir", "-p", folder)
        for name in ("lines.conf", "web.conf", "sync.conf"):
            box.run("cp", f"/usr/share/edge-daemon/edge-daemon.service.d/{name}", folder)
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "restart", UNIT)
        wait(lambda: "web_serving" in box.run("journalctl", "-u", UNIT, "-o", "cat"))
        message = next((profiles_dir() / "mindray_bc_vet").glob("*.hl7")).read_bytes()
        python = "/opt/edge-daemon/bin/python"
        assert box.run(python, "-c", ASK, stdin=message) == "True 200"
        assert lines_of_doctor(box)["source lis"]["verdict"] == "ok"
        assert exposure(box) <= 2.0
    finally:
        box.write(CONFIG, former.encode())
        box.run("rm", "-rf", folder)
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "restart", UNIT)
    assert not box.run("systemctl", "show", UNIT, "--value", "-p", "DropInPaths")
