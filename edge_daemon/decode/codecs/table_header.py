"""What stands above the rows of a delimited table: keywords and the names of its columns."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.decode.codecs.table_layout import (
    WHITESPACE,
    malformed,
    too_large,
    truncated,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.decode.codecs.table_layout import Layout
    from edge_daemon.decode.limits import Limits

_MAX_LINE: Final = 1 << 16
_MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Header:
    """What stands above the rows with events.

    Attributes
    ----------
    names
        Of the columns.
    labels
        What stands below each name, or None.
    keywords
        From the rows above the names, upper-case keys; and ``COLUMNS``, the names.
    size
        Bytes of the header in the text.
    lines
        Lines of it.
    """

    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    keywords: Mapping[str, str]
    size: int
    lines: int


def read_header(text: bytes, layout: Layout, limits: Limits, name: str) -> Header:
    """Read the lines down to the first row with events.

    Parameters
    ----------
    text
        A whole file in UTF-8.
    layout
        Which row is which.
    limits
        Of columns and text.
    name
        Of the file, for messages; may be empty.

    Raises
    ------
    Quarantine
        ``malformed``, ``truncated`` or ``too_large``.
    """
    label = f"{name}: " if name else ""
    rows: list[str] = []
    at = lines = 0
    while len(rows) < layout.data_row - 1:
        end = text.find(b"\n", at)
        if end < 0:
            raise truncated(
                f"{label}expected names in row {layout.names_row} and events from row "
                f"{layout.data_row} on, found {len(rows)} rows"
            )
        if end - at > _MAX_LINE or end > limits.max_text:
            raise too_large(f"{label}the header in line {lines + 1}", _MAX_LINE)
        row = text[at:end].decode("utf-8", "replace").removesuffix("\r")
        at, lines = end + 1, lines + 1
        if not (layout.comment and row.startswith(layout.comment)):
            rows.append(row)
    named = rows[layout.names_row - 1]
    most = named.count(" " if layout.delimiter == WHITESPACE else layout.delimiter) + 1
    if layout.delimiter != WHITESPACE and most > limits.max_channels + 1:
        raise too_large(f"{label}{most} columns", limits.max_channels)
    names = _names(split_row(named, layout), layout, label)
    if len(names) > limits.max_channels:
        raise too_large(f"{label}{len(names)} columns", limits.max_channels)
    below = (
        split_row(rows[layout.names_row], layout) if layout.data_row > layout.names_row + 1 else []
    )
    labels = tuple(below[j] or None if j < len(below) else None for j in range(len(names)))
    keywords = {**_keywords(rows[: layout.names_row - 1], layout), "COLUMNS": ",".join(names)}
    return Header(names, labels, keywords, at, lines)


def split_row(row: str, layout: Layout) -> list[str]:
    """Split one row into its fields.

    Raises
    ------
    Quarantine
        ``malformed``: a quotation mark is not closed.
    """
    if layout.delimiter == WHITESPACE:
        return row.split()
    try:
        reader = csv.reader([row], delimiter=layout.delimiter, quotechar=layout.quote, strict=True)
        return [text.strip() for text in next(reader, [])]
    except csv.Error as error:
        raise malformed(f"the row {row[:60]!r} cannot be split into fields: {error}") from error


def _names(fields: list[str], layout: Layout, label: str) -> tuple[str, ...]:
    if "trailing_delimiter" in layout.leniencies and fields and not fields[-1]:
        fields = fields[:-1]
    for j, name in enumerate(fields):
        if not name or not name.isprintable() or len(name) > _MAX_NAME:
            raise malformed(
                f"{label}row {layout.names_row}: expected a name for column {j + 1}, found "
                f"{name[:40]!r}"
            )
    if not fields:
        raise malformed(f"{label}row {layout.names_row}: expected names of columns, found nothing")
    return tuple(fields)


def _keywords(rows: list[str], layout: Layout) -> dict[str, str]:
    """Read ``key, value`` rows; a row with one field becomes ``ROW <number>``."""
    keywords: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        filled = [text for text in split_row(row, layout) if text]
        if not filled:
            continue
        key = f"ROW {number}" if len(filled) == 1 else filled[0].rstrip(":= ").upper()
        value = " ".join(filled if len(filled) == 1 else filled[1:])
        if keywords.setdefault(key, value) != value:
            raise malformed(
                f"row {number}: {key[:40]!r} is {value[:40]!r}, and was {keywords[key][:40]!r} "
                "above"
            )
    return keywords
