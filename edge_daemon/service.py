"""The unattended service: open the store, start workers and sources, watch over them, stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import __version__, last_good
from edge_daemon.ballast import Ballast
from edge_daemon.decode.registry import Registry
from edge_daemon.dispatcher import Pipeline
from edge_daemon.errands import ErrandServer
from edge_daemon.errors import EXIT_OK, Fatal, Retryable
from edge_daemon.health import DiskGuard, Loop, StatusFile, all_moving
from edge_daemon.health_watch import HealthWatch
from edge_daemon.lines import make_source
from edge_daemon.log import Event, EventLog
from edge_daemon.sandbox import missing
from edge_daemon.sources.folder import FolderSource, Handlers
from edge_daemon.sources.intake import LineHandlers
from edge_daemon.stopping import StopRequest
from edge_daemon.store import queries
from edge_daemon.store.replace import repair
from edge_daemon.store.retention import Rule
from edge_daemon.store.writer import Store
from edge_daemon.sync.part import SyncPart
from edge_daemon.systemd_notify import Notifier
from edge_daemon.tasks import WorkerLimits
from edge_daemon.updates.guarding import count_start
from edge_daemon.updates.part import UpdatePart
from edge_daemon.updates.places import own_plan, with_updates
from edge_daemon.updates.settings import effective
from edge_daemon.upkeep import Upkeep
from edge_daemon.web.server import WebServer

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.conditions import Finding
    from edge_daemon.config import Settings
    from edge_daemon.lines import AnySource
    from edge_daemon.sources.framing.base import Trouble
    from edge_daemon.tasks import Plan
    from edge_daemon.updates.settings import Effective

_BEAT_S: Final = 10.0
# With the unit's WatchdogSec of 60 s, a loop that hangs is ended within 90 s.
_STALL_S: Final = 25.0
_UPKEEP_STALL_S: Final = 600.0
_GRACE_S: Final = 8.0
_RECOVERY_S: Final = 1800  # restoring gigabytes from and to a slow card


def run_service(
    settings: Settings,
    clock: Clock,
    config_file: Path | None = None,
    doubt: Finding | None = None,
) -> int:
    """Run until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        Of this box.
    clock
        Time for stamps and intervals.
    config_file
        Where the settings were read from, for programs that the page starts.
    doubt
        Why these are not the settings that somebody wants; said as long as the service runs.

    Returns
    -------
    int
        Exit code 0 after an orderly stop.

    Raises
    ------
    Fatal
        The service cannot do its job; `exit_code` says whether a restart may help.
    Retryable
        The data folder cannot be used now.
    """
    log = EventLog(settings.log.level)
    stop = StopRequest(signal.SIGTERM, signal.SIGINT)
    log.emit(
        Event.SERVICE_STARTED,
        version=__version__,
        box=settings.box.name,
        sources=len(settings.source),
        workers=settings.workers.count,
        sqlite=sqlite3.sqlite_version,
    )
    if doubt is not None:
        log.emit(Event.CONFIG_LAST_GOOD, since=doubt.values["since"])
    try:
        with _open_store(settings, clock, log) as store:
            # Before anything that an update brought is used.
            count_start(settings.box.data_dir, log)
            found = effective(settings, settings.box.data_dir)
            log = EventLog(found.settings.log.level)
            _Service(found, settings, store, clock, log, config_file, doubt).run(stop)
    except (Fatal, Retryable) as error:
        log.emit(
            Event.SERVICE_FAILED,
            error_type=type(error).__name__,
            exit_code=getattr(error, "exit_code", None),
        )
        raise
    return EXIT_OK


def _open_store(settings: Settings, clock: Clock, log: EventLog) -> Store:
    """Open the store; one that is damaged is replaced by a backup and the archive first."""
    notifier = Notifier()

    def patience() -> None:
        notifier.send(f"EXTEND_TIMEOUT_USEC={_RECOVERY_S}000000")

    def begun(_why: str) -> None:
        log.emit(Event.STORE_DAMAGED, error_type="damaged")
        patience()

    store = Store.open(
        settings.box.data_dir,
        clock,
        prepare=lambda data_dir: repair(data_dir, begun),
        progress=lambda _done, _total: patience(),
    )
    if (found := store.recovery) is not None:
        log.emit(
            Event.STORE_RECOVERED,
            backup=found.backup,
            taken=found.taken,
            unattributed=found.unattributed,
            missing=found.missing,
        )
    return store


def plan_for(settings: Settings) -> Plan:
    """Where workers look for profiles and models: shipped ones, the site's own, updates."""
    return with_updates(own_plan(settings), settings.box.data_dir)


def rule_for(settings: Settings) -> Rule:
    """When raw captures may be deleted."""
    section = settings.retention
    budget = round(section.max_archive_gb * 1e9) if section.max_archive_gb else None
    return Rule(budget, section.min_age_days, section.require_sync)


class _Service:
    """The parts of one running service."""

    def __init__(
        self,
        found: Effective,
        own: Settings,
        store: Store,
        clock: Clock,
        log: EventLog,
        config_file: Path | None,
        doubt: Finding | None,
    ) -> None:
        settings = self._settings = found.settings
        self._own = own
        self._config_file = config_file
        self._doubt = doubt
        self._store = store
        self._clock = clock
        self._log = log
        self._notifier = Notifier()
        data_dir = settings.box.data_dir
        self._status = StatusFile(data_dir)
        ballast = Ballast(data_dir)
        self._disk = DiskGuard(data_dir, settings.limits.min_free_mb, log, ballast)
        self._upkeep = Upkeep(
            store,
            data_dir,
            rule_for(settings),
            disk=self._disk,
            ballast=ballast,
            clock=clock,
            log=log,
        )
        workers = settings.workers
        self._pipeline = Pipeline(
            store,
            plan_for(settings),
            guard=self._disk.check,
            limits=WorkerLimits(
                memory_mb=workers.memory_mb,
                cpu_s=workers.cpu_s,
                wall_s=workers.wall_s,
                tasks=workers.tasks_per_worker,
            ),
            count=workers.count,
            log=log,
            clock=clock,
        )
        self._registry = Registry.load(plan_for(settings).profile_dirs)
        self._health = HealthWatch(settings, self._registry.problems, clock, log, self._disk)
        self._sources = self._make_sources()
        self._errands = ErrandServer(store, settings.box.data_dir, self._wake)
        self._page = (
            WebServer(settings, store, clock, log, config_file, self._pipeline.wake, doubt)
            if settings.web.enabled
            else None
        )
        self._updates = UpdatePart(
            settings, config_file, clock, log, self._updated, self._pipeline.analysis
        )
        self._sync = (
            SyncPart(settings, store, clock, log, self._tell) if settings.sync.enabled else None
        )

    def _make_sources(self) -> list[AnySource]:
        accept, refuse = self._pipeline.accept, self._pipeline.refuse
        handlers = (
            Handlers(
                accept=accept,
                refuse=refuse,
                complete=self._is_whole,
                on_state=self._source_changed,
                taken=self._taken,
            ),
            LineHandlers(
                accept=accept,
                refuse=refuse,
                on_state=self._source_changed,
                on_trouble=self._source_garbled,
                on_peer=self._peer_refused,
            ),
        )
        return [
            make_source(self._settings, source, self._registry, handlers, self._clock)
            for source in self._settings.source
        ]

    def run(self, stop: StopRequest) -> None:
        """Start everything, beat until asked to stop, then stop everything."""
        if lacking := missing():
            self._log.emit(Event.WORKERS_UNCONFINED, missing=", ".join(lacking))
        resumed = len(self._store.pending())
        self._pipeline.start()
        for source in self._sources:
            source.start()
        # Ready means: captures are safe from here on. The models load in the workers meanwhile.
        self._notifier.send("READY=1")
        self._log.emit(Event.SERVICE_READY, resumed=resumed, profiles=self._check_profiles())
        if self._doubt is None and self._config_file is not None:
            last_good.keep(self._own, self._config_file)
        self._serve_errands()
        if self._page is not None:
            self._page.start()
        self._upkeep.start()
        self._updates.start()
        if self._sync is not None:
            self._sync.start()
        watchdog = self._notifier.watchdog_s
        beat = min(_BEAT_S, watchdog / 3) if watchdog else _BEAT_S
        try:
            while True:
                self._beat()
                if stop.wait(beat):
                    return
        finally:
            if stop.signal is not None:
                self._log.emit(Event.SERVICE_STOPPING, signal=stop.signal.name)
            self._notifier.send("STOPPING=1")
            self._shut_down()

    def _serve_errands(self) -> None:
        """Let commands write; a disk that cannot hold a socket is no reason to take nothing in."""
        try:
            self._errands.start()
        except Retryable as error:
            self._log.emit(Event.ERRANDS_REFUSED, error_type=type(error).__name__)

    def _shut_down(self) -> None:
        if self._page is not None:
            self._page.stop()
        self._upkeep.stop()
        self._updates.stop()
        if self._sync is not None:
            self._sync.stop()
        self._errands.stop()
        for source in self._sources:
            source.stop()
        self._log.emit(Event.SERVICE_STOPPED, unfinished=self._pipeline.stop(_GRACE_S))
        self._status.remove()

    def _check_profiles(self) -> int:
        problems = self._registry.problems
        if problems:
            self._log.emit(
                Event.PROFILE_REJECTED,
                error_type=type(problems[0]).__name__,
                problems=len(problems),
            )
        return len(self._registry.profiles)

    def _beat(self) -> None:
        """Check on every loop; tell systemd only if all of them moved."""
        parts: list[Pipeline | Upkeep | AnySource] = [self._pipeline, self._upkeep, *self._sources]
        for part in parts:
            try:
                part.check()
            except Exception as error:
                raise _failed(error) from error
        with contextlib.suppress(Retryable):  # logged by the guard; the sources wait by themselves
            self._disk.check()
        loops, sources = self._loops(), [self._describe_source(s) for s in self._sources]
        trouble = self._ping()
        more = [*self._upkeep.findings(), *self._updates.findings()]
        more += [] if self._doubt is None else [self._doubt]
        for teller in (self._page, self._sync):
            more += [] if teller is None else teller.findings()
        self._health.look(sources, loops, self._pipeline.analysis(), trouble, more)
        self._status.write(self._describe(sources))
        if all_moving(loops, self._clock.monotonic(), self._log):
            self._notifier.send("WATCHDOG=1")

    def _ping(self) -> str:
        """Let the writer take a turn; return why it could not, or nothing."""
        try:
            self._store.ping()
        except Retryable as error:
            self._log.on_change("store", "busy", Event.STORE_BUSY, error_type=type(error).__name__)
            return error.message
        self._log.forget("store")
        return ""

    def _loops(self) -> list[Loop]:
        loops = [
            Loop("dispatcher", self._pipeline.progressed_at, _STALL_S),
            # A restart would not mend a disk that lets a reader hang.
            Loop("upkeep", self._upkeep.progressed_at, _UPKEEP_STALL_S, vital=False),
        ]
        for source in self._sources:
            vital = not (isinstance(source, FolderSource) and source.spec.poll)
            loops.append(Loop(source.spec.name, source.progressed_at, _STALL_S, vital=vital))
        if self._sync is not None:
            loops.append(Loop("sync", self._sync.progressed_at, _STALL_S))
        return loops

    def _describe(self, sources: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "version": __version__,
            "box": self._settings.box.name,
            "workers": self._settings.workers.count,
            "health": self._health.describe(),
            "sources": sources,
            "web": self._page.describe() if self._page is not None else None,
            "sync": self._sync.describe() if self._sync is not None else None,
            "updates": self._updates.describe(),
        }

    def _wake(self) -> None:
        """Let every part look at once whether it has something to do."""
        self._pipeline.wake()
        if self._sync is not None:
            self._sync.wake()

    def _is_whole(self, data: bytes) -> bool:
        return self._registry.is_whole(data)

    def _updated(self) -> None:
        """Use other versions of profiles and models from the next capture on."""
        plan = plan_for(self._settings)
        self._registry = Registry.load(plan.profile_dirs)
        self._pipeline.replan(plan)

    def _tell(self) -> dict[str, Any]:
        """Say how the box is, for the central server; no name of a patient is in it."""
        return {
            "version": __version__,
            "health": self._health.describe(),
            "updates": self._updates.word(),
        }

    def _describe_source(self, source: AnySource) -> dict[str, Any]:
        name = source.spec.name
        known = {"name": name, "state": source.state, "reason": source.reason}
        if isinstance(source, FolderSource):
            return known | {"kind": "folder", "heard_at": self._pipeline.flow.heard_at(name)}
        return known | source.describe()

    def _taken(self, source: str) -> set[tuple[str, int]]:
        with contextlib.closing(queries.connect(self._settings.box.data_dir)) as db:
            return queries.taken(db, source)

    def _source_changed(self, name: str, state: str, reason: str) -> None:
        if state == "degraded":
            self._log.emit(Event.SOURCE_DEGRADED, source=name, error_type=reason)
        elif state == "paused":
            self._log.emit(Event.SOURCE_PAUSED, source=name, error_type=reason)
        else:
            self._log.emit(Event.SOURCE_WATCHING, source=name, mode=state)

    def _source_garbled(self, name: str, trouble: Trouble, size: int) -> None:
        self._log.emit(Event.SOURCE_GARBLED, source=name, error_type=trouble, bytes=size)

    def _peer_refused(self, name: str, peer: str) -> None:
        self._log.on_change(f"peer:{name}", peer, Event.PEER_REFUSED, source=name, peer=peer)


def _failed(cause: BaseException) -> Fatal:
    if isinstance(cause, Fatal):
        return cause
    return Fatal(
        f"a thread of the service ended: {type(cause).__name__}: {cause}",
        action="see the journal; the service manager starts it again",
    )
