"""What a watched folder holds, as the things that become captures: a file, or a run's parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_daemon.errors import Quarantine
from edge_daemon.parts import MAX_PARTS, PartNames, missing_part
from edge_daemon.sources.directory import check_regular, check_size, label, observation
from edge_daemon.sources.stability import Observation

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from edge_daemon.parts import Part

    File = tuple[str, os.stat_result]


@dataclass(frozen=True, slots=True)
class Entry:
    """One capture-to-be.

    Attributes
    ----------
    key
        Tells it from others.
    files
        Name and status of each, in the order of the parts; one for a file by itself.
    missing
        Number of a part that is not there, though a later one is.
    """

    key: str
    files: tuple[File, ...]
    missing: int | None = None

    @property
    def name(self) -> str:
        """Of the first file, and so of the capture."""
        return self.files[0][0]

    @property
    def modified_ns(self) -> int:
        """When the last of the files changed."""
        return max(status.st_mtime_ns for _, status in self.files)

    @property
    def seen(self) -> Observation:
        """The state of all files."""
        if len(self.files) == 1:
            return observation(self.files[0][1])
        states = tuple((name, observation(status)) for name, status in self.files)
        size = sum(status.st_size for _, status in self.files)
        return Observation(size, self.modified_ns, hash(states))

    @property
    def keys(self) -> set[int]:
        """Of the files in their present state.

        64 bits instead of the whole record: a year of captures stays in a few megabytes. Owner
        and rights are part of the state: a file that could not be read is looked at again once
        somebody has changed them.
        """
        return {
            hash((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_mode, s.st_uid, s.st_gid))
            for name, s in self.files
        }

    def check(self, max_bytes: int) -> None:
        """Refuse links, special files, and more or larger files than a capture may have.

        Raises
        ------
        Quarantine
            ``refused`` or ``too_large``.
        """
        for name, status in self.files:
            check_regular(name, status)
        check_size(self.name, sum(status.st_size for _, status in self.files), max_bytes)
        if len(self.files) > MAX_PARTS:
            raise Quarantine(
                "too_large",
                f"{label(self.name)} comes in {len(self.files)} parts, the limit is {MAX_PARTS}",
                action="check the names of the files; a run is not split so often",
            )


class Grouping:
    """Puts the parts of a run together, by their names.

    Parameters
    ----------
    patterns
        See `PartNames`.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._names = PartNames(patterns)
        self._runs: dict[str, tuple[str, ...]] = {}

    def key(self, name: str) -> str:
        """Return the key of the entry that a file belongs to."""
        part = self._names.of(name)
        return name if part is None else _run_key(part)

    def knows(self, name: str) -> bool:
        """Tell whether a file can be looked at by itself, or with others that are known."""
        key = self.key(name)
        return key == name or name in self._runs.get(key, ())

    def files(self, key: str) -> tuple[str, ...]:
        """Return the names of an entry's files, as the last scan found them."""
        return self._runs.get(key, (key,))

    def entries(self, files: Iterable[File]) -> Iterator[Entry]:
        """Group what a scan of the whole folder finds, and remember the runs."""
        runs: dict[str, list[tuple[Part, File]]] = {}
        for file in files:
            part = self._names.of(file[0])
            if part is None:
                yield Entry(file[0], (file,))
            else:
                runs.setdefault(_run_key(part), []).append((part, file))
        self._runs = {key: tuple(file[0] for _, file in run) for key, run in runs.items()}
        for key, run in runs.items():
            yield _run(key, run)

    def again(self, key: str, files: Iterable[File]) -> Entry:
        """Make an entry anew from the present states of its files."""
        members = [(self._names.of(file[0]), file) for file in files]
        parts = [(part, file) for part, file in members if part is not None]
        return _run(key, parts) if parts else Entry(key, (members[0][1],))


def _run_key(part: Part) -> str:
    """Return what no file can be named."""
    return f"{part.run}\0"


def _run(key: str, members: list[tuple[Part, File]]) -> Entry:
    ordered = sorted(members, key=lambda member: (member[0].number, member[1][0]))
    files = tuple(file for _, file in ordered)
    return Entry(key, files, missing_part([part for part, _ in ordered]))
