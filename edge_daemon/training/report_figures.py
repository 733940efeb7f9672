"""Figures of a report: SVG drawn here, each with the numbers it shows as a table."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_daemon.training.cells import Density

    Point = tuple[float, float]

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 12, 44
WORDS: Final = 60
"""A cell of a table longer than this is set as a sentence."""
SERIES: Final = 9
"""Colours in the style sheet, ``s0`` to ``s8``; more series share them."""
CLASS_NAMES: Final = dict(
    zip(CELL_CLASSES, ("red cell", "reticulocyte", "clump", "platelet", "other"), strict=True)
)


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers of a figure, as text."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def html(self) -> str:
        """Write as an HTML table."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.head)
        body = "".join(
            "<tr>" + "".join(_data_cell(cell) for cell in row) + "</tr>" for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _data_cell(text: str) -> str:
    words = ' class="words"' if len(text) > WORDS else ""
    return f"<td{words}>{html.escape(text)}</td>"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing, what to see in it, and its numbers.

    Attributes
    ----------
    title, caption
        What is shown, and how to read it.
    svg
        The drawing.
    keys
        Style class and name of each series, for the legend.
    table
        What was drawn.
    """

    title: str
    caption: str
    svg: str
    keys: tuple[tuple[str, str], ...]
    table: Table


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: values to pixels, with its ticks.

    Attributes
    ----------
    label
        Quantity and unit.
    low, high
        Ends, in values.
    log
        Logarithmic.
    percent
        Write values as percentages.
    """

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False

    def at(self, value: float) -> float:
        """Place of a value between 0 and 1; values beyond the ends stand at the ends."""
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, max(value, self.low)))
            if self.log
            else (self.low, self.high, value)
        )
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round values inside the axis."""
        # Over less than half a decade, 1-2-5 would leave one tick or none.
        if not self.log or self.high < 3 * self.low:
            step = _round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step - 1e-9)
            return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        wide = math.log10(self.high / self.low)
        steps = (1,) if wide > 3 else (1, 3) if wide > 1.5 else (1, 2, 5)
        found = [s * 10.0**d for d in decades for s in steps]
        return [v for v in found if self.low * 0.999 <= v <= self.high * 1.001]

    def text(self, value: float) -> str:
        """One tick."""
        shown = 100 * value if self.percent else value
        sign = "−" if shown < -1e-12 else ""
        return f"{sign}{abs(shown):.4g}{' %' if self.percent else ''}"


def axis(
    label: str, values: Sequence[float], *, log: bool = False, percent: bool = False,
    zero: bool = False,
) -> Axis:  # fmt: skip
    """Make an axis that holds all values with a margin; `zero`: from 0."""
    finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
    low, high = min(finite), max(finite)
    if log:
        return Axis(label, low / 1.15, high * 1.15, log=True, percent=percent)
    low = min(low, 0.0) if zero else low
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(label, low if zero and low == 0 else low - margin, high + margin, percent=percent)


def lines(
    title: str,
    caption: str,
    series: Mapping[str, Sequence[Point]],
    axes: tuple[Axis, Axis],
    *,
    classes: bool = False,
) -> Figure:
    """Curves; `classes`: one a class, in its colour, with the line of equality."""
    drawn, keys = [_equality(axes)] if classes else [], []
    for i, (name, points) in enumerate(series.items()):
        style = f"c{i}" if classes else f"s{i % SERIES}"
        keys.append((style, name))
        path = " ".join(f"{_x(axes[0], x):.1f},{_y(axes[1], y):.1f}" for x, y in points)
        drawn.append(f'<polyline class="line {style}" points="{path}"/>')
        drawn += [_dot(axes, point, style) for point in points] if len(points) < 25 else []
    return Figure(title, caption, _svg(title, axes, drawn), tuple(keys), _points(series, axes))


def scatter(
    title: str,
    caption: str,
    series: Mapping[str, Sequence[Point]],
    axes: tuple[Axis, Axis],
    *,
    levels: Sequence[float] = (),
    diagonal: bool = False,
) -> Figure:
    """Points, with horizontal lines at `levels` and, if asked, the line of equality."""
    drawn = [_level(axes[1], level) for level in levels]
    if diagonal:
        drawn.append(_equality(axes))
    keys = []
    for i, (name, points) in enumerate(series.items()):
        style = f"s{i % SERIES}"
        keys.append((style, name))
        drawn += [_dot(axes, point, style) for point in points]
    return Figure(title, caption, _svg(title, axes, drawn), tuple(keys), _points(series, axes))


def bars(
    title: str,
    caption: str,
    values: Mapping[str, Sequence[float]],
    names: Sequence[str],
    of: Axis,
    *,
    level: float | None = None,
) -> Figure:
    """Horizontal bars, one group for each name, one bar for each series."""
    group = 9 * len(values) + 9
    height = group * len(names) + BOTTOM + 4
    left = 190
    span = WIDTH - left - RIGHT

    def place(value: float) -> float:
        return left + span * of.at(value)

    drawn = [
        f'<line class="grid" x1="{place(tick):.1f}" y1="4" x2="{place(tick):.1f}" '
        f'y2="{height - BOTTOM}"/><text x="{place(tick):.1f}" y="{height - BOTTOM + 15}" '
        f'text-anchor="middle">{of.text(tick)}</text>'
        for tick in of.ticks()
    ]
    for row, name in enumerate(names):
        top = 4 + row * group
        drawn.append(
            f'<text x="{left - 6}" y="{top + group / 2 + 3:.1f}" text-anchor="end">'
            f"{html.escape(name)}</text>"
        )
        for i, series in enumerate(values.values()):
            if math.isfinite(series[row]):
                drawn.append(
                    f'<rect class="s{i % SERIES}" x="{left}" y="{top + 4 + 9 * i}" height="8" '
                    f'width="{max(place(series[row]) - left, 0.5):.1f}"/>'
                )
    if level is not None:
        drawn.append(
            f'<line class="guide" x1="{place(level):.1f}" y1="0" x2="{place(level):.1f}" '
            f'y2="{height - BOTTOM}"/>'
        )
    drawn.append(
        f'<text x="{left + span / 2}" y="{height - 8}" text-anchor="middle">'
        f"{html.escape(of.label)}</text>"
    )
    table = Table(
        ("", *values),
        tuple(
            (name, *(of.text(s[row]) if math.isfinite(s[row]) else "–" for s in values.values()))
            for row, name in enumerate(names)
        ),
    )
    keys = tuple((f"s{i % SERIES}", name) for i, name in enumerate(values))
    return Figure(title, caption, _frame(title, height, drawn), keys, table)


def density(caption: str, view: Density) -> Figure:
    """Scattergram of one run: each grid cell in the colour of the class most common there."""
    axes = (
        Axis(f"{view.x} (log)", *view.spans[0], log=True),
        Axis(f"{view.y} (log)", *view.spans[1], log=True),
    )
    grid = view.counts.shape[1]
    width = (WIDTH - LEFT - RIGHT) / grid
    height = (HEIGHT - TOP - BOTTOM) / grid
    total = view.counts.sum(axis=0)
    dominant = view.counts.argmax(axis=0)
    shade = np.clip(np.ceil(np.log2(total + 1) / 2.5), 0, 4).astype(int)
    drawn = []
    for k in range(len(CELL_CLASSES)):
        for level in range(1, 5):
            ys, xs = np.nonzero((dominant == k) & (shade == level))
            path = "".join(
                f"M{LEFT + x * width:.1f} {HEIGHT - BOTTOM - (y + 1) * height:.1f}"
                f"h{width:.1f}v{height:.1f}h-{width:.1f}z"
                for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
            )
            if path:
                drawn.append(f'<path class="c{k}" opacity="{level / 4:.2f}" d="{path}"/>')
    events = view.counts.sum(axis=(1, 2))
    names = list(CLASS_NAMES.values())
    table = Table(
        ("class", "events", "share"),
        tuple(
            (name, str(int(n)), f"{100 * n / max(events.sum(), 1):.2f} %")
            for name, n in zip(names, events, strict=True)
        ),
    )
    title = f"{view.title} — {view.y} over {view.x}"
    keys = tuple((f"c{k}", name) for k, name in enumerate(names) if events[k])
    return Figure(title, caption, _svg(title, axes, drawn), keys, table)


def histogram(title: str, caption: str, counts: Mapping[str, int], label: str) -> Figure:
    """Vertical bars of counts; bins are named."""
    highest = max(counts.values(), default=1)
    total = max(sum(counts.values()), 1)
    axes = (
        Axis(label, 0, len(counts)),
        Axis("share of events", 0, max(highest, 1) / total * 1.05, percent=True),
    )
    width = (WIDTH - LEFT - RIGHT) / max(len(counts), 1)
    drawn = []
    for i, (name, count) in enumerate(counts.items()):
        top = _y(axes[1], count / total)
        drawn.append(
            f'<rect class="s0" x="{LEFT + i * width + 1:.1f}" y="{top:.1f}" '
            f'width="{width - 2:.1f}" height="{HEIGHT - BOTTOM - top:.1f}"/>'
            f'<text x="{LEFT + (i + 0.5) * width:.1f}" y="{HEIGHT - BOTTOM + 14}" '
            f'text-anchor="middle">{html.escape(name)}</text>'
        )
    table = Table(
        (label, "events", "share"),
        tuple((n, str(c), f"{100 * c / total:.3f} %") for n, c in counts.items()),
    )
    svg = _svg(title, axes, drawn, horizontal_ticks=False)
    return Figure(title, caption, svg, (), table)


def _points(series: Mapping[str, Sequence[Point]], axes: tuple[Axis, Axis]) -> Table:
    return Table(
        ("series", axes[0].label, axes[1].label),
        tuple(
            (name, axes[0].text(x), axes[1].text(y)) for name, points in series.items()
            for x, y in points
        ),
    )  # fmt: skip


def _dot(axes: tuple[Axis, Axis], point: Point, style: str) -> str:
    return (
        f'<circle class="{style}" cx="{_x(axes[0], point[0]):.1f}" '
        f'cy="{_y(axes[1], point[1]):.1f}" r="2.6"/>'
    )


def _equality(axes: tuple[Axis, Axis]) -> str:
    low, high = max(a.low for a in axes), min(a.high for a in axes)
    return (
        f'<line class="guide" x1="{_x(axes[0], low):.1f}" y1="{_y(axes[1], low):.1f}" '
        f'x2="{_x(axes[0], high):.1f}" y2="{_y(axes[1], high):.1f}"/>'
    )


def _level(of: Axis, level: float) -> str:
    y = _y(of, level)
    return f'<line class="guide" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'


def _x(of: Axis, value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * of.at(value)


def _y(of: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * of.at(value)


def _svg(
    title: str, axes: tuple[Axis, Axis], drawn: Sequence[str], *, horizontal_ticks: bool = True
) -> str:
    parts = []
    for tick in axes[0].ticks() if horizontal_ticks else ():
        x = _x(axes[0], tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">'
            f"{axes[0].text(tick)}</text>"
        )
    for tick in axes[1].ticks():
        y = _y(axes[1], tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 5}" y="{y + 3:.1f}" text-anchor="end">{axes[1].text(tick)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts += drawn
    parts.append(
        f'<text x="{middle[0]}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{html.escape(axes[0].label)}</text>"
        f'<text transform="translate(13 {middle[1]}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(axes[1].label)}</text>"
    )
    return _frame(title, HEIGHT, parts)


def _frame(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-12)))
    pick: Callable[[float], bool] = lambda step: step * power >= rough  # noqa: E731 - one line
    return next(filter(pick, (1.0, 2.0, 5.0, 10.0))) * power
