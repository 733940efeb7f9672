"""Transitions of what is in use, made durable; nothing here fetches or verifies anything."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_daemon.errors import EdgeError
from edge_daemon.store import reader
from edge_daemon.updates.folder import UpdateFolder
from edge_daemon.updates.history import failed_share, newest_capture
from edge_daemon.updates.state import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.updates.state import Held, Slot


class Changes:
    """Changes which versions a box uses.

    Parameters
    ----------
    data_dir
        Of the box.
    clock
        Stamps.
    """

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self.folder = UpdateFolder(data_dir)
        self._data_dir = data_dir
        self._clock = clock

    def activate(self, key: str) -> Held:
        """Use the candidate now.

        Raises
        ------
        EdgeError
            There is none.
        """
        watch = self.watch()
        slot = self.change(key, lambda slot: slot.activated(watch))
        assert slot.active is not None
        return slot.active

    def roll_back(self, key: str, why: str) -> Slot:
        """Return to the last good version and block the one in use.

        Raises
        ------
        EdgeError
            No update of it is in use.
        """
        return self.change(key, lambda slot: slot.rolled_back(why))

    def unblock(self, key: str) -> Slot:
        """Let every blocked version of it be tried again."""
        return self.change(key, lambda slot: replace(slot, blocked={}))

    def change(self, key: str, step: Callable[[Slot], Slot]) -> Slot:
        """Make one transition durable."""
        with self.folder.locked():
            state = self.folder.read()
            slot = step(state.slot(key))
            self.folder.write(state.with_slot(key, slot))
        return slot

    def watch(self) -> Watch:
        """Begin to watch: what there is now is what later failures are held against."""
        wall = self._clock.stamp().wall
        try:
            with closing(reader.connect(self._data_dir)) as db:
                return Watch(newest_capture(db), wall, before=failed_share(db))
        except EdgeError:
            return Watch(0, wall)
