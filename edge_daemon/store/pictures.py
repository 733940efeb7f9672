"""The pictures of a run, read back: scattergrams and volume histograms as counts in bins.

Standard library only: query commands and the page import it. `classify.pictures` writes the
bytes; docs/storage.md describes them.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EdgeError
from edge_daemon.store.picture_header import check_header
from edge_daemon.store.reader import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

MEDIA_TYPE: Final = "application/vnd.edge-daemon.pictures"
"""Of the bytes as stored, which a page may hand on as they are."""
SUFFIX: Final = ".pictures"
"""How a file with an example picture ends."""

_FORMAT: Final = 1
_LARGEST: Final = 8 << 20
_LENGTH: Final = 4
_MOST_BITS: Final = 63
_DAMAGED: Final = (
    zlib.error, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
    StopIteration,
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
    try:
        return _read(body)
    except _DAMAGED as error:
        raise EdgeError(
            "pictures cannot be read: their bytes are damaged",
            action="analyse the file again with `edge-daemon process FILE --replay`",
        ) from error


def _read(body: bytes) -> dict[str, Any]:
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
    for picture in (*header["scattergrams"], *header["histograms"]):
        picture["cells"] = _cells(picture, numbers)
    if next(numbers, None) is not None:
        raise ValueError("more numbers than the pictures need")
    return header


def _cells(picture: dict[str, Any], numbers: Iterator[int]) -> dict[str, dict[str, list[int]]]:
    size = picture["x"]["bins"] * (picture["y"]["bins"] if "y" in picture else 1)
    filled = next(numbers)
    if filled > size * len(picture["classes"]):
        raise ValueError("more bins than the picture has")
    gaps = [next(numbers) + 1 for _ in range(filled)]
    counts = [next(numbers) + 1 for _ in range(filled)]
    cells: dict[str, dict[str, list[int]]] = {
        name: {"bins": [], "counts": []} for name in picture["classes"]
    }
    in_order = list(cells.values())
    for end, count in zip(accumulate(gaps), counts, strict=True):
        row, at = divmod(end - 1, size)
        if row >= len(in_order):
            raise ValueError("a bin lies outside the picture")
        in_order[row]["bins"].append(at)
        in_order[row]["counts"].append(count)
    return cells


def _varints(data: bytes) -> Iterator[int]:
    """Read whole numbers with seven bits to a byte, the lowest first (LEB128)."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            if shift > _MOST_BITS:
                raise ValueError("a number is too long")
        else:
            yield value
            value = shift = 0
