"""A proposal for a binary layout of a vendor's own: records found by their regularity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.crc import CrcModel, crc
from edge_daemon.decode.draft.regularity import (
    Count,
    counts,
    header_size,
    low_bytes_first,
    record_size,
)
from edge_daemon.decode.draft.render import CELL_QUESTIONS, Proposal, ProposedChannel, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

_SMALLEST: Final = 256
_TEXT: Final = re.compile(rb"[ -~]{4,}")
_PADDED: Final = re.compile(rb"[\0 ]*")
_MAGIC: Final = re.compile(rb"[A-Za-z0-9]{2,8}")
_LONGEST_TEXT: Final = 1024
_MAX_TEXTS: Final = 64
_MOST_PRINTABLE: Final = 0.9
_MOST_LISTED: Final = 32
_MAX_CHANNELS: Final = 64
_CHECKS: Final = (
    CrcModel(32, 0x04C11DB7, 0xFFFFFFFF, refin=True, refout=True, xorout=0xFFFFFFFF),
    CrcModel(16, 0x1021, 0xFFFF),
    CrcModel(16, 0x1021),
    CrcModel(16, 0x8005, refin=True, refout=True),
    CrcModel(16, 0x8005, 0xFFFF, refin=True, refout=True),
)
"""Those that are most in use: CRC-32, and of 16 bits CCITT-FALSE, XMODEM, ARC and MODBUS."""


@dataclass(frozen=True, slots=True)
class _Guess:
    """What was found out about the capture."""

    order: Literal["little", "big"]
    header: int
    record: int
    count: Count | None
    check: CrcModel | None
    check_order: Literal["little", "big"] | None

    @property
    def width(self) -> int:
        """Bytes of a column."""
        return 2 if self.record % 2 == 0 else 1

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, after their offsets."""
        return tuple(f"BYTE {offset}" for offset in range(0, self.record, self.width))


def propose_binary(data: bytes, name: str) -> Proposal | None:
    """Propose fixed records for a binary capture; None where nothing is regular.

    What is proposed reads the capture and is still a guess: of the sizes, of where the header
    ends, and of the columns, which are the records cut into words.
    """
    if len(data) < _SMALLEST or _printable(data) > _MOST_PRINTABLE:
        return None
    size = record_size(data)
    guess = None if size is None else _guess(data, size)
    if guess is None:
        return None
    texts = tuple(_texts(_without_count(data[: guess.header], guess.count)))
    return Proposal(
        codec="records",
        format="binary records",
        patterns=(f"*{PurePath(name).suffix or '.bin'}",),
        settings=tuple(_settings(data, guess, texts)),
        identifying={_keyword(o): data[o : o + n].split(b"\0")[0].decode().strip()
                     for o, n in texts},
        channels=tuple(
            ProposedChannel(column, None) for column in guess.columns[:_MOST_LISTED]
        ),
        metadata={},
        questions=tuple(_questions(guess)),
    )  # fmt: skip


def _printable(data: bytes) -> float:
    head = data[:_SMALLEST]
    return sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head) / len(head)


def _guess(data: bytes, size: int) -> _Guess | None:
    check, check_order = _check(data)
    trailer = 0 if check is None else check.width // 8
    begin = header_size(data, size, trailer)
    fitting = []
    for found in counts(data, size):
        header = len(data) - trailer - found.value * size
        # A header may be like the records, so its end is found too early; two bytes alone agree
        # with some count by chance.
        latest = begin + size if found.type == "u16" else len(data) // 2
        if begin - size <= header <= latest:
            fitting.append((found.type != "u32", header, found))
    if fitting:
        # A number read across its border with others counts too few records.
        _, header, count = min(fitting, key=lambda one: one[:2])
        return _Guess(count.order, header, size, count, check, check_order)
    if begin < 2:
        return None
    order: Literal["little", "big"] = "little" if low_bytes_first(data, begin) else "big"
    return _Guess(order, begin, size, None, check, check_order)


def _check(data: bytes) -> tuple[CrcModel | None, Literal["little", "big"] | None]:
    """Find a CRC at the very end that covers everything before it."""
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for model in _CHECKS:
        at = len(data) - model.width // 8
        computed = crc(model, data[:at])
        for order in orders:
            if int.from_bytes(data[at:], order) == computed:
                return model, order
    return None, None


def _without_count(header: bytes, count: Count | None) -> bytes:
    """Blank the count out, whose bytes may look like letters behind a text."""
    if count is None:
        return header
    end = count.offset + count.width
    return header[: count.offset] + b"\1" * count.width + header[end:]


def _texts(header: bytes) -> Iterator[tuple[int, int]]:
    """Yield offset and length, padding included, of what can be read in the header."""
    for number, found in enumerate(_TEXT.finditer(header)):
        if number == _MAX_TEXTS:
            return
        padding = _PADDED.match(header, found.end())
        end = found.end() if padding is None else padding.end()
        yield found.start(), min(end - found.start(), _LONGEST_TEXT)


def _keyword(offset: int) -> str:
    return f"TEXT {offset}"


def _settings(data: bytes, guess: _Guess, texts: tuple[tuple[int, int], ...]) -> Iterator[str]:
    yield f"byte_order = {quote(guess.order)}"
    if len(guess.columns) > _MAX_CHANNELS:
        yield f"max_channels = {len(guess.columns)}"
    if guess.check is not None:
        yield f"trailer = {{ size = {guess.check.width // 8} }}"
        yield f"crc = {_written(guess.check, guess.check_order)}"
    found = _MAGIC.match(data)
    magic = data[: min(4, guess.header)] if found is None else found[0][: guess.header]
    yield ""
    yield "[codec.header]"
    yield f"size = {guess.header}"
    yield f"magic = {quote(magic.hex())}"
    yield "field = ["
    if guess.count is not None:
        count = guess.count
        yield f'  {{ keyword = "COUNT", offset = {count.offset}, type = "{count.type}" }},'
    for offset, length in texts:
        keyword = quote(_keyword(offset))
        yield f'  {{ keyword = {keyword}, offset = {offset}, type = "text", length = {length} }},'
    yield "]"
    yield ""
    yield "[codec.record]"
    yield f"size = {guess.record}"
    if guess.count is not None:
        yield 'count_keyword = "COUNT"'
    yield "field = ["
    for index, column in enumerate(guess.columns):
        offset = index * guess.width
        yield f'  {{ name = {quote(column)}, offset = {offset}, type = "u{8 * guess.width}" }},'
    yield "]"


def _written(model: CrcModel, order: Literal["little", "big"] | None) -> str:
    flags = "".join(f", {key} = true" for key in ("refin", "refout") if getattr(model, key))
    return (
        f"{{ width = {model.width}, poly = {model.poly:#x}, init = {model.init:#x}{flags}, "
        f'xorout = {model.xorout:#x}, order = "{order}" }}'
    )


def _questions(guess: _Guess) -> Iterator[str]:
    size = guess.record
    yield (
        f"Are records of {size} bytes right? They were found by their regularity; the true size "
        f"may be a multiple of it."
    )
    yield (
        f"Does the header have {guess.header} bytes, and what do they say? "
        "`edge-daemon profile show ID --file FILE` shows every byte."
    )
    if guess.count is None:
        yield "Which number of the header says how many records there are? None was found."
    else:
        yield (
            f"Is the number at byte {guess.count.offset} ({guess.count.value} here) really that "
            "of the records? Try a capture of another length."
        )
    if guess.check is None:
        yield (
            "Is there a trailer, and a check value in it? None of the usual ones at the end "
            "fits; the header may be shorter by it."
        )
    yield "Does every capture of this instrument begin with the bytes of magic, and no other?"
    yield (
        f"The records were cut into columns of {8 * guess.width} bits: which numbers are they "
        "truly, of how many bits, signed, floating point, or the samples of a pulse?"
    )
    yield from CELL_QUESTIONS
