"""Workers that crash, hang, starve and lie, as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_daemon.errors import EdgeError, Quarantine, Retryable
from edge_daemon.records import Classified, Decoded, Step
from edge_daemon.tasks import Plan, Task, WorkerLimits
from edge_daemon.worker_handle import rss_bytes
from edge_daemon.workers import Pool

POISON = """
import os, signal, time
from dataclasses import replace
from pathlib import Path
from edge_daemon.errors import Quarantine, Retryable
from edge_daemon.records import Classified, Decoded, Measurement, SampleInfo

DECODED = Decoded("p/1", "0" * 64, 3, ("LA.H",), SampleInfo(sample_id="S"))
COUNTS = {"pure_rbc": 0, "reticulocyte": 0, "clumped_rbc": 0, "platelet": 0, "other": 3}
CLASSIFIED = Classified("m@1", "1" * 64, COUNTS, (), ())


def open_bench(plan):
    if "unstartable" in str(plan.profile_dirs):
        raise RuntimeError("no")
    return run


def run(task):
    what = task.name.partition(".")[0]
    if what == "badmatch":
        raise Quarantine("no_profile", "not known", action="add one", candidates=("a/1",))
    if what == "later":
        raise Retryable("disk away")
    yield DECODED
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "once" and Path(task.path).exists():  # until the service has noticed
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(3)
    if what == "hang":
        time.sleep(3600)
    if what == "spin":
        while True:
            pass
    if what == "hog":
        hoard = bytearray(3 << 30)
        hoard[::4096] = b"x" * len(hoard[::4096])
    if what == "bug":
        {}["missing"]
    if what == "lie":
        yield replace(CLASSIFIED, counts=COUNTS | {"other": 4})
    if what == "nan":
        rbc = Measurement("RBC", float("nan"), "10*6/uL", None, None, "counted")
        yield replace(CLASSIFIED, measurements=(rbc,))
    if what == "signal":
        os.kill(os.getpid(), 40)
    if what == "keep":
        globals().setdefault("kept", []).append(b"x" * (200 << 20))
    yield CLASSIFIED
"""


class Record:
    """A sink that remembers everything."""

    def __init__(self) -> None:
        self.steps: dict[int, list[Step]] = {}
        self.finished: list[int] = []
        self.errors: dict[int, EdgeError] = {}
        self.losses: list[tuple[int, str, int]] = []
        self.trouble: EdgeError | None = None
        self.during: threading.Event | None = None

    def step(self, task: Task, step: Step) -> None:
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        self.steps.setdefault(task.capture_id, []).append(step)

    def done(self, task: Task) -> None:
        self.finished.append(task.capture_id)

    def failed(self, task: Task, error: EdgeError) -> None:
        self.errors[task.capture_id] = error
        self.finished.append(task.capture_id)

    def lost(self, task: Task, reason: str, attempt: int) -> None:
        Path(task.path).unlink(missing_ok=True)
        self.losses.append((task.capture_id, reason, attempt))


class Bench:
    def __init__(self, folder: Path, wait) -> None:
        self.folder = folder
        self.wait = wait
        self.record = Record()
        self.pools: list[Pool] = []
        self._next = 0

    def pool(self, *, count: int = 1, plan: str = "profiles", **limits) -> Pool:
        pool = Pool(
            Plan((Path(plan),), (), 1 << 20),
            self.record,
            limits=WorkerLimits(**limits),
            count=count,
            entry="poison_bench:open_bench",
        )
        pool.start()
        self.pools.append(pool)
        return pool

    def offer(self, pool: Pool, what: str) -> int:
        self._next += 1
        task = Task(self._next, str(self.folder / "marker"), "0" * 64, "i", "s", f"{what}.fcs")
        self.wait(lambda: pool.offer(task, 0.1))
        return self._next

    def run(self, pool: Pool, what: str) -> int:
        number = self.offer(pool, what)
        self.wait(lambda: number in self.record.finished)
        return number


@pytest.fixture
def bench(tmp_path: Path, monkeypatch, wait_until) -> Iterator[Bench]:
    (tmp_path / "poison_bench.py").write_text(textwrap.dedent(POISON))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Bench(tmp_path, wait_until)
    yield made
    for pool in made.pools:
        pool.close(0.0)


def test_steps_come_back_in_order(bench):
    number = bench.run(bench.pool(), "good")
    first, second = bench.record.steps[number]
    assert isinstance(first, Decoded)
    assert isinstance(second, Classified)
    assert first.sample.sample_id == "S"
    assert bench.record.errors == {}


def test_errors_come_back_as_themselves_and_cost_no_worker(bench):
    pool = bench.pool()
    bench.run(pool, "good")
    pids = pool.pids()
    error = bench.record.errors[bench.run(pool, "badmatch")]
    assert isinstance(error, Quarantine)
    assert (error.code, error.action, error.candidates) == ("no_profile", "add one", ("a/1",))
    assert isinstance(bench.record.errors[bench.run(pool, "later")], Retryable)
    bench.run(pool, "good")
    assert pool.pids() == pids


@pytest.mark.parametrize(
    ("what", "code", "why"),
    [
        ("segfault", "worker_died", "SIGSEGV"),
        ("exit", "worker_died", "exit status 3"),
        ("hog", "worker_died", "MemoryError"),
        ("bug", "worker_died", "KeyError"),
        ("lie", "worker_died", "4 cells counted of 3 events"),
        ("signal", "worker_died", "signal 40"),
        ("hang", "worker_timeout", "longer than 0.5 s"),
        ("spin", "worker_timeout", "more than 1 s of CPU"),
    ],
)
def test_poison_is_tried_twice_then_quarantined_and_the_next_is_analysed(bench, what, code, why):
    pool = bench.pool(memory_mb=512, cpu_s=1, wall_s=0.5 if what == "hang" else 30.0)
    number = bench.run(pool, what)
    error = bench.record.errors[number]
    assert isinstance(error, Quarantine)
    assert error.code == code
    assert why in error.message
    assert f"{what}.fcs" in error.message
    assert error.action
    assert bench.record.losses == [(number, code, 1), (number, code, 2)]
    following = bench.run(pool, "good")
    assert len(bench.record.steps[following]) == 2


def test_a_value_that_is_no_number_is_not_classified_and_costs_no_worker(bench):
    pool = bench.pool()
    bench.run(pool, "good")
    pids = pool.pids()
    error = bench.record.errors[bench.run(pool, "nan")]
    assert isinstance(error, Quarantine)
    assert error.code == "not_classified"
    assert "finite" in error.message
    assert pool.pids() == pids


def test_what_is_behind_a_poison_file_waits_for_one_attempt_only(bench):
    pool = bench.pool(cpu_s=1)
    poison = bench.offer(pool, "spin")
    behind = [bench.offer(pool, "good") for _ in range(3)]
    bench.wait(lambda: poison in bench.record.finished)
    assert bench.record.losses == [(poison, "worker_timeout", n) for n in (1, 2)]
    assert bench.record.finished.index(behind[0]) < bench.record.finished.index(poison)
    bench.wait(lambda: set(behind) <= set(bench.record.finished))
    assert list(bench.record.errors) == [poison]


def test_a_worker_killed_once_costs_nothing(bench):
    (bench.folder / "marker").touch()
    number = bench.run(bench.pool(), "once")
    assert bench.record.errors == {}
    assert bench.record.losses == [(number, "worker_died", 1)]
    assert isinstance(bench.record.steps[number][-1], Classified)


def test_poison_in_one_slot_does_not_delay_the_other(bench):
    pool = bench.pool(count=2, wall_s=3600.0)
    bench.offer(pool, "hang")
    good = [bench.run(pool, "good") for _ in range(5)]
    assert set(good) == set(bench.record.finished)


def test_a_worker_is_replaced_after_its_tasks_and_when_it_grows(bench):
    pool = bench.pool(tasks=2)
    bench.run(pool, "good")
    first = pool.pids()
    bench.run(pool, "good")
    assert pool.pids() == first
    bench.run(pool, "good")
    assert pool.pids() != first

    greedy = bench.pool(memory_mb=300)
    bench.run(greedy, "keep")
    before = greedy.pids()
    assert rss_bytes(before[0]) > 150 << 20
    bench.run(greedy, "good")
    assert greedy.pids() != before


def test_a_step_that_cannot_be_stored_fails_the_task_and_leaves_the_slot_usable(bench):
    pool = bench.pool()
    bench.record.trouble = Retryable("disk full")
    number = bench.run(pool, "good")
    assert isinstance(bench.record.errors[number], Retryable)
    following = bench.run(pool, "good")
    assert [type(step) for step in bench.record.steps[following]] == [Decoded, Classified]


def test_a_worker_that_cannot_start_is_no_fault_of_the_capture(bench):
    number = bench.run(bench.pool(plan="unstartable"), "good")
    assert isinstance(bench.record.errors[number], Retryable)
    assert bench.record.losses == []


def test_closing_gives_unfinished_tasks_back(bench):
    pool = bench.pool(wall_s=3600.0)
    number = bench.offer(pool, "hang")
    bench.wait(lambda: bench.record.steps.get(number))
    waiting = bench.offer(pool, "good")
    pids = pool.pids()
    pool.close(0.0)
    assert isinstance(bench.record.errors[number], Retryable)
    assert isinstance(bench.record.errors[waiting], Retryable)
    assert not pool.offer(Task(99, "", "", "", "", ""), 0.0)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_workers_die_with_a_killed_service(bench, tmp_path):
    script = textwrap.dedent("""
        import sys, threading
        from pathlib import Path
        from edge_daemon.tasks import Plan, Task, WorkerLimits
        from edge_daemon.workers import Pool
        class Sink:
            def step(self, task, step):
                print(*pool.pids(), flush=True)
            def done(self, task): ...
            def failed(self, task, error): ...
            def lost(self, task, reason, attempt): ...
        pool = Pool(Plan((), (), 1), Sink(), limits=WorkerLimits(wall_s=3600.0, cpu_s=3600),
                    count=1, entry="poison_bench:open_bench")
        pool.start()
        pool.offer(Task(1, "", "", "", "", "spin.fcs"), 1.0)
        threading.Event().wait()
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        pid = int(process.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        os.kill(process.pid, signal.SIGKILL)
        bench.wait(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
