"""Transitions of what is in use, made durable; nothing here fetches or verifies anything."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from edge_daemon.errors import EdgeError
from edge_daemon.store import reader
from edge_daemon.updates.folder import UpdateFolder
from edge_daemon.updates.history import failed_share, newest_capture
from edge_daemon.updates.state import Slot, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.updates.state import Held


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

    def give_back(self, items: Mapping[str, str]) -> dict[str, str]:
        """Return from versions that the fleet took back, and do not take them again.

        Parameters
        ----------
        items
            ``kind/name@version`` → why.

        Returns
        -------
        dict
            Those that were in use or waited here, with the reason.
        """
        done = {}
        for item, why in items.items():
            key, _, version = item.partition("@")
            slot = self.folder.read().slot(key)
            mine = [h for h in (slot.active, slot.candidate) if h and h.version == version]
            if not mine:
                continue
            reason = f"{version}: the fleet took it back: {why}"
            sha256 = mine[0].sha256
            self.change(key, partial(Slot.refused, sha256=sha256, why=reason))
            done[item] = reason
        return done

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
