"""Scattergrams and histograms for paper, from the counts in bins that are stored with a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from reportlab.lib import colors
from reportlab.platypus import Flowable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COLOURS: Final = {
    "pure_rbc": colors.HexColor("#c1440e"),
    "reticulocyte": colors.HexColor("#0065a8"),
    "clumped_rbc": colors.HexColor("#8f2d8f"),
    "platelet": colors.HexColor("#00805c"),
    "other": colors.HexColor("#80868c"),
}
"""As on the screen: they stay apart for the colour-blind."""

_LINE: Final = colors.HexColor("#bbbbbb")
_INK: Final = colors.HexColor("#333333")
_BARS: Final = 90


class _Plot(Flowable):  # type: ignore[misc] # reportlab has no types
    """A frame with axes; subclasses draw what is in it."""

    def __init__(self, picture: Mapping[str, Any], width: float, height: float, font: str) -> None:
        super().__init__()
        self.picture, self.font = picture, font
        self.width, self.height = width, height
        self.left, self.bottom = 26.0, 24.0
        self.w, self.h = width - self.left - 6, height - self.bottom - 14

    def wrap(self, *_: float) -> tuple[float, float]:
        """Return its size."""
        return self.width, self.height

    def frame(self, ticks: Iterator[tuple[str, float, str]]) -> None:
        """Draw heading, grid and border."""
        canvas = self.canv
        canvas.setFont(self.font, 8)
        canvas.setFillColor(_INK)
        canvas.drawString(0, self.height - 9, self.picture["title"])
        canvas.setFont(self.font, 6.5)
        canvas.setStrokeColor(_LINE)
        canvas.setLineWidth(0.4)
        for axis, share, text in ticks:
            if axis == "x":
                x = self.left + share * self.w
                canvas.line(x, self.bottom, x, self.bottom + self.h)
                canvas.drawCentredString(x, self.bottom - 9, text)
            else:
                y = self.bottom + share * self.h
                canvas.line(self.left, y, self.left + self.w, y)
                canvas.drawRightString(self.left - 3, y - 2, text)
        canvas.drawCentredString(self.left + self.w / 2, 3, self.picture["x_label"])
        canvas.setStrokeColor(_INK)
        canvas.rect(self.left, self.bottom, self.w, self.h)


def place(axis: Mapping[str, Any], value: float) -> float:
    """Place a value on an axis: 0 at its beginning, 1 at its end."""
    if axis["scale"] == "log":
        return math.log(value / axis["low"]) / math.log(axis["high"] / axis["low"])
    share: float = (value - axis["low"]) / (axis["high"] - axis["low"])
    return share


class Scattergram(_Plot):
    """Cells by class: the common ones first, so that a rare one is never hidden."""

    def __init__(self, picture: Mapping[str, Any], width: float, font: str) -> None:
        super().__init__(picture, width, width * 0.62, font)

    def draw(self) -> None:
        """Draw it."""
        axes = self.picture["x"], self.picture["y"]
        self.frame(
            (name, place(axis, tick), f"{tick:g}")
            for name, axis in zip("xy", axes, strict=True)
            for tick in axis["ticks"]
        )
        bins = axes[0]["bins"]
        step_x, step_y = self.w / bins, self.h / axes[1]["bins"]
        cells = self.picture["cells"]
        for name in sorted(cells, key=lambda key: -sum(cells[key]["counts"])):
            self.canv.setFillColor(COLOURS[name])
            for index in cells[name]["bins"]:
                row, column = divmod(index, bins)
                x, y = self.left + column * step_x, self.bottom + row * step_y
                self.canv.rect(x, y, max(step_x, 0.8), max(step_y, 0.8), stroke=0, fill=1)


class Histogram(_Plot):
    """Volumes of the cells, with the boundary that parts platelets from red cells best."""

    def __init__(self, picture: Mapping[str, Any], width: float, font: str) -> None:
        super().__init__(picture, width, width * 0.36, font)

    def draw(self) -> None:
        """Draw it."""
        axis, bars = self.picture["x"], self._bars()
        shown = max((row for values in bars.values() for row in values), default=0) + 1
        most = max((n for values in bars.values() for n in values.values()), default=1)
        end = min(1.0, shown / _BARS)
        ticks = ((t, place(axis, t)) for t in axis["ticks"] if axis["scale"] == "linear" or t > 0)
        self.frame(("x", at / end, f"{t:g}") for t, at in ticks if 0 <= at <= end)
        for name, values in bars.items():
            self._curve(name, values, shown, most)
        if boundary := self.picture.get("boundary"):
            at = place(axis, boundary["at"]) / end
            if at <= 1:
                x = self.left + at * self.w
                self.canv.setDash(2, 2)
                self.canv.setStrokeColor(_INK)
                self.canv.line(x, self.bottom, x, self.bottom + self.h)
                self.canv.setDash()

    def _bars(self) -> dict[str, dict[int, int]]:
        """Fold the counts of each class into `_BARS` bars over the whole axis."""
        bins, found = self.picture["x"]["bins"], {}
        for name, cells in self.picture["cells"].items():
            rows: dict[int, int] = {}
            for index, count in zip(cells["bins"], cells["counts"], strict=True):
                row = index * _BARS // bins
                rows[row] = rows.get(row, 0) + count
            found[name] = rows
        return found

    def _curve(self, name: str, values: Mapping[int, int], shown: int, most: int) -> None:
        path = self.canv.beginPath()
        path.moveTo(self.left, self.bottom)
        for row in range(shown):
            x = self.left + (row + 0.5) / shown * self.w
            path.lineTo(x, self.bottom + 0.95 * self.h * values.get(row, 0) / most)
        path.lineTo(self.left + self.w, self.bottom)
        self.canv.setStrokeColor(COLOURS[name])
        self.canv.setFillColor(COLOURS[name], alpha=0.25)
        self.canv.drawPath(path, stroke=1, fill=1)
        self.canv.setFillAlpha(1)
