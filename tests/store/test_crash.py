"""SIGKILL at random moments: whatever the store had answered is still there, once.

SIGKILL keeps the page cache, so this proves the order of commit and answer, not the fsync; a
power cut needs another rig (docs/storage.md).
"""

from __future__ import annotations

import os
import random
import select
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from edge_daemon.store import layout, queries, reports

KILLS = 20

WRITE_FOREVER = """
    import hashlib, itertools, sys, threading
    from pathlib import Path
    from edge_daemon.clock import SystemClock
    from edge_daemon.errors import Quarantine
    from edge_daemon.records import AnalyzerReport, CELL_CLASSES, Classified, Decoded, Measurement
    from edge_daemon.records import RawCapture, Reported, ReportedValue, SampleInfo
    from edge_daemon.store.writer import Store

    store = Store.open(Path(sys.argv[1]), SystemClock())
    life = sys.argv[2]
    result = Classified("m@1", "b" * 64, dict.fromkeys(CELL_CLASSES, 1),
        (Measurement("RBC", 6.5, "10*6/uL", 6.4, 6.6, "counted"),), ())

    def say(*words):
        sys.stdout.write(" ".join(map(str, words)) + "\\n")
        sys.stdout.flush()

    def work(thread):
        for number in itertools.count():
            data = f"{life}/{thread}/{number}".encode() * 200
            sha256 = hashlib.sha256(data).hexdigest()
            key = store.accept(RawCapture("a", "s", f"{number}", sha256, data)).capture_id
            say("accepted", key, sha256)
            sample = SampleInfo(sample_id=sha256[:8])
            value = ReportedValue("RBC", "RBC", 6.5, "10*6/uL", "6.5")
            told = Reported("l/1", "c" * 64, AnalyzerReport(sample, "sample", (value,)))
            say("report", key, sha256, store.record_report(key, told).report_id)
            step = Decoded("p/1", "a" * 64, 5, ("LA.H",), sample)
            store.record_decoded(key, step)
            say("decoded", key, sha256)
            if number % 5 == 4:
                store.quarantine(key, Quarantine("malformed", "broken"))
                say("quarantined", key, sha256)
            else:
                say("run", key, sha256, store.record_run(key, step, result))

    for pending in store.pending():
        assert store.read_capture(pending.capture_id).sha256 == pending.sha256
    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def killed_life(data_dir, life, rng):
    """Run the writer, kill it at a random moment, and give every answer it had printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITE_FOREVER), data_dir, str(life)],
        stdout=subprocess.PIPE,
    )
    output = process.stdout.readline()
    wanted = rng.randrange(1, 8000)
    while output and len(output) < wanted:
        select.select([process.stdout], [], [], 10)
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            break
        output += chunk
    process.kill()
    output += process.communicate()[0]
    assert process.returncode == -9, output.decode()
    whole, _, _ = output.rpartition(b"\n")
    return [line.split() for line in whole.decode().splitlines()]


def check(data_dir, answers):
    rank = {"received": 0, "decoded": 1, "quarantined": 2, "classified": 2}
    with closing(queries.connect(data_dir)) as db:
        captures = {row["id"]: row for row in queries.captures(db, limit=100_000)}
        runs = {row["id"]: row for row in queries.results(db, all_runs=True, limit=100_000)}
        told = {row["id"]: row for row in reports.listing(db, limit=100_000)}
    for word, key, sha256, *made in answers:
        capture = captures[int(key)]
        assert capture["sha256"] == sha256
        assert rank[capture["state"]] >= {"accepted": 0, "report": 1, "decoded": 1}.get(word, 2)
        if word == "report":
            assert told[int(made[0])]["capture_id"] == int(key)
            assert [v["value"] for v in told[int(made[0])]["values"]] == [6.5]
        elif word == "run":
            assert runs[int(made[0])]["capture_id"] == int(key)
            assert capture["state"] == "classified"
    for key, capture in captures.items():
        owned = [row for row in runs.values() if row["capture_id"] == key]
        assert len(owned) == (capture["state"] == "classified")
    assert sorted(captures) == list(range(1, len(captures) + 1))
    assert sorted(runs) == list(range(1, len(runs) + 1))
    assert sorted(told) == list(range(1, len(told) + 1))


@pytest.mark.parametrize("seed", [20261122])
def test_every_answer_survives_a_kill(data_dir, seed):
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    rng = random.Random(seed)
    answers = []
    for life in range(KILLS):
        answers += killed_life(data_dir, life, rng)
        check(data_dir, answers)
    assert len(answers) > KILLS
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in ("run", "report"):
            unpaired = f"SELECT id FROM {table}s EXCEPT SELECT {table}_id FROM outbox"
            assert db.execute(unpaired).fetchall() == []
        archived = {row[0] for row in db.execute("SELECT sha256 FROM captures")}
    files = {path.stem for path in (data_dir / layout.ARCHIVE_NAME).glob("??/*.raw")}
    assert archived <= files
