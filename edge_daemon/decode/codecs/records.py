"""``[codec] name = "records"``: a header, fixed binary records, and perhaps a trailer with CRC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from edge_daemon.decode.codec import Codec, Identified
from edge_daemon.decode.codecs.binary import (
    SIZES,
    ByteOrder,
    Check,
    Frame,
    Header,
    NumberType,
    Trailer,
    Word,
    consistent,
    truncated,
    whole,
)
from edge_daemon.decode.limits import FEWER_EVENTS
from edge_daemon.decode.section import Section
from edge_daemon.decode.table import RawColumn, RawTable
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.decode.limits import Limits

_MAX_RECORD = 4096


class RecordField(Section):
    """One column: a number, or some bits of a whole number.

    `width` bits from bit `shift` on, the least significant being 0; a signed type makes them
    signed (two's complement).
    """

    name: Word
    label: Word | None = None
    offset: int = Field(ge=0, lt=_MAX_RECORD)
    type: NumberType
    shift: int = Field(default=0, ge=0, le=31)
    width: int | None = Field(default=None, ge=1, le=32)

    @model_validator(mode="after")
    def _bits_within(self) -> RecordField:
        if self.type.startswith("f"):
            if self.width is not None or self.shift:
                raise ValueError("shift and width are for whole numbers only")
        elif self.shift + self.bits > 8 * SIZES[self.type]:
            raise ValueError(f"shift and width go beyond the {8 * SIZES[self.type]} bits of type")
        return self

    @property
    def bits(self) -> int:
        """Bits of the value."""
        return (8 * SIZES[self.type] - self.shift) if self.width is None else self.width

    @property
    def signed(self) -> bool:
        """Whether the value may be negative."""
        return self.type.startswith("i")


class Record(Section):
    """``[codec.record]``."""

    size: int = Field(ge=1, le=_MAX_RECORD)
    count_keyword: Word | None = None
    field: tuple[RecordField, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Record:
        names = [one.name for one in self.field]
        for one in self.field:
            if one.offset + SIZES[one.type] > self.size:
                raise ValueError(f"{one.name} ends behind the record's {self.size} bytes")
            if names.count(one.name) > 1:
                raise ValueError(f"{one.name}: two fields have this name")
        return self


class RecordsCodec(Codec):
    """Fixed binary records; docs/codecs.md describes every key."""

    name: Literal["records"]
    byte_order: ByteOrder = "little"
    header: Header
    record: Record
    trailer: Trailer | None = None
    crc: Check | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RecordsCodec:
        consistent(self.frame)
        counted = self.record.count_keyword
        if counted is not None and counted.upper() not in {
            one.keyword.upper() for one in self.header.field
        }:
            raise ValueError(f"record.count_keyword: no field of the header is {counted}")
        return self

    @property
    def frame(self) -> Frame:
        """What stands around the records."""
        return Frame(self.byte_order, self.header, self.trailer, self.crc)

    def identify(self, data: bytes) -> Identified | None:
        """Read the header; None unless the capture begins with the magic bytes."""
        if not self.frame.begins(data):
            return None
        keywords = self.frame.keywords(data)
        events = self._told(data, keywords)
        described = f"binary records beginning {self.frame.beginning}, {events} events"
        return Identified("binary records", keywords, described)

    def read(self, data: bytes, *, dataset: int, limits: Limits) -> RawTable:
        """Read every record."""
        keywords = self.frame.open(data, dataset)
        events = self.events(data, keywords, limits)
        payload = self.frame.payload(data, events * self.record.size, limits)
        fields = self.record.field
        if len(fields) > max(limits.max_channels, self.max_channels or 0):
            raise Quarantine(
                "too_large",
                f"{len(fields)} columns, the limit is {limits.max_channels}",
                action="Describe fewer fields under [codec.record].",
            )
        dtype = np.result_type(*(_dtype(one) for one in fields))
        limits.check_expansion(
            f"{events} events of {len(fields)} columns",
            events * len(fields) * dtype.itemsize,
            len(data),
        )
        raw = np.frombuffer(payload, np.uint8).reshape(events, self.record.size)
        values = np.empty((events, len(fields)), dtype)
        for j, one in enumerate(fields):
            values[:, j] = field_values(raw, one, self.byte_order)
        values.flags.writeable = False
        columns = tuple(_described(one) for one in fields)
        return RawTable("binary records", columns, values, keywords)

    def is_whole(self, data: bytes) -> bool:
        """Tell whether as many records are there as the header says."""
        if not self.frame.begins(data):
            return not bytes.fromhex(self.header.magic).startswith(data)
        try:
            keywords = self.frame.keywords(data)
            counted = self.record.count_keyword
            if counted is None:
                return True
            events = whole(keywords, counted, len(data) + 1)
        except Quarantine as error:
            return error.code == "malformed"
        return len(data) >= self.frame.overhead + events * self.record.size

    def _told(self, data: bytes, keywords: dict[str, str]) -> str:
        if self.record.count_keyword is not None:
            return keywords[self.record.count_keyword.upper()][:12]
        return f"about {max(0, len(data) - self.frame.overhead) // self.record.size:,}"

    def events(self, data: bytes, keywords: dict[str, str], limits: Limits) -> int:
        """Return the number of records that header or length say.

        Raises
        ------
        Quarantine
            ``malformed``, ``truncated`` or ``too_large``.
        """
        if self.record.count_keyword is not None:
            return whole(keywords, self.record.count_keyword, limits.max_events)
        events, rest = divmod(len(data) - self.frame.overhead, self.record.size)
        if events < 0 or rest:
            raise truncated(
                f"expected whole records of {self.record.size} bytes behind the header, found "
                f"{max(len(data) - self.frame.overhead, 0)} bytes"
            )
        if events > limits.max_events:
            raise Quarantine(
                "too_large",
                f"{events} events, the limit is {limits.max_events}",
                action=FEWER_EVENTS,
            )
        return events


def _dtype(field: RecordField) -> np.dtype[Any]:
    if field.type in {"f32", "f64"}:
        return np.dtype(np.float32 if field.type == "f32" else np.float64)
    kind = "i" if field.signed else "u"
    return np.dtype(f"{kind}{next(size for size in (1, 2, 4) if field.bits <= 8 * size)}")


def field_values(raw: NDArray[np.uint8], field: RecordField, order: ByteOrder) -> NDArray[Any]:
    """Take one field out of all records, given as bytes ``(records, size)``; ``(records,)``."""
    size = SIZES[field.type]
    # A copy, because a view of other type needs bytes without gaps.
    content = np.ascontiguousarray(raw[:, field.offset : field.offset + size])
    mark = "<" if order == "little" else ">"
    if field.type in {"f32", "f64"}:
        return content.view(f"{mark}f{size}")[:, 0]
    if size == 3:
        padded = np.zeros((len(content), 4), np.uint8)
        padded[:, slice(0, 3) if order == "little" else slice(1, 4)] = content
        content, size = padded, 4
    word = content.view(f"{mark}u{size}")[:, 0].astype(np.int64)
    value = (word >> field.shift) & ((1 << field.bits) - 1)
    if field.signed:
        value -= (value >> (field.bits - 1)) << field.bits
    return value


def _described(field: RecordField) -> RawColumn:
    whole_number = not field.type.startswith("f")
    largest = (1 << (field.bits - (1 if field.signed else 0))) - 1
    return RawColumn(
        name=field.name,
        label=field.label,
        bits=field.bits if whole_number else 8 * SIZES[field.type],
        maximum=float(largest) if whole_number else None,
    )
