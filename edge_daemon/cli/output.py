"""The one place where results become text: JSON, CSV, a table for people, or plain columns.

Values are rounded here and nowhere else, with the decimals printed haematology results carry.
JSON keeps them unrounded.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from edge_daemon import safe_text, wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Form = Literal["json", "csv", "terminal", "plain"]
Record = dict[str, Any]

SIMULATED: Final = wording.SIMULATED
NOT_REPORTED: Final = wording.NOT_REPORTED
DECIMALS: Final = wording.DECIMALS
printable = safe_text.printable
csv_cell = safe_text.csv_cell

_MAX_COLUMN: Final = 60
_WIDE: Final = 110
_LONG_WORD: Final = 30


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a listing.

    Attributes
    ----------
    name
        Heading in CSV.
    heading
        Heading for people; empty for a column that only CSV has.
    unit
        Unit for people, part of the heading.
    cell
        Record → text or number. Numbers are written as they are; text is made safe.
    right
        Align to the right.
    folds
        May take several lines in a terminal; the others keep their width.
    wide
        Left out of a terminal that is narrower than `_WIDE`.
    """

    name: str
    heading: str
    cell: Callable[[Record], object]
    right: bool = False
    folds: bool = False
    wide: bool = False
    unit: str = ""

    @property
    def title(self) -> str:
        """Heading with its unit."""
        return f"{self.heading} {self.unit}".rstrip()


def form(*, as_json: bool, as_csv: bool = False) -> Form:
    """Choose how to write: what was asked for, else by whether a person is looking."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    if as_json:
        return "json"
    if as_csv:
        return "csv"
    return "terminal" if sys.stdout.isatty() else "plain"


def next_action(text: str) -> str:
    """Return what to do as a line of its own, from any part of the product in one style."""
    first = text.split(" ", 1)[0]
    sentence = text[:1].upper() + text[1:] if first.isalpha() else text
    return f"→ {printable(sentence, lines=True)}"


def cell_text(value: object) -> str:
    """One cell for people."""
    return "" if value is None else printable(str(value))


def number(code: str, value: float | None) -> str:
    """Round a measurement once, for people and CSV; empty when there is none."""
    if value is None or not math.isfinite(value):
        return ""
    text = f"{value:.{DECIMALS.get(code, 2)}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def unit(ucum: str) -> str:
    """Return the unit as clinics print it."""
    return wording.UNITS.get(ucum, ucum)


def signed(code: str, value: float | None) -> str:
    """Round a difference with the measurement's decimals and its sign; empty when unknown."""
    text = number(code, value)
    return text if not text or text.startswith("-") or float(text) == 0 else f"+{text}"


def percent(value: float | None) -> str:
    """Show a signed percentage with one decimal; empty when unknown."""
    if value is None or not math.isfinite(value):
        return ""
    text = f"{value:+.1f}"
    return "0.0 %" if float(text) == 0 else f"{text} %"


def interval(code: str, low: float | None, high: float | None) -> str:
    """95 % interval as ``low to high``; empty when unknown."""
    bounds = number(code, low), number(code, high)
    return f"{bounds[0]} to {bounds[1]}" if all(bounds) else ""


def measurement(record: Mapping[str, Any] | None) -> str:
    """Value for one cell of a listing: the number, or that it is not reported."""
    if record is None:
        return ""
    return number(record["code"], record["value"]) or NOT_REPORTED


LISTED: Final = {"RBC": "10*6/uL", "RETIC%": "%", "PLT": "10*3/uL", "CLUMP%": "%"}
"""Measurements that fit a listing, with their unit; `show` has all of them."""

_ALWAYS: Final = ("RBC", "RETIC%", "PLT")


def measurement_column(code: str) -> Column:
    """Column of one measurement of a record's `measurements`."""

    def cell(record: Record) -> str:
        found = (m for m in record.get("measurements") or () if m["code"] == code)
        return measurement(next(found, None))

    shown = "" if code.endswith("%") else unit(LISTED[code])
    wide = code not in _ALWAYS
    return Column(code, code, cell, right=True, folds=True, wide=wide, unit=shown)


def simulated_mark(record: Record) -> str:
    """Return the permanent mark of a simulated result, or nothing."""
    return SIMULATED if record.get("simulated") else ""


def dumps(value: object, *, indent: int | None = None) -> str:
    """Write JSON that any reader takes: no NaN, and ASCII where the stream is not UTF-8.

    What is not printable is escaped: JSON itself asks that of the first 32 characters only.
    """
    utf8 = (sys.stdout.encoding or "ascii").lower().replace("-", "") == "utf8"
    text = json.dumps(_finite(value), indent=indent, ensure_ascii=not utf8, allow_nan=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def emit_json(value: object) -> None:
    """Write one JSON document on stdout."""
    click.echo(dumps(value, indent=2))


def emit_line(value: object) -> None:
    """Write one object of a JSON Lines stream and hand it over at once."""
    click.echo(dumps(value))
    sys.stdout.flush()


def say(text: str) -> None:
    """Write a message for people on stderr."""
    click.echo(printable(text, lines=True), err=True)


def listing(columns: Sequence[Column], records: Iterable[Record], how: Form, *, empty: str) -> None:
    """Write records as CSV, a table or plain columns; `empty` goes to stderr when none."""
    if how == "csv":
        write_csv(columns, records, sys.stdout)
        return
    shown = [c for c in columns if c.heading]
    rows = [[cell_text(c.cell(r)) for c in shown] for r in records]
    if not rows:
        say(empty)
    elif how == "terminal":
        _rich_table(shown, rows)
    else:
        _plain_table(shown, rows)


def write_csv(columns: Sequence[Column], records: Iterable[Record], stream: Any) -> int:
    """Write CSV (RFC 4180 quoting, one line a record) and return the number of records."""
    import csv

    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([c.name for c in columns])
    count = 0
    for record in records:
        writer.writerow([csv_cell(c.cell(record)) for c in columns])
        count += 1
    return count


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Write lines of a label and its text; those without a text are left out."""
    for label, text in rows:
        if text:
            click.echo(f"{label:<11}{printable(text)}")


def width(text: str) -> int:
    """Columns a text takes on a terminal: wide East Asian letters take two, marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _plain_table(columns: Sequence[Column], rows: list[list[str]]) -> None:
    table = [[c.title for c in columns], *rows]
    # One very long name must not push every other row's columns off the page.
    widths = [min(_MAX_COLUMN, max(width(r[i]) for r in table)) for i in range(len(columns))]
    for row in table:
        cells = [
            f"{' ' * (w - width(text))}{text}" if c.right else f"{text}{' ' * (w - width(text))}"
            for text, c, w in zip(row, columns, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def growing(columns: Sequence[Column], widths: Sequence[int], record: Record | None) -> None:
    """Write the heading (None) or one row of a table whose later rows are not known yet."""
    parts = []
    for column, space in zip(columns, widths, strict=True):
        text = column.title if record is None else cell_text(column.cell(record))
        pad = " " * (space - width(text))
        shown = click.style(text, bold=True) if record is None else _coloured(text)
        parts.append(f"{pad}{shown}" if column.right else f"{shown}{pad}")
    click.echo("  ".join(parts).rstrip())
    sys.stdout.flush()


def _coloured(text: str) -> str:
    colour = _COLOURS.get(text)
    return click.style(text, fg=colour) if colour else text


def _rich_table(columns: Sequence[Column], rows: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = _console()
    shown = [i for i, c in enumerate(columns) if console.width >= _WIDE or not c.wide]
    cells = [[columns[i].heading, columns[i].unit, *(row[i] for row in rows)] for i in shown]
    gap = 2 if console.width >= sum(max(map(width, texts)) + 2 for texts in cells) else 1
    widths = _fit([columns[i] for i in shown], cells, console.width - gap * len(shown))
    # rich would cut a value to make its column fit: rather let the terminal break the line.
    console.width = max(console.width, sum(widths) + gap * len(shown))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0))
    for i, space in zip(shown, widths, strict=True):
        column = columns[i]
        table.add_column(
            # The unit goes under the name: a heading must not be wider than what it heads.
            Text(f"{column.heading}\n{column.unit}" if column.unit else column.heading),
            justify="right" if column.right else "left",
            overflow="fold",
            width=space,
        )
    for row in rows:
        # Text, not str: a name with square brackets is not markup.
        table.add_row(*(Text(row[i], style=_COLOURS.get(row[i], "")) for i in shown))
    console.print(table)


def _fit(columns: Sequence[Column], cells: Sequence[Sequence[str]], room: int) -> list[int]:
    """Give every column the width of its text; where room is short, fold the longest first."""
    widths = [max(map(width, texts)) for texts in cells]
    least = [
        min(_LONG_WORD, max((width(word) for text in texts for word in text.split()), default=0))
        if column.folds
        else space
        for column, texts, space in zip(columns, cells, widths, strict=True)
    ]
    for i in sorted(range(len(widths)), key=lambda i: least[i] - widths[i]):
        widths[i] -= max(0, min(sum(widths) - room, widths[i] - least[i]))
    return widths


_COLOURS: Final = {"OK": "green", "Review": "yellow", "Failed": "red", SIMULATED: "magenta"}


def _console(*, stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def headline(text: str, word: str) -> None:
    """Write one line whose first word carries the verdict's colour in a terminal."""
    click.echo(click.style(printable(text), fg=_COLOURS.get(word), bold=True))


@contextlib.contextmanager
def progress(what: str, how: Form) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while a person is looking at both streams.

    Yields
    ------
    Callable[[int, int], None]
        To be called with what is done and the total.
    """
    quiet = how in ("json", "csv", "plain") or os.environ.get("TERM") == "dumb"
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    # stdout stays as it is: rich would otherwise send data to stderr with the bar.
    with Progress(
        *columns, console=_console(stderr=True), transient=True, redirect_stdout=False
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
