"""How a delimited table is written, as a profile says, and its text in one encoding."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edge_daemon.decode.codecs.table_fields import Dialect
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping

WHITESPACE: Final = "whitespace"
"""As a delimiter: any number of blanks and tabs."""

_ACTION: Final = "Export the run again from the analyzer, or correct the profile's [codec] section."


@dataclass(frozen=True, slots=True)
class Layout:
    """What a table does not say of itself; docs/codecs.md describes each.

    Attributes
    ----------
    leniencies
        Names of those that are allowed.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    quote: str = '"'
    comment: str = ""
    names_row: int = 1
    data_row: int = 2
    skip_columns: tuple[str, ...] = ()
    keep: Mapping[str, str] = field(default_factory=dict)
    integer_bits: int | None = None
    count_keyword: str | None = None
    trailer: str | None = None
    rows_per_part: int | None = None
    leniencies: frozenset[str] = frozenset()

    @property
    def dialect(self) -> Dialect:
        """How the rows with events are written."""
        blanks = self.delimiter == WHITESPACE
        return Dialect(
            delimiter=ord(" " if blanks else self.delimiter),
            quote=-1 if blanks else ord(self.quote),
            comment=self.comment.encode("utf-8"),
            blank_rows="blank_lines" in self.leniencies,
            trailing="trailing_delimiter" in self.leniencies,
        )

    @property
    def maximum(self) -> int | None:
        """Largest recordable value; None for floating-point numbers."""
        return None if self.integer_bits is None else (1 << self.integer_bits) - 1


LENIENCIES: Final = ("missing_values", "blank_lines", "trailing_delimiter", "no_final_newline")


def as_utf8(data: bytes, encoding: str, name: str) -> bytes:
    """Return the text in UTF-8, without a byte order mark.

    Raises
    ------
    Quarantine
        ``malformed``: it is not text in this encoding.
    """
    label = f"{name}: " if name else ""
    if b"\0" in data and encoding != "utf-16":
        at = data.index(b"\0")
        raise malformed(f"{label}byte {at} is 0: expected text in {encoding}")
    if encoding == "utf-16" and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise malformed(f"{label}expected a byte order mark of utf-16, found {data[:2]!r}")
    if encoding == "utf-8":
        data = data.removeprefix(codecs.BOM_UTF8)
    if data.isascii() and encoding != "utf-16":
        return data
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise malformed(
            f"{label}byte {error.start}: expected text in {encoding}, found "
            f"{data[error.start : error.start + 4]!r}"
        ) from error
    if "\0" in text:
        raise malformed(f"{label}character {text.index(chr(0))} is 0: expected text")
    return data if encoding == "utf-8" else text.encode("utf-8")


def malformed(message: str) -> Quarantine:
    """Make the error for content that is not what the profile says."""
    return Quarantine("malformed", message, action=_ACTION)


def truncated(message: str) -> Quarantine:
    """Make the error for content that ends too early."""
    return Quarantine("truncated", message, action=_ACTION)


def too_large(what: str, limit: int, unit: str = "") -> Quarantine:
    """Make the error for more than a limit allows."""
    return Quarantine(
        "too_large",
        f"{what}; the limit is {limit}{unit}",
        action="Check that this is a capture of one run.",
    )
