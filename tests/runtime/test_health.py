"""Standing loops, the status file, and what systemd is told."""

from __future__ import annotations

import io
import json
import os
import socket

import pytest

from edge_daemon.errors import Retryable
from edge_daemon.health import DiskGuard, Loop, StatusFile, all_moving
from edge_daemon.log import EventLog
from edge_daemon.systemd_notify import Notifier


def test_a_standing_loop_is_reported_once_and_withholds_the_beat():
    stream = io.StringIO()
    log = EventLog("info", stream)
    loops = [Loop("a", 0.0, 60.0), Loop("b", 50.0, 60.0)]
    assert all_moving(loops, 60.0, log)
    assert not all_moving(loops, 61.0, log)
    assert not all_moving(loops, 62.0, log)
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["loop"], entry["silent_s"]) == ("stalled_loop", "a", 61)


def test_a_share_that_does_not_answer_is_reported_but_no_reason_to_restart():
    stream = io.StringIO()
    assert all_moving([Loop("share", 0.0, 60.0, vital=False)], 100.0, EventLog("info", stream))
    assert "stalled_loop" in stream.getvalue()


def test_the_status_file_is_replaced_only_by_news(tmp_path):
    status = StatusFile(tmp_path)
    path = tmp_path / "run" / "status.json"
    status.write({"a": 1})
    first = path.stat().st_ino
    status.write({"a": 1})
    assert path.stat().st_ino == first
    status.write({"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    status.remove()
    status.remove()
    assert not path.exists()


def test_free_space_of_a_folder_that_is_gone(tmp_path):
    guard = DiskGuard(tmp_path / "gone", 1, EventLog("error", io.StringIO()))
    with pytest.raises(Retryable, match="gone"):
        guard.check()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(tmp_path, abstract):
    address = f"\0edge-test-{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        Notifier({"NOTIFY_SOCKET": address.replace("\0", "@")}).send("READY=1", "STATUS=ok")
        assert manager.recv(100) == b"READY=1\nSTATUS=ok"


def test_no_manager_is_no_error(tmp_path):
    Notifier({}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "absent")}).send("READY=1")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval_is_read(env, expected):
    assert Notifier(env).watchdog_s == expected
