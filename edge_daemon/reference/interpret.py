"""Put one result beside what healthy animals have: marks, remarks, and the headline in words.

A value is compared as it is printed, rounded once, so that a value that reads like its limit is
never marked. What is not known is said, never assumed: no interval of another species is used.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.records import Flag, Measurement
from edge_daemon.reference.conditions import holds
from edge_daemon.reference.findings import (
    Comment,
    ExplainedFlag,
    Headline,
    Interpretation,
    Mark,
    MarkedValue,
    Reference,
    Regeneration,
)
from edge_daemon.reference.tables import breed_key
from edge_daemon.units import UNITS, convert
from edge_daemon.wording import DECIMALS
from edge_daemon.wording import UNITS as PRINTED_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_daemon.reference.tables import Interval, Rule, SpeciesTable, Tables


def interpret_record(record: Mapping[str, Any], tables: Tables) -> Interpretation:
    """Interpret a run as `store.queries` gives it."""
    return interpret(
        [Measurement(**{**item, "flags": tuple(item["flags"])}) for item in record["measurements"]],
        [Flag(**flag) for flag in record["flags"]],
        record["species"],
        record["breed"],
        tables,
    )


TECHNICAL: Final = frozenset(
    {
        "coincidence_high",
        "extinction_disagrees",
        "optics_not_calibrated",
        "other_events_high",
        "signals_saturated",
    }
)
"""Flags about the measurement itself; all others are about an animal or its smear."""


def about_measurement(kind: str, severity: str, code: str) -> bool:
    """Tell whether a flag says something of what is no patient's; of a blank none does."""
    return kind != "blank" and (severity == "invalid" or code in TECHNICAL)


def interpret_apart(record: Mapping[str, Any], tables: Tables, kind: str) -> Interpretation:
    """Interpret a run of a control, a blank or a check: nothing that is said of animals.

    Parameters
    ----------
    record
        As `store.queries` gives it.
    tables
        For the explanations of flags.
    kind
        ``control``, ``blank`` or ``check``.
    """
    flags = [f for f in record["flags"] if about_measurement(kind, f["severity"], f["code"])]
    told = {**record, "flags": flags, "species": None, "breed": None}
    found = interpret_record(told, replace(tables, rules=(), bands={}, no_bands={}))
    values = tuple(
        replace(value, reason=_NO_ANIMAL) if value.reason == _UNKNOWN else value
        for value in found.values
    )
    return replace(found, values=values)


_UNKNOWN: Final = "species unknown: no interval is used"
_NO_ANIMAL: Final = "no patient's sample: no interval of animals is used"


def interpret(
    measurements: Sequence[Measurement],
    flags: Sequence[Flag],
    species: str | None,
    breed: str | None,
    tables: Tables,
) -> Interpretation:
    """Mark every value, make every remark that holds, and sum up.

    Parameters
    ----------
    measurements, flags
        Of one result.
    species
        One of `records.SPECIES`, or None: then nothing is marked.
    breed
        As written, or None.
    tables
        With the species among them.
    """
    table, missing = _table(species, tables)
    codes = frozenset(flag.code for flag in flags)
    invalid = frozenset(flag.code for flag in flags if flag.severity == "invalid")
    intervals = _intervals(table, breed)
    usable = {m.code: v for m in measurements if (v := _comparable(m, invalid)) is not None}
    comments, unconfirmed = _comments(tables.rules, usable, intervals, codes, species, breed)
    values = tuple(
        _marked(m, intervals.get(m.code), usable.get(m.code), invalid, missing, unconfirmed)
        for m in measurements
    )
    headline, reason = _headline(flags, comments, values)
    known = table.breed(breed) if table else None
    return Interpretation(
        headline,
        reason,
        species,
        known.name if known else "",
        values,
        comments,
        tuple(_explained(flag, tables) for flag in flags),
        _regeneration(measurements, usable, values, species, tables),
        (*(table.notes if table else ()), *((known.note,) if known and known.note else ())),
    )


def _table(species: str | None, tables: Tables) -> tuple[SpeciesTable | None, str]:
    """Table of the species, or why there is none."""
    if not species:
        return None, _UNKNOWN
    for broken in tables.broken:
        if broken.species in (None, species):
            return None, (
                f"{broken.path.name} of this site has mistakes: no interval is used before "
                "`edge-daemon intervals --check` finds none"
            )
    table = tables.species.get(species)
    return table, "" if table else f"no intervals of {species} are known"


def _intervals(table: SpeciesTable | None, breed: str | None) -> dict[str, Interval]:
    if table is None:
        return {}
    found = {code: table.interval(code, breed) for code in UNITS}
    return {code: interval for code, interval in found.items() if interval is not None}


def _comparable(measured: Measurement, invalid: frozenset[str]) -> float | None:
    """Value in our unit, rounded as it is printed; None where it must not be compared."""
    value = measured.value
    if value is None or not math.isfinite(value) or invalid & set(measured.flags):
        return None
    if measured.code not in UNITS:
        return None
    if measured.unit != UNITS[measured.code]:
        value = convert(measured.code, value, measured.unit)
        if value is None:
            return None
    return _as_printed(measured.code, value)


def _as_printed(code: str, value: float) -> float:
    return float(f"{value:.{DECIMALS[code]}f}")


def _marked(
    measured: Measurement,
    interval: Interval | None,
    value: float | None,
    invalid: frozenset[str],
    missing: str,
    unconfirmed: frozenset[str],
) -> MarkedValue:
    mark: Mark | None = None
    clear = False
    if value is not None and interval is not None:
        mark = "H" if value > interval.high else "L" if value < interval.low else None
        clear = _is_clear(measured, mark, interval)
    return MarkedValue(
        measured.code,
        measured.value,
        measured.unit,
        measured.method,
        mark,
        clear,
        measured.code in unconfirmed and measured.value is not None,
        None if interval is None else _reference(interval),
        _why_unmarked(measured, interval, value, invalid, missing),
    )


def _is_clear(measured: Measurement, mark: Mark | None, interval: Interval) -> bool:
    end = {"H": measured.low, "L": measured.high}.get(mark or "")
    inner = None if end is None else convert(measured.code, end, measured.unit)
    if mark is None or inner is None:
        return False
    return inner > interval.high if mark == "H" else inner < interval.low


def _why_unmarked(
    measured: Measurement,
    interval: Interval | None,
    value: float | None,
    invalid: frozenset[str],
    missing: str,
) -> str:
    if measured.value is None or measured.code not in UNITS:
        return ""
    if invalid & set(measured.flags):
        return "not to be used: a flag says why"
    if value is None:
        return f"cannot be compared: {measured.unit!r} is no unit of {measured.code}"
    if interval is None:
        return missing or "no interval is known"
    return ""


def _reference(interval: Interval) -> Reference:
    return Reference(
        interval.low,
        interval.high,
        interval.unit,
        f"{interval.species}, {interval.breed}" if interval.breed else interval.species,
        interval.source.text,
        interval.source.caution,
        interval.version,
        interval.site,
    )


def _comments(
    rules: Iterable[Rule],
    values: Mapping[str, float],
    intervals: Mapping[str, Interval],
    flags: frozenset[str],
    species: str | None,
    breed: str | None,
) -> tuple[tuple[Comment, ...], frozenset[str]]:
    """Make the remarks that hold, and gather the values they leave unconfirmed."""
    made = []
    unconfirmed: set[str] = set()
    key = breed_key(breed or "")
    for rule in rules:
        if (
            (rule.species and species not in rule.species)
            or species in rule.not_species
            or (rule.breeds and key not in rule.breeds)
            or not all(holds(one, values, intervals, flags) for one in rule.when)
        ):
            continue
        unconfirmed |= rule.unconfirmed
        if rule.same_as in flags:
            continue
        codes = tuple(one.measure for one in rule.when if one.measure)
        facts = tuple(_fact(code, values[code], intervals.get(code)) for code in codes)
        made.append(
            Comment(
                rule.id, rule.severity, rule.title, rule.cause, rule.action, rule.source, facts,
                codes, rule.urgent, rule.site,
            )
        )  # fmt: skip
    return tuple(sorted(made, key=lambda one: not one.urgent)), frozenset(unconfirmed)


def _fact(code: str, value: float, interval: Interval | None) -> str:
    digits = DECIMALS[code]
    unit = PRINTED_UNITS.get(UNITS[code], UNITS[code])
    text = f"{code} {value:.{digits}f} {unit}"
    if interval is None:
        return text
    return f"{text} (interval {interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _headline(
    flags: Sequence[Flag], comments: Sequence[Comment], values: Sequence[MarkedValue]
) -> tuple[Headline, str]:
    invalid = [flag.message.rstrip(".") for flag in flags if flag.severity == "invalid"]
    if invalid:
        return "Failed", "; ".join(invalid)
    remarks = [
        (
            one.urgent,
            f"{one.title} ({', '.join(one.facts)})" if one.facts else one.title,
        )
        for one in comments
        if one.severity == "review"
    ]
    review = [text for urgent, text in remarks if urgent]
    review += [flag.message.rstrip(".") for flag in flags if flag.severity == "review"]
    review += [text for urgent, text in remarks if not urgent]
    if not any(value.value is not None for value in values):
        review.append("no value could be reported")
    if review:
        return "Review", "; ".join(review)
    outside = ", ".join(f"{value.code} {_WORDS[value.mark]}" for value in values if value.mark)
    return "OK", f"nothing asks for a look; outside the interval: {outside}" if outside else (
        "nothing asks for a look"
    )


_WORDS: Final[Mapping[Mark, str]] = {"H": "high", "L": "low"}


def _explained(flag: Flag, tables: Tables) -> ExplainedFlag:
    known = tables.flags.get(flag.code)
    title = known.title if known else flag.code.replace("_", " ").capitalize()
    source = known.source.text if known else ""
    return ExplainedFlag(flag.code, flag.severity, title, flag.message, flag.action, source)


def _regeneration(
    measurements: Sequence[Measurement],
    usable: Mapping[str, float],
    values: Sequence[MarkedValue],
    species: str | None,
    tables: Tables,
) -> Regeneration | None:
    anaemic = _is_anaemic(values)
    none = tables.no_bands.get(species or "")
    if none is not None:
        return Regeneration(None, (), anaemic, f"no band: {none.reason}", none.source.text)
    bands = tables.bands.get(species or "")
    if bands is None:
        return None
    value = usable.get(bands.measure)
    measured = next((m for m in measurements if m.code == bands.measure), None)
    if value is None or measured is None:
        text = f"no band: {bands.counts} are not reported"
        return Regeneration(None, (), anaemic, text, bands.source.text)
    band = bands.name(value)
    names = [step.name for step in bands.steps]
    ends = [
        _as_printed(bands.measure, converted)
        for end in (measured.low, measured.high)
        if end is not None and (converted := convert(bands.measure, end, measured.unit)) is not None
    ]
    reached = sorted(names.index(bands.name(end)) for end in (*ends, value))
    could_be = tuple(names[reached[0] : reached[-1] + 1])
    unit = PRINTED_UNITS.get(bands.unit, bands.unit)
    text = f"regeneration {band}: {value:.{DECIMALS[bands.measure]}f} {unit} {bands.counts}"
    if len(could_be) > 1:
        text += f"; the 95 % interval reaches from {could_be[0]} to {could_be[-1]}"
    text += _ANAEMIA[anaemic]
    return Regeneration(band, could_be, anaemic, text, bands.source.text)


_ANAEMIA: Final[Mapping[bool | None, str]] = {
    True: "",
    False: "; there is no anaemia that this answers",
    None: "; whether there is an anaemia is not known",
}


def _is_anaemic(values: Sequence[MarkedValue]) -> bool | None:
    for code in ("HCT", "RBC"):
        for value in values:
            known = value.reference is not None and value.value is not None and not value.reason
            if value.code == code and known:
                return value.mark == "L"
    return None
