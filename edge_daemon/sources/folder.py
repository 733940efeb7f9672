"""An analyzer's export folder: scan, settle, read, hand over.

Change events only say where to look sooner; what is there is found by scanning. So an event
that is lost, repeated or never sent (network shares, an overflowing queue, a watch that went
blind when the folder was remounted) costs at most one rescan interval. Source files are left
where they are, unchanged; what was dealt with is remembered by name, inode, size and time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.errors import EdgeError, Quarantine, Retryable
from edge_daemon.parts import join
from edge_daemon.records import RawCapture
from edge_daemon.sources.directory import (
    ChangedError,
    Root,
    RootLostError,
    label,
    observation,
    wanted,
)
from edge_daemon.sources.entries import Entry, Grouping
from edge_daemon.sources.stability import Tracker, Verdict
from edge_daemon.sources.watch import Watch

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection
    from pathlib import Path

    from edge_daemon.clock import Clock

State = Literal["starting", "watching", "scanning", "degraded", "paused"]

_MAX_HINTS: Final = 4096
_FILES_PER_STEP: Final = 64
_SHARE_RESCAN_S: Final = 10.0
_RETRY_S: Final = 10.0  # a full disk or a lost folder is looked at again after so long
_TURN_S: Final = 10.0  # longest wait of one turn, for the watchdog
_MIN_STEP_S: Final = 0.02  # a file that changes all the time must not become a busy loop


@dataclass(frozen=True, slots=True)
class FolderSpec:
    """What to watch; see docs/configuration.md, ``[[source]]``.

    Attributes
    ----------
    max_bytes
        Larger files are refused unread.
    parts
        Patterns of names of runs in several files (`edge_daemon.parts.PartNames`).
    """

    name: str
    instrument: str
    path: Path
    patterns: tuple[str, ...]
    recursive: bool
    settle_s: float
    stall_s: float
    rescan_s: float
    poll: bool
    max_bytes: int
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Handlers:
    """What a source calls; all are called in the source's thread.

    Attributes
    ----------
    accept
        Takes a capture and returns only when it is durable. Retryable: intake pauses.
    refuse
        Takes a name that is not taken, with the reason, and the capture where its bytes were
        read. Retryable: intake pauses.
    complete
        Says of a settled file's bytes whether the format finds them whole.
    on_state
        Told the source, its new state and the reason's class name whenever the state changes.
    taken
        Names and sizes of what the source handed over before: after a start, files that are new
        come before those that are only read to make sure.
    """

    accept: Callable[[RawCapture], object]
    refuse: Callable[[str, str, Quarantine, RawCapture | None], object]
    complete: Callable[[bytes], bool]
    on_state: Callable[[str, State, str], object]
    taken: Callable[[str], Collection[tuple[str, int]]] = lambda _: ()


class FolderSource:
    """Watches one folder; `start` runs it in a thread, `step` is one turn of its loop.

    Parameters
    ----------
    spec
        What to watch.
    handlers
        Where captures and refusals go.
    clock
        Monotonic time.

    Attributes
    ----------
    state
        What the source does now; the reason is in `reason`.
    progressed_at
        Monotonic time of the last finished turn, for the watchdog.
    failure
        The error that ended the thread, or None.
    """

    def __init__(self, spec: FolderSpec, handlers: Handlers, clock: Clock) -> None:
        self.spec = spec
        self.state: State = "starting"
        self.reason = ""
        self.failure: BaseException | None = None
        self.progressed_at = clock.monotonic()
        self._handlers = handlers
        self._clock = clock
        self._rescan_s = min(spec.rescan_s, _SHARE_RESCAN_S) if spec.poll else spec.rescan_s
        self._tracker = Tracker(spec.settle_s, spec.stall_s)
        self._grouping = Grouping(spec.parts)
        self._watch = Watch(spec.path, self.hint, recursive=spec.recursive)
        self._root: tuple[int, int] | None = None
        self._mounted = False
        self._asks_what_was_taken = True
        self._finished: set[int] = set()
        self._next_scan = self._paused_until = float("-inf")
        self._hints: dict[str, None] = {}
        self._look_at_all = False
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source-{spec.name}", daemon=True)

    def start(self) -> None:
        """Begin watching."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Finish the file in hand and stop."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._watch.stop()

    def check(self) -> None:
        """Raise what ended the thread; do nothing while it runs."""
        if self.failure is not None:
            raise self.failure

    def hint(self, name: str | None) -> None:
        """Look at this file soon, or at everything for None; callable from any thread."""
        with self._lock:
            if name is None or len(self._hints) >= _MAX_HINTS:
                self._look_at_all = True
                self._hints.clear()
            elif wanted(name, self.spec.patterns):
                self._hints[name] = None
        self._wake.set()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._wake.clear()
                delay = self.step()
                self._wake.wait(min(max(delay, _MIN_STEP_S), _TURN_S))
        except BaseException as error:
            self.failure = error
            if not isinstance(error, EdgeError):
                raise

    def step(self) -> float:
        """Look at what is due now.

        Returns
        -------
        float
            Seconds until the next look is due, unless a hint comes first.
        """
        now = self._clock.monotonic()
        if now >= self._paused_until:
            try:
                with Root(self.spec.path) as root:
                    self._arrive(root, now)
                    self._look(root, now)
            except RootLostError as error:
                self._degrade(error, now)
            except Retryable as error:
                self._paused_until = now + min(self._rescan_s, _RETRY_S)
                self._next_scan = self._paused_until
                self._set_state("paused", error)
        now = self.progressed_at = self._clock.monotonic()
        waits = [max(self._next_scan, self._paused_until) - now]
        if self.state != "paused" and (due := self._tracker.due_in(now)) is not None:
            waits.append(due)
        return max(min(waits), 0.0)

    def _arrive(self, root: Root, now: float) -> None:
        """Notice that the folder is there, and whether it is still the same one."""
        if self._mounted and not root.mounted:
            # The empty folder below a share that went away is no place where results arrive.
            raise RootLostError(
                f"{self.spec.path}: the disk or share that was mounted there is gone",
                action="mount it again; if the folder itself is meant now, restart the service",
            )
        self._mounted = root.mounted
        if root.identity != self._root:
            # Another folder, or one mounted over it: inode numbers there mean other files.
            self._finished.clear()
            self._tracker.retain(())
            self._next_scan = now
            self._root = root.identity
        elif self.state == "degraded":
            self._next_scan = now
        if now >= self._next_scan or self.state in {"starting", "degraded", "paused"}:
            events = not self.spec.poll and self._watch.ensure(root.identity)
            self._set_state("watching" if events else "scanning")

    def _degrade(self, error: RootLostError, now: float) -> None:
        self._watch.stop()
        self._tracker.retain(())
        self._next_scan = now + min(self._rescan_s, _RETRY_S)
        self._set_state("degraded", error)

    def _set_state(self, state: State, error: EdgeError | None = None) -> None:
        changed = state != self.state
        self.state, self.reason = state, "" if error is None else error.message
        if changed:
            cause = "" if error is None else type(error).__name__
            self._handlers.on_state(self.spec.name, state, cause)

    def _look(self, root: Root, now: float) -> None:
        with self._lock:
            hinted, self._hints = self._hints, {}
            everything, self._look_at_all = self._look_at_all, False
        for name in hinted:
            self._tracker.touched(self._grouping.key(name))
        everything = everything or not all(map(self._grouping.knows, hinted))
        if everything or now >= self._next_scan:
            self._scan(root, now)
        keys = dict.fromkeys(map(self._grouping.key, hinted))
        for key in (*keys, *self._tracker.due(now, _FILES_PER_STEP)):
            if self._stop.is_set():
                return
            if (entry := self._entry(root, key)) is None:
                self._tracker.forget(key)
            else:
                self._consider(root, entry, now)

    def _entry(self, root: Root, key: str) -> Entry | None:
        """Look at the files of one entry; None if one of them is gone."""
        found = []
        for name in self._grouping.files(key):
            if (status := root.status(name)) is None:
                return None
            found.append((name, status))
        return self._grouping.again(key, found)

    def _scan(self, root: Root, now: float) -> None:
        """Compare the whole folder with what is known; memory stays bounded by the folder."""
        present = set()
        finished: set[int] = set()
        fresh = []
        found = root.scan(self.spec.patterns, recursive=self.spec.recursive)
        for entry in self._grouping.entries(found):
            finished |= entry.keys & self._finished
            if not entry.keys <= self._finished:
                present.add(entry.key)
                fresh.append(entry)
        self._finished = finished
        self._tracker.retain(present)
        self._next_scan = now + self._rescan_s
        for entry in self._in_order(fresh):
            # What waits unchanged is dealt with when it is due, a few at a time.
            if not self._tracker.holds(entry.key, entry.seen):
                self._consider(root, entry, now)

    def _in_order(self, fresh: list[Entry]) -> list[Entry]:
        """Oldest first; after a start, what was handed over by an earlier process at the end."""
        taken: Collection[tuple[str, int]] = ()
        if self._asks_what_was_taken:
            taken = self._handlers.taken(self.spec.name)
            self._asks_what_was_taken = False

        def order(entry: Entry) -> tuple[bool, int, str]:
            known = (label(entry.name), entry.seen.size) in taken
            return known, entry.modified_ns, entry.name

        return sorted(fresh, key=order)

    def _consider(self, root: Root, entry: Entry, now: float) -> None:
        """Decide about one entry; deal with it if it is ready, refused or stalled."""
        self.progressed_at = self._clock.monotonic()
        if entry.keys <= self._finished:
            return
        reader = _Reader(root, entry, self)
        try:
            entry.check(self.spec.max_bytes)
            verdict = self._tracker.observe(entry.key, entry.seen, now, reader.complete)
            if verdict is Verdict.STALLED:
                raise reader.stalled()
        except ChangedError:
            self._tracker.touched(entry.key)
        except FileNotFoundError:
            self._tracker.forget(entry.key)
        except Quarantine as refusal:
            self._handlers.refuse(self.spec.name, label(entry.name), refusal, reader.capture)
            self._tracker.forget(entry.key)
            self._finished |= entry.keys
        else:
            if verdict is Verdict.READY and reader.capture is not None:
                self._handlers.accept(reader.capture)
                self._finished |= entry.keys


class _Reader:
    """Reads one settled entry and asks the format whether it is whole."""

    def __init__(self, root: Root, entry: Entry, source: FolderSource) -> None:
        self._root = root
        self._entry = entry
        self._source = source
        self._trouble = ""
        self.capture: RawCapture | None = None

    def complete(self) -> bool:
        spec = self._source.spec
        name = label(self._entry.name)
        try:
            data = join([self._read(file, status) for file, status in self._entry.files])
        except FileNotFoundError:
            raise
        except OSError as error:
            # A writer on a share may hold the file locked; it is asked again on any change.
            self._trouble = f"cannot be read: {error.strerror}"
            return False
        self.capture = RawCapture.of(spec.instrument, spec.name, name, data)
        if self._entry.missing is not None:
            return False
        return self._source._handlers.complete(data)  # noqa: SLF001 - one class in two parts

    def _read(self, name: str, status: os.stat_result) -> tuple[str, bytes]:
        data = self._root.read(name, observation(status), self._source.spec.max_bytes)
        return label(name), data

    def stalled(self) -> Quarantine:
        name, stall_s = label(self._entry.name), self._source.spec.stall_s
        if self._trouble:
            return Quarantine(
                "refused",
                f"{name} {self._trouble}",
                action="give the service's user the right to read the export folder",
            )
        if self._entry.missing is not None:
            return Quarantine(
                "stalled",
                f"{name}: part {self._entry.missing} of this run is not there, {stall_s:g} s "
                "after the last change of the others",
                action="export the run again from the analyzer, with all of its files",
            )
        return Quarantine(
            "stalled",
            f"{name} stopped growing at {self._entry.seen.size} bytes, before the end "
            f"its own header names, {stall_s:g} s ago",
            action="export the run again from the analyzer",
        )
