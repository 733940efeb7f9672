"""Fonts for names of any script: what the box has, and what every PDF reader has."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFError, TTFont

from edge_daemon.web.paper_text import END, ISOLATE, lines, needs_turning

_FOLDERS: Final = (
    "/usr/share/fonts/truetype/dejavu",
    "/usr/share/fonts/dejavu",
    "/usr/share/fonts/TTF",
    "/usr/share/fonts/dejavu-sans-fonts",
)
_READERS: Final = {
    "HeiseiKakuGo-W5": ((0x3040, 0x30FF), (0x31F0, 0x31FF)),
    "HYGothic-Medium": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    "STSong-Light": ((0x3000, 0x303F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xFF00, 0xFFEF)),
}
"""Fonts that PDF readers bring along, and the blocks that each is used for."""


class Fonts:
    """The fonts of one document.

    Attributes
    ----------
    regular, bold
        Names for styles.
    missing
        Whether a letter had to be left out.
    """

    def __init__(self) -> None:
        self.regular, self.bold = "Helvetica", "Helvetica-Bold"
        self.missing = False
        self._known: frozenset[int] | None = None
        for folder in map(Path, _FOLDERS):
            try:
                regular = TTFont("Sans", folder / "DejaVuSans.ttf")
                bold = TTFont("Sans-Bold", folder / "DejaVuSans-Bold.ttf")
            except (TTFError, OSError):
                continue
            for font in (regular, bold):
                pdfmetrics.registerFont(font)
            pdfmetrics.registerFontFamily("Sans", normal="Sans", bold="Sans-Bold")
            self.regular, self.bold = "Sans", "Sans-Bold"
            self._known = frozenset(regular.face.charToGlyph)
            break

    def marked_up(self, text: str, font: str, size: float, width: float) -> str:
        """Escape a text, as it is drawn, with each run of letters in a font that has them.

        Parameters
        ----------
        text
            In the order in which it is read.
        font, size, width
            How it will be set, in points; a text that has to be turned round is broken here.
        """
        if not needs_turning(text):
            return self._fonted(text.replace(ISOLATE, "").replace(END, ""))
        broken = lines(text, lambda line: pdfmetrics.stringWidth(line, font, size) <= width)
        return "<br/>".join(map(self._fonted, broken))

    def _fonted(self, text: str) -> str:
        parts: list[tuple[str, str]] = []
        for letter in text:
            font = self._font_of(letter)
            if font is None:
                self.missing = True
                letter, font = "□" if self._known else "?", ""  # noqa: PLW2901
            if parts and parts[-1][0] == font:
                parts[-1] = font, parts[-1][1] + letter
            else:
                parts.append((font, letter))
        return "".join(
            f'<font name="{font}">{escape(run)}</font>' if font else escape(run)
            for font, run in parts
        )

    def bare(self, text: str) -> str:
        """Leave out of a text what the regular font does not have."""
        return "".join(letter if self._font_of(letter) == "" else "?" for letter in text)

    def _font_of(self, letter: str) -> str | None:
        """Font of a letter: empty for the style's own, None where there is none."""
        code = ord(letter)
        if self._known is None:
            if code < 0x100:
                return ""
        elif code in self._known:
            return ""
        for name, blocks in _READERS.items():
            if any(first <= code <= last for first, last in blocks):
                if name not in pdfmetrics.getRegisteredFontNames():
                    pdfmetrics.registerFont(UnicodeCIDFont(name))
                return name
        return None
