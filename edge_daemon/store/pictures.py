"""The pictures of a run, read back: scattergrams and volume histograms as counts in bins.

Standard library only: query commands and the page import it. `classify.pictures` writes the
bytes; docs/storage.md describes them.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EdgeError
from edge_daemon.store.picture_header import check_header
from edge_daemon.store.reader import rows

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    # A picture of the header, the empty bins before each filled one, and the counts less one.
    _Found = tuple[dict[str, Any], list[int], list[int]]

MEDIA_TYPE: Final = "application/vnd.edge-daemon.pictures"
"""Of the bytes as stored, which a page may hand on as they are."""
SUFFIX: Final = ".pictures"
"""How a file with an example picture ends."""

_FORMAT: Final = 1
_LARGEST: Final = 8 << 20
_LENGTH: Final = 4
_MOST_BYTES: Final = 10
_LONG: Final = re.compile(rb"[\x80-\xff]+[\x00-\x7f]")
"""A number of several bytes."""
_DAMAGED: Final = (
    zlib.error, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What bytes lead to that were not written by `classify.pictures`."""


def of_run(db: sqlite3.Connection, run_id: int) -> dict[str, Any] | None:
    """Pictures of a run, as `decode` gives them; None if it has none.

    Raises
    ------
    EdgeError
        They are not those that were stored with the run.
    """
    body = body_of_run(db, run_id)
    return None if body is None else decode(body)


def body_of_run(db: sqlite3.Connection, run_id: int) -> bytes | None:
    """Bytes as they were stored; None if the run has no pictures.

    Raises
    ------
    EdgeError
        They are not those that were stored with the run.
    """
    query = (
        "SELECT p.body, p.digest, r.digest AS run FROM pictures AS p"
        " JOIN runs AS r ON r.id = p.run_id WHERE p.run_id = ?"
    )
    found = rows(db, query, [run_id])
    if not found:
        return None
    body: bytes = found[0]["body"]
    if picture_digest(found[0]["run"], body) != found[0]["digest"]:
        raise EdgeError(
            f"the pictures of run {run_id} are not those that were stored with it",
            action="analyse its file again with `edge-daemon process FILE --replay`",
        )
    return body


def picture_digest(run_digest: str, body: bytes) -> str:
    """SHA-256 over the digest of the run and its pictures, which binds them to each other."""
    return hashlib.sha256(run_digest.encode("ascii") + b"\n" + body).hexdigest()


def example(folder: Path, profile: str, species: str | None) -> dict[str, Any] | None:
    """Pictures of healthy animals of a species on a profile's instrument; None without any.

    Parameters
    ----------
    folder
        Where examples lie (`resources.reference_pictures_dir`).
    profile
        Id of a profile; its firmware does not matter.
    species
        One of `records.SPECIES`, or None.
    """
    body = example_body(folder, profile, species)
    return None if body is None else decode(body)


def example_body(folder: Path, profile: str, species: str | None) -> bytes | None:
    """Bytes of `example`."""
    if species is None:
        return None
    file = folder / profile.partition("/")[0] / f"{species}{SUFFIX}"
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def decode(body: bytes) -> dict[str, Any]:
    """Read the bytes of pictures.

    Returns
    -------
    dict
        The header (docs/storage.md), with ``cells`` in each picture: class → ``bins``, ascending
        indices of filled bins, and ``counts``, the events in each.

    Raises
    ------
    EdgeError
        The bytes are of a later format or damaged.
    """
    header, found = _checked(body)
    for picture, gaps, counts in found:
        picture["cells"] = _cells(picture, gaps, counts)
    return header


def check(body: bytes) -> None:
    """Make sure that `decode` can read the bytes, in a third of its time.

    Raises
    ------
    EdgeError
        As `decode`.
    """
    _checked(body)


def _checked(body: bytes) -> tuple[dict[str, Any], list[_Found]]:
    try:
        return _read(body)
    except _DAMAGED as error:
        raise EdgeError(
            "pictures cannot be read: their bytes are damaged",
            action="analyse the file again with `edge-daemon process FILE --replay`",
        ) from error


def _read(body: bytes) -> tuple[dict[str, Any], list[_Found]]:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(body, _LARGEST)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("too long, cut off, or followed by something else")
    start = _LENGTH + int.from_bytes(unpacked[:_LENGTH], "little")
    header: dict[str, Any] = json.loads(unpacked[_LENGTH:start])
    if header["format"] != _FORMAT:
        raise EdgeError(
            f"pictures of format {header['format']!s:.20}; this software reads {_FORMAT}",
            action="upgrade the software",
        )
    check_header(header)
    numbers = _varints(unpacked[start:])
    found = []
    at = 0
    for picture in (*header["scattergrams"], *header["histograms"]):
        filled, most = numbers[at], _size(picture) * len(picture["classes"])
        gaps = numbers[at + 1 : at + 1 + filled]
        counts = numbers[at + 1 + filled : at + 1 + 2 * filled]
        if len(counts) < filled or sum(gaps) + filled > most:
            raise ValueError("too few numbers, or a bin lies outside the picture")
        found.append((picture, gaps, counts))
        at += 1 + 2 * filled
    if at < len(numbers):
        raise ValueError("more numbers than the pictures need")
    return header, found


def _size(picture: dict[str, Any]) -> int:
    size: int = picture["x"]["bins"] * (picture["y"]["bins"] if "y" in picture else 1)
    return size


def _cells(
    picture: dict[str, Any], gaps: list[int], counts: list[int]
) -> dict[str, dict[str, list[int]]]:
    size = _size(picture)
    ends = [end + before for before, end in enumerate(accumulate(gaps), 1)]
    cells: dict[str, dict[str, list[int]]] = {}
    begin = 0
    for row, name in enumerate(picture["classes"]):
        until = bisect_right(ends, (row + 1) * size)
        cells[name] = {
            "bins": [end - 1 - row * size for end in ends[begin:until]],
            "counts": [count + 1 for count in counts[begin:until]],
        }
        begin = until
    return cells


def _varints(data: bytes) -> list[int]:
    """Read whole numbers with seven bits to a byte, the lowest first (LEB128)."""
    if data and data[-1] & 0x80:
        raise ValueError("a number is cut off")
    # Between the long numbers, of which nearly all have two bytes, each byte is a number.
    *between, rest = _LONG.split(data)
    numbers: list[int] = []
    for short, one in zip(between, _LONG.findall(data), strict=True):
        numbers += short
        numbers.append(one[0] & 0x7F | one[1] << 7 if len(one) == 2 else _number(one))
    numbers += rest
    return numbers


def _number(one: bytes) -> int:
    if len(one) > _MOST_BYTES:
        raise ValueError("a number is too long")
    value = 0
    for byte in reversed(one):
        value = value << 7 | byte & 0x7F
    return value
