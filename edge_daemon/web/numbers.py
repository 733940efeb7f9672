"""Numbers as one browser wants them: decimal point or comma, conventional or SI units.

Stored values are conventional and unrounded; they are converted and rounded here, once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from edge_daemon import units
from edge_daemon.units import SI_UNITS, to_si
from edge_daemon.wording import DECIMALS, UNITS

_MINUS: Final = "−"


_SI_DECIMALS: Final = {
    "RBC": 2, "HCT": 3, "HGB": 0, "MCHC": 0, "RETIC": 1, "PLT": 0, "PCT": 1,
}  # fmt: skip
"""Measurands whose SI unit is another one (`units.SI_UNITS`), and how it is rounded."""
_SI_WORDS: Final = {"10*12/L": "10¹²/L", "10*9/L": "10⁹/L"}


@dataclass(frozen=True, slots=True)
class Numbers:
    """How one browser wants numbers written.

    Attributes
    ----------
    comma
        Decimal comma instead of a point.
    si
        SI units instead of conventional ones.
    """

    comma: bool = False
    si: bool = False

    def value(self, code: str, value: float | None, unit: str | None = None) -> str:
        """Round a measurement once, in its unit; empty where there is none.

        Parameters
        ----------
        code
            The measurand.
        value
            In `unit`, unrounded.
        unit
            UCUM; the measurand's conventional one unless given. Only that one is converted.
        """
        if value is None or not math.isfinite(value):
            return ""
        shown = self.converted(code, value, unit)
        assert shown is not None
        return self.plain(shown, self.decimals(code, unit))

    def unit(self, code: str, unit: str) -> str:
        """Return the unit that `value` writes in."""
        if not self._in_si(code, unit):
            return UNITS.get(unit, unit)
        return _SI_WORDS.get(SI_UNITS[code], SI_UNITS[code])

    def converted(self, code: str, value: float | None, unit: str | None = None) -> float | None:
        """Convert a value and leave it unrounded, for plots."""
        return (
            value if value is None or not self._in_si(code, unit) else to_si(code, float(value))[0]
        )

    def decimals(self, code: str, unit: str | None = None) -> int:
        """Return how many decimals `value` writes."""
        return _SI_DECIMALS[code] if self._in_si(code, unit) else DECIMALS.get(code, 2)

    def signed(self, code: str, value: float | None, unit: str | None = None) -> str:
        """Write a difference with its sign; empty where there is none."""
        text = self.value(code, value, unit)
        return text if not text or text.startswith(_MINUS) or _is_zero(text) else f"+{text}"

    def percent(self, value: float | None) -> str:
        """Write a signed percentage with one decimal; empty where there is none."""
        if value is None or not math.isfinite(value):
            return ""
        text = self.plain(value, 1)
        sign = "" if text.startswith(_MINUS) or _is_zero(text) else "+"
        return f"{sign}{text} %"

    def interval(
        self, code: str, low: float | None, high: float | None, unit: str | None = None
    ) -> str:
        """Write ``low–high``; one-sided intervals as ``≥ low`` and ``≤ high``."""
        bounds = self.value(code, low, unit), self.value(code, high, unit)
        if all(bounds):
            return f"{bounds[0]}–{bounds[1]}"
        if bounds[0]:
            return f"≥ {bounds[0]}"
        return f"≤ {bounds[1]}" if bounds[1] else ""

    def plain(self, value: float, decimals: int) -> str:
        """Round to so many decimals; never a minus before a zero."""
        text = f"{value:.{decimals}f}"
        if float(text) == 0:
            text = text.removeprefix("-")
        text = text.replace("-", _MINUS)
        return text.replace(".", ",") if self.comma else text

    def whole(self, value: int) -> str:
        """Write a count with thin spaces between thousands."""
        return f"{value:,}".replace(",", "\u202f")

    def _in_si(self, code: str, unit: str | None) -> bool:
        return self.si and code in _SI_DECIMALS and unit in (None, units.UNITS[code])


def _is_zero(text: str) -> bool:
    return float(text.replace(",", ".")) == 0
