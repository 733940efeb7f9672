"""Numbers as instruments write them."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def parse_number(text: str) -> float | None:
    """Read a decimal number; None where it is not one, or not finite.

    ``float()`` alone would also take ``nan``, ``infinity`` and ``1_000``.
    """
    written = text.strip()
    if not _NUMBER.fullmatch(written):
        return None
    value = float(written)
    return value if math.isfinite(value) else None
