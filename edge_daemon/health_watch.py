"""Looks at every part of the running service, and keeps what a person should know of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import findings
from edge_daemon.conditions import Board
from edge_daemon.disk import read_disk
from edge_daemon.errors import EdgeError
from edge_daemon.log import Event
from edge_daemon.sandbox import missing
from edge_daemon.store.statistics import newest_trusted, set_aside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_daemon.clock import Clock
    from edge_daemon.conditions import Finding
    from edge_daemon.config import Settings
    from edge_daemon.decode.profile import ProfileError
    from edge_daemon.flow import Analysis
    from edge_daemon.health import DiskGuard, Loop
    from edge_daemon.log import EventLog

_SLOW_S: Final = 60.0


class HealthWatch:
    """Turns what the service knows of itself into the box's state.

    Parameters
    ----------
    settings
        Of the box.
    profile_problems
        Profiles that could not be loaded.
    clock
        Intervals and the trust in wall time.
    log
        Told when a condition begins or ends.
    disk
        Guard of the data folder's disk.
    """

    def __init__(
        self,
        settings: Settings,
        profile_problems: Sequence[ProfileError],
        clock: Clock,
        log: EventLog,
        disk: DiskGuard,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._disk = disk
        self._lacking = missing()
        self._profiles = ["/".join(Path(problem.path).parts[-2:]) for problem in profile_problems]
        self._silent_h = {source.name: source.silent_h for source in settings.source}
        self._since = clock.monotonic()
        self._board = Board()
        self._newest: str | None = None
        self._set_aside = 0
        self._looked_at = float("-inf")

    def look(
        self,
        sources: Iterable[Mapping[str, Any]],
        loops: Iterable[Loop],
        analysis: Analysis,
        store_trouble: str,
        more: Iterable[Finding] = (),
    ) -> None:
        """Take in the present state of every part.

        Parameters
        ----------
        sources
            As the status file describes them.
        loops
            The service's loops.
        analysis
            What the analysis does.
        store_trouble
            Why the database could not be written just now; empty if it could.
        more
            What other parts found by themselves.
        """
        now, stamp = self._clock.monotonic(), self._clock.stamp()
        self._look_into_the_store(now)
        box = self._settings
        change = self._board.update(
            [
                *findings.of_sources(sources, self._silent_h, self._since, now),
                *findings.of_loops(loops, now),
                *findings.of_analysis(analysis, box.workers.wall_s),
                *findings.of_disk(
                    read_disk(box.box.data_dir),
                    self._disk.needed_mb,
                    reserve_used=self._disk.reserve_used,
                ),
                *findings.of_sandbox(self._lacking),
                *findings.of_store(store_trouble),
                *findings.of_quarantine(self._set_aside),
                *findings.of_profiles(self._profiles),
                *findings.of_clock(stamp, self._newest),
                *more,
            ],
            stamp.wall,
            now,
        )
        for key in change.began:
            self._log.emit(Event.CONDITION_BEGAN, condition=key, state=change.state)
        for key in change.ended:
            self._log.emit(Event.CONDITION_ENDED, condition=key, state=change.state)

    def describe(self) -> dict[str, Any]:
        """Return the box's state for the status file."""
        return self._board.describe()

    def _look_into_the_store(self, now: float) -> None:
        """Ask what costs a query, now and then; a store that is busy is asked later."""
        if now - self._looked_at < _SLOW_S:
            return
        self._looked_at = now
        with contextlib.suppress(EdgeError):
            self._set_aside = set_aside(self._settings.box.data_dir)
            self._newest = self._newest or newest_trusted(self._settings.box.data_dir)
