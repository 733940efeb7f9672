"""Units of haematology as analyzers write them, and their conversion to ours.

The unit an analyzer writes is one of its settings, so what is written decides. Upper and lower
case matter where they tell prefixes apart: ``G/L`` counts cells, ``g/L`` weighs haemoglobin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

Kind = Literal["count", "ratio", "volume", "mass", "amount", "mass/volume", "amount/volume"]

HAEMOGLOBIN_G_PER_MOL: Final = 16114.5
"""Molar mass of one haem-carrying subunit; analyzers give mmol/L and fmol of it (ICSH)."""

UNITS: Final = {
    "RBC": "10*6/uL", "HCT": "%", "HGB": "g/dL", "MCV": "fL", "MCH": "pg", "MCHC": "g/dL",
    "RDW": "%", "RETIC": "10*3/uL", "RETIC%": "%", "PLT": "10*3/uL", "MPV": "fL", "PDW": "fL",
    "PCT": "%",
}  # fmt: skip
"""Our unit (UCUM, conventional) of each measurement that an analyzer can report."""

SI_UNITS: Final = {
    **UNITS, "RBC": "10*12/L", "HCT": "L/L", "HGB": "g/L", "MCHC": "g/L", "RETIC": "10*9/L",
    "PLT": "10*9/L", "PCT": "mL/L",
}  # fmt: skip
"""The same in SI (UCUM); where the two are alike the conventional one stands."""

_POSSIBLE: Final = {
    "RBC": (0.01, 40.0), "HCT": (1.0, 90.0), "HGB": (0.2, 40.0), "MCV": (8.0, 400.0),
    "MCH": (2.0, 300.0), "MCHC": (8.0, 200.0), "RDW": (2.0, 150.0), "RETIC": (0.0, 10_000.0),
    "RETIC%": (0.0, 100.0), "PLT": (0.0, 20_000.0), "MPV": (1.0, 100.0), "PDW": (0.5, 100.0),
    "PCT": (0.0, 5.0),
}  # fmt: skip
"""Wide enough for any disease and artefact (agglutination: MCV, MCH, MCHC far too high), narrow
enough to show a value that is in another unit than its label says."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as a kind of quantity and a power of ten of its base.

    Attributes
    ----------
    kind
        Base: cells/L, 1, L, g, mol, g/L, mol/L.
    exponent
        One unit is ``10**exponent`` of the base.
    """

    kind: Kind
    exponent: int


_PER_LITRE: Final = {"L": 0, "dL": 1, "mL": 3, "uL": 6, "mm3": 6, "nL": 9, "pL": 12}
_PREFIX: Final = {
    "": 0, "T": 12, "G": 9, "M": 6, "mill": 6, "Mil": 6, "K": 3, "k": 3, "thou": 3,
}  # fmt: skip
_PLAIN: Final = {
    "%": Unit("ratio", -2), "1": Unit("ratio", 0), "L/L": Unit("ratio", 0),
    "l/l": Unit("ratio", 0), "mL/L": Unit("ratio", -3), "ml/l": Unit("ratio", -3),
    "ml/L": Unit("ratio", -3), "‰": Unit("ratio", -3), "/1000": Unit("ratio", -3),
    "/100": Unit("ratio", -2), "mL/dL": Unit("ratio", -2),
    "fL": Unit("volume", -15), "fl": Unit("volume", -15), "FL": Unit("volume", -15),
    "um3": Unit("volume", -15), "um^3": Unit("volume", -15), "um*3": Unit("volume", -15),
    "pg": Unit("mass", -12), "PG": Unit("mass", -12), "pg/cell": Unit("mass", -12),
    "fmol": Unit("amount", -15), "amol": Unit("amount", -18),
    "g/L": Unit("mass/volume", 0), "g/l": Unit("mass/volume", 0),
    "g/dL": Unit("mass/volume", 1), "g/dl": Unit("mass/volume", 1),
    "G/DL": Unit("mass/volume", 1), "g/100mL": Unit("mass/volume", 1),
    "g%": Unit("mass/volume", 1), "mg/mL": Unit("mass/volume", 0),
    "mmol/L": Unit("amount/volume", -3), "mmol/l": Unit("amount/volume", -3),
}  # fmt: skip
_COUNT = re.compile(
    r"(?:[x×]?\s*10(?:\*\*|[*^Ee])?(?P<power>\d{1,2})|(?P<prefix>[A-Za-z]{0,4}))\s*/\s*"
    r"(?P<per>[A-Za-z]{1,2}\^?3?)",
    re.ASCII,
)
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹µμ", "0123456789uu")
_LONGEST = 20


def parse_unit(written: str) -> Unit | None:
    """Read a unit as analyzers write it; None where it is none of theirs.

    ``10*6/uL``, ``10^6/µL``, ``10E6/uL``, ``x10⁶/µL``, ``M/uL`` and ``T/L`` are the same.
    """
    if len(written) > _LONGEST:
        return None
    text = written.strip().translate(_SUPERSCRIPT)
    if text in _PLAIN:
        return _PLAIN[text]
    found = _COUNT.fullmatch(text)
    if found is None:
        return None
    per = _volume(found["per"])
    power = _PREFIX.get(found["prefix"]) if found["power"] is None else int(found["power"])
    if per is None or power is None:
        return None
    return Unit("count", power + per)


def convert(code: str, value: float, unit: str) -> float | None:
    """Convert a value to our unit of a measurement.

    Parameters
    ----------
    code
        A key of `UNITS`.
    value
        In `unit`.
    unit
        As written.

    Returns
    -------
    float or None
        None where the unit is unknown or of another kind of quantity.
    """
    source, target = parse_unit(unit), parse_unit(UNITS[code])
    assert target is not None
    if source is None:
        return None
    exponent = source.exponent - target.exponent
    if (source.kind, target.kind) in _BY_MOLAR_MASS:
        value *= HAEMOGLOBIN_G_PER_MOL
    elif source.kind != target.kind:
        return None
    # In decimals, because 0.56 × 100 is 56.00000000000001 in binary.
    return float(Decimal(repr(value)).scaleb(exponent))


def to_si(code: str, value: float) -> tuple[float, str]:
    """Convert a value in our unit of a measurement to SI.

    Returns
    -------
    tuple
        The value and its unit. A code without an SI unit, such as ``CLUMP%``, is a `KeyError`.
    """
    ours, target = parse_unit(UNITS[code]), parse_unit(SI_UNITS[code])
    assert ours is not None
    assert target is not None
    number = Decimal(repr(value)).scaleb(ours.exponent - target.exponent)
    return float(number), SI_UNITS[code]


def is_possible(code: str, value: float) -> bool:
    """Tell whether a value in our unit can be one at all; 0 is what a blank run gives."""
    low, high = _POSSIBLE[code]
    return value == 0 or low <= value <= high


def possible_range(code: str) -> str:
    """Return the range of `is_possible`, for messages."""
    low, high = _POSSIBLE[code]
    return f"{low:g} to {high:g} {UNITS[code]}"


_BY_MOLAR_MASS: Final = {("amount", "mass"), ("amount/volume", "mass/volume")}


def _volume(written: str) -> int | None:
    """Return the exponent of one per this volume, in one per litre."""
    text = written.replace("^", "")
    if text.lower() == "ul":
        text = "uL"
    return _PER_LITRE.get(text.replace("l", "L") if text != "mm3" else text)
