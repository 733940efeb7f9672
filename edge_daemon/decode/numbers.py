"""Numbers as instruments write them."""

from __future__ import annotations

import math
import re

_LONGEST = 40
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def parse_number(text: str) -> float | None:
    """Read a decimal number; None where it is not one, or not finite.

    ``float()`` alone would also take ``nan``, ``infinity`` and ``1_000``.
    """
    written = text[: _LONGEST + 1].strip()
    # The length is bounded because matching costs its square.
    if len(text) > _LONGEST or not _NUMBER.fullmatch(written):
        return None
    value = float(written)
    return value if math.isfinite(value) else None
