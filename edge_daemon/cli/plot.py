"""Scattergrams and histograms of a run, drawn with characters.

In a terminal with colour: braille dots coloured by class. Without colour: a letter for each class,
so that nothing rests on colour alone. Standard library and click only.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_daemon.cli.output import Form

NARROWEST: Final = 40
"""Columns under which nothing is drawn."""

_WIDEST: Final = 56
_PLAIN_COLUMNS: Final = 80
_GAP: Final = "   "
_ASPECT: Final = 0.5  # a character is twice as high as wide
_HISTOGRAM_ROWS: Final = 5
_TICKS: Final = 5
_TOP: Final = 0.999
"""Share of the cells that a histogram's axis reaches up to."""


@dataclass(frozen=True, slots=True)
class Style:
    """How one class looks."""

    name: str
    letter: str
    colour: str


STYLES: Final = {
    "pure_rbc": Style("red cells", "o", "red"),
    "reticulocyte": Style("reticulocytes", "r", "magenta"),
    "clumped_rbc": Style("clumps", "c", "yellow"),
    "platelet": Style("platelets", "p", "cyan"),
    "other": Style("other", ".", "bright_black"),
}
_RAREST_FIRST: Final = ("reticulocyte", "clumped_rbc", "platelet", "pure_rbc", "other")
_DETECTORS: Final = {
    "LA": "low angle", "HA": "mid angle", "SS": "side scatter", "EXT": "extinction",
    "FL": "RNA dye",
}  # fmt: skip
_UNITS: Final = {"um2": "µm²", "us": "µs", "um2*us": "µm²·µs"}
_DOTS: Final = ((0x40, 0x80), (0x04, 0x20), (0x02, 0x10), (0x01, 0x08))
"""Bits of a braille character: rows from the bottom, columns from the left."""
_BARS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class _Pen:
    """What the place that is written to can show."""

    colour: bool
    unicode: bool
    columns: int

    def text(self, text: str) -> str:
        if self.unicode:
            return text
        for letter, plain in (("µ", "u"), ("²", "2"), ("·", "*"), ("×", "x"), ("─", "-")):
            text = text.replace(letter, plain)
        return text


def write(pictures: Mapping[str, Any], how: Form) -> None:
    """Draw the pictures of a run, as `store.pictures` decodes them; nothing where it is narrow."""
    for line in lines(pictures, _pen(how)):
        click.echo(line)


def _pen(how: Form) -> _Pen:
    utf8 = (sys.stdout.encoding or "ascii").lower().replace("-", "") == "utf8"
    if how != "terminal":
        return _Pen(colour=False, unicode=utf8, columns=_PLAIN_COLUMNS)
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return _Pen(colour=colour, unicode=utf8, columns=shutil.get_terminal_size().columns)


def lines(pictures: Mapping[str, Any], pen: _Pen) -> list[str]:
    """Lines of all plots and of their legend."""
    if pen.columns < NARROWEST:
        return []
    beside = pen.columns >= 2 * NARROWEST
    room = (pen.columns - len(_GAP)) // 2 if beside else pen.columns
    width = min(_WIDEST, room - 1)
    drawn = [_scattergram(picture, width, pen) for picture in pictures["scattergrams"]]
    bars = [_histogram(picture, width, pen) for picture in pictures["histograms"]]
    written = [""]
    for blocks in (drawn, bars):
        if not blocks:
            continue
        written += _side_by_side(blocks, width + 1) if beside else _stacked(blocks)
    if drawn:
        written.append(_legend(pictures["scattergrams"], pen))
    if note := _parting(pictures["histograms"]):
        written.append(note)
    return written


@dataclass(frozen=True, slots=True)
class _Line:
    """A line and the columns it takes, which its colours do not."""

    text: str
    width: int


def _plain(text: str, pen: _Pen) -> _Line:
    text = pen.text(text)
    return _Line(text, output.width(text))


def _stacked(blocks: Iterable[Sequence[_Line]]) -> list[str]:
    return [line.text for block in blocks for line in (*block, _Line("", 0))]


def _side_by_side(blocks: Sequence[Sequence[_Line]], width: int) -> list[str]:
    rows = zip_longest(*blocks, fillvalue=_Line("", 0))
    padded = (
        _GAP.join(line.text + " " * (width - line.width) for line in row).rstrip() for row in rows
    )
    return [*padded, ""]


def _scattergram(picture: Mapping[str, Any], width: int, pen: _Pen) -> list[_Line]:
    """Title, plot with its y axis on the left, x axis."""
    x, y = picture["x"], picture["y"]
    height = round(width * _ASPECT)
    across, up = (2, 4) if pen.colour and pen.unicode else (1, 1)
    cells = _screen(picture, width, height, across, up)
    shown = [_plain(f"{_axis_title(y)} by {_axis_title(x)}", pen)]
    for row in reversed(range(height)):
        places = (cells.get((row, column)) for column in range(width))
        edge = "│" if pen.unicode else "|"
        shown.append(_Line(edge + "".join(_mark(cell, pen) for cell in places), width + 1))
    return [*shown, *_x_axis(x, width, pen)]


@dataclass(slots=True)
class _Part:
    """What one class has in one character: bits of its dots, and events."""

    dots: int = 0
    events: int = 0


_Cell = dict[str, _Part]


def _screen(
    picture: Mapping[str, Any], width: int, height: int, across: int, up: int
) -> dict[tuple[int, int], _Cell]:
    nx, ny = picture["x"]["bins"], picture["y"]["bins"]
    screen: dict[tuple[int, int], _Cell] = {}
    for name, cells in picture["cells"].items():
        for at, count in zip(cells["bins"], cells["counts"], strict=True):
            row, column = divmod(at, nx)
            y, dot_y = divmod(row * height * up // ny, up)
            x, dot_x = divmod(column * width * across // nx, across)
            part = screen.setdefault((y, x), {}).setdefault(name, _Part())
            part.dots |= _DOTS[dot_y][dot_x]
            part.events += count
    return screen


def _mark(cell: _Cell | None, pen: _Pen) -> str:
    """Character of one place, with the look of its most frequent class; the rarer of equals."""
    if cell is None:
        return " "
    name = max((n for n in _RAREST_FIRST if n in cell), key=lambda n: cell[n].events)
    style = STYLES[name]
    if not pen.colour:
        return style.letter
    dots = 0
    for part in cell.values():
        dots |= part.dots
    return click.style(chr(0x2800 + dots) if pen.unicode else style.letter, fg=style.colour)


def _axis_title(axis: Mapping[str, Any]) -> str:
    name = axis["name"]
    detector = _DETECTORS.get(name.partition(".")[0], name)
    return f"{name} {detector}" if detector != name else name


def _x_axis(
    axis: Mapping[str, Any], width: int, pen: _Pen, top: float | None = None
) -> list[_Line]:
    """Line with its ticks, and their values with the unit at the end."""
    rule = ["─" if pen.unicode else "-"] * (width + 1)
    values = [" "] * (width + 1)
    unit = _UNITS.get(axis["unit"], axis["unit"])
    unit = unit if len(unit) <= 6 else ""
    free_to = width + 1 - (len(unit) + 1 if unit else 0)
    rule[0] = "└" if pen.unicode else "+"
    taken = 0
    for tick in _ticks(axis, top):
        at = 1 + math.floor(_share(axis, tick, top) * width)
        label = f"{tick:g}"
        start = max(0, min(at - len(label) // 2, free_to - len(label)))
        if at > width or start < taken or (taken and start < taken + 1):
            continue
        rule[at] = "┴" if pen.unicode else "+"
        values[start : start + len(label)] = label
        taken = start + len(label)
    if unit:
        values[-len(unit) :] = unit
    return [_plain("".join(rule), pen), _plain("".join(values), pen)]


def _ticks(axis: Mapping[str, Any], top: float | None) -> list[float]:
    """Ticks of an axis that is shown up to `top`: the axis's own would be too few of a part."""
    if top is None or axis["scale"] == "log":
        return list(axis["ticks"])
    rough = (top - axis["low"]) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
    return [axis["low"] + n * step for n in range(math.floor((top - axis["low"]) / step) + 1)]


def _share(axis: Mapping[str, Any], value: float, top: float | None) -> float:
    """Position of a value on an axis that is shown up to `top`, from 0 to 1."""
    low, high = axis["low"], axis["high"] if top is None else top
    if axis["scale"] == "log":
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _histogram(picture: Mapping[str, Any], width: int, pen: _Pen) -> list[_Line]:
    """Title, bars, axis, and where platelets and red cells part."""
    axis = picture["x"]
    counts = [0] * axis["bins"]
    for cells in picture["cells"].values():
        for at, count in zip(cells["bins"], cells["counts"], strict=True):
            counts[at] += count
    total = sum(counts)
    last = _reach(counts, total)
    top = _edge(axis, last)
    starts = [column * last // width for column in range(width + 1)]
    bars = [sum(counts[a : max(b, a + 1)]) for a, b in pairwise(starts)]
    volume = picture["method"] == "calculated"
    what = "volume, calculated" if volume else f"{_axis_title(axis)}, no volume"
    colour = STYLES[picture["classes"][0]].colour
    shown = [_plain(f"{picture['name']} {what}: {total:,} cells", pen)]
    tallest = max(bars) or 1
    for row in reversed(range(_HISTOGRAM_ROWS)):
        text = "".join(_bar(count / tallest * _HISTOGRAM_ROWS - row, pen) for count in bars)
        coloured = click.style(text, fg=colour) if pen.colour else text
        shown.append(_Line(("│" if pen.unicode else "|") + coloured, width + 1))
    shown += _x_axis(axis, width, pen, top)
    boundary = picture.get("boundary")
    if boundary is not None and boundary["at"] < top:
        at = 1 + math.floor(_share(axis, boundary["at"], top) * width)
        label = f"^ {boundary['at']:.3g}"
        shown.append(_plain(" " * min(at, width + 1 - len(label)) + label, pen))
    return shown


def _parting(histograms: Sequence[Mapping[str, Any]]) -> str:
    """Say in words what the mark under the histograms means."""
    found = next((b for p in histograms if (b := p.get("boundary"))), None)
    if found is None:
        return ""
    above, below = found["platelets_above"], found["red_cells_below"]
    return (
        f"^ {found['at']:.3g} fL parts platelets from red cells best by volume alone: {above:,} "
        f"platelet{'s' * (above != 1)} above, {below:,} red cell{'s' * (below != 1)} below."
    )


def _reach(counts: Sequence[int], total: int) -> int:
    """Bins that hold nearly all cells, and half as much room again for what others might."""
    seen = 0
    for at, count in enumerate(counts):
        seen += count
        if total and seen >= _TOP * total:
            return min(len(counts), math.ceil(1.1 * (at + 1)))
    return len(counts)


def _edge(axis: Mapping[str, Any], last: int) -> float:
    share = last / axis["bins"]
    low, high = axis["low"], axis["high"]
    if axis["scale"] == "log":
        return float(low * (high / low) ** share)
    return float(low + (high - low) * share)


def _bar(level: float, pen: _Pen) -> str:
    """Part of a bar within one row; `level` is how far it reaches above the row's foot."""
    eighths = max(0, min(8, math.ceil(8 * level)))
    if pen.unicode:
        return _BARS[eighths]
    return "#" if eighths >= 4 else " "


def _legend(scattergrams: Sequence[Mapping[str, Any]], pen: _Pen) -> str:
    seen = {
        name
        for picture in scattergrams
        for name, cells in picture["cells"].items()
        if cells["bins"]
    }
    parts = []
    for name, style in STYLES.items():
        if name in seen and pen.colour:
            dot = "⣿" if pen.unicode else style.letter
            parts.append(f"{click.style(dot, fg=style.colour)} {style.name}")
        elif name in seen:
            parts.append(f"{style.letter} {style.name}")
    return "  ".join(parts)
