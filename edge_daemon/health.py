"""What is late, full or blind: free space, loops that stand still, and the status file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.ballast import BALLAST_MB
from edge_daemon.errors import Retryable
from edge_daemon.log import Event

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge_daemon.ballast import Ballast
    from edge_daemon.log import EventLog

STATUS_NAME: Final = "run/status.json"
_FULL_MB: Final = 16  # the log of the database and a copy of a file still fit


class DiskGuard:
    """Stops intake while the disk of a folder is nearly full.

    Parameters
    ----------
    folder
        Any folder on the disk.
    min_free_mb
        Least free space for taking captures, MB.
    log
        Told when the state changes.
    ballast
        Given up when the disk is all but full; intake then also waits until there is room for it.
    """

    def __init__(
        self, folder: Path, min_free_mb: int, log: EventLog, ballast: Ballast | None = None
    ) -> None:
        self._folder = folder
        self._min_free_mb = min_free_mb
        self._log = log
        self._ballast = ballast
        self._missing_mb = 0

    def free_mb(self) -> int:
        """Free space for an ordinary user, MB.

        Raises
        ------
        Retryable
            The disk does not answer.
        """
        try:
            status = os.statvfs(self._folder)
        except OSError as error:
            raise Retryable(
                f"{self._folder}: the free space cannot be read: {error.strerror}",
                action="check the disk of the data folder",
            ) from error
        return (status.f_bavail * status.f_frsize) >> 20

    @property
    def needed_mb(self) -> int:
        """Free space with which captures are taken now, MB."""
        return self._min_free_mb + self._missing_mb

    @property
    def reserve_used(self) -> bool:
        """Whether the ballast was given up and is not back yet."""
        return self._missing_mb > 0

    def has_room(self, more_mb: int) -> bool:
        """Whether intake could go on with so much less."""
        try:
            return self.free_mb() >= self._min_free_mb + more_mb
        except Retryable:
            return False

    def check(self) -> None:
        """Raise `Retryable` while there is too little space."""
        free = self._spare(self.free_mb())
        needed = self.needed_mb
        if free >= needed:
            self._log.on_change("disk", "ok", Event.DISK_OK, free_mb=free)
            return
        self._log.on_change("disk", "low", Event.DISK_LOW, free_mb=free, needed_mb=needed)
        raise Retryable(
            f"{self._folder}: {free} MB free, {needed} MB are needed to take captures",
            action="free disk space; intake goes on by itself and source files stay in place",
        )

    def _spare(self, free: int) -> int:
        """Give the ballast up on a full disk; what it gave is for tidying up, not for intake."""
        if self._ballast is None:
            return free
        if self._missing_mb and self._ballast.held:
            self._missing_mb = 0
        if free < _FULL_MB and self._ballast.give_up():
            self._missing_mb = BALLAST_MB
            free = self.free_mb()
            self._log.emit(Event.BALLAST_GIVEN_UP, free_mb=free)
        return free


@dataclass(frozen=True, slots=True)
class Loop:
    """How one of the service's loops does.

    Attributes
    ----------
    name
        For the log.
    progressed_at
        Monotonic time of its last turn.
    allowance_s
        Longest time a turn may take.
    vital
        Whether standing still calls for a restart. A share that does not answer blocks its own
        source, and restarting would not mend it.
    """

    name: str
    progressed_at: float
    allowance_s: float
    vital: bool = True


def all_moving(loops: Iterable[Loop], now: float, log: EventLog) -> bool:
    """Tell whether every vital loop has progressed; log those that stand still, once."""
    moving = True
    for loop in loops:
        silent = now - loop.progressed_at
        if silent <= loop.allowance_s:
            log.forget(f"loop:{loop.name}")
            continue
        log.on_change(
            f"loop:{loop.name}",
            "stalled",
            Event.STALLED_LOOP,
            loop=loop.name,
            silent_s=round(silent),
        )
        moving = moving and not loop.vital
    return moving


class StatusFile:
    """A small JSON file beside the database, replaced only when its content changes.

    Parameters
    ----------
    data_dir
        Data folder; the file is ``run/status.json`` in it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / STATUS_NAME
        self._last = b""

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file if `content` is news; a full disk only makes it old."""
        text = json.dumps(content, indent=1, sort_keys=True).encode("utf-8") + b"\n"
        if text == self._last:
            return
        partial = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(exist_ok=True)
            partial.write_bytes(text)
            partial.replace(self._path)
        except OSError:
            return
        self._last = text

    def remove(self) -> None:
        """Take it away: the service no longer runs."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return
