"""Texts of any direction as a PDF needs them: letters in the order and the form they are drawn in.

The library that writes the file sets what it is given from left to right. Names in Arabic letters
are therefore joined here, and names in Arabic or Hebrew letters turned round, line by line: a
name that is longer than a line begins on the first.

What stands between `ISOLATE` and `END` is a name in a sentence of ours: it has its own direction
and moves nothing around it (Unicode's FSI and PDI).
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from arabic_reshaper import reshape
from bidi.algorithm import get_display

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ISOLATE: Final = "\u2068"
END: Final = "\u2069"
_PARTS: Final = re.compile(f"({ISOLATE}[^{ISOLATE}{END}]*{END}?)")


def needs_turning(text: str) -> bool:
    """Whether a text has letters that are written from right to left."""
    return any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)


def lines(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Break a text into lines, each as it is drawn.

    Parameters
    ----------
    text
        In the order in which it is read, with isolated names.
    fits
        Whether a line, as it is drawn, is short enough.
    """
    broken: list[str] = []
    isolated = False
    for line in _broken(text, fits):
        opened = (ISOLATE if isolated else "") + line
        isolated = opened.count(ISOLATE) > opened.count(END)
        broken.append(_drawn(opened))
    return broken


def _broken(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and not fits(_drawn(longer)):
            yield line
            longer = word
        line = longer
    yield line


def _drawn(line: str) -> str:
    parts = (part for part in _PARTS.split(line) if part)
    turned = [get_display(reshape(bare)) for part in parts if (bare := _bare(part))]
    return "".join(str(part) for part in turned)


def _bare(part: str) -> str:
    return part.replace(ISOLATE, "").replace(END, "")
