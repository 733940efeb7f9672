"""The frame of a binary capture as a profile describes it: header, payload, trailer, CRC."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from edge_daemon.crc import CrcModel, crc
from edge_daemon.decode.limits import FEWER_EVENTS
from edge_daemon.decode.section import Section
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from edge_daemon.decode.limits import Limits

ByteOrder = Literal["little", "big"]
NumberType = Literal["u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "f32", "f64"]
SIZES: Final[dict[str, int]] = {
    "u8": 1, "i8": 1, "u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4,
    "f32": 4, "f64": 8,
}  # fmt: skip

_MAX_HEADER: Final = 65_536
_ACTION: Final = (
    "Export the run again; if every export is like this, correct the profile's [codec] section."
)


def _hexadecimal(value: str) -> str:
    try:
        content = bytes.fromhex(value)
    except ValueError as error:
        raise ValueError("expected bytes as pairs of hexadecimal digits") from error
    if not content:
        raise ValueError("expected at least one byte")
    return value


Bytes = Annotated[str, Field(max_length=128), AfterValidator(_hexadecimal)]
Word = Annotated[str, Field(min_length=1, max_length=60)]


class HeaderField(Section):
    """One number or text of the header; it becomes the keyword `keyword`.

    A text ends at its first NUL; blanks around it are removed.
    """

    keyword: Word
    offset: int = Field(ge=0, lt=_MAX_HEADER)
    type: NumberType | Literal["text"]
    length: int | None = Field(default=None, ge=1, le=1024)

    @model_validator(mode="after")
    def _length_of_texts_only(self) -> HeaderField:
        if (self.type == "text") != (self.length is not None):
            raise ValueError('length is for type = "text", and needed there')
        return self

    @property
    def end(self) -> int:
        """Offset behind the field."""
        return self.offset + (SIZES[self.type] if self.length is None else self.length)


class Header(Section):
    """``[codec.header]``."""

    size: int = Field(ge=1, le=_MAX_HEADER)
    magic: Bytes
    encoding: Literal["ascii", "utf-8", "latin-1", "cp1252"] = "ascii"
    field: tuple[HeaderField, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Header:
        if len(bytes.fromhex(self.magic)) > self.size:
            raise ValueError("magic is longer than size")
        for one in self.field:
            if one.end > self.size:
                raise ValueError(f"{one.keyword} ends at byte {one.end}, behind size {self.size}")
        names = [one.keyword.upper() for one in self.field]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: two fields have this keyword")
        return self


class Trailer(Section):
    """``[codec.trailer]``: bytes behind the payload, a CRC among them."""

    size: int = Field(ge=1, le=1024)
    magic: Bytes | None = None


class Check(Section):
    """``[codec.crc]``: the check value, and the bytes it covers.

    `offset` counts from the first byte of the trailer; covered is everything from byte `first` of
    the capture to the check value. `order` is that of the other numbers unless given.
    """

    width: int = Field(ge=8, le=32, multiple_of=8)
    poly: int = Field(ge=0)
    init: int = Field(default=0, ge=0)
    refin: bool = False
    refout: bool = False
    xorout: int = Field(default=0, ge=0)
    offset: int = Field(default=0, ge=0)
    first: int = Field(default=0, ge=0)
    order: ByteOrder | None = None

    @model_validator(mode="after")
    def _of_a_model(self) -> Check:
        _ = self.model
        return self

    @property
    def model(self) -> CrcModel:
        """Parameters of the CRC."""
        return CrcModel(self.width, self.poly, self.init, self.refin, self.refout, self.xorout)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the payload, in order.

    Attributes
    ----------
    order
        Of every number; the check value may have its own.
    """

    order: ByteOrder
    header: Header
    trailer: Trailer | None = None
    check: Check | None = None

    @property
    def overhead(self) -> int:
        """Bytes that are not payload."""
        return self.header.size + (0 if self.trailer is None else self.trailer.size)

    @property
    def beginning(self) -> str:
        """The magic bytes for people: as text where they are one."""
        return repr(bytes.fromhex(self.header.magic))[1:]

    def begins(self, data: bytes) -> bool:
        """Tell whether a capture begins with the header's magic bytes."""
        return data.startswith(bytes.fromhex(self.header.magic))

    def open(self, data: bytes, dataset: int) -> dict[str, str]:
        """Read the header of what must be a capture of this frame, which holds one data set.

        Raises
        ------
        Quarantine
            ``not_recognised``, ``truncated`` or ``malformed``.
        """
        if not self.begins(data):
            raise Quarantine(
                "not_recognised",
                f"expected the bytes {self.header.magic}, found {data[:16].hex()}",
                action="Check that this is an export of the instrument the profile names.",
            )
        if dataset != 1:
            raise malformed(f"data set {dataset} was asked for, the file has 1")
        return self.keywords(data)

    def keywords(self, data: bytes) -> dict[str, str]:
        """Read the header.

        Raises
        ------
        Quarantine
            ``truncated`` or ``malformed``.
        """
        if len(data) < self.header.size:
            raise truncated(f"the header has {self.header.size} bytes, the file {len(data)}")
        return {f.keyword.upper(): self.value(data, f) for f in self.header.field}

    def payload(self, data: bytes, size: int, limits: Limits) -> memoryview:
        """Return the payload of exactly `size` bytes, after trailer and CRC have been checked.

        Raises
        ------
        Quarantine
            ``truncated``, ``malformed`` or ``too_large``.
        """
        if len(data) > limits.max_bytes:
            raise Quarantine(
                "too_large",
                f"the file has {len(data)} bytes, the limit is {limits.max_bytes}",
                action=FEWER_EVENTS,
            )
        expected = self.overhead + size
        if len(data) != expected:
            what = truncated if len(data) < expected else malformed
            raise what(f"expected {expected} bytes as the header says, found {len(data)}")
        end = self.header.size + size
        if self.trailer is not None and self.trailer.magic is not None:
            magic = bytes.fromhex(self.trailer.magic)
            found = data[end : end + len(magic)]
            if found != magic:
                raise malformed(f"byte {end}: expected the trailer {magic!r}, found {found!r}")
        if self.check is not None:
            self._prove(data, self.check, end)
        return memoryview(data)[self.header.size : end]

    def check_values(self, data: bytes, check: Check) -> tuple[int, int]:
        """Return the check value that a whole capture carries, and what its bytes give."""
        at = len(data) - (0 if self.trailer is None else self.trailer.size) + check.offset
        stored = int.from_bytes(data[at : at + check.width // 8], check.order or self.order)
        return stored, crc(check.model, data[check.first : at])

    def _prove(self, data: bytes, check: Check, end: int) -> None:
        stored, computed = self.check_values(data, check)
        if stored != computed:
            raise malformed(
                f"byte {end + check.offset}: the CRC says {stored:#x}, the content gives "
                f"{computed:#x}; the file was damaged on its way"
            )

    def value(self, data: bytes, field: HeaderField) -> str:
        """Read one field of a header that is whole, as its keyword says it.

        Raises
        ------
        Quarantine
            ``malformed`` when a text is none.
        """
        content = data[field.offset : field.end]
        if field.type != "text":
            return _written(number(content, field.type, self.order), field.type)
        text = content.split(b"\0", 1)[0]
        try:
            return text.decode(self.header.encoding).strip()
        except UnicodeDecodeError as error:
            raise malformed(
                f"byte {field.offset}, {field.keyword}: expected {self.header.encoding} text, "
                f"found {text[:20]!r}"
            ) from error


def consistent(frame: Frame) -> None:
    """Check what concerns more than one part of a frame.

    Raises
    ------
    ValueError
        Naming the key.
    """
    if frame.check is None:
        return
    space = 0 if frame.trailer is None else frame.trailer.size
    if frame.check.offset + frame.check.width // 8 > space:
        raise ValueError("crc: the check value does not fit into [codec.trailer]; raise its size")
    if frame.check.first > frame.header.size:
        raise ValueError("crc: first lies behind the header")


def number(content: bytes, kind: str, order: ByteOrder) -> int | float:
    """Read one number of a type in `SIZES`."""
    if kind in {"f32", "f64"}:
        value: float = struct.unpack(
            ("<" if order == "little" else ">") + ("f" if kind == "f32" else "d"), content
        )[0]
        return value
    return int.from_bytes(content, order, signed=kind.startswith("i"))


def whole(keywords: dict[str, str], keyword: str, most: int) -> int:
    """Return a count that the header states.

    Raises
    ------
    Quarantine
        ``malformed`` when it is no whole number; ``too_large`` above `most`.
    """
    written = keywords.get(keyword.upper(), "")
    if not (written.isascii() and written.isdigit() and len(written) <= 20):
        raise malformed(f"{keyword}: expected a count, found {written[:40]!r}")
    if int(written) > most:
        raise Quarantine(
            "too_large", f"{keyword}: {written}, the limit is {most}", action=FEWER_EVENTS
        )
    return int(written)


def malformed(message: str) -> Quarantine:
    """Return the error for bytes that do not fit the profile's description."""
    return Quarantine("malformed", message, action=_ACTION)


def truncated(message: str) -> Quarantine:
    """Return the error for a capture that ends too early."""
    return Quarantine("truncated", message, action="Export the run again; the copy was cut off.")


def _written(value: float, kind: str) -> str:
    # Nine digits give every float32 back, and no more than it knows.
    return f"{value:.9g}" if kind == "f32" else repr(value)
