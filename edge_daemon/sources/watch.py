"""Change events of a folder, as hints only: allowed to be late, repeated, lost or absent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from watchdog.events import (
    EVENT_TYPE_CLOSED_NO_WRITE,
    EVENT_TYPE_OPENED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watchdog.observers.api import BaseObserver

_READS: Final = frozenset({EVENT_TYPE_OPENED, EVENT_TYPE_CLOSED_NO_WRITE})


class Watch(FileSystemEventHandler):
    """Keeps an observer alive on the folder that is there now.

    Parameters
    ----------
    path
        Folder to watch.
    recursive
        Watch sub-folders too.
    hint
        Called in the observer's thread with the relative name of a file that changed, or with
        None when a folder did and a look at everything is due.
    """

    def __init__(self, path: Path, hint: Callable[[str | None], None], *, recursive: bool) -> None:
        self._path = path
        self._hint = hint
        self._recursive = recursive
        self._observer: BaseObserver | None = None
        self._identity: tuple[int, int] | None = None

    @property
    def alive(self) -> bool:
        """Whether events can arrive: the emitters die separately from the observer."""
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and bool(observer.emitters)
            and all(emitter.is_alive() for emitter in observer.emitters)
        )

    def ensure(self, identity: tuple[int, int]) -> bool:
        """Watch the folder of this identity; restart what is dead or watches a former one.

        Returns
        -------
        bool
            Whether events arrive. False (no watches left, no inotify) is a lasting but
            harmless state: scanning finds everything.
        """
        if self.alive and identity == self._identity:
            return True
        self.stop()
        observer = Observer()
        try:
            observer.schedule(self, str(self._path), recursive=self._recursive)
            observer.start()
        except OSError:
            return False
        self._observer, self._identity = observer, identity
        return True

    def stop(self) -> None:
        """Stop watching; safe to call twice."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            if observer.is_alive():
                observer.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass on which file changed; called by the observer."""
        if event.event_type in _READS:
            return
        if event.is_directory:
            if self._recursive:
                self._hint(None)
            return
        for path in (event.src_path, event.dest_path):
            if path:
                self._hint(os.path.relpath(os.fsdecode(path), self._path))
