"""Try the files of a folder before anybody relies on it: by the path that the service takes.

Captures are decoded and classified by the same confined workers, into a folder that is gone
afterwards.
"""

from __future__ import annotations

import stat
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.doctor.read_system import mount
from edge_daemon.pipeline import default_plan, process_files
from edge_daemon.sources.directory import Root, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_daemon.decode.registry import Registry

TRIED: Final = 12
_ENTRIES: Final = 20_000
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs"})
_USUAL: Final = ("*.fcs", "*.lmd")


@dataclass(frozen=True, slots=True)
class Refused:
    """Files that cannot be used for the same reason, in the words of the first of them."""

    files: int
    message: str
    action: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a folder's files.

    Attributes
    ----------
    seen
        Files that some profile takes.
    others
        Names of some files that none takes.
    tried
        Runs of the newest of them that were read.
    decoded, classified
        Of these.
    profiles
        How many runs each profile fitted.
    refused
        Why the rest could not be used.
    simulated
        Runs that carry the mark of simulated data.
    patterns
        What `source.patterns` has to be; empty for the usual ones.
    recursive, poll
        Whether files lie in sub-folders only, and whether the folder is a network share.
    """

    seen: int = 0
    others: tuple[str, ...] = ()
    tried: int = 0
    decoded: int = 0
    classified: int = 0
    profiles: tuple[tuple[str, int], ...] = ()
    refused: tuple[Refused, ...] = ()
    simulated: int = 0
    patterns: tuple[str, ...] = ()
    recursive: bool = False
    poll: bool = False

    @property
    def light(self) -> str:
        """``green``: every run that was tried can be used; ``yellow``: some, or none came yet."""
        if not self.tried:
            return "red" if self.others else "yellow"
        if self.decoded == self.tried:
            return "green"
        return "yellow" if self.decoded else "red"


def try_folder(folder: Path, registry: Registry) -> Trial:
    """Read the newest files of a folder as the service would.

    Parameters
    ----------
    folder
        Export folder.
    registry
        The profiles at hand.

    Raises
    ------
    RootLostError
        The folder is missing or cannot be read.
    """
    patterns = taken_names(registry)
    with Root(folder) as root:
        flat = list(_regular(root, recursive=False))
        recursive = not any(wanted(name, patterns) for name, _ in flat)
        entries = list(_regular(root, recursive=True)) if recursive else flat
    mine = sorted((when, name) for name, when in entries if wanted(name, patterns))
    others = tuple(name for name, _ in entries if not wanted(name, patterns))[:5]
    found = mount(folder)
    poll = found is not None and found.kind in _NETWORK
    if not mine:
        return Trial(others=others, poll=poll)
    newest = [folder / name for _, name in mine[-TRIED:]]
    with tempfile.TemporaryDirectory(prefix="edge-daemon-") as scratch:
        records = list(process_files(newest, data_dir=Path(scratch) / "data", plan=default_plan()))
    fitted = Counter(r["profile"] for r in records if _is_read(r))
    return Trial(
        seen=len(mine),
        others=others,
        tried=len(records),
        decoded=sum(map(_is_read, records)),
        classified=sum(r["status"] == "classified" for r in records),
        profiles=tuple(fitted.most_common()),
        refused=_refusals(records),
        simulated=sum(bool(r["simulated"]) for r in records),
        patterns=_patterns(registry, list(fitted)),
        recursive=recursive,
        poll=poll,
    )


def taken_names(registry: Registry) -> tuple[str, ...]:
    """List every file name that a profile takes by itself."""
    found = {*_USUAL}
    for profile in registry.profiles.values():
        if profile.match is not None:
            found.update(profile.source.patterns)
    return tuple(sorted(found))


def _regular(root: Root, *, recursive: bool) -> Iterator[tuple[str, float]]:
    with closing(root.scan(("*",), recursive=recursive)) as entries:  # type: ignore[type-var]
        for number, (name, status) in enumerate(entries):
            if number >= _ENTRIES:
                return
            if stat.S_ISREG(status.st_mode):
                yield name, status.st_mtime


def _is_read(record: dict[str, Any]) -> bool:
    """Whether a profile fitted and its cells or values could be taken out."""
    return record["profile"] is not None and record["events"] is not None


def _refusals(records: Sequence[dict[str, Any]]) -> tuple[Refused, ...]:
    """Say each reason once: a folder of one wrong instrument must not fill the screen."""
    alike: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        if why := record["reason"]:
            alike.setdefault((why["code"], why["action"]), []).append(why)
    return tuple(
        Refused(len(group), group[0]["message"], action) for (_, action), group in alike.items()
    )


def _patterns(registry: Registry, profiles: Sequence[str]) -> tuple[str, ...]:
    needed = {p for name in profiles for p in registry.get(name).source.patterns}
    return () if needed <= {*_USUAL} else tuple(sorted(needed | {*_USUAL}))
