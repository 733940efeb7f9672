"""What the service does for its data when nobody looks: backups, checks, the archive's budget.

One thread runs one job at a time, in small steps and with pauses, so that a job that hangs on a
bad disk delays no capture and no heartbeat. Due times count on the monotonic clock, or between
two boots on wall time that both trust; a jump of the clock brings at most one job forward and
never puts one off for ever.
"""

from __future__ import annotations

import contextlib
import json
import threading
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.ballast import BALLAST_MB
from edge_daemon.clock import Stamp, elapsed_s
from edge_daemon.conditions import Finding
from edge_daemon.errors import EdgeError, Fatal, Retryable
from edge_daemon.log import Event
from edge_daemon.store import layout, retention, statistics, verify
from edge_daemon.store.backup import MAX_LOG, DamagedError, back_up
from edge_daemon.store.deleting import mark_deleted, remove_deleted
from edge_daemon.store.reader import connect
from edge_daemon.store.sending import remember
from edge_daemon.store.soundness import check, drop_cached, leave_mark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.ballast import Ballast
    from edge_daemon.clock import Clock
    from edge_daemon.health import DiskGuard
    from edge_daemon.log import EventLog
    from edge_daemon.store.writer import Store

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

_TURN_S: Final = 10.0
_FIRST_S: Final = 60.0  # intake and analysis start first
_SETTLED_S: Final = HOUR
_FIRST_RETRY_S: Final = 15 * 60.0
_ROUND_TURN_S: Final = 120.0
_PAUSE_S: Final = 0.05  # after each MiB that is read
_DAYS_KEPT: Final = 3660
_LISTED: Final = 50

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that is done again and again.

    Attributes
    ----------
    name
        In ``meta`` (after ``upkeep.``), in events and in `status`.
    every_s
        How often.
    work
        Does it and says what came of it. Retryable: it is tried again sooner.
    turn_s
        Of a job that goes round in many small turns (``last`` of what it found is not 0 until
        the round is over): how often a turn is made. Turns are written down once an hour, to
        spare the card.
    """

    name: str
    every_s: float
    work: Callable[[], Found]
    turn_s: float | None = None


def is_due(last: Stamp | None, now: Stamp, every_s: float) -> bool:
    """Whether something last done at `last` is to be done now.

    Where no clock tells how long ago that was (never, or before a restart with a clock that is
    not trusted), it is due once the box has been up for an hour: not at every restart, and
    sooner or later after each.
    """
    gone = None if last is None else elapsed_s(last, now)
    if gone is None:
        return now.monotonic_s >= min(every_s, _SETTLED_S)
    return gone >= every_s


class Upkeep:
    """The thread.

    Parameters
    ----------
    store
        The service's store.
    data_dir
        Its data directory.
    rule
        Budget of the archive.
    disk
        Says how much is free.
    ballast
        Made again when there is room.
    clock
        Time.
    log
        Events.

    Attributes
    ----------
    failure
        Why the service must end: the database is damaged, and the next start replaces it.
    progressed_at
        Monotonic time of its last step.
    """

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        rule: retention.Rule,
        *,
        disk: DiskGuard,
        ballast: Ballast,
        clock: Clock,
        log: EventLog,
    ) -> None:
        self.failure: BaseException | None = None
        self.progressed_at = clock.monotonic()
        self._store = store
        self._data_dir = data_dir
        self._rule = rule
        self._disk = disk
        self._ballast = ballast
        self._clock = clock
        self._log = log
        self._stopping = threading.Event()
        self._records: dict[str, Found] = {}
        self._written: dict[str, float] = {}
        self._not_before: dict[str, tuple[float, float]] = {}
        self._jobs = (
            Job("quick_check", DAY, partial(self._check, "quick_check")),
            Job("retention", DAY, self._retain),  # before the backup, which then knows what is gone
            Job("backup", DAY, self._back_up),
            Job("integrity_check", 7 * DAY, partial(self._check, "integrity_check")),
            Job("results", DAY, self._verify_results, turn_s=_ROUND_TURN_S),
            Job("archive", DAY, self._verify_archive, turn_s=_ROUND_TURN_S),
        )
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End what can be ended; a job that hangs on the disk ends with the process."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(2.0)

    def check(self) -> None:
        """Raise what ended the thread; do nothing while it runs."""
        if self.failure is not None:
            raise self.failure

    def describe(self) -> dict[str, Found]:
        """Return what is written down of each job, by its name."""
        return dict(self._records)

    def findings(self) -> list[Finding]:
        """Say what a person should know."""
        found = [
            Finding("upkeep_failing", name, {"reason": record["problem"]})
            for name, record in self._records.items()
            if record.get("problem")
        ]
        for name, code in (("results", "result_damaged"), ("archive", "archive_damaged")):
            damaged = self._found(name).get("damaged", ())
            if damaged:
                values: dict[str, str | int] = {"number": len(damaged), "first": damaged[0]}
                found.append(Finding(code, values=values))
        return [*found, *self._of_recovery(), *self._of_budget()]

    def _of_recovery(self) -> list[Finding]:
        done = self._store.recovery
        if done is None:
            return []
        values: dict[str, str | int] = {
            "why": done.why,
            "taken": done.taken,
            "missing": done.missing,
        }
        return [Finding("database_replaced", values=values)]

    def _of_budget(self) -> list[Finding]:
        found = self._found("retention")
        budget = self._rule.max_bytes
        if budget is None or found.get("bytes", 0) <= budget or found.get("deletable"):
            return []
        values = {"used_gb": f"{found['bytes'] / 1e9:.1f}", "budget_gb": f"{budget / 1e9:g}"}
        return [Finding("archive_over_budget", values=values)]

    def _run(self) -> None:
        try:
            with contextlib.suppress(Retryable), closing(connect(self._data_dir)) as db:
                self._records = statistics.upkeep(db)
            if self._store.after_crash:
                self._records.pop("quick_check", None)
            if self._stopping.wait(_FIRST_S):
                return
            while not self._stopping.is_set():
                self._turn()
                self._stopping.wait(_TURN_S)
        except BaseException as error:
            self.failure = error
            if not isinstance(error, EdgeError):
                raise

    def _turn(self) -> None:
        """Run what is due."""
        self._keep_ballast()
        for job in self._jobs:
            self.progressed_at = now = self._clock.monotonic()
            if self._stopping.is_set() or self._not_before.get(job.name, (now, 0.0))[0] > now:
                continue
            stamp = self._clock.stamp()
            round_on = job.turn_s is not None and self._cursor(job.name)
            every = job.turn_s if job.turn_s is not None and round_on else job.every_s
            if is_due(self._last(job.name), stamp, every):
                self._do(job, stamp)

    def _last(self, name: str) -> Stamp | None:
        """When a job was last done; a stamp that was damaged on the disk is none."""
        try:
            stamp = Stamp(**self._records[name]["done"])
            datetime.fromisoformat(stamp.wall)
            return replace(stamp, monotonic_s=float(stamp.monotonic_s))
        except (KeyError, TypeError, ValueError):
            return None

    def _do(self, job: Job, stamp: Stamp) -> None:
        """Run one job and write down what came of it."""
        record: Found = (
            {"done": None} | self._records.get(job.name, {}) | {"found": self._found(job.name)}
        )
        try:
            found = job.work()
        except Retryable as error:
            if self._stopping.is_set():
                return
            self._postpone(job)
            record = record | {"tried": asdict(stamp), "problem": error.message}
            self._log.emit(Event.UPKEEP_FAILED, job=job.name, error_type=type(error).__name__)
        else:
            self._not_before.pop(job.name, None)
            now = asdict(stamp)
            record = {"done": now, "tried": now, "problem": None, "found": found}
            if job.turn_s is None:
                self._log.emit(Event.UPKEEP_DONE, job=job.name)
        self._records = self._records | {job.name: record}
        written = self._written.get(job.name, float("-inf"))
        if not record["found"].get("last") or stamp.monotonic_s - written >= HOUR:
            self._written[job.name] = stamp.monotonic_s
            with contextlib.suppress(Retryable):  # known in memory, and written the next time
                remember(self._store, statistics.UPKEEP_KEY + job.name, json.dumps(record))

    def _postpone(self, job: Job) -> None:
        _, delay = self._not_before.get(job.name, (0.0, _FIRST_RETRY_S / 2))
        delay = min(delay * 2, max(job.every_s / 4, _FIRST_RETRY_S))
        self._not_before[job.name] = (self._clock.monotonic() + delay, delay)

    def _keep_on(self) -> bool:
        """Whether a long reader may go on: nobody stops it and the log has not grown too large."""
        self.progressed_at = self._clock.monotonic()
        log = layout.database_path(self._data_dir).with_name(f"{layout.DATABASE_NAME}-wal")
        try:
            return not self._stopping.is_set() and log.stat().st_size <= MAX_LOG
        except OSError:
            return not self._stopping.is_set()

    def _gently(self) -> bool:
        """As `_keep_on`, after a pause that leaves the disk to others."""
        self._stopping.wait(_PAUSE_S)
        return self._keep_on()

    def _keep_ballast(self) -> None:
        if not self._ballast.held and self._disk.has_room(BALLAST_MB) and self._ballast.make():
            self._log.emit(Event.BALLAST_MADE, free_mb=self._disk.free_mb())

    def _back_up(self) -> Found:
        try:
            file, made = back_up(self._data_dir, keep_on=self._gently)
        except DamagedError as error:
            self._confirm(error.message)
            raise Retryable(error.message, action=error.action) from error
        return {"file": file.name, "made": made, "bytes": file.stat().st_size}

    def _check(self, depth: Any) -> Found:
        database = layout.database_path(self._data_dir)
        found = check(database, depth, keep_on=self._keep_on)
        if found is not None:
            self._confirm(found)
        return {"sound": True}

    def _confirm(self, found: str) -> None:
        """Look again, at the disk itself; damage that is still there ends the service."""
        database = layout.database_path(self._data_dir)
        drop_cached(database)
        again = check(database, "integrity_check", keep_on=self._keep_on)
        if again is None:
            return
        leave_mark(self._data_dir, again)
        self._log.emit(Event.STORE_DAMAGED, error_type="check")
        raise Fatal(
            f"{database}: the database is damaged: {found}",
            action="restart the service: it sets the database aside, restores the newest good"
            " backup and takes in again what came after it",
        )

    def _verify_results(self) -> Found:
        with closing(connect(self._data_dir)) as db:
            turn = verify.verify_results(db, self._cursor("results"))
        return self._note_turn("results", turn, Event.RESULT_DAMAGED)

    def _verify_archive(self) -> Found:
        try:
            with closing(connect(self._data_dir)) as db:
                turn = verify.verify_archive(
                    db, self._data_dir, self._cursor("archive"), keep_on=self._gently
                )
        except OSError as error:
            raise Retryable(f"an archived capture cannot be read: {error.strerror}") from error
        return self._note_turn("archive", turn, Event.ARCHIVE_DAMAGED)

    def _found(self, name: str) -> Found:
        found = self._records.get(name, {}).get("found")
        return found if isinstance(found, dict) else {}

    def _cursor(self, name: str) -> int:
        last = self._found(name).get("last", 0)
        return last if isinstance(last, int) else 0

    def _note_turn(self, name: str, turn: verify.Turn, event: Event) -> Found:
        """Add a turn to its round; what a round has found stands until the next one is over."""
        before = self._found(name)
        begins = not before.get("last")
        new = [*(() if begins else before.get("new", ())), *turn.damaged][:_LISTED]
        looked_at = turn.looked_at + (0 if begins else before.get("looked_at", 0))
        field = "seq" if event is Event.RESULT_DAMAGED else "capture_id"
        for number in turn.damaged:
            self._log.emit(event, **{field: number})
        over = turn.last == 0
        shown = new if over else sorted({*before.get("damaged", ()), *new})[:_LISTED]
        return {"last": turn.last, "looked_at": looked_at, "new": new, "damaged": shown}

    def _retain(self) -> Found:
        """Count a day, then delete what the rule allows while the archive is over its budget."""
        with closing(connect(self._data_dir)) as db:
            newest = int(db.execute("SELECT coalesce(max(id), 0) FROM captures").fetchone()[0])
            days = [*retention.days_seen(db), newest][-_DAYS_KEPT:]
            left = retention.marked_deleted(db)
        remember(self._store, retention.DAYS_KEY, json.dumps(days))
        remove_deleted(self._store, left)
        deleted = 0
        while self._rule.max_bytes is not None and self._gently():
            stamp = self._clock.stamp()
            if stamp.state != "synchronised":
                break
            with closing(connect(self._data_dir, limit_s=None)) as db:
                chosen = retention.over_budget(db, self._data_dir, self._rule)
            if not chosen:
                break
            gone = mark_deleted(self._store, [raw.capture_id for raw in chosen], stamp.wall)
            if not gone:
                break
            remove_deleted(self._store, gone)
            deleted += len(gone)
        with closing(connect(self._data_dir, limit_s=None)) as db:
            found = retention.summary(db, self._data_dir, self._rule)
        if deleted:
            self._log.emit(Event.RAW_DELETED, captures=deleted)
        return {"deleted_now": deleted, **found}
