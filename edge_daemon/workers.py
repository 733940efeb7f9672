"""Disposable worker processes: one capture at a time each, memory and CPU limited.

Captures are untrusted bytes. Whatever one does to the process that decodes it (crash, hang,
devour memory), the service lives, the capture is tried once more in a fresh process and then
quarantined, and between the two attempts the captures behind it have their turn. A worker can
read code, profiles, models and the archive, and nothing else (`sandbox`); what comes back from it
is untrusted too, and checked (`answers`).
"""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from edge_daemon.errors import EdgeError, Fatal, Quarantine, Retryable
from edge_daemon.worker_handle import Worker, WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_daemon.records import Step
    from edge_daemon.tasks import Plan, Task, WorkerLimits

ANALYSIS: Final = "edge_daemon.analysis:Analyst"
_IDLE_S: Final = 1.0
_ATTEMPTS: Final = 2


class Sink(Protocol):
    """Receives what happens to tasks, in the pool's threads, one call at a time per task."""

    def step(self, task: Task, step: Step) -> None:
        """Make one step durable; the next one is taken from the worker only afterwards."""

    def done(self, task: Task) -> None:
        """Note that the task ended well."""

    def failed(self, task: Task, error: EdgeError) -> None:
        """Note that the task ended with this error."""

    def lost(self, task: Task, reason: str, attempt: int) -> None:
        """Note that a worker was lost over this task: ``worker_died`` or ``worker_timeout``."""


class Pool:
    """A fixed number of slots, each a thread that drives one worker process.

    Parameters
    ----------
    plan
        Handed to the analysis once, when a worker starts.
    sink
        Receives what happens.
    limits
        Of each worker.
    count
        Slots.
    entry
        ``module:callable`` that a worker calls with the plan; the result is called with each
        task and yields its steps.
    readable
        Folders that a worker may read beside the plan's and Python's own: the archive.

    Attributes
    ----------
    start_failure
        Why no worker process could be started at the last try; empty once one was.
    rejected
        Model bundles that the workers do not use, each with the reason.
    """

    def __init__(
        self,
        plan: Plan,
        sink: Sink,
        *,
        limits: WorkerLimits,
        count: int,
        entry: str = ANALYSIS,
        readable: Sequence[Path] = (),
    ) -> None:
        self.start_failure = ""
        self.rejected: tuple[tuple[str, str], ...] = ()
        self._plan = plan
        self._sink = sink
        self._limits = limits
        self._entry = entry
        self._readable = readable
        # One task may wait for each busy slot: enough to never idle, little to lose.
        self._queue: queue.Queue[Task | None] = queue.Queue(maxsize=count)
        # Captures over which a worker was lost, and how many others had their turn since.
        self._again: collections.deque[Task] = collections.deque()
        self._passed = 0
        self._closing = threading.Event()
        self._workers: dict[int, Worker] = {}
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._serve, args=(slot,), name=f"slot-{slot}", daemon=True)
            for slot in range(count)
        ]

    def start(self) -> None:
        """Start the slots; the workers warm up in the background."""
        for thread in self._threads:
            thread.start()

    def offer(self, task: Task, timeout_s: float) -> bool:
        """Queue a task; False if all slots stayed busy for so long, or the pool closes."""
        if self._closing.is_set():
            return False
        try:
            self._queue.put(task, timeout=timeout_s)
        except queue.Full:
            return False
        return True

    def replan(self, plan: Plan) -> None:
        """Give workers another plan: each is replaced before its next task."""
        self._plan = plan

    def pids(self) -> tuple[int, ...]:
        """Process ids of the present workers."""
        with self._lock:
            return tuple(worker.pid for worker in self._workers.values())

    def check(self) -> None:
        """Raise `Fatal` if a slot's thread has ended by a defect: its task would wait for ever."""
        for thread in self._threads:
            if not thread.is_alive():
                raise Fatal(
                    f"the thread {thread.name} of the worker pool ended",
                    action="see the journal; please report it",
                )

    def close(self, grace_s: float = 8.0) -> None:
        """Let running tasks finish for `grace_s`, then kill; queued ones fail as Retryable."""
        self._closing.set()
        for _ in self._threads:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(None)
        with self._lock:
            for worker in self._workers.values():
                if not worker.ready:
                    worker.kill()
        deadline = time.monotonic() + grace_s
        started = [thread for thread in self._threads if thread.ident is not None]
        for thread in started:
            thread.join(max(deadline - time.monotonic(), 0.0))
        with self._lock:
            for worker in self._workers.values():
                worker.kill()
        for thread in started:
            thread.join(5.0)
        with contextlib.suppress(queue.Empty):
            while True:
                if (task := self._queue.get_nowait()) is not None:
                    self._sink.failed(task, _stopping())
        while self._again:
            self._sink.failed(self._again.popleft(), _stopping())

    def _serve(self, slot: int) -> None:
        with contextlib.suppress(Retryable):  # the first task tries again and reports
            self._worker(slot)
        while (turn := self._take()) is not None:
            self._attempt(slot, *turn)
        self._discard(slot)

    def _take(self) -> tuple[Task, int] | None:
        """Wait for a task and say which attempt it is; None once the pool closes."""
        while not self._closing.is_set():
            with self._lock:
                others = not self._queue.empty() and self._passed < len(self._threads)
                if self._again and not others:
                    self._passed = 0
                    return self._again.popleft(), _ATTEMPTS
            with contextlib.suppress(queue.Empty):
                task = self._queue.get(timeout=_IDLE_S)
                self._passed += 1
                return None if task is None else (task, 1)
        return None

    def _attempt(self, slot: int, task: Task, attempt: int) -> None:
        try:
            for step in self._worker(slot).steps(task):
                self._hand_over(slot, task, step)
        except WorkerLostError as lost:
            self._discard(slot)
            if self._closing.is_set():
                return self._sink.failed(task, _stopping())
            self._sink.lost(task, lost.code, attempt)
            if attempt == _ATTEMPTS:
                return self._sink.failed(task, _quarantine(task, lost))
            self._passed = 0
            return self._again.append(task)
        except EdgeError as error:
            return self._sink.failed(task, error)
        return self._sink.done(task)

    def _hand_over(self, slot: int, task: Task, step: Step) -> None:
        try:
            self._sink.step(task, step)
        except EdgeError:
            self._discard(slot)  # it stands between two steps and cannot take another task
            raise

    def _worker(self, slot: int) -> Worker:
        worker = self._workers.get(slot)
        plan = self._plan
        if worker is not None and (worker.worn or worker.plan is not plan):
            self._discard(slot)
            worker = None
        try:
            if worker is None:
                worker = Worker(plan, self._limits, self._entry, self._readable)
                with self._lock:
                    self._workers[slot] = worker
            worker.wait_ready()
        except Retryable as error:
            if not self._closing.is_set():
                self.start_failure = error.message
            self._discard(slot)
            raise
        self.start_failure, self.rejected = "", worker.rejected
        return worker

    def _discard(self, slot: int) -> None:
        with self._lock:
            worker = self._workers.pop(slot, None)
        if worker is not None:
            worker.end()


def _stopping() -> Retryable:
    return Retryable("the service stopped before the analysis was finished")


def _quarantine(task: Task, lost: WorkerLostError) -> Quarantine:
    return Quarantine(
        lost.code,
        f"{task.name}: the analysis {lost.detail}, {_ATTEMPTS} times",
        action="keep the file, send it with a support bundle, and export the run again",
    )
