"""Reader of delimited tables: one row for each event, one column for each parameter.

The text is read in blocks, so that beside text and values only a few times `_BLOCK` bytes are
needed, whatever the size of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.decode.codecs.table_fields import FieldError, equal, locate, numbers, trimmed
from edge_daemon.decode.codecs.table_header import read_header, split_row
from edge_daemon.decode.codecs.table_layout import (
    WHITESPACE,
    as_utf8,
    malformed,
    too_large,
    truncated,
)
from edge_daemon.decode.numbers import parse_number
from edge_daemon.decode.table import RawColumn, RawTable
from edge_daemon.errors import Quarantine
from edge_daemon.parts import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from edge_daemon.decode.codecs.table_fields import Grid
    from edge_daemon.decode.codecs.table_header import Header
    from edge_daemon.decode.codecs.table_layout import Layout
    from edge_daemon.decode.limits import Limits

FORMAT: Final = "delimited table"

_BLOCK: Final = 1 << 19
_LINE_FEED: Final = b"\n"
_FIRST_ROW: Final = 1 << 17  # bytes in which the first row with an event ends


def read_table(data: bytes, layout: Layout, limits: Limits) -> RawTable:
    """Read the rows of a table, or of the parts of one.

    Parameters
    ----------
    data
        A file, or the parts of one run as `edge_daemon.parts.join` makes them one.
    layout
        How the table is written.
    limits
        Caps, checked before anything is allocated.

    Raises
    ------
    Quarantine
        ``malformed``, ``truncated`` or ``too_large``; the message names line and column, what
        was expected and what was found.
    """
    if len(data) > limits.max_bytes:
        raise too_large(f"{len(data)} bytes", limits.max_bytes)
    parts = _parts(data, layout, limits)
    _check_parts(parts, layout)
    header = parts[0].header
    columns = [j for j, name in enumerate(header.names) if name not in layout.skip_columns]
    if not columns:
        raise malformed(f"every column is skipped: {', '.join(header.names[:20])}")
    rows = sum(part.most_rows for part in parts)
    dtype = np.dtype(np.float64) if layout.maximum is None else np.min_scalar_type(layout.maximum)
    _check_size(rows, len(columns), dtype, len(data), limits)
    values = np.empty((rows, len(columns)), dtype)
    tally = _Tally()
    for part in parts:
        part.read_into(values, np.array(columns), tally)
    _check_count(tally.rows, header.keywords, layout)
    kept = values[: tally.kept]
    kept.flags.writeable = False
    return RawTable(
        format=FORMAT,
        columns=tuple(_column(header, j, layout) for j in columns),
        recorded=kept,
        keywords=header.keywords,
        notes=tally.notes(layout),
    )


def peek(data: bytes, layout: Layout, limits: Limits) -> tuple[Header, list[str]]:
    """Read the header of a table, or of its first part, and the fields of the row below it.

    Raises
    ------
    Quarantine
        ``malformed``, ``truncated`` or ``too_large``.
    """
    part = _parts(data, layout, limits)[0]
    begin = part.header.size
    for line in part.text[begin : begin + _FIRST_ROW].split(b"\n"):
        row = line.decode("utf-8", "replace")
        if row.strip() and not (layout.comment and row.startswith(layout.comment)):
            return part.header, split_row(row, layout)
    return part.header, []


def ends_whole(data: bytes, layout: Layout, limits: Limits) -> bool:
    """Tell whether a table with a readable header reaches its end.

    Raises
    ------
    Quarantine
        The header cannot be read.
    """
    part = _parts(data, layout, limits)[-1]
    try:
        part.check_end()
    except Quarantine:
        return False
    return part.most_rows != layout.rows_per_part


@dataclass(slots=True)
class _Tally:
    """What was met on the way through the rows."""

    rows: int = 0
    kept: int = 0
    left_out: int = 0
    missing: int = 0
    first_missing: str = ""
    found: dict[str, str] = field(default_factory=dict)

    def notes(self, layout: Layout) -> tuple[str, ...]:
        if self.missing:
            self.found["missing_values"] = (
                f"{self.missing} of {self.rows} rows left out, the first in {self.first_missing}"
            )
        if self.left_out:
            wanted = " and ".join(f"{name} {value!r}" for name, value in layout.keep.items())
            self.found["keep"] = (
                f"{self.left_out} of {self.rows} rows left out, which have not {wanted}"
            )
        return tuple(f"{name}: {what}" for name, what in self.found.items())


class _Part:
    """One file of a table."""

    def __init__(self, name: str, data: bytes, layout: Layout, limits: Limits) -> None:
        self.name = name
        self.layout = layout
        self.text = as_utf8(data, layout.encoding, name)
        self.header = read_header(self.text, layout, limits, name)
        self.end = self._before_trailer()
        self._label = f"{name}: " if name else ""

    @property
    def most_rows(self) -> int:
        """At least the number of rows; it is that number where no line is passed over."""
        lines = self.text.count(b"\n", self.header.size, self.end)
        return lines + (self.end > self.header.size and not self._newline_at_end())

    def check_end(self) -> None:
        """Refuse a file that ends within a line, or before its trailer.

        Raises
        ------
        Quarantine
            ``truncated``.
        """
        trailer = self.layout.trailer
        if trailer is not None and self.end == len(self.text):
            raise truncated(f"{self._label}expected {trailer!r} in the last line")
        if not self._newline_at_end() and "no_final_newline" not in self.layout.leniencies:
            line = self.text.count(b"\n") + 1
            raise truncated(f"{self._label}line {line} has no end: the file was cut off")

    def read_into(self, values: NDArray[Any], columns: NDArray[np.intp], tally: _Tally) -> None:
        """Put the events behind those that are there."""
        self.check_end()
        if not self._newline_at_end():
            tally.found["no_final_newline"] = f"{self._label}the last line has no end"
        layout = self.layout
        line = self.header.lines + 1
        for block, grid in self._grids(line):
            if grid.blank:
                tally.found["blank_lines"] = f"{self._label}there are lines without any field"
            try:
                kept = self._events(grid, columns, tally, line)
                if len(kept.begins):
                    found = numbers(kept, decimal=layout.decimal, maximum=layout.maximum)
                    values[tally.kept : tally.kept + len(found)] = found
                    tally.kept += len(found)
            except FieldError as error:
                raise self._wrong(error, block, line, columns) from error
            line += block.count(b"\n", 0, grid.consumed)

    def _grids(self, line: int) -> Iterator[tuple[bytes, Grid]]:
        """Walk through the rows in blocks that end with a row."""
        layout = self.layout
        at = self.header.size
        while at < self.end:
            block = self.text[at : min(at + _BLOCK, self.end)]
            last = at + len(block) == self.end
            if last and not block.endswith(b"\n"):
                block += b"\n"
            taken = block.rfind(b"\n") + 1
            if layout.delimiter == WHITESPACE:
                block = _single_blanks(block[:taken])
            try:
                grid = locate(block, len(self.header.names), layout.dialect)
            except FieldError as error:
                raise self._wrong(error, block, line, None) from error
            if not grid.consumed:
                raise self._endless(block, line)
            yield block, grid
            at += taken if layout.delimiter == WHITESPACE else grid.consumed
            line += block.count(b"\n", 0, grid.consumed)

    def _events(self, grid: Grid, columns: NDArray[np.intp], tally: _Tally, line: int) -> Grid:
        """Leave out the rows that are no events, and trim the fields of the others."""
        dialect = self.layout.dialect
        if grid.trailing:
            tally.found["trailing_delimiter"] = f"{self._label}rows end with a delimiter"
        tally.rows += len(grid.begins)
        for name, value in self.layout.keep.items():
            if name in self.header.names:
                only = np.array([self.header.names.index(name)])
                wanted = equal(trimmed(grid, only, dialect.quote), 0, value.encode("utf-8"))
                tally.left_out += int(np.count_nonzero(~wanted))
                grid = grid.rows(wanted)
        grid = trimmed(grid, columns, dialect.quote)
        empty = grid.begins == grid.ends
        return self._without_missing(grid, empty, tally, line) if empty.any() else grid

    def _without_missing(
        self, grid: Grid, empty: NDArray[np.bool_], tally: _Tally, line: int
    ) -> Grid:
        """Leave out the rows that lack a value, where that is allowed."""
        row, column = np.argwhere(empty)[0]
        offset = int(grid.begins[row, column])
        if "missing_values" not in self.layout.leniencies:
            raise FieldError(offset, "the value is missing", int(column))
        if not tally.missing:
            at = line + int(np.count_nonzero(grid.text[:offset] == ord("\n")))
            tally.first_missing = f"{self._label}line {at}"
        lacking = np.logical_or.reduce(empty, axis=1)
        tally.missing += int(np.count_nonzero(lacking))
        return grid.rows(~lacking)

    def _endless(self, block: bytes, line: int) -> Quarantine:
        if self.layout.quote.encode() in block:
            return malformed(f"{self._label}a quotation mark of line {line} is not closed")
        return malformed(f"{self._label}line {line} is longer than {_BLOCK} bytes")

    def _wrong(
        self, error: FieldError, block: bytes, line: int, columns: NDArray[np.intp] | None
    ) -> Quarantine:
        where = f"{self._label}line {line + block.count(_LINE_FEED, 0, error.offset)}"
        if error.column is not None and columns is not None:
            j = int(columns[error.column])
            where += f", column {j + 1} ({self.header.names[j]})"
        return malformed(f"{where}: {error.message}")

    def _before_trailer(self) -> int:
        """Return where the last line begins if it is the trailer, else the end."""
        if self.layout.trailer is None:
            return len(self.text)
        body = self.text.rstrip(b"\r\n")
        begin = body.rfind(b"\n") + 1
        found = begin >= self.header.size and body[begin:] == self.layout.trailer.encode("utf-8")
        return begin if found else len(self.text)

    def _newline_at_end(self) -> bool:
        return self.text.endswith(b"\n", 0, self.end)


def _parts(data: bytes, layout: Layout, limits: Limits) -> list[_Part]:
    return [_Part(name, content, layout, limits) for name, content in split(data)]


def _single_blanks(block: bytes) -> bytes:
    """Leave one blank between the fields of every line, and none around them."""
    return b"".join(b" ".join(line.split()) + b"\n" for line in block.split(b"\n")[:-1])


def _check_parts(parts: list[_Part], layout: Layout) -> None:
    names = parts[0].header.names
    for part in parts[1:]:
        if part.header.names != names:
            raise malformed(
                f"{part.name}: expected the columns of the first part, {', '.join(names[:20])}; "
                f"found {', '.join(part.header.names[:20])}"
            )
    last = parts[-1]
    if layout.rows_per_part is not None and last.most_rows == layout.rows_per_part:
        raise truncated(
            f"the {'only' if len(parts) == 1 else 'last'} part has {last.most_rows} rows, as many "
            "as a part can hold: its continuation is missing"
        )


def _check_size(rows: int, columns: int, dtype: np.dtype[Any], held: int, limits: Limits) -> None:
    if rows > limits.max_events:
        raise too_large(f"{rows} rows", limits.max_events)
    limits.check_expansion(
        f"{rows} rows of {columns} columns", rows * columns * dtype.itemsize, held
    )


def _check_count(rows: int, keywords: Mapping[str, str], layout: Layout) -> None:
    if layout.count_keyword is None:
        return
    written = keywords.get(layout.count_keyword.upper(), "")
    count = parse_number(written)
    if count is None:
        raise malformed(
            f"keyword {layout.count_keyword}: expected the number of rows, found {written[:40]!r}"
        )
    if count != rows:
        message = f"keyword {layout.count_keyword} says {written} rows, the table has {rows}"
        raise truncated(message) if rows < count else malformed(message)


def _column(header: Header, index: int, layout: Layout) -> RawColumn:
    return RawColumn(
        name=header.names[index],
        label=header.labels[index],
        bits=64 if layout.integer_bits is None else layout.integer_bits,
        maximum=None if layout.maximum is None else float(layout.maximum),
    )
