"""Updates as a part of the service: its thread, and what a person should know of it.

Looking for updates runs in a process of its own, so that its libraries take no memory of the
service. What is in use changes by one file alone (`folder`), whoever changes it: this thread
notices, and hands the new search folders to the analysis.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.conditions import Finding
from edge_daemon.errors import EdgeError
from edge_daemon.log import Event
from edge_daemon.own_command import ask
from edge_daemon.updates.describing import describe, word
from edge_daemon.updates.folder import UpdateFolder
from edge_daemon.updates.guarding import Guard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.config import Settings
    from edge_daemon.flow import Analysis
    from edge_daemon.log import EventLog

_TURN_S: Final = 5.0
_FIRST_S: Final = 120.0
"""After a start intake and sync come first."""
_LOOK_S: Final = 1800.0
_STOP_S: Final = 5.0
_LASTED_S: Final = 600.0
"""A service that runs so long with an update is no victim of it."""
_SETTINGS: Final = "settings/fleet"
_QUIET_CODES: Final = {"", "unreachable", "slow", "busy"}


class UpdatePart:
    """Follows the updates of a box while the service runs.

    Parameters
    ----------
    settings
        Of this box.
    config_file
        Where they were read from, for the process that looks.
    clock
        Intervals.
    log
        Events.
    changed
        Called when other versions are in use.
    analysis
        What the analysis does now.
    """

    def __init__(
        self,
        settings: Settings,
        config_file: Path | None,
        clock: Clock,
        log: EventLog,
        changed: Callable[[], None],
        analysis: Callable[[], Analysis],
    ) -> None:
        self.progressed_at = clock.monotonic()
        self._settings = settings
        self._config_file = config_file
        self._data_dir = settings.box.data_dir
        self._folder = UpdateFolder(self._data_dir)
        self._clock = clock
        self._log = log
        self._changed = changed
        self._guard = Guard(settings, clock, log, analysis)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="updates", daemon=True)
        self._looked_at: float | None = None
        self._wait_s = _FIRST_S
        self._began = clock.monotonic()
        self._in_use: dict[str, str] = {}
        self._known: dict[str, Any] | None = None
        self._reason = ""
        self._settings_wait = False

    def start(self) -> None:
        """Begin."""
        self._in_use = self._versions()
        self._thread.start()

    def stop(self) -> None:
        """End; a look that is going on ends by itself and leaves a whole state."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def describe(self) -> dict[str, Any] | None:
        """Say for the status file what is in use and what waits; None before any trust."""
        return self._known

    def word(self) -> dict[str, Any]:
        """Say for the central server what is in use, waits and failed."""
        return word(self._data_dir)

    def findings(self) -> list[Finding]:
        """Say what a person should know."""
        if self._reason:
            return [Finding("updates_ended", values={"reason": self._reason})]
        known = self._known
        if known is None:
            return []
        found = [Finding("settings_wait")] if self._settings_wait else []
        if known["damaged"]:
            found.append(Finding("updates_ended", values={"reason": known["damaged"]}))
        if known["code"] not in _QUIET_CODES:
            found.append(Finding("updates_blocked", values={"reason": known["message"]}))
        for item in known["items"]:
            if item["damaged"]:
                found.append(Finding("update_damaged", item["item"]))
            if item["blocked"]:
                why = item["blocked"][-1]["reason"]
                found.append(Finding("update_refused", item["item"], {"reason": why}))
        return found

    def _run(self) -> None:
        while not self._stopping.wait(_TURN_S):
            self.progressed_at = self._clock.monotonic()
            try:
                self._turn()
                self._reason = ""
            except EdgeError as error:
                self._reason = error.message
            except Exception as error:  # noqa: BLE001 - intake goes on, whatever updates do
                self._reason = f"{type(error).__name__}: {error}"
            if self._reason:
                self._log.on_change("updates", self._reason, Event.UPDATES_ENDED, error_type="look")
            else:
                self._log.forget("updates")
        self._guard.end()

    def _turn(self) -> None:
        self._notice()
        self._guard.turn()
        if self._clock.monotonic() - self._began > _LASTED_S:
            self._guard.lasted()
        if self._is_due():
            self._look()
        self._notice()
        known = self._folder.trusts or self._in_use
        self._known = describe(self._data_dir) if known else None

    def _notice(self) -> None:
        """Hand on what is in use, if that is something else."""
        now = self._versions()
        if now == self._in_use:
            return
        for key in sorted(now.keys() | self._in_use.keys()):
            if now.get(key) != self._in_use.get(key):
                version = now.get(key, "own")
                self._log.emit(Event.UPDATE_IN_USE, item=key, version=version)
        new_settings = now.get(_SETTINGS) != self._in_use.get(_SETTINGS)
        self._in_use = now
        self._changed()
        if new_settings:
            self._restart()

    def _restart(self) -> None:
        """Let the service manager start the service anew: settings are read at the start."""
        if "INVOCATION_ID" in os.environ:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self._settings_wait = True

    def _versions(self) -> dict[str, str]:
        try:
            slots = self._folder.read().slots
        except EdgeError:
            return {}
        return {key: slot.active.folder for key, slot in slots.items() if slot.active is not None}

    def _is_due(self) -> bool:
        if not self._settings.updates.enabled or not self._folder.trusts:
            return False
        last = self._began if self._looked_at is None else self._looked_at
        return self._clock.monotonic() - last >= self._wait_s

    def _look(self) -> None:
        """Look for updates in a process of its own; what came of it stands in the state."""
        self._looked_at = self._clock.monotonic()
        hours = self._settings.updates.every_h
        self._wait_s = hours * 3600 * random.uniform(0.8, 1.2)  # noqa: S311 - a fleet spreads out
        words = ["update", "check", "--json", "--data-dir", str(self._data_dir)]
        environment = dict(os.environ)
        if self._config_file is not None:
            environment["EDGE_DAEMON_CONFIG"] = str(self._config_file)
        try:
            found = ask(words, timeout_s=_LOOK_S, what="the look for updates", env=environment)
        except EdgeError as error:
            self._log.emit(Event.UPDATES_NOT_HAD, error_type=type(error).__name__)
            return
        for item, outcome in (
            *((item, "taken") for item in found["taken"]),
            *((item, "refused") for item in found["refused"]),
        ):
            self._log.emit(Event.UPDATE_LOOKED_AT, item=item, outcome=outcome)
