"""Where an analyzer's runs may come from on this machine: folders with captures, serial ports.

Looking only: nothing is opened but folders. A share that does not answer holds nobody up.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.sources.directory import wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOTS: Final = (Path("/srv"), Path("/mnt"), Path("/media"), Path("/run/media"), Path("/home"))
_DEPTH: Final = 4
_FOLDERS: Final = 2_000
_ENTRIES: Final = 5_000  # of one folder: enough to tell what it is for
_PATIENCE_S: Final = 5.0
_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class FoundFolder:
    """A folder with files that some profile takes.

    Attributes
    ----------
    files
        How many.
    newest
        When the newest of them was written, seconds since 1970.
    """

    path: Path
    files: int
    newest: float


def folders(patterns: Sequence[str], roots: Iterable[Path] = ROOTS) -> list[FoundFolder]:
    """Find folders with captures, the one written to last first.

    Parameters
    ----------
    patterns
        File names that profiles take.
    roots
        Where to look, some levels deep.
    """
    found: list[FoundFolder] = []

    def look() -> None:
        for number, folder in enumerate(_below(roots)):
            if number >= _FOLDERS:
                return
            if (counted := _count(folder, patterns)) is not None:
                found.append(counted)

    # A share whose server is gone can block for minutes; what was found until then counts.
    looker = threading.Thread(target=look, name="look", daemon=True)
    looker.start()
    looker.join(_PATIENCE_S)
    return sorted(found.copy(), key=lambda folder: -folder.newest)[:_SHOWN]


def _below(roots: Iterable[Path]) -> Iterator[Path]:
    """Yield folders level by level: what lies near is more likely meant."""
    level = [root for root in roots if root.is_dir()]
    for _ in range(_DEPTH):
        deeper: list[Path] = []
        for folder in level:
            yield folder
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                deeper += [
                    Path(entry.path)
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                ]
        level = sorted(deeper)


def _count(folder: Path, patterns: Sequence[str]) -> FoundFolder | None:
    files, newest = 0, 0.0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= _ENTRIES:
                break
            if wanted(entry.name, patterns) and entry.is_file(follow_symlinks=False):
                files += 1
                newest = max(newest, entry.stat(follow_symlinks=False).st_mtime)
    return FoundFolder(folder, files, newest) if files else None


def ports(root: Path = Path("/")) -> list[Path]:
    """Find serial ports, each by the name that lasts where it has one."""
    found: dict[Path, Path] = {}
    names = [*sorted(root.glob("dev/serial/by-id/*"))]
    for pattern in ("ttyUSB*", "ttyACM*", "ttyAMA*", "ttyS*"):
        names += [port for port in sorted(root.glob(f"dev/{pattern}")) if _is_real(port, root)]
    for name in names:
        found.setdefault(name.resolve(), name)
    return list(found.values())


def _is_real(port: Path, root: Path) -> bool:
    """Leave out the dozens of names that kernels keep for ports that are not fitted."""
    if not port.name.startswith("ttyS"):
        return True
    try:
        return (root / "sys/class/tty" / port.name / "type").read_text().strip() != "0"
    except OSError:
        return False
