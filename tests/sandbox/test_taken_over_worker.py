"""Code of somebody else in a real worker of a running pipeline: what it can do to the box."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import attacks
import pytest

from edge_daemon import sandbox
from edge_daemon.clock import SystemClock
from edge_daemon.records import RawCapture
from edge_daemon.store import queries
from edge_daemon.store.writer import Store
from edge_daemon.tasks import Plan, Task, WorkerLimits
from edge_daemon.workers import Pool

pytestmark = pytest.mark.skipif(
    bool(sandbox.missing()), reason=f"system: the kernel lacks {', '.join(sandbox.missing())}"
)


class Sink:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.notes: list[str] = []
        self.error: Exception | None = None

    def step(self, task, step):
        self.notes += step.notes

    def done(self, task):
        self.over.set()

    def failed(self, task, error):
        self.error = error
        self.over.set()

    def lost(self, task, reason, attempt): ...


def unread(path: Path) -> tuple[int, ...]:
    """What a status says but for the time of the last read."""
    status = path.stat()
    return status.st_mode, status.st_uid, status.st_ino, status.st_size, status.st_mtime_ns


def test_it_reads_the_archive_and_changes_and_reaches_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(attacks.__file__).parent), prepend=":")
    data = b"FCS3.1"
    digest = hashlib.sha256(data).hexdigest()
    with Store.open(tmp_path / "data", SystemClock()) as store:
        store.accept(RawCapture("i", "s", "a.fcs", digest, data))
        (pending,) = store.pending()
        before = unread(pending.path)
        sink = Sink()
        pool = Pool(
            Plan((), (), 1), sink, limits=WorkerLimits(), count=1, entry="attacks:take_over",
            readable=(store.archive_dir,),
        )  # fmt: skip
        pool.start()
        database = str(tmp_path / "data" / "edge.sqlite3")
        assert pool.offer(Task(1, str(pending.path), digest, "i", "s", database), 10.0)
        assert sink.over.wait(120.0)
        pool.close(0.0)
        assert sink.error is None
        tried = dict(note.rsplit("=", 1) for note in sink.notes)
        assert len(tried) == 2 * len(attacks.WRITING) + len(attacks.READING) + len(attacks.REACHING)
        assert {name for name, what in tried.items() if what == "done"} == set()
        assert unread(pending.path) == before
        assert pending.path.read_bytes() == data
        assert [path.name for path in pending.path.parent.iterdir()] == [f"{digest}.raw"]
    db = queries.connect(tmp_path / "data")
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert db.execute("SELECT name FROM sqlite_schema WHERE name = 'mine'").fetchall() == []
    db.close()
