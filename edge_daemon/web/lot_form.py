"""The form for a lot of control material: its fields, and what was typed into them. Pure.

Every number has the unit it is written in beside it, so that a sheet is copied as it stands;
what is stored is in our units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import wording
from edge_daemon.errors import EdgeError
from edge_daemon.quality import sheet
from edge_daemon.units import SI_UNITS, UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.web.numbers import Numbers

_MORE: Final = {"HGB": ("mmol/L",), "MCHC": ("mmol/L",), "MCH": ("fmol",)}
"""Units of sheets that are neither ours nor SI as results have it."""

TEXTS: Final = ("lot", "level", "material", "expires", "pattern", "instrument")


@dataclass(frozen=True, slots=True)
class Line:
    """One value of the form.

    Attributes
    ----------
    units
        As written into the form, and as people read it.
    first, second, unit
        As typed.
    problem
        What is wrong with it; empty where nothing is.
    """

    code: str
    name: str
    units: tuple[tuple[str, str], ...]
    first: str
    second: str
    unit: str
    problem: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """What was typed.

    Attributes
    ----------
    texts
        By field of `TEXTS`, without white space around.
    form
        ``mean`` or ``range``.
    range_sds
        As typed.
    lines
        One for each value.
    targets
        Code → ``mean`` and ``sd`` in our unit, of the lines that are right.
    problems
        What is wrong; with any of them nothing is stored.
    """

    texts: Mapping[str, str]
    form: sheet.Form
    range_sds: str
    lines: tuple[Line, ...]
    targets: Mapping[str, Mapping[str, float]]
    problems: tuple[str, ...]


def empty(numbers: Numbers) -> Sheet:
    """Make an empty form, with the units that this browser reads results in."""
    return read({}, numbers)


def again(lot: Mapping[str, Any], numbers: Numbers) -> Sheet:
    """Fill the form with a lot that there is, as `controls.lots` gives it."""
    fields = {field: lot[field] or "" for field in TEXTS} | {"form": "mean"}
    for code, target in lot["targets"].items():
        fields[f"{code}-unit"] = UNITS[code]
        for which, number in (("first", target["mean"]), ("second", target["sd"])):
            fields[f"{code}-{which}"] = _typed(number, numbers)
    return read(fields, numbers)


def _typed(number: float, numbers: Numbers) -> str:
    text = f"{number:.6g}"
    return text.replace(".", ",") if numbers.comma else text


def read(fields: Mapping[str, str], numbers: Numbers) -> Sheet:
    """Understand what was typed.

    Parameters
    ----------
    fields
        As the form was sent; an empty one is the empty form.
    numbers
        How this browser writes numbers; a decimal point and a comma are both understood.
    """
    form: sheet.Form = "range" if fields.get("form") == "range" else "mean"
    typed_sds = fields.get("range_sds", "2").strip()
    sds, problems = _number(typed_sds), []
    if form == "range" and (sds is None or not sheet.RANGES[0] <= sds <= sheet.RANGES[1]):
        low, high = sheet.RANGES
        problems.append(f"A range is {low:g} to {high:g} SD to either side, not {typed_sds!r}.")
        sds = None
    lines, targets = [], {}
    for code in UNITS:
        line, target = _line(code, fields, form, sds or sheet.RANGE_SDS, numbers)
        lines.append(line)
        if target is not None:
            targets[code] = target
        if line.problem:
            problems.append(line.problem)
    texts = {field: fields.get(field, "").strip() for field in TEXTS}
    return Sheet(texts, form, typed_sds, tuple(lines), targets, tuple(problems))


def _line(
    code: str, fields: Mapping[str, str], form: sheet.Form, sds: float, numbers: Numbers
) -> tuple[Line, Mapping[str, float] | None]:
    known = dict.fromkeys((UNITS[code], SI_UNITS[code], *_MORE.get(code, ())))
    usual = SI_UNITS[code] if numbers.si else UNITS[code]
    unit = fields.get(f"{code}-unit", usual)
    first, second = (fields.get(f"{code}-{end}", "").strip() for end in ("first", "second"))
    given = (first, second)
    target, problem = _target(code, given, unit, form, sds) if any(given) else (None, "")
    read_as = tuple((written, _readable(written)) for written in known)
    name = wording.MEASUREMENT_NAMES.get(code, "")
    shown = unit if unit in known else usual
    return Line(code, name, read_as, first, second, shown, problem), target


def _target(
    code: str, typed: tuple[str, str], unit: str, form: sheet.Form, sds: float
) -> tuple[Mapping[str, float] | None, str]:
    both = "mean and standard deviation" if form == "mean" else "both ends of the range"
    if not all(typed):
        return None, f"{code}: give {both}, or leave both empty."
    values = [_number(text) for text in typed]
    if values[0] is None or values[1] is None:
        wrong = typed[0] if values[0] is None else typed[1]
        return None, f"{code}: {wrong!r} is no number."
    try:
        return sheet.target(code, form, values[0], values[1], unit, sds), ""
    except EdgeError as error:
        return None, f"{code}: {error.message}; {error.action}."


def _number(text: str) -> float | None:
    """Read a number with a decimal point or comma; one with both is ambiguous and is none."""
    try:
        found = float(text.replace(",", ".")) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None


_READABLE: Final = {"10*12/L": "10¹²/L", "10*9/L": "10⁹/L"}


def _readable(unit: str) -> str:
    return wording.UNITS.get(unit) or _READABLE.get(unit, unit)
