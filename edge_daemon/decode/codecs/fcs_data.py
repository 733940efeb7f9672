"""The DATA segment of an FCS file: columns, their layout in bytes or bits, and the array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edge_daemon.decode.codecs.fcs_text import FcsHeader, keyword_int, malformed, quoted
from edge_daemon.decode.numbers import parse_number
from edge_daemon.decode.table import RawColumn
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_FLOAT_BITS = {"F": 32, "D": 64}
_UNPACK_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Layout:
    """How one event is recorded.

    Attributes
    ----------
    columns
        What the file says of each parameter.
    kinds
        ``I``, ``F`` or ``D`` for each.
    masks
        Bits of each integer that carry the value, as a mask; 0 for floating point.
    big_endian
        Order of the bytes of one value.
    """

    columns: tuple[RawColumn, ...]
    kinds: tuple[str, ...]
    masks: tuple[int, ...]
    big_endian: bool

    @property
    def padded_bits(self) -> int:
        """Bits of one event when every value begins on a byte."""
        return sum(-(-column.bits // 8) * 8 for column in self.columns)

    @property
    def packed_bits(self) -> int:
        """Bits of one event when values follow each other without padding."""
        return sum(column.bits for column in self.columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the decoded array: the narrowest that holds every column."""
        if set(self.kinds) == {"F"}:
            return np.dtype(np.float32)
        if set(self.kinds) != {"I"}:
            return np.dtype(np.float64)
        width = max(column.bits for column in self.columns)
        return np.dtype(f"u{next(w for w in (1, 2, 4, 8) if 8 * w >= width)}")


def read_layout(header: FcsHeader, channels: int) -> Layout:
    """Describe one event from the keywords of TEXT.

    Raises
    ------
    Quarantine
        ``malformed`` or ``unsupported``.
    """
    keywords = header.keywords
    default = _required(keywords, "$DATATYPE").upper()
    numbers = range(1, channels + 1)
    kinds = tuple(keywords.get(f"$P{n}DATATYPE", default).upper() for n in numbers)
    for kind in dict.fromkeys((default, *kinds)):
        if kind == "A":
            raise Quarantine(
                "unsupported",
                "keyword $DATATYPE: values written as ASCII text (A) are not read; read are I, "
                "F and D",
                action="Choose a binary export in the analyzer's settings.",
            )
        if kind not in {"I", "F", "D"}:
            raise malformed(f"keyword $DATATYPE: expected I, F or D, found {quoted(kind)}")
    columns = []
    masks = []
    for n, kind in zip(numbers, kinds, strict=True):
        column, mask = _column(header, n, kind)
        columns.append(column)
        masks.append(mask)
    layout = Layout(tuple(columns), kinds, tuple(masks), _big_endian(keywords))
    if layout.dtype == np.float64 and max(m.bit_length() for m in masks) > 53:
        raise Quarantine(
            "unsupported", "integers of more than 53 bits beside floating-point columns"
        )
    return layout


def _required(keywords: Mapping[str, str], key: str) -> str:
    value = keywords.get(key, "")
    if not value:
        raise malformed(f"keyword {key} is missing from TEXT")
    return value


def _big_endian(keywords: Mapping[str, str]) -> bool:
    written = _required(keywords, "$BYTEORD")
    order = [part.strip() for part in written.split(",")]
    ascending = [str(n) for n in range(1, len(order) + 1)]
    if 2 <= len(order) <= 8 and order in (ascending, ascending[::-1]):
        return order != ascending
    raise Quarantine(
        "unsupported",
        f"keyword $BYTEORD: read are 1,2 / 2,1 / 1,2,3,4 / 4,3,2,1, found {quoted(written)}",
    )


def _column(header: FcsHeader, n: int, kind: str) -> tuple[RawColumn, int]:
    keywords = header.keywords
    bits = keyword_int(keywords, f"$P{n}B")
    expected = _FLOAT_BITS.get(kind)
    if bits is None or (expected is not None and bits != expected) or bits == 0:
        raise malformed(
            f"keyword $P{n}B: expected {expected or 'a width in bits'} for data type {kind}, "
            f"found {quoted(keywords.get(f'$P{n}B', ''))}"
        )
    if bits > 64:
        raise Quarantine("unsupported", f"keyword $P{n}B: {bits} bits; at most 64 are read")
    name = keywords.get(f"$P{n}N", "")
    if not name:
        if header.version != "FCS2.0":
            raise malformed(f"keyword $P{n}N is missing from TEXT")
        name = f"P{n}"
    label = keywords.get(f"$P{n}S") or None
    gain = _number(keywords, f"$P{n}G", 1.0)
    if kind != "I":
        return RawColumn(name, label, bits, None, gain=gain), 0
    limit, mask = _range(keywords, n, bits)
    decades, offset = _amplification(header, n)
    return RawColumn(name, label, bits, float(limit - 1), decades, offset, gain), mask


def _range(keywords: Mapping[str, str], n: int, bits: int) -> tuple[int, int]:
    """Return the number of recordable values, and the mask of the bits that carry them."""
    key = f"$P{n}R"
    limit = keyword_int(keywords, key)
    if not limit:
        raise malformed(
            f"keyword {key}: expected the range of an integer column, found "
            f"{quoted(keywords.get(key, ''))}"
        )
    limit = min(limit, 1 << bits)
    return limit, (1 << (limit - 1).bit_length()) - 1


def _amplification(header: FcsHeader, n: int) -> tuple[float, float]:
    """Return decades and offset of ``$PnE``."""
    key = f"$P{n}E"
    written = header.keywords.get(key, "")
    if not written:
        if header.version == "FCS2.0":
            return 0.0, 0.0
        raise malformed(f"keyword {key} is missing from TEXT")
    parts = [parse_number(part) for part in written.split(",")]
    decades, offset = parts if len(parts) == 2 else (None, None)
    if decades is None or offset is None or not 0 <= decades <= 20 or offset < 0:
        raise malformed(
            f"keyword {key}: expected decades from 0 to 20 and an offset, found {quoted(written)}"
        )
    if decades == 0:
        return 0.0, 0.0
    # The standard forbids "4,0" and asks readers to take it for "4,1": log 0 does not exist.
    return decades, offset or 1.0


def _number(keywords: Mapping[str, str], key: str, default: float) -> float:
    written = keywords.get(key, "")
    if not written:
        return default
    value = parse_number(written)
    if value is None:
        raise malformed(f"keyword {key}: expected a number, found {quoted(written)}")
    return value


Packing = Literal["padded", "packed"]


def unpack(
    payload: memoryview, layout: Layout, events: int, packing: Packing
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Turn exactly the bytes of `events` events into an array.

    Parameters
    ----------
    payload
        The bytes; its length fits `events` and `packing`.
    layout
        How one event is recorded.
    events
        Number of events.
    packing
        ``padded``: every value begins on a byte. ``packed``: values follow each other bit by
        bit across event borders, most significant bit first when big-endian, least
        significant first when little-endian.

    Returns
    -------
    tuple
        Values ``(events, columns)``, read-only, and the masks that are still to be applied.
        Values of one width are the bytes themselves, in their own order; others are of
        `Layout.dtype`, and masked.
    """
    dtype = layout.dtype
    shape = (events, len(layout.columns))
    widths = {column.bits for column in layout.columns}
    uniform = len(set(layout.kinds)) == 1 and widths == {8 * dtype.itemsize}
    values: NDArray[Any]
    if uniform:
        stored = dtype.newbyteorder(">" if layout.big_endian else "<")
        whole = dtype.kind != "u" or min(layout.masks) == np.iinfo(dtype).max
        return np.frombuffer(payload, stored).reshape(shape), () if whole else layout.masks
    if packing == "packed":
        values = _unpack_bits(payload, layout, shape)
    else:
        values = _unpack_bytes(payload, layout, shape)
    values = values.astype(dtype, copy=False)
    values.flags.writeable = False
    return values, ()


def _unpack_bytes(payload: memoryview, layout: Layout, shape: tuple[int, int]) -> NDArray[Any]:
    """Read values of mixed or odd widths, each on whole bytes."""
    rows = np.frombuffer(payload, np.uint8).reshape(shape[0], layout.padded_bits // 8)
    values = np.empty(shape, layout.dtype)
    at = 0
    for j, (column, kind) in enumerate(zip(layout.columns, layout.kinds, strict=True)):
        width = -(-column.bits // 8)
        cells = rows[:, at : at + width]
        at += width
        if layout.big_endian:
            cells = cells[:, ::-1]
        if kind == "I":
            size = next(w for w in (1, 2, 4, 8) if w >= width)
            wide = np.zeros((shape[0], size), np.uint8)
            wide[:, :width] = cells
            numbers = wide.view(f"<u{size}")[:, 0]
            values[:, j] = numbers & numbers.dtype.type(layout.masks[j])
        else:
            values[:, j] = np.ascontiguousarray(cells).view(f"<f{width}")[:, 0]
    return values


def _unpack_bits(payload: memoryview, layout: Layout, shape: tuple[int, int]) -> NDArray[Any]:
    """Read a bit stream, in blocks that begin on a byte so that memory stays bounded."""
    stream = np.frombuffer(payload, np.uint8)
    values = np.empty(shape, layout.dtype)
    block = max(8, _UNPACK_BYTES // (64 * shape[1]) // 8 * 8)
    order: Literal["big", "little"] = "big" if layout.big_endian else "little"
    for first in range(0, shape[0], block):
        last = min(first + block, shape[0])
        begin = first * layout.packed_bits // 8
        count = (last - first) * layout.packed_bits
        bits = np.unpackbits(
            stream[begin : begin + -(-count // 8)], count=count, bitorder=order
        ).reshape(last - first, layout.packed_bits)
        at = 0
        for j, column in enumerate(layout.columns):
            wide = np.zeros((last - first, 64), np.uint8)
            cells = bits[:, at : at + column.bits]
            at += column.bits
            wide[:, slice(64 - column.bits, 64) if layout.big_endian else slice(column.bits)] = (
                cells
            )
            numbers = np.packbits(wide, axis=1, bitorder=order).view(
                ">u8" if layout.big_endian else "<u8"
            )[:, 0]
            values[first:last, j] = numbers & np.uint64(layout.masks[j])
    return values
