"""Sync as a part of the service: its thread, and what a person should know of it.

It never takes the service down: results are kept whether or not there is a server.
"""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.conditions import Finding
from edge_daemon.errors import EdgeError
from edge_daemon.log import Event
from edge_daemon.sync.identity import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.clock import Clock
    from edge_daemon.config import Settings
    from edge_daemon.log import EventLog
    from edge_daemon.store.writer import Store
    from edge_daemon.sync.client import SyncClient

_RETRY_S: Final = 15.0
_STOP_S: Final = 5.0
_HEALTH_S: Final = 900.0
_SILENT_H: Final = 24.0


class SyncPart:
    """Sends results while the service runs; does nothing until the box is enrolled.

    Parameters
    ----------
    settings
        Of this box.
    store
        The service's writer.
    clock
        Intervals and stamps.
    log
        Told when sending begins to fail and when it works again.
    health
        How the box is, for the server.

    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        log: EventLog,
        health: Callable[[], dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._health = health
        self._told_at = float("-inf")
        self._data_dir = settings.box.data_dir
        self._store = store
        self._clock = clock
        self._log = log
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
        self._known: dict[str, Any] | None = None
        self._reason = ""
        self._progressed_at = clock.monotonic()
        self._client: SyncClient | None = None

    def start(self) -> None:
        """Begin sending."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once whether something can be sent; callable from any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the request in hand and stop."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    @property
    def progressed_at(self) -> float:
        """Monotonic time at which it last moved, for the watchdog."""
        client = self._client
        return self._progressed_at if client is None else client.progressed_at

    def describe(self) -> dict[str, Any] | None:
        """Say for the status file what waits and what is the matter; None before enrolment."""
        return self._known

    def findings(self) -> list[Finding]:
        """Say what a person should know."""
        if self._reason:
            return [Finding("sync_ended", values={"reason": self._reason})]
        known = self._known
        if known is None:
            return []
        found = []
        if known["held"]:
            found.append(Finding("sync_held", values={"reason": known["message"]}))
        elif known["code"] and (hours := self._waiting_h(known)) >= _SILENT_H:
            values = {"hours": int(hours), "reason": known["message"]}
            found.append(Finding("sync_late", values=values))
        if known.get("dead"):
            found.append(Finding("dead_letters", values={"items": known["dead"]}))
        return found

    def _waiting_h(self, known: dict[str, Any]) -> float:
        """Hours that the oldest item waits, as far as the clock can say."""
        oldest = known.get("oldest_waiting")
        if not oldest:
            return 0.0
        now = datetime.fromisoformat(self._clock.stamp().wall)
        return (now - datetime.fromisoformat(oldest)).total_seconds() / 3600

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._work()
            except EdgeError as error:
                self._reason = error.message
            except Exception as error:  # noqa: BLE001 - intake goes on, whatever sync does
                self._reason = f"{type(error).__name__}: {error}"
            self._client = None
            self._progressed_at = self._clock.monotonic()
            if self._reason:
                self._log.on_change("sync", self._reason, Event.SYNC_ENDED, error_type="sync")
            else:
                self._log.forget("sync")
            self._wake.wait(_RETRY_S)
            self._wake.clear()  # `stop` says first that it stops: the loop's condition sees that

    def _work(self) -> None:
        identity = load(self._data_dir)
        if identity is None:  # it may be enrolled while the service runs
            self._reason = ""
            return
        # Costs a box that is never enrolled nothing.
        from edge_daemon.sync.client import SyncClient  # noqa: PLC0415
        from edge_daemon.sync.http import Server  # noqa: PLC0415
        from edge_daemon.sync.raw import Rule  # noqa: PLC0415

        sync = self._settings.sync
        client = SyncClient(
            self._store,
            self._data_dir,
            self._clock,
            identity=identity,
            connect_server=lambda who: Server(
                who.server, fleet=who.fleet, certificate=who.certificate, proxy=sync.proxy
            ),
            rule=Rule(
                sync.raw, sync.raw_sample_percent, sync.simulated, sync.raw_kbit_s, sync.raw_quiet
            ),
            stopping=self._stopping,
        )
        with contextlib.closing(client):
            self._reason = ""
            self._client = client
            while not self._stopping.is_set():
                self._turn(client)

    def _turn(self, client: SyncClient) -> None:
        self._wake.clear()
        wait_s = client.step()
        known = client.describe()
        if known["code"]:
            self._log.on_change("sync", known["code"], Event.SYNC_FAILED, error_type=known["code"])
        elif self._known is None or self._known["code"]:
            self._log.forget("sync")
            self._log.emit(Event.SYNC_WORKING, server=known["server"])
        self._known = known
        if self._clock.monotonic() - self._told_at > _HEALTH_S:
            self._told_at = self._clock.monotonic()
            client.tell(json.dumps({**self._health(), "sync": known}))
        self._wake.wait(wait_s)
