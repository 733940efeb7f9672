"""Runs that an analyzer exports in several files: which belong together, and as one capture.

The parts of one run travel as one capture: a ZIP file, stored and not compressed, that is made
of the parts alone (decision 0007). The same parts always make the same bytes, so that the digest
identifies the run; and whoever finds such a capture in an archive can open it.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MAX_PARTS: Final = 100
_MAX_NAME: Final = 255
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_MAGIC: Final = b"PK\x03\x04"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a run.

    Attributes
    ----------
    run
        Equal for the files of one run: the name without its number.
    number
        From the name; 0 where it has none.
    first
        Number of a run's first part: 0 where that is a file without a number, else 1.
    """

    run: str
    number: int
    first: int


class PartNames:
    """Tells from file names which files are parts of one run.

    Parameters
    ----------
    patterns
        ``[source] parts`` of the profiles: regular expressions for whole file names in which
        the group ``PART`` is the part's number, with what surrounds it.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(re.compile(pattern) for pattern in dict.fromkeys(patterns))

    def of(self, name: str) -> Part | None:
        """Return which part a file is; None where no pattern fits its name.

        Parameters
        ----------
        name
            Of the file; folders before it are kept, and are no part of what a pattern sees.
        """
        folder, slash, base = name.rpartition("/")
        for pattern in self._patterns:
            found = pattern.fullmatch(base[: _MAX_NAME + 1])
            if found is None:
                continue
            digits = re.sub(r"\D", "", found["PART"] or "", flags=re.ASCII)
            begin, end = found.span("PART")
            run = base if begin < 0 else base[:begin] + base[end:]
            first = 0 if pattern.fullmatch(run) else 1
            return Part(folder + slash + run, int(digits[:9] or 0), first)
        return None


def missing_part(parts: Sequence[Part]) -> int | None:
    """Return the number of the first part that is not among these; None if none lacks.

    Whether further parts follow the last one is not to be seen from names.
    """
    numbers = {part.number for part in parts}
    expected = range(parts[0].first, max(numbers) + 1)
    return next((number for number in expected if number not in numbers), None)


def gather(file: Path, names: PartNames) -> tuple[list[Path], int | None]:
    """Find the other parts of a file's run beside it.

    Returns
    -------
    tuple
        The files in order, or just this one where it is no part; and the number of a part that
        is not there, though a later one is.
    """
    part = names.of(file.name)
    if part is None or not file.is_file():
        return [file], None
    beside = [(names.of(path.name), path) for path in file.parent.iterdir()]
    run = [(other, path) for other, path in beside if other is not None and other.run == part.run]
    run.sort(key=lambda found: (found[0].number, found[1].name))
    return [path for _, path in run], missing_part([other for other, _ in run])


def read_run(file: Path, names: PartNames) -> tuple[str, bytes]:
    """Read a file, with the other parts of its run where it is one of them, as one capture.

    Returns
    -------
    tuple
        Name and content of the capture.

    Raises
    ------
    OSError
        A file cannot be read.
    Quarantine
        ``truncated``: a part of the run is not there.
    """
    files, missing = gather(file, names)
    if missing is not None:
        raise Quarantine(
            "truncated",
            f"part {missing} of this run is not there",
            action="Put all files of the run into one folder.",
        )
    return files[0].name, join([(path.name, path.read_bytes()) for path in files])


def join(parts: Sequence[tuple[str, bytes]]) -> bytes:
    """Make one capture of the parts of a run; a single part stays as it is.

    Parameters
    ----------
    parts
        Name and content of each, in order.
    """
    if len(parts) == 1:
        return parts[0][1]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts:
            entry = zipfile.ZipInfo(name.rpartition("/")[2], _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return stream.getvalue()


def split(data: bytes) -> list[tuple[str, bytes]]:
    """Return the parts of a capture; of a plain file that is the file itself, without a name.

    Raises
    ------
    Quarantine
        ``malformed``: a ZIP file that `join` did not write.
    """
    if not data.startswith(_MAGIC):
        return [("", data)]
    parts: list[tuple[str, bytes]] = []
    at = 0
    while data.startswith(_MAGIC, at) and len(parts) < MAX_PARTS and at + _LOCAL.size <= len(data):
        *_, size, _, name_size, extra = _LOCAL.unpack_from(data, at)
        begin = at + _LOCAL.size + name_size + extra
        name = data[at + _LOCAL.size : begin - extra].decode("utf-8", "replace")
        parts.append((name, data[begin : begin + size]))
        at = begin + size
    # Whatever it says, and the checksums with it: only what we would write again is taken.
    names = {name for name, _ in parts}
    # zipfile would cut a name at these, and warn of what then has the same.
    plain = len(names) == len(parts) and not any("/" in name or "\0" in name for name in names)
    if len(parts) < 2 or not plain or not _same(parts, data):
        raise Quarantine(
            "malformed",
            f"expected the parts of one run as this program joins them, found a ZIP file of "
            f"another making (readable entries: {len(parts)})",
            action="Unpack it and put the files themselves into the folder.",
        )
    return parts


def _same(parts: Sequence[tuple[str, bytes]], data: bytes) -> bool:
    try:
        return join(parts) == data
    except (ValueError, UnicodeError):  # a name that no file can have
        return False
