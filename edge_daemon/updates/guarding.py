"""What the service does about updates that are being compared or watched, turn by turn."""

from __future__ import annotations

import contextlib
from contextlib import closing
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError
from edge_daemon.log import Event
from edge_daemon.store.reader import connect
from edge_daemon.updates import agreement
from edge_daemon.updates.changes import Changes
from edge_daemon.updates.folder import UpdateFolder
from edge_daemon.updates.history import WINDOW, ended_since
from edge_daemon.updates.places import own_plan, plan_with
from edge_daemon.updates.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.config import Settings
    from edge_daemon.flow import Analysis
    from edge_daemon.log import EventLog
    from edge_daemon.updates.state import Held, Slot

FAILURES: Final = 3
"""So few failed captures take nothing back."""
WORSE: Final = 0.05
"""So much larger than before must the share of failed captures be."""
_LOSSES: Final = 3
_EACH_TURN: Final = 3
_ANALYSED: Final = ("model/", "profile/")


def count_start(data_dir: Path, log: EventLog) -> None:
    """Count a start of the service against what is being watched, before anything of it is used."""
    with contextlib.suppress(EdgeError):  # a disk that cannot be written says so elsewhere
        change_all(UpdateFolder(data_dir), log, lambda _, slot: slot.started())


def change_all(folder: UpdateFolder, log: EventLog, step: Callable[[str, Slot], Slot]) -> None:
    """Change every slot in one write, if anything changes."""
    slots = folder.read().slots
    if all(step(key, slot) == slot for key, slot in slots.items()):
        return
    with folder.locked():
        state = folder.read()
        for key, slot in state.slots.items():
            changed = step(key, slot)
            if slot.active is not None and changed.active != slot.active:
                say(log, key, slot.active, "rolled_back")
            state = state.with_slot(key, changed)
        folder.write(state)


def say(log: EventLog, key: str, held: Held, outcome: str) -> None:
    """Log what became of a version."""
    log.emit(Event.UPDATE_JUDGED, item=key, version=held.version, outcome=outcome)


class Guard:
    """Compares candidates, and takes back what fails.

    Parameters
    ----------
    settings
        Of this box.
    clock, log
        Stamps; events.
    analysis
        What the analysis does now.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        log: EventLog,
        analysis: Callable[[], Analysis],
    ) -> None:
        self._settings = settings
        self._data_dir: Path = settings.box.data_dir
        self._changes = Changes(self._data_dir, clock)
        self._log = log
        self._analysis = analysis
        self._shadow: Shadow | None = None
        self._losses_before: dict[str, int] = {}

    def lasted(self) -> None:
        """Forget the starts: the service works; what only that could show is settled."""
        change_all(
            self._changes.folder,
            self._log,
            lambda key, slot: slot.lasted() if key.startswith(_ANALYSED) else slot.settled(),
        )

    def end(self) -> None:
        """End the worker that compares."""
        if self._shadow is not None:
            self._shadow.end()
            self._shadow = None

    def turn(self) -> None:
        """Compare a few captures, and judge what is being watched."""
        slots = self._changes.folder.read().slots
        for key, slot in slots.items():
            self._watch(key, slot)
        self._compare(slots)

    # Beside the version in use

    def _compare(self, slots: dict[str, Slot] | object) -> None:
        assert isinstance(slots, dict)
        waiting = [(k, s) for k, s in sorted(slots.items()) if s.shadow is not None]
        if not waiting:
            self.end()
            return
        key, slot = waiting[0]
        assert slot.candidate is not None
        if self._shadow is not None and self._shadow.held != slot.candidate:
            self.end()
        if self._shadow is None:
            place = self._changes.folder.place(key, slot.candidate)
            plan = plan_with(own_plan(self._settings), self._data_dir, key, place)
            name = key.partition("/")[2]
            self._shadow = Shadow(self._data_dir, name, slot.candidate, plan)
        for _ in range(_EACH_TURN):
            if self._analysis().waiting or not self._compare_one(key, self._shadow):
                self.end()  # a worker takes 90 MB, and the next sample may be hours away
                return

    def _compare_one(self, key: str, shadow: Shadow) -> bool:
        """Compare on one run; False where there is none, or the matter is decided."""
        slot = self._changes.folder.read().slot(key)
        if slot.shadow is None or slot.candidate != shadow.held:
            return False
        seen = {sample["capture"] for sample in slot.shadow.samples}
        found = shadow.next(slot.shadow.through_run, seen)
        if found is None:
            return False
        through, sample = found
        slot = self._changes.change(
            key, lambda s: s.saw(through, sample) if s.candidate == shadow.held else s
        )
        if slot.shadow is None or slot.candidate is None:
            return False
        judged = agreement.verdict(slot.shadow.samples)
        if judged is None:
            return True
        self._decide(key, slot.candidate, judged)
        return False

    def _decide(self, key: str, held: Held, problem: str) -> None:
        if not problem:
            self._changes.activate(key)
            say(self._log, key, held, "agrees")
            return
        why = f"{held.version}: it does not agree with the version in use: {problem}"
        self._changes.change(key, lambda slot: slot.refused(held.sha256, why))
        say(self._log, key, held, "disagrees")

    # After it was activated

    def _watch(self, key: str, slot: Slot) -> None:
        if slot.active is None:
            return
        analysis = self._analysis()
        why = self._rejected(key, slot.active, analysis) or self._lost(key, slot, analysis)
        if not why and slot.watch is not None and key.startswith(_ANALYSED):
            why, over = self._failures(slot)
            if over:
                self._changes.change(key, lambda s: s.settled())
        if why:
            with contextlib.suppress(EdgeError):  # a person was faster
                self._changes.roll_back(key, why)
                say(self._log, key, slot.active, "rolled_back")

    def _rejected(self, key: str, active: Held, analysis: Analysis) -> str:
        """Say if the workers do not use the bundle: its golden vectors fail by now."""
        kind, _, name = key.partition("/")
        folder = f"{name}-{active.version}"
        reasons = [why for where, why in analysis.rejected if where == folder]
        return f"the workers do not use it: {reasons[0]}" if kind == "model" and reasons else ""

    def _lost(self, key: str, slot: Slot, analysis: Analysis) -> str:
        """Say if workers ended since it is in use, and did not before."""
        if slot.watch is None or slot.active is None or not key.startswith(_ANALYSED):
            return ""
        token = f"{key}@{slot.active.sha256}"
        before = self._losses_before.setdefault(token, analysis.losses)
        self._losses_before[token] = min(before, analysis.losses)
        more = analysis.losses - self._losses_before[token]
        return f"{more} worker processes were lost since it is in use" if more >= _LOSSES else ""

    def _failures(self, slot: Slot) -> tuple[str, bool]:
        """Say if captures fail more often than before, and whether enough were seen."""
        assert slot.watch is not None
        with closing(connect(self._data_dir)) as db:
            ended, failed = ended_since(db, slot.watch.since_capture)
        if failed >= FAILURES and failed / ended >= slot.watch.before + WORSE:
            before = f"{100 * slot.watch.before:.0f} % before it"
            return f"{failed} of {ended} captures failed since it is in use, {before}", False
        return "", ended >= WINDOW
