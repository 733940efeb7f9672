"""What stands where in a capture, as a profile reads it: for whoever writes the profile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.decode.codecs.binary import SIZES, Frame
from edge_daemon.decode.codecs.records import RecordsCodec, field_values
from edge_daemon.decode.limits import Limits
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_daemon.decode.codec import Codec
    from edge_daemon.decode.codecs.binary import HeaderField
    from edge_daemon.decode.codecs.records import RecordField

RECORDS: Final = 2
"""Records that are shown field by field."""

_DUMPED: Final = 256
_LINE: Final = 16


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch of bytes and what the profile makes of it.

    Attributes
    ----------
    offset, size
        First byte, from 0, and number of bytes.
    name
        Keyword or column; what the stretch is where it has none.
    meaning
        How the bytes are read.
    value
        What they say.
    fits
        Whether they say what they must; None where anything may stand.
    """

    offset: int
    size: int
    name: str
    meaning: str
    value: str
    fits: bool | None = None


def preview(codec: Codec, data: bytes) -> tuple[Row, ...]:
    """Lay out a capture; nothing is refused, what does not fit is said.

    Parameters
    ----------
    codec
        Of the profile.
    data
        The whole capture, of whatever format.

    Returns
    -------
    tuple of Row
        In the order of the bytes. Of a codec with a binary frame: each field of the header, the
        first `RECORDS` records, trailer and check. Of any other: the first bytes.
    """
    frame = getattr(codec, "frame", None)
    if not isinstance(frame, Frame):
        return tuple(_dump(data))
    rows = [*_header(frame, data)]
    if len(data) < frame.header.size:
        return (*rows, _end(frame.header.size, len(data)))
    if not isinstance(codec, RecordsCodec):
        size = max(len(data) - frame.overhead, 0)
        return (*rows, *_rest(data, frame.header.size, size, "payload"), *_trailer(frame, data))
    events, problem = _events(codec, data)
    rows += _records(codec, data, events)
    expected = frame.overhead + events * codec.record.size
    if problem is not None:
        return (*rows, Row(0, len(data), "capture", "number of records", problem, fits=False))
    if len(data) != expected:
        return (*rows, _end(expected, len(data)))
    return (*rows, *_trailer(frame, data))


def _dump(data: bytes) -> Iterator[Row]:
    for begin in range(0, min(len(data), _DUMPED), _LINE):
        line = data[begin : begin + _LINE]
        text = "".join(chr(b) if 32 <= b < 127 else "·" for b in line)
        yield Row(begin, len(line), "bytes", text, line.hex(" "))


def _header(frame: Frame, data: bytes) -> Iterator[Row]:
    magic = bytes.fromhex(frame.header.magic)
    found = data[: len(magic)]
    value = found.hex(" ") if found == magic else f"{found.hex(' ')}, expected {magic.hex(' ')}"
    described = [Row(0, len(magic), "magic", "every capture begins so", value, found == magic)]
    described += [_header_field(frame, data, field) for field in frame.header.field]
    yield from _with_gaps(described, data, 0, min(frame.header.size, len(data)))


def _header_field(frame: Frame, data: bytes, field: HeaderField) -> Row:
    size = field.end - field.offset
    name = field.keyword.upper()
    meaning = f"{frame.header.encoding} text" if field.type == "text" else field.type
    if len(data) < field.end:
        return Row(field.offset, size, name, meaning, "behind the end", fits=False)
    try:
        return Row(field.offset, size, name, meaning, frame.value(data, field))
    except Quarantine as error:
        return Row(field.offset, size, name, meaning, error.message, fits=False)


def _events(codec: RecordsCodec, data: bytes) -> tuple[int, str | None]:
    """Count the records; where header and length say nothing sensible, those that are there."""
    frame = codec.frame
    there = max(len(data) - frame.overhead, 0) // codec.record.size
    limits = Limits(max_bytes=len(data), max_events=max(len(data), 1))
    try:
        return codec.events(data, frame.keywords(data), limits), None
    except Quarantine as error:
        return there, error.message


def _records(codec: RecordsCodec, data: bytes, events: int) -> Iterator[Row]:
    begin, size = codec.frame.header.size, codec.record.size
    shown = min(events, RECORDS, (len(data) - begin) // size)
    raw = np.frombuffer(data, np.uint8, shown * size, begin).reshape(shown, size)
    columns = [
        (field, field_values(raw, field, codec.byte_order).tolist()) for field in codec.record.field
    ]
    for index in range(shown):
        place = begin + index * size
        rows = [
            Row(
                place + field.offset,
                SIZES[field.type],
                field.name,
                _bits(field),
                str(values[index]),
            )
            for field, values in columns
        ]
        for row in _with_gaps(rows, data, place, place + size):
            yield Row(row.offset, row.size, f"{index + 1}: {row.name}", row.meaning, row.value)
    left = min(events * size, len(data) - begin) - shown * size
    if left > 0:
        name = f"{shown + 1} to {events}" if events > shown + 1 else f"{events}"
        yield Row(begin + shown * size, left, name, f"records of {size} bytes", "")


def _bits(field: RecordField) -> str:
    if field.type.startswith("f") or field.bits == 8 * SIZES[field.type]:
        return field.type
    last = field.shift + field.bits - 1
    return f"{field.type}, bits {field.shift} to {last}"


def _trailer(frame: Frame, data: bytes) -> Iterator[Row]:
    if frame.trailer is None or len(data) < frame.overhead:
        return
    begin = len(data) - frame.trailer.size
    described = []
    if frame.trailer.magic is not None:
        magic = bytes.fromhex(frame.trailer.magic)
        found = data[begin : begin + len(magic)]
        described.append(
            Row(begin, len(magic), "trailer", "every trailer begins so", found.hex(" "),
                found == magic)
        )  # fmt: skip
    if frame.check is not None:
        stored, computed = frame.check_values(data, frame.check)
        at, size = begin + frame.check.offset, frame.check.width // 8
        value = f"{stored:#x}" if stored == computed else f"{stored:#x}, expected {computed:#x}"
        meaning = f"CRC of bytes {frame.check.first} to {at - 1}"
        described.append(Row(at, size, "crc", meaning, value, stored == computed))
    yield from _with_gaps(described, data, begin, len(data))


def _with_gaps(rows: Sequence[Row], data: bytes, begin: int, end: int) -> Iterator[Row]:
    """Sort rows, and show the bytes between `begin` and `end` that none of them describes."""
    ordered = sorted(rows, key=lambda row: (row.offset, row.size))
    bounds = [Row(begin, 0, "", "", ""), *ordered, Row(end, 0, "", "", "")]
    reached = begin
    for before, row in pairwise(bounds):
        reached = max(reached, before.offset + before.size)
        if row.offset > reached:
            yield from _rest(data, reached, min(row.offset, end) - reached, "not described")
        if row is not bounds[-1]:
            yield row


def _rest(data: bytes, begin: int, size: int, name: str) -> Iterator[Row]:
    if size > 0:
        shown = data[begin : begin + min(size, _LINE)]
        yield Row(begin, size, name, "", shown.hex(" ") + (" …" if size > _LINE else ""))


def _end(expected: int, found: int) -> Row:
    return Row(found, 0, "end", f"expected behind {expected} bytes", f"behind {found}", fits=False)
