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
import re
import shutil
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.store import layout, queries, reports
from edge_daemon.store.replace import repair
from edge_daemon.store.writer import Store

SEED = 20261122
SECTOR = 512
CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,mkdir"

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


class File:
    def __init__(self):
        self.data = bytearray()
        self.durable = bytearray()
        self.pending = []

    def write(self, offset, data):
        patch(self.data, offset, data)
        at = 0
        while at < len(data):
            end = at + SECTOR - (offset + at) % SECTOR
            self.pending.append((offset + at, data[at:end]))
            at = end

    def truncate(self, size):
        resize(self.data, size)
        self.pending.append((size, None))

    def sync(self):
        self.durable = bytearray(self.data)
        self.pending = []

    def left(self, rng):
        """Content after a cut; without `rng` nothing unsynced survives."""
        content = bytearray(self.durable)
        for at, data in self.pending if rng else ():
            if rng.random() < 0.5:
                resize(content, at) if data is None else patch(content, at, data)
        return content


def patch(content, offset, data):
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


def resize(content, size):
    content.extend(bytes(max(0, size - len(content))))
    del content[size:]


class Disk:
    """Names and files below `root`; a name is durable once its folder was synced.

    A file moved between two folders is in one of them, as journaling file systems have it.
    """

    def __init__(self, root):
        self.root = root
        self.now = {}
        self.durable = {}
        self.pending = {}
        self.moves = []

    def name(self, path, node):
        """Give a name to a file, a folder (``"folder"``) or, with None, to nothing."""
        if node is None:
            self.now.pop(path, None)
        else:
            self.now[path] = node
        self.pending.setdefault(path.parent, []).append((path, node))

    def sync(self, path):
        for name, node in self.pending.pop(path, ()):
            self.durable[name] = node
        if isinstance(node := self.now.get(path), File):
            node.sync()

    def image(self, target, rng=None):
        names = dict(self.durable)
        for waiting in self.pending.values() if rng else ():
            names.update(waiting[: rng.randrange(len(waiting) + 1)])
        for old, new, node in self.moves:
            if names.get(new) is node or names.get(old) is not node:
                names[new] = node
                if names.get(old) is node:
                    names[old] = None
        for path in sorted(names):
            place = target / path.relative_to(self.root)
            if not place.parent.is_dir() or path.name.endswith("-shm"):
                continue
            if names[path] == "folder":
                place.mkdir()
            elif names[path] is not None:
                place.write_bytes(names[path].left(rng))


def text_of(quoted):
    return bytes.fromhex(quoted.replace("\\x", ""))


def calls(trace):
    """Completed system calls: name, paths and strings among the arguments, the rest."""
    begun = {}
    for line in trace.read_text().splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>")
            continue
        if call.startswith("<..."):
            call = begun.pop(pid) + call.partition("resumed>")[2]
        found = re.fullmatch(r"(\w+)\((.*)\)\s+= (\d+).*", call)
        if found:
            strings = [text_of(item) for item in re.findall(r'"([^"]*)"', found[2])]
            opened = [text_of(item) for item in re.findall(r"\d<([^>]*)>", found[2])]
            yield found[1], opened, strings, found[2]


def replay(trace, root):
    """Apply one call after another; yields the disk and the answer that the call was, if any."""
    disk = Disk(root)
    for call, opened, strings, arguments in calls(trace):
        if call == "write" and arguments.startswith("1<"):
            yield disk, strings[0].decode().split()
            continue
        named = strings if call == "openat" else opened or strings
        paths = [Path(item.decode()) for item in named]
        if paths and paths[0].is_relative_to(root):
            if call in {"openat", "mkdir", "unlink", "rename"}:
                change_names(disk, call, paths, arguments)
            else:
                change_content(disk, call, paths[0], strings, arguments)
            yield disk, None


def change_names(disk, call, paths, arguments):
    if call == "openat" and "O_CREAT" in arguments and paths[0] not in disk.now:
        disk.name(paths[0], File())
    elif call == "mkdir":
        disk.name(paths[0], "folder")
    elif call == "rename":
        node = disk.now[paths[0]]
        disk.name(paths[1], node)
        if paths[0].parent != paths[1].parent:
            disk.moves.append((paths[0], paths[1], node))
    if call in {"rename", "unlink"}:
        disk.name(paths[0], None)


def change_content(disk, call, path, strings, arguments):
    if call in {"fsync", "fdatasync"}:
        disk.sync(path)
    elif call == "ftruncate":
        disk.now[path].truncate(int(arguments.rpartition(",")[2]))
    elif call == "write":
        disk.now[path].write(len(disk.now[path].data), strings[0])
    else:
        disk.now[path].write(int(arguments.rpartition(",")[2]), strings[0])


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
            answers.append(tuple(answer))
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
