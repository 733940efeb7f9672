"""Where updates lie on a box, and the one file that says which are in use.

::

    updates/
      state.json      which version of what is in use; replaced whole, by rename
      items/KIND/NAME/VERSION-DIGEST/     unpacked files of versions that proved right
      incoming/       downloads that are not whole, and what is being unpacked
      trust/          TUF metadata: the trust in who signs
      lock, looking   held while the state is changed, while updates are looked for

A search folder of a kind is what the rest of the software takes: bundles and profiles lie one
folder deep in it. Standard library only: the query commands import it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import EdgeError, Fatal, Retryable
from edge_daemon.updates.archive import content_digest, read_folder
from edge_daemon.updates.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from edge_daemon.updates.state import Held

FOLDER: Final = "updates"
FIRST_ROOT: Final = "first.root.json"
"""In the folder of the trust: the root that a person gave."""
_LOCK_WAIT_S: Final = 60.0


class UpdateFolder:
    """The updates of one data folder.

    Parameters
    ----------
    data_dir
        Of the box; nothing need be there.
    """

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / FOLDER
        self.trust = self.root / "trust"
        self.incoming = self.root / "incoming"
        self._items = self.root / "items"
        self._state = self.root / "state.json"

    @property
    def trusts(self) -> bool:
        """Whether a person has said who signs updates."""
        return (self.trust / FIRST_ROOT).exists()

    def read(self) -> State:
        """Read which versions are in use; none where nothing was ever updated.

        Raises
        ------
        EdgeError
            The file is damaged: then only what ships and the site's own is used.
        """
        try:
            return State.load(self._state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return State()
        except (OSError, UnicodeDecodeError, EdgeError) as error:
            raise EdgeError(
                f"{self._state}: the state of updates cannot be read: {error}",
                action="Move the file away and look for updates again; until then what ships and "
                "the site's own is used.",
            ) from error

    def write(self, state: State) -> None:
        """Put a state in place of the present one; a power cut leaves one or the other.

        Raises
        ------
        Retryable
            The disk is full or cannot be written.
        """
        partial = self._state.with_suffix(".new")
        try:
            self.root.mkdir(mode=0o750, exist_ok=True)
            _write(partial, state.dump().encode())
            partial.replace(self._state)
            sync_folder(self.root)
        except OSError as error:
            raise _full(self._state, error) from error

    @contextlib.contextmanager
    def locked(self, name: str = "lock") -> Iterator[None]:
        """Hold the folder for a change; the kernel lets go of it when the process ends.

        Parameters
        ----------
        name
            ``lock`` for the state; ``looking`` for the metadata and the downloads, which take
            longer than a person who rolls back should wait.

        Raises
        ------
        Fatal
            This user cannot write there as the service does.
        Retryable
            Another process changes something and does not end.
        """
        self._must_be_ours()
        try:
            self.root.mkdir(mode=0o750, exist_ok=True)
            handle = os.open(self.root / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o640)
        except OSError as error:
            raise _full(self.root, error) from error
        try:
            _take(handle)
            yield
        finally:
            os.close(handle)

    def versions_of(self, key: str) -> Path:
        """Folder of all versions of an item."""
        return self._items / key

    def place(self, key: str, held: Held) -> Path:
        """Folder of a version that lies here."""
        return self.versions_of(key) / held.folder

    def install(self, key: str, held: Held, files: Mapping[str, bytes]) -> Path:
        """Put the files of a version in place, whole or not at all.

        Raises
        ------
        Retryable
            The disk is full or cannot be written.
        """
        place = self.place(key, held)
        if self.sound(key, held):
            return place
        partial = self.incoming / f"new-{held.folder}"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            for name, data in files.items():
                path = partial / name
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(path, data)
            for folder in sorted({(partial / name).parent for name in files} | {partial}):
                sync_folder(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            partial.rename(place)
            sync_folder(place.parent)
        except OSError as error:
            raise _full(place, error) from error
        return place

    def sound(self, key: str, held: Held) -> bool:
        """Tell whether the files of a version are those that proved right."""
        try:
            return content_digest(read_folder(self.place(key, held))) == held.content
        except OSError:
            return False

    def tidy(self, state: State) -> None:
        """Delete the files of versions that no slot holds, and what was left half done."""
        kept = {self.place(key, held) for key, slot in state.slots.items() for held in slot.held}
        for place in [*self._items.glob("*/*/*"), *self._items.glob("*/*/*/*")]:
            inside = any(place in folder.parents or folder in place.parents for folder in kept)
            if place.is_dir() and place not in kept and not inside:
                shutil.rmtree(place, ignore_errors=True)
        for left in self.incoming.glob("new-*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in [*self.incoming.glob("*.tar"), *self.incoming.glob("*.part")]:
            left.unlink(missing_ok=True)
        for left in self.trust.glob("tmp*"):
            left.unlink(missing_ok=True)

    def _must_be_ours(self) -> None:
        """Refuse to leave files that the service could not read."""
        try:
            owner = self.root.parent.stat().st_uid
        except OSError as error:
            raise Fatal(
                f"{self.root.parent}: there is no data folder: {error.strerror}",
                action="Give --data-dir, or start the service once.",
            ) from error
        if owner != os.geteuid():
            raise Fatal(
                f"{self.root.parent} belongs to another user: what is written now the service "
                "could not read",
                action="Run the command as the user the service runs as, e.g. "
                "`sudo -u edge-daemon edge-daemon update …`.",
            )


def active_folders(data_dir: Path, kind: str) -> tuple[Path, ...]:
    """Search folders of the updates of one kind that are in use.

    A version whose files are damaged, or all of them where the state cannot be read, are left
    out: what ships with the software and the site's own stay. `edge-daemon update status` says it.
    """
    folder = UpdateFolder(data_dir)
    try:
        state = folder.read()
    except EdgeError:
        return ()
    return tuple(
        folder.place(key, slot.active)
        for key, slot in sorted(state.slots.items())
        if key.startswith(f"{kind}/") and slot.active is not None and folder.sound(key, slot.active)
    )


def reference_places(data_dir: Path, own: Iterable[Path]) -> tuple[Path, ...]:
    """List where intervals and rules over the shipped ones lie: updates, then the site's own."""
    updates = (*active_folders(data_dir, "rules"), *active_folders(data_dir, "intervals"))
    return (*updates, *own)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _take(handle: int) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                raise Retryable(
                    "another process is changing the updates of this box",
                    action="try again in some minutes",
                ) from None
            time.sleep(0.05)
        else:
            return


def _full(path: Path, error: OSError) -> Retryable:
    return Retryable(
        f"{path}: cannot be written: {error.strerror or error}",
        action="free disk space, and check the permissions of the data folder",
    )
