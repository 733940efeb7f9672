"""Accept, dispatch, record: with a real store and real worker processes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.dispatcher import Pipeline
from edge_daemon.errors import Quarantine, Retryable
from edge_daemon.health import DiskGuard
from edge_daemon.log import EventLog
from edge_daemon.pipeline import default_plan
from edge_daemon.records import RawCapture
from edge_daemon.store import queries
from edge_daemon.store.writer import Store
from edge_daemon.tasks import WorkerLimits


class Bench:
    def __init__(self, folder: Path, wait: Callable[..., None]) -> None:
        self.data = folder / "data"
        self.wait = wait
        self.stream = io.StringIO()
        self.log = EventLog("debug", self.stream)
        self.store = Store.open(self.data, SystemClock())
        self.pipelines: list[Pipeline] = []

    def pipeline(self, *, guard=lambda: None, start: bool = True) -> Pipeline:
        made = Pipeline(
            self.store,
            default_plan(),
            guard=guard,
            limits=WorkerLimits(),
            count=1,
            log=self.log,
            clock=SystemClock(),
        )
        if start:
            made.start()
        self.pipelines.append(made)
        return made

    def states(self) -> dict[str, int]:
        db = queries.connect(self.data)
        try:
            return {k: n for k, n in queries.status(db)["states"].items() if n}
        finally:
            db.close()

    def rows(self, query: str) -> list[tuple]:
        db = queries.connect(self.data)
        try:
            return [tuple(row) for row in db.execute(query)]
        finally:
            db.close()

    def idle(self) -> bool:
        return not self.store.pending()

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.stream.getvalue().splitlines()]

    def close(self) -> None:
        for pipeline in self.pipelines:
            pipeline.stop(0.0)
        self.store.close()


@pytest.fixture
def bench(tmp_path: Path, wait_until) -> Iterator[Bench]:
    made = Bench(tmp_path, wait_until)
    yield made
    made.close()


@pytest.fixture
def captures(cohort: Path) -> list[RawCapture]:
    made = []
    for path in sorted(cohort.glob("*.fcs")):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        made.append(RawCapture("an1", "src", path.name, digest, data))
    return made


def test_captures_become_results(bench, captures):
    pipeline = bench.pipeline()
    assert [pipeline.accept(capture).new for capture in captures] == [True] * 12
    bench.wait(bench.idle)
    assert bench.states() == {"classified": 12}
    assert bench.rows("SELECT count(DISTINCT capture_id), count(*) FROM runs") == [(12, 12)]
    pipeline.check()


def test_known_bytes_are_not_analysed_again(bench, captures):
    pipeline = bench.pipeline()
    first = pipeline.accept(captures[0])
    bench.wait(bench.idle)
    assert pipeline.accept(captures[0]).capture_id == first.capture_id
    assert not pipeline.accept(captures[0]).new
    bench.wait(bench.idle)
    assert bench.rows("SELECT count(*) FROM runs") == [(1,)]
    assert bench.events().count("capture_seen_again") == 2


def test_what_was_accepted_before_a_crash_is_resumed_oldest_first(bench, captures):
    for capture in captures:
        bench.store.accept(capture)
    bench.pipeline()
    bench.wait(bench.idle)
    order = [row[0] for row in bench.rows("SELECT capture_id FROM runs ORDER BY id")]
    assert order == sorted(order)
    assert len(order) == 12


def test_a_replay_makes_the_next_run(bench, captures):
    pipeline = bench.pipeline()
    number = pipeline.accept(captures[0]).capture_id
    bench.wait(bench.idle)
    pipeline.replay(number)
    bench.wait(lambda: bench.rows("SELECT max(number) FROM runs") == [(2,)])


def test_a_stalled_file_is_quarantined_with_its_bytes(bench, captures):
    pipeline = bench.pipeline()
    reason = Quarantine("stalled", "stopped growing", action="export again")
    pipeline.refuse("src", "a.fcs", reason, captures[0])
    ((state, code),) = bench.rows("SELECT state, reason_code FROM captures")
    assert (state, code) == ("quarantined", "stalled")
    assert bench.store.read_capture(1).data == captures[0].data


def test_what_was_never_read_is_recorded_by_name(bench):
    reason = Quarantine("refused", "a link", action="copy it")
    bench.pipeline(start=False).refuse("src", "a.fcs", reason, None)
    assert bench.rows("SELECT name, code FROM refusals") == [("a.fcs", "refused")]
    assert "a.fcs" not in bench.stream.getvalue()


def test_intake_stops_while_the_disk_is_nearly_full(bench, captures):
    guard = DiskGuard(bench.data, 1 << 40, bench.log)
    pipeline = bench.pipeline(guard=guard.check)
    for _ in range(3):
        with pytest.raises(Retryable, match="MB free"):
            pipeline.accept(captures[0])
    assert bench.states() == {}
    assert bench.events() == ["disk_low"]


def test_a_worker_killed_in_the_middle_loses_nothing(bench, captures):
    pipeline = bench.pipeline()
    for capture in captures:
        pipeline.accept(capture)
        for pid in pipeline.worker_pids():
            os.kill(pid, signal.SIGKILL)
    bench.wait(bench.idle)
    states = bench.states()
    assert sum(states.values()) == 12
    assert set(states) <= {"classified", "quarantined"}
    codes = {row[0] for row in bench.rows("SELECT reason_code FROM captures")}
    assert codes <= {None, "worker_died"}


def test_a_damaged_archive_is_noticed(bench, captures):
    bench.store.accept(captures[0])
    (item,) = bench.store.pending()
    item.path.write_bytes(b"not what was accepted")
    bench.pipeline()
    bench.wait(bench.idle)
    ((code, message),) = bench.rows("SELECT reason_code, reason_message FROM captures")
    assert code == "archive_damaged"
    assert "damaged" in message


def test_what_cannot_be_done_now_is_done_later(bench, captures):
    bench.store.accept(captures[0])
    (item,) = bench.store.pending()
    folder = item.path.parent
    folder.rename(folder.with_name("away"))
    folder.symlink_to(folder)  # ELOOP: the disk's fault, not the capture's
    bench.pipeline()
    bench.wait(lambda: "capture_retried" in bench.events())
    assert bench.states() == {"received": 1}
    folder.unlink()
    folder.with_name("away").rename(folder)
    bench.wait(bench.idle)
    assert bench.states() == {"classified": 1}


def test_stopping_tells_how_much_is_left(bench, captures):
    for capture in captures:
        bench.store.accept(capture)
    assert bench.pipeline(start=False).stop(0.0) == 12
