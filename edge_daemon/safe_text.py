"""Text that cannot drive a terminal or a spreadsheet. Standard library only."""

from __future__ import annotations

import re
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What spreadsheets take for the start of a formula, full-width forms included."""
_INNER_FORMULA: Final = r"([;\"][;\", ]*)(?=[=+\-@＝＋－＠])"


def printable(text: str, *, lines: bool = False) -> str:
    """Replace control characters, so that no name can drive a terminal; `lines` keeps breaks."""
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or (lines and c == "\n")
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def csv_cell(value: object) -> str | float:
    """One CSV cell; text that a spreadsheet would run as a formula gets a leading apostrophe.

    Also what begins behind a semicolon or a quotation mark: there another country's spreadsheet
    begins a new cell.
    """
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    text = str(value)
    safe = re.sub(_INNER_FORMULA, r"\1'", printable(text))
    return f"'{safe}" if text.startswith(_FORMULA) else safe
