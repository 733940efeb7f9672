"""Which canonical channel a column's name suggests."""

from __future__ import annotations

import re
from typing import Final

_DETECTORS: Final = (
    ("FL", r"SFL|SIDE.?FL|FLUO|RNA|SYTO|\bFL\d*\b|^FL\d*|THIAZOLE|OXAZINE"),
    ("EXT", r"EXT|AXL|ABS|DEPOL"),
    ("SS", r"SSC|SIDE.?SC|\bSS\b|^SS[-_ ]|\bRALS\b|90"),
    ("HA", r"MALS|IALS|HALS|HIGH.?ANGLE|INTERMEDIATE"),
    ("LA", r"LALS|FALS|FSC|FORWARD|LOW.?ANGLE|\bFS\b|^FS[-_ ]"),
)
_FEATURES: Final = (
    ("W", r"WIDTH|TOF|TIME.?OF.?FLIGHT|[-_. ]W\b|\bWID"),
    ("A", r"AREA|INT|[-_. ][AI]\b"),
    ("H", r"PEAK|HEIGHT|[-_. ][HP]\b"),
)


def suggest(name: str, label: str | None = None) -> str | None:
    """Return the canonical channel that a column's names suggest, or None.

    A name without a feature is taken for a height, as on instruments that export one value for
    each detector.

    Parameters
    ----------
    name, label
        Short and long name.
    """
    for text in filter(None, (name, label)):
        upper = text.upper()
        if "TIME" in upper and "FLIGHT" not in upper:
            continue
        detector = _first(_DETECTORS, upper)
        if detector is not None:
            return f"{detector}.{_first(_FEATURES, upper) or 'H'}"
    return None


def unambiguous(names: list[str | None]) -> list[str | None]:
    """Drop a suggestion that several columns share: which one it is, a person must say."""
    return [n if n is not None and names.count(n) == 1 else None for n in names]


def _first(patterns: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for name, pattern in patterns if re.search(pattern, text)), None)
