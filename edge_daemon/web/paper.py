"""Lays one result out as a PDF: reads JSON on stdin, writes the file to stdout.

Run as a program (``python -m edge_daemon.web.paper``), so that the library it needs never enters
the service. What it lays out was worded and rounded by the page already.
"""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table

from edge_daemon.web.paper_fonts import Fonts
from edge_daemon.web.paper_plots import Histogram, Scattergram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_QUIET: Final = colors.HexColor("#444444")
_LINE: Final = colors.HexColor("#999999")
_WIDTH: Final = A4[0] - 26 * mm
_LINE_WIDTH: Final = _WIDTH - 12
"""What the frame of a page leaves of it: 6 points of padding to either side."""


class Paper:
    """One result on paper.

    Parameters
    ----------
    content
        As `pages.pdf.content` makes it.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content
        self._fonts = Fonts()
        base = {"fontName": self._fonts.regular, "fontSize": 8.5, "leading": 10.5}
        self._plain = ParagraphStyle("plain", **base)
        self._small = ParagraphStyle(
            "small", **{**base, "fontSize": 7, "leading": 8.6}, textColor=_QUIET
        )
        self._head = ParagraphStyle(
            "head",
            fontName=self._fonts.bold,
            fontSize=10.5,
            leading=13,
            spaceBefore=5,
            spaceAfter=1,
        )
        self._title = ParagraphStyle("title", fontName=self._fonts.bold, fontSize=16, leading=20)

    def write(self) -> bytes:
        """Return the bytes of the PDF."""
        story: list[Flowable] = [
            *self._header(), *self._asks(), *self._values(), *self._plots(), *self._origin(),
        ]  # fmt: skip
        out = io.BytesIO()
        document = SimpleDocTemplate(
            out,
            pagesize=A4,
            leftMargin=13 * mm,
            rightMargin=13 * mm,
            topMargin=9 * mm,
            bottomMargin=12 * mm,
            title=self._content["title"],
            author=self._content["box"],
        )
        document.build(story, onFirstPage=self._footer, onLaterPages=self._footer)
        return out.getvalue()

    def _text(self, text: str, style: ParagraphStyle | None = None) -> Paragraph:
        style = style or self._plain
        return Paragraph(
            self._fonts.marked_up(text, style.fontName, style.fontSize, _LINE_WIDTH), style
        )

    def _header(self) -> list[Flowable]:
        found = self._content
        parts: list[Flowable] = [self._text(found["title"], self._title)]
        parts += [self._text(line) for line in found["who"]]
        if found["simulated"]:
            parts.append(self._text("SIMULATED: not a patient's result", self._head))
        if found["replaced"]:
            parts.append(self._text(found["replaced"], self._head))
        parts.append(self._text(f"{found['headline']}: {found['reason']}", self._head))
        if found["regeneration"]:
            parts.append(self._text(found["regeneration"]))
        return parts

    def _asks(self) -> list[Flowable]:
        asks = self._content["asks"]
        parts: list[Flowable] = [self._text("What to do", self._head)] if asks else []
        for ask in asks:
            parts.append(self._text(ask["text"]))
            if ask["action"]:
                parts.append(self._text(f"→ {ask['action']}"))
        return parts

    def _values(self) -> list[Flowable]:
        head, *rows = self._content["values"]
        cells = [[self._text(text) for text in row] for row in (head, *rows)]
        shares = self._content["widths"]
        table = Table(
            cells, colWidths=[_WIDTH * share / sum(shares) for share in shares], repeatRows=1
        )
        table.setStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
                ("TOPPADDING", (0, 0), (-1, -1), 0.8),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]
        )
        notes = [self._text(text, self._small) for text in self._content["notes"]]
        return [self._text("Values", self._head), table, *notes]

    def _plots(self) -> list[Flowable]:
        drawn = self._content["pictures"]
        if not drawn:
            return []
        width, font = _WIDTH / 2 - 4 * mm, self._fonts.regular
        plots: list[Flowable] = [
            Scattergram(picture, width, font) for picture in drawn["scattergrams"]
        ]
        plots += [Histogram(picture, width, font) for picture in drawn["histograms"]]
        rows = [_pair(plots[i : i + 2]) for i in range(0, len(plots), 2)]
        table = Table(rows, colWidths=[_WIDTH / 2, _WIDTH / 2])
        table.setStyle([("LEFTPADDING", (0, 0), (-1, -1), 0)])
        classes = "; ".join(self._content["classes"])
        return [self._text("Cells", self._head), table, self._text(classes, self._small)]

    def _origin(self) -> list[Flowable]:
        lines = list(self._content["origin"])
        if self._fonts.missing:
            lines.append(
                "Some letters are not in the fonts of this box and stand as □; the page on the "
                "screen shows them."
            )
        return [Spacer(1, 3 * mm), *(self._text(line, self._small) for line in lines)]

    def _footer(self, canvas: Any, document: Any) -> None:
        canvas.saveState()
        canvas.setFont(self._fonts.regular, 7)
        canvas.setFillColor(_QUIET)
        text = f"{self._content['footer']} · page {document.page}"
        canvas.drawString(13 * mm, 8 * mm, self._fonts.bare(text))
        canvas.restoreState()


def _pair(plots: Sequence[Flowable]) -> list[Flowable]:
    return [*plots, Spacer(1, 1)][:2]


def main() -> None:
    """Read one result and write its PDF."""
    sys.stdout.buffer.write(Paper(json.load(sys.stdin)).write())


if __name__ == "__main__":
    main()
