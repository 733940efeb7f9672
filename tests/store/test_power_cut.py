"""Power cuts, replayed: only what was synced before the cut is sure to be on the disk.

A writer runs under strace. Its system calls are replayed on a model disk that keeps, for each
file and each folder, what fsync has made durable and what is still on its way. At every answer,
and at random moments, the power is cut: once so that nothing unsynced survives, once so that a
random part of it does, torn at sector borders and in any order. The image left must open, be
sound, and hold everything that was answered.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.store import layout, queries, reports
from edge_daemon.store.replace import repair
from edge_daemon.store.writer import Store
from tests.faults.model_disk import CALLS, replay

SEED = 20261122

WRITER = """
    import hashlib, os, signal, sys
    from pathlib import Path
    from edge_daemon.clock import SystemClock
    from edge_daemon.records import AnalyzerReport, CELL_CLASSES, Classified, Decoded, RawCapture
    from edge_daemon.records import Reported, ReportedValue, SampleInfo
    from edge_daemon.store import engine
    from edge_daemon.store.writer import Store

    # Checkpoints come often, so that cuts fall into them too.
    swaps = {"PRAGMA wal_autocheckpoint=1000": "PRAGMA wal_autocheckpoint=40",
             "PRAGMA synchronous=FULL": "PRAGMA synchronous=" + sys.argv[2]}
    engine._PRAGMAS = tuple(swaps.get(pragma, pragma) for pragma in engine._PRAGMAS)
    step = Decoded("p/1", "a" * 64, 5, ("LA.H",), SampleInfo(sample_id="s"))
    result = Classified("m@1", "b" * 64, dict.fromkeys(CELL_CLASSES, 1), (), ())
    value = ReportedValue("RBC", "RBC", 6.5, "10*6/uL", "6.5")
    told = Reported("l/1", "c" * 64, AnalyzerReport(SampleInfo(sample_id="s"), "sample", (value,)))

    def say(*words):
        answer.write(" ".join(map(str, words)) + "\\n")
        answer.flush()

    killed = sys.argv[3] == "killed"
    answer = sys.stderr if killed else sys.stdout
    for life in range(2):
        with Store.open(Path(sys.argv[1]), SystemClock()) as store:
            for number in range(8):
                data = f"{life}/{number}".encode() * 300
                sha256 = hashlib.sha256(data).hexdigest()
                key = store.accept(RawCapture("a", "s", "n", sha256, data)).capture_id
                say("accepted", key, sha256)
                if killed:
                    os.kill(os.getpid(), signal.SIGKILL)
                say("report", key, store.record_report(key, told).report_id)
                store.record_decoded(key, step)
                say("run", key, store.record_run(key, step, result))
"""


def missing(data_dir, answers):
    """Answers that the image does not hold; it must be sound in any case."""
    try:
        db = queries.connect(data_dir)
    except EdgeError:
        return answers
    with closing(db):
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        states = {row["id"]: row["state"] for row in queries.captures(db, limit=1000)}
        runs = {row["id"] for row in queries.results(db, limit=1000)}
        told = {row["id"]: row["capture_id"] for row in reports.listing(db, limit=1000)}
        sent = [tuple(row) for row in db.execute("SELECT run_id, report_id FROM outbox")]
    assert runs == {run for run, _ in sent} - {None}
    assert told.keys() == {report for _, report in sent} - {None}
    lost = []
    for word, key, value in answers:
        if word == "run":
            kept = states.get(int(key)) == "classified" and int(value) in runs
        elif word == "report":
            kept = told.get(int(value)) == int(key)
        else:
            raw = data_dir / layout.ARCHIVE_NAME / value[:2] / f"{value}.raw"
            kept = (
                int(key) in states
                and raw.is_file()
                and hashlib.sha256(raw.read_bytes()).hexdigest() == value
            )
        if not kept:
            lost.append((word, key, value))
    return lost


@pytest.fixture
def record(tmp_path):
    """Run the writer under strace and give the trace."""
    if shutil.which("strace") is None:
        pytest.skip("system: strace is not installed")

    def run(*lives, script=WRITER):
        trace = tmp_path / "trace"
        command = ["strace", "-f", "-y", "-xx", "-s", "200000", "-e", f"trace={CALLS}"]
        command += ["-e", "signal=none", "-A", "-o", trace, sys.executable, "-c"]
        command += [textwrap.dedent(script), tmp_path / "box" / "data"]
        (tmp_path / "box").mkdir()
        for life in lives:
            subprocess.run([*command, *life], check=False, capture_output=True)
        return trace

    return run


def cuts(trace, tmp_path, rng, chance):
    """Cut at every answer and, by `chance`, elsewhere; gives image and answers so far."""
    answers = []
    for number, (disk, answer) in enumerate(replay(trace, tmp_path / "box")):
        if answer:
            answers.append(tuple(answer.split()))
        elif rng.random() > chance:
            continue
        for kind, part in (("nothing", None), ("part", rng)):
            target = tmp_path / f"{number}-{kind}"
            target.mkdir()
            disk.image(target, part)
            yield target / "data", list(answers)
            shutil.rmtree(target)


def test_every_answer_survives_a_power_cut(record, tmp_path, clock):
    rng = random.Random(SEED)
    answered = early = 0
    for data_dir, answers in cuts(record(("FULL", "ends")), tmp_path, rng, 0.05):
        if answers:
            answered = len(answers)
            assert missing(data_dir, answers) == []
        else:
            early += 1
            Store.open(data_dir, clock).close()  # a cut during the first start is no obstacle
    assert answered == 48
    assert early > 2


def test_what_a_kill_left_unsynced_is_synced_before_it_is_answered(record, tmp_path):
    """The first life commits without fsync and is killed; the second finds its rows."""
    trace = record(("OFF", "killed"), ("FULL", "ends"))
    answered = 0
    for data_dir, answers in cuts(trace, tmp_path, random.Random(SEED), 0.0):
        assert missing(data_dir, answers) == []
        answered = len(answers)
    assert answered == 48


def test_the_model_disk_sees_a_store_that_syncs_too_little(record, tmp_path):
    rng = random.Random(SEED)
    lost = [missing(*cut) for cut in cuts(record(("NORMAL", "ends")), tmp_path, rng, 0.0) if cut[1]]
    assert any(lost)


# A backup in the middle, then the database is spoiled, by writes of which every one is synced,
# and replaced. What was accepted is said again when the damage is done: from there on, every
# cut must leave a box whose next start brings all of it back.
RECOVERED = """
    import hashlib, os, sys
    from pathlib import Path
    from edge_daemon.clock import SystemClock
    from edge_daemon.records import RawCapture
    from edge_daemon.store.backup import back_up
    from edge_daemon.store.replace import repair
    from edge_daemon.store.writer import Store

    folder = Path(sys.argv[1])
    answers = []
    with Store.open(folder, SystemClock()) as store:
        for number in range(6):
            data = f"{number}".encode() * 300
            sha256 = hashlib.sha256(data).hexdigest()
            key = store.accept(RawCapture("a", "s", "n", sha256, data)).capture_id
            answers.append((key, sha256))
            if number == 2 and sys.argv[2] == "backup":
                back_up(folder)
    handle = os.open(folder / "edge.sqlite3", os.O_RDWR)
    os.pwrite(handle, bytes(4096), 0)
    os.fsync(handle)
    for key, sha256 in answers:
        os.write(1, f"spoiled {key} {sha256}\\n".encode())
    with Store.open(folder, SystemClock(), prepare=repair):
        os.write(1, b"open\\n")
"""


@pytest.mark.parametrize("how", ["backup", "archive"])
def test_a_power_cut_anywhere_in_a_recovery_loses_nothing(record, tmp_path, clock, how):
    trace = record((how,), script=RECOVERED)
    rng = random.Random(SEED)
    after = 0
    for data_dir, answers in cuts(trace, tmp_path, rng, 0.2):
        known = {int(key): sha256 for word, key, sha256 in (a for a in answers if len(a) == 3)}
        if len(known) < 6:
            continue
        after += 1
        with Store.open(data_dir, clock, prepare=repair) as store:
            found = {row.capture_id: row.sha256 for row in store.pending()}
            assert all(store.read_capture(key).sha256 == known[key] for key in known)
        assert found == known
        with closing(queries.connect(data_dir)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        aside = list((data_dir / layout.SET_ASIDE_NAME).glob("*/edge.sqlite3"))
        assert [path.read_bytes()[:4096] for path in aside] == [bytes(4096)]
    assert after > 30
