"""Delimited text to numbers: where the fields of a block stand, and what they say.

Everything works on whole blocks of bytes at once. Strict: a field is exactly one number, or an
error that names its line and column.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.intp]
    Text = NDArray[np.uint8]
    Mask = NDArray[np.bool_]

LONGEST_NUMBER: Final = 40
_LONGEST_INTEGER: Final = 18  # digits that a 64-bit sum holds
_LINE_FEED: Final = 10
_RETURN: Final = 13
_BLANK: Final = 32
_ZERO: Final = 48
_NUMBER_BYTES: Final = b"+-0123456789eE"


class FieldError(Exception):
    """A row or a field is not what it should be.

    Parameters
    ----------
    offset
        Where it begins in the block.
    message
        What was expected and what was found.
    column
        Index among the columns of the grid; None where the row as a whole is meant.
    """

    def __init__(self, offset: int, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.offset = int(offset)
        self.message = message
        self.column = column


@dataclass(frozen=True, slots=True)
class Dialect:
    """How rows and fields are written; single bytes as their codes.

    Attributes
    ----------
    quote
        May stand around a field; -1: there is none.
    comment
        Rows that begin with it are passed over; empty: there are none.
    blank_rows
        Empty rows are passed over.
    trailing
        Rows may end with a delimiter.
    """

    delimiter: int
    quote: int
    comment: bytes
    blank_rows: bool
    trailing: bool


@dataclass(frozen=True, slots=True)
class Grid:
    """The fields of the complete rows of one block.

    Attributes
    ----------
    text
        The block.
    begins, ends
        ``(rows, columns)``: a field is ``text[begin:end]``.
    consumed
        Bytes of complete rows; what follows belongs to the next block.
    blank
        Empty rows that were passed over.
    trailing
        Rows that end with a delimiter.
    """

    text: Text
    begins: Places
    ends: Places
    consumed: int
    blank: int = 0
    trailing: int = 0

    def rows(self, kept: Mask) -> Grid:
        """Return a grid of these rows only."""
        return replace(self, begins=self.begins[kept], ends=self.ends[kept])

    def field(self, row: int, column: int) -> bytes:
        """Return one field as written."""
        return self.text[self.begins[row, column] : self.ends[row, column]].tobytes()


def locate(block: bytes, columns: int, dialect: Dialect) -> Grid:
    """Find the fields of a block's complete rows.

    Parameters
    ----------
    block
        Text in an extension of ASCII, begins with a row.
    columns
        Fields that each row must have.
    dialect
        How they are written.

    Raises
    ------
    FieldError
        A row has another number of fields, or is empty.
    """
    text = np.frombuffer(block, np.uint8)
    marks = (text == _LINE_FEED) | (text == dialect.delimiter)
    quotes = _quotes(text, dialect) if dialect.quote in text else None
    if quotes is not None:
        # Inside of quotes after an odd number of them; eight bits keep the parity.
        marks &= (np.cumsum(quotes, dtype=np.uint8) & 1) == 0
    at = np.flatnonzero(marks)
    breaks = np.flatnonzero(text[at] == _LINE_FEED)
    if quotes is not None and len(breaks):
        _check_quotes(text, np.flatnonzero(quotes[: at[breaks[-1]]]), dialect)
    if not len(breaks):
        return Grid(text, np.empty((0, columns), np.intp), np.empty((0, columns), np.intp), 0)
    stops = at[breaks]
    starts = np.concatenate(([0], stops[:-1] + 1))
    counts = np.diff(breaks, prepend=-1)
    blank = _blank(text, starts, stops, counts)
    passed = blank if dialect.blank_rows else np.zeros_like(blank)
    if dialect.comment:
        passed = passed | _begins_with(text, starts, stops, dialect.comment)
    longer = np.flatnonzero((counts == columns + 1) & ~passed & dialect.trailing)
    ends_empty = _is_empty(text, at[breaks[longer] - 1] + 1, stops[longer])
    longer = longer[ends_empty]
    right = counts == columns
    right[longer] = True
    wrong = np.flatnonzero(~(right | passed))
    if len(wrong):
        raise _wrong_row(starts, counts, blank, int(wrong[0]), columns)
    kept = np.repeat(~passed, counts)
    kept[breaks[longer]] = False  # the field before it is the last one
    ends = at[: len(kept)][kept].reshape(-1, columns)
    begins = np.empty_like(ends)
    begins[:, 0] = starts[~passed]
    begins[:, 1:] = ends[:, :-1] + 1
    ends[:, -1] -= _ends_with_return(text, begins[:, -1], ends[:, -1])
    passed_blank = int(np.count_nonzero(passed & blank))
    return Grid(text, begins, ends, int(stops[-1]) + 1, passed_blank, len(longer))


def _quotes(text: Text, dialect: Dialect) -> Mask:
    """Tell where quotes stand that have a meaning: not in comments."""
    quotes: Mask = text == dialect.quote
    if dialect.comment:
        feeds = text == _LINE_FEED
        stops = np.concatenate((np.flatnonzero(feeds), [len(text)]))
        starts = np.concatenate(([0], stops[:-1] + 1))
        is_comment = _begins_with(text, starts, stops, dialect.comment)
        quotes &= ~is_comment[np.cumsum(feeds) - feeds]
    return quotes


def _check_quotes(text: Text, quotes: Places, dialect: Dialect) -> None:
    """Refuse a quote that neither begins nor ends a field, and is not doubled inside of one.

    Otherwise two such quotes would join their rows, and one would be lost.
    """
    opening, closing = quotes[::2], quotes[1::2]
    before = text[np.maximum(opening - 1, 0)]
    after = text[np.minimum(closing + 1, len(text) - 1)]
    outside = (dialect.delimiter, _LINE_FEED, dialect.quote)
    wrong = np.concatenate((
        opening[(opening > 0) & ~np.isin(before, outside)],
        closing[~np.isin(after, (*outside, _RETURN))],
    ))  # fmt: skip
    if len(wrong):
        raise FieldError(wrong.min(), "a quotation mark stands inside of a field")


def _blank(text: Text, starts: Places, stops: Places, counts: Places) -> Mask:
    blank: Mask = _is_empty(text, starts, stops) & (counts == 1)
    return blank


def _is_empty(text: Text, begins: Places, ends: Places) -> Mask:
    empty: Mask = ends - begins == _ends_with_return(text, begins, ends)
    return empty


def _ends_with_return(text: Text, begins: Places, ends: Places) -> Mask:
    found: Mask = (ends > begins) & (text[ends - 1] == _RETURN)
    return found


def _begins_with(text: Text, starts: Places, stops: Places, prefix: bytes) -> Mask:
    same: Mask = stops - starts >= len(prefix)
    for offset, byte in enumerate(prefix):
        same &= text[np.minimum(starts + offset, len(text) - 1)] == byte
    return same


def _wrong_row(starts: Places, counts: Places, blank: Mask, row: int, fields: int) -> FieldError:
    found = "an empty line" if blank[row] else f"{counts[row]}"
    return FieldError(starts[row], f"expected {fields} fields, found {found}")


def trimmed(grid: Grid, columns: Places, quote: int) -> Grid:
    """Return the named columns without blanks and quotes around their fields."""
    text = grid.text
    begins, ends = grid.begins[:, columns], grid.ends[:, columns]
    for _ in range(2):  # blanks, quotes, blanks
        begins, ends = _without_blanks(text, begins, ends)
        last = np.maximum(ends - 1, 0)
        quoted = (ends - begins >= 2) & (text[begins] == quote) & (text[last] == quote)
        begins, ends = begins + quoted, ends - quoted
    return replace(grid, begins=begins, ends=ends)


def _without_blanks(text: Text, begins: Places, ends: Places) -> tuple[Places, Places]:
    """Take blanks off both sides, no more of them than a number is long."""
    for _ in range(LONGEST_NUMBER):
        leading = (begins < ends) & (text[begins] == _BLANK)
        trailing = (begins + leading < ends) & (text[ends - 1] == _BLANK)
        if not (leading.any() or trailing.any()):
            break
        begins, ends = begins + leading, ends - trailing
    return begins, ends


def equal(grid: Grid, column: int, wanted: bytes) -> Mask:
    """Tell for each row whether a trimmed field says exactly this."""
    begins, ends = grid.begins[:, column], grid.ends[:, column]
    same: Mask = ends - begins == len(wanted)
    return same & _begins_with(grid.text, begins, ends, wanted)


def numbers(grid: Grid, *, decimal: str, maximum: int | None) -> NDArray[Any]:
    """Read every field of a trimmed grid.

    Parameters
    ----------
    grid
        Without empty fields.
    decimal
        ``.`` or ``,``.
    maximum
        Largest whole number; None: floating-point numbers.

    Returns
    -------
    ndarray
        uint64 or float64, of the grid's shape.

    Raises
    ------
    FieldError
        A field is not one number, or is out of range.
    """
    begins, ends = grid.begins.ravel(), grid.ends.ravel()
    lengths = ends - begins
    longest = _LONGEST_INTEGER if maximum is not None else LONGEST_NUMBER
    _check(grid, lengths > longest, f"expected a number of at most {longest} characters")
    width = int(lengths.max(initial=1))
    written = np.zeros((len(begins), width), np.uint8)
    for j in range(width):
        inside = lengths > j
        written[inside, j] = grid.text[begins[inside] + j]
    if maximum is None:
        return _floats(grid, written, decimal)
    return _integers(grid, written, maximum)


def _integers(grid: Grid, written: Text, maximum: int) -> NDArray[np.uint64]:
    expected = f"expected a whole number from 0 to {maximum}"
    digits = written - _ZERO  # what is no digit wraps far above 9
    there = written != 0
    _check(grid, (there & (digits > 9)).any(axis=1), expected)
    value = np.zeros(len(written), np.uint64)
    for j in range(written.shape[1]):
        value = np.where(there[:, j], value * np.uint64(10) + digits[:, j], value)
    _check(grid, value > maximum, expected)
    return value.reshape(grid.begins.shape)


def _floats(grid: Grid, written: Text, decimal: str) -> NDArray[np.float64]:
    expected = f"expected a number{' with a decimal comma' if decimal == ',' else ''}"
    allowed = np.zeros(256, np.bool_)
    allowed[list(b"\0" + _NUMBER_BYTES + decimal.encode())] = True
    _check(grid, np.any(~allowed[written], axis=1), expected)
    if decimal == ",":
        written[written == ord(",")] = ord(".")
    fields = written.view(f"S{written.shape[1]}").ravel()
    try:
        values = fields.astype(np.float64)
    except ValueError:
        _check(grid, np.array([not _is_number(field) for field in fields]), expected)
        raise  # never: some field was the cause
    _check(grid, ~np.isfinite(values), "expected a number that 64 bits can hold")
    return values.reshape(grid.begins.shape)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _check(grid: Grid, wrong: Mask, expected: str) -> None:
    """Raise for the first wrong field."""
    found = np.flatnonzero(wrong)
    if not len(found):
        return
    row, column = divmod(int(found[0]), grid.begins.shape[1])
    shown = grid.field(row, column)[:LONGEST_NUMBER].decode("utf-8", "replace")
    raise FieldError(grid.begins[row, column], f"{expected}, found {shown!r}", column)
