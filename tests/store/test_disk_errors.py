"""System calls that fail, injected by strace: no answer is given for what was not kept."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from edge_daemon.store import layout, queries

WRITER = """
    import hashlib, sys
    from pathlib import Path
    from edge_daemon.clock import SystemClock
    from edge_daemon.errors import Fatal, Retryable
    from edge_daemon.records import RawCapture
    from edge_daemon.store.writer import Store

    with Store.open(Path(sys.argv[1]), SystemClock()) as store:
        for number in range(40):
            data = f"{number}".encode() * 300
            sha256 = hashlib.sha256(data).hexdigest()
            while True:
                try:
                    key = store.accept(RawCapture("a", "s", "n", sha256, data)).capture_id
                except Retryable as error:
                    print("later", error.message, flush=True)
                except Fatal as error:
                    print("fatal", error.message, flush=True)
                    sys.exit(1)
                else:
                    print("accepted", key, sha256, flush=True)
                    break
"""


@pytest.mark.parametrize(
    ("call", "error", "when"),
    [
        ("fdatasync", "EIO", "12"),
        ("fdatasync", "EIO", "20..21"),
        ("fsync", "EIO", "20"),
        ("fsync", "EIO", "31"),
        ("pwrite64", "ENOSPC", "300..305"),
        ("pwrite64", "EIO", "350"),
        ("rename", "EROFS", "5"),
    ],
)
def test_a_failing_call_delays_but_loses_nothing(data_dir, call, error, when):
    if shutil.which("strace") is None:
        pytest.skip("system: strace is not installed")
    command = ["strace", "-f", "-e", f"trace={call}", "-e", "signal=none", "-o", "/dev/null"]
    command += ["-e", f"inject={call}:error={error}:when={when}", sys.executable, "-u", "-c"]
    command += [textwrap.dedent(WRITER), data_dir]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [line for line in lines if line[0] == "later"], "nothing was injected"
    accepted = {int(key): sha256 for word, key, sha256 in lines if word == "accepted"}
    with closing(queries.connect(data_dir)) as db:
        stored = {row["id"]: row["sha256"] for row in queries.captures(db, limit=1000)}
    assert accepted == stored
    assert sorted(stored) == list(range(1, 41))
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_disk_that_keeps_failing_stops_the_writer(data_dir):
    if shutil.which("strace") is None:
        pytest.skip("system: strace is not installed")
    command = ["strace", "-f", "-e", "trace=fdatasync", "-e", "signal=none", "-o", "/dev/null"]
    command += ["-e", "inject=fdatasync:error=EIO:when=15+", sys.executable, "-u", "-c"]
    command += [textwrap.dedent(WRITER), data_dir]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines[-3:]] == ["later", "later", "fatal"]
    accepted = {int(key) for word, key, _ in lines if word == "accepted"}
    assert accepted
    with closing(queries.connect(data_dir)) as db:
        assert accepted <= {row["id"] for row in queries.captures(db, limit=1000)}
