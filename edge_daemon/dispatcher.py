"""Accept, dispatch, record: every step of a capture made durable before the next.

What is to be done stands in the store, not in memory: the dispatcher asks it for the oldest
unfinished captures, so a restart resumes by doing nothing special.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError, Fatal, Quarantine, Retryable
from edge_daemon.flow import Flow
from edge_daemon.log import Event
from edge_daemon.records import Decoded, Reported
from edge_daemon.tasks import Plan, Task, WorkerLimits, dataset_of
from edge_daemon.workers import ANALYSIS, Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.clock import Clock
    from edge_daemon.flow import Analysis
    from edge_daemon.log import EventLog
    from edge_daemon.records import RawCapture, Step
    from edge_daemon.store.writer import Acceptance, PendingCapture, Store

_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 60.0
_IDLE_S: Final = 5.0
_OFFER_S: Final = 1.0


class Recorder:
    """Writes what workers report into the store; the pool's `Sink`.

    Parameters
    ----------
    store
        Where it is recorded.
    log
        Events.
    ended
        Called once a task is over, with what went wrong: None or a `Quarantine` that is
        recorded; anything else is not, and the capture is still pending.
    lost
        Called when a worker process was lost over a task.
    """

    def __init__(
        self,
        store: Store,
        log: EventLog,
        ended: Callable[[Task, EdgeError | None], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._log = log
        self._ended = ended
        self._lost = lost
        # Touched by one slot's thread at a time for each key.
        self._decoded: dict[int, Decoded] = {}
        self._reported: set[int] = set()
        self._runs: set[int] = set()

    def step(self, task: Task, step: Step) -> None:
        """Make one step durable."""
        capture_id = task.capture_id
        if isinstance(step, Decoded):
            self._store.record_decoded(capture_id, step)
            self._decoded[capture_id] = step
            self._log.emit(
                Event.CAPTURE_DECODED,
                capture_id=capture_id,
                profile=step.profile,
                events=step.events,
            )
            return
        if isinstance(step, Reported):
            self._report(capture_id, step)
            return
        decoded = self._decoded.get(capture_id)
        if decoded is None:
            raise EdgeError(f"capture {capture_id} was classified before it was decoded")
        run_id = self._store.record_run(capture_id, decoded, step, species=task.species)
        self._runs.add(capture_id)
        self._log.emit(
            Event.CAPTURE_CLASSIFIED,
            capture_id=capture_id,
            run_id=run_id,
            model=step.model,
            events=decoded.events,
            elapsed_s=round(step.elapsed_s, 3),
        )

    def _report(self, capture_id: int, step: Reported) -> None:
        receipt = self._store.record_report(capture_id, step)
        self._reported.add(capture_id)
        self._log.emit(
            Event.CAPTURE_REPORTED,
            capture_id=capture_id,
            report_id=receipt.report_id,
            profile=step.profile,
            values=len(step.report.values),
            new=receipt.new,
        )

    def done(self, task: Task) -> None:
        """End a task; without a run it held no cells, or its profile is decode-only."""
        error: EdgeError | None = None
        if not self._found_anything(task.capture_id):
            self.failed(task, _nothing(task))
            return
        if task.capture_id not in self._runs:
            try:
                self._store.finish_decoded(task.capture_id)
            except EdgeError as problem:
                error = problem
        self._end(task, error)

    def _found_anything(self, capture_id: int) -> bool:
        return capture_id in self._decoded or capture_id in self._reported

    def failed(self, task: Task, error: EdgeError) -> None:
        """Quarantine the capture, or leave it pending if the same may succeed later."""
        if not isinstance(error, Retryable | Fatal):
            reason = _as_quarantine(task, error)
            error = reason
            try:
                self._store.quarantine(task.capture_id, reason)
            except EdgeError as problem:
                error = problem
            else:
                self._log.emit(
                    Event.CAPTURE_QUARANTINED, capture_id=task.capture_id, error_type=reason.code
                )
        self._end(task, error)

    def lost(self, task: Task, reason: str, attempt: int) -> None:
        """Log that a worker was lost."""
        self._lost()
        self._log.emit(
            Event.WORKER_LOST, capture_id=task.capture_id, error_type=reason, attempt=attempt
        )

    def _end(self, task: Task, error: EdgeError | None) -> None:
        self._decoded.pop(task.capture_id, None)
        self._reported.discard(task.capture_id)
        self._runs.discard(task.capture_id)
        self._ended(task, error)


def _as_quarantine(task: Task, error: EdgeError) -> Quarantine:
    """Give an error that names no class of response one: the capture waits for a person."""
    if isinstance(error, Quarantine):
        return error
    return Quarantine("not_classified", f"{task.name}: {error.message}", action=error.action)


def _nothing(task: Task) -> Quarantine:
    return Quarantine(
        "malformed",
        f"{task.name}: it holds neither cells nor a report",
        action="check on the analyzer what was sent; if there is a result, correct the profile",
    )


class Pipeline:
    """Takes captures in, keeps the workers busy with the oldest, and retries what must wait.

    Parameters
    ----------
    store
        Where everything is recorded.
    guard
        Raises `Retryable` while nothing may be taken in (`health.DiskGuard.check`).
    plan, limits, count, entry
        As for `Pool`.
    log
        Events.
    clock
        Monotonic time.

    Attributes
    ----------
    failure
        The error that ended the dispatcher, or None.
    progressed_at
        Monotonic time of its last turn, for the watchdog.
    flow
        What came, waits, ended and was lost.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        *,
        guard: Callable[[], None],
        limits: WorkerLimits,
        count: int,
        log: EventLog,
        clock: Clock,
        entry: str = ANALYSIS,
    ) -> None:
        self.failure: BaseException | None = None
        self.progressed_at = clock.monotonic()
        self.flow = Flow(clock)
        self._store = store
        self._guard = guard
        self._log = log
        self._clock = clock
        recorder = Recorder(store, log, self._ended, self.flow.lost)
        self._pool = Pool(
            plan,
            recorder,
            limits=limits,
            count=count,
            entry=entry,
            readable=(store.archive_dir,),
        )
        self._busy: set[int] = set()
        self._retries: dict[int, tuple[float, float]] = {}  # id: (not before, delay)
        self._changed = threading.Condition()
        self._news = True
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start the workers and resume everything pending, oldest first."""
        self._pool.start()
        self._thread.start()

    def stop(self, grace_s: float = 8.0) -> int:
        """Let running analyses finish for `grace_s`; return how many were left unfinished."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._pool.close(grace_s)
        if self._thread.ident is not None:
            self._thread.join(5.0)
        return len(self._store.pending())

    def check(self) -> None:
        """Raise what ended the dispatcher or a slot; do nothing while all of them run."""
        if self.failure is not None:
            raise self.failure
        self._pool.check()

    def analysis(self) -> Analysis:
        """Say what the analysis does now, for the health of the box."""
        return self.flow.analysis(self._pool.start_failure, self._pool.rejected)

    def replan(self, plan: Plan) -> None:
        """Analyse with other profiles and models from the next capture on."""
        self._pool.replan(plan)

    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the present workers."""
        return self._pool.pids()

    def accept(self, capture: RawCapture) -> Acceptance:
        """Take a capture; it is durable when this returns.

        Raises
        ------
        Retryable
            The disk is full or nearly so, or the store cannot write now.
        """
        self._guard()
        acceptance = self._store.accept(capture)
        self.flow.came(capture.source, new=acceptance.new)
        event = Event.CAPTURE_ACCEPTED if acceptance.new else Event.CAPTURE_SEEN_AGAIN
        self._log.emit(
            event,
            source=capture.source,
            capture_id=acceptance.capture_id,
            sha256=capture.sha256,
            bytes=len(capture.data),
        )
        if acceptance.new:
            self._notify()
        return acceptance

    def refuse(
        self, source: str, name: str, reason: Quarantine, capture: RawCapture | None
    ) -> None:
        """Record what is not taken; where its bytes were read, they are kept with the reason."""
        self._log.emit(Event.CAPTURE_REFUSED, source=source, error_type=reason.code)
        if capture is None:
            self._store.refuse(source, name, reason)
            return
        self._guard()
        self._store.accept(capture, reason=reason)

    def replay(self, capture_id: int) -> None:
        """Send a capture through the analysis again; earlier runs are kept."""
        self._store.requeue(capture_id)
        self._notify()

    def wake(self) -> None:
        """Look at once for captures that wait: a correction may have made one."""
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._news = True
            self._changed.notify_all()

    def _ended(self, task: Task, error: EdgeError | None) -> None:
        with self._changed:
            self._busy.discard(task.capture_id)
            if isinstance(error, Fatal):
                self.failure = error
            elif error is not None and not isinstance(error, Quarantine):
                self._postpone(task.capture_id, error)
            else:
                self._retries.pop(task.capture_id, None)
                self.flow.ended()
            self._changed.notify_all()

    def _postpone(self, capture_id: int, error: EdgeError) -> None:
        _, delay = self._retries.get(capture_id, (0.0, _FIRST_RETRY_S / 2))
        delay = min(delay * 2, _LAST_RETRY_S)
        self._retries[capture_id] = (self._clock.monotonic() + delay, delay)
        if not self._stopping:
            self._log.emit(
                Event.CAPTURE_RETRIED,
                capture_id=capture_id,
                error_type=type(error).__name__,
                delay_s=delay,
            )

    def _run(self) -> None:
        try:
            while not self._stopping and self.failure is None:
                self.progressed_at = self._clock.monotonic()
                try:
                    for pending in self._due():
                        self._submit(pending)
                except Retryable as error:
                    self._log.on_change(
                        "store", "busy", Event.STORE_BUSY, error_type=type(error).__name__
                    )
                    self._wait(_FIRST_RETRY_S)
                else:
                    self._wait(_IDLE_S)
        except BaseException as error:
            self.failure = error
            if not isinstance(error, EdgeError):
                raise

    def _due(self) -> list[PendingCapture]:
        """Unfinished captures that no worker has and that need not wait."""
        with self._changed:
            self._news = False
        pending = self._store.pending()
        self.flow.waits(len(pending))
        now = self._clock.monotonic()
        with self._changed:
            known = {item.capture_id for item in pending}
            self._retries = {key: at for key, at in self._retries.items() if key in known}
            return [
                item
                for item in pending
                if item.capture_id not in self._busy
                and self._retries.get(item.capture_id, (now, 0.0))[0] <= now
            ]

    def _submit(self, item: PendingCapture) -> None:
        with self._changed:
            self._busy.add(item.capture_id)
        while not self._stopping and not self._pool.offer(task_for(item), _OFFER_S):
            self.progressed_at = self._clock.monotonic()

    def _wait(self, seconds: float) -> None:
        now = self._clock.monotonic()
        with self._changed:
            waits = [at - now for key, (at, _) in self._retries.items() if key not in self._busy]
            seconds = max(min([seconds, *waits]), 0.0)
            if not (self._news or self._stopping or self.failure):
                self._changed.wait(seconds)


def task_for(
    item: PendingCapture, *, profile: str | None = None, dataset: int | None = None
) -> Task:
    """Describe the analysis of a stored capture; by default as it was decoded before, if it was."""
    return Task(
        capture_id=item.capture_id,
        path=str(item.path),
        sha256=item.sha256,
        instrument=item.instrument,
        source=item.source,
        name=item.name,
        profile=profile or item.profile,
        dataset=dataset_of(item.notes) if dataset is None else dataset,
        species=item.species,
    )
