"""Numbers as one browser wants them: decimal point or comma, conventional or SI units.

Stored values are conventional and unrounded; they are converted and rounded here, once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from edge_daemon.wording import DECIMALS, UNITS

_MINUS: Final = "−"


@dataclass(frozen=True, slots=True)
class _Conversion:
    """From the conventional unit of a measurand to its SI unit."""

    unit: str
    factor: float
    si_unit: str
    decimals: int


_SI: Final = {
    "RBC": _Conversion("10*6/uL", 1.0, "10¹²/L", 2),
    "HCT": _Conversion("%", 0.01, "L/L", 3),
    "HGB": _Conversion("g/dL", 10.0, "g/L", 0),
    "MCHC": _Conversion("g/dL", 10.0, "g/L", 0),
    "RETIC": _Conversion("10*3/uL", 1.0, "10⁹/L", 1),
    "PLT": _Conversion("10*3/uL", 1.0, "10⁹/L", 0),
    "PCT": _Conversion("%", 10.0, "mL/L", 1),
}


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
        conversion = self._conversion(code, unit)
        if conversion is None:
            return self.plain(value, DECIMALS.get(code, 2))
        return self.plain(value * conversion.factor, conversion.decimals)

    def unit(self, code: str, unit: str) -> str:
        """Return the unit that `value` writes in."""
        conversion = self._conversion(code, unit)
        return UNITS.get(unit, unit) if conversion is None else conversion.si_unit

    def converted(self, code: str, value: float | None, unit: str | None = None) -> float | None:
        """Convert a value and leave it unrounded, for plots."""
        conversion = self._conversion(code, unit)
        return value if value is None or conversion is None else value * conversion.factor

    def decimals(self, code: str, unit: str | None = None) -> int:
        """Return how many decimals `value` writes."""
        conversion = self._conversion(code, unit)
        return DECIMALS.get(code, 2) if conversion is None else conversion.decimals

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

    def _conversion(self, code: str, unit: str | None) -> _Conversion | None:
        conversion = _SI.get(code) if self.si else None
        return None if conversion is None or unit not in (None, conversion.unit) else conversion


def _is_zero(text: str) -> bool:
    return float(text.replace(",", ".")) == 0
