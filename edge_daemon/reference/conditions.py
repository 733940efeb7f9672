"""Conditions of a rule: how they are read, and whether they hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.reference.tables import Condition
from edge_daemon.units import UNITS, convert, is_possible, possible_range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.reference.section import Section
    from edge_daemon.reference.tables import Interval

THRESHOLDS: Final = ("below", "at_most", "above", "at_least")
BEYOND: Final = ("below_interval", "above_interval")


def conditions(section: Section) -> tuple[Condition, ...]:
    """Read the ``when`` of a rule."""
    rows = section.items("when")
    if not rows:
        section.problem("when", "give at least one condition: without one it would always hold")
    return tuple(_condition(row) for row in rows)


def _condition(row: Section) -> Condition:
    if row.has("flag"):
        found = Condition(flag=row.text("flag"))
        row.finish()
        return found
    measure = row.choice("measure", tuple(UNITS)) or ""
    limits = {key: row.number(key, None) for key in (*THRESHOLDS, *BEYOND)}
    unit = row.text("unit", "")
    not_low = row.yes("not_low")
    row.finish()
    given: dict[str, Any] = {key: value for key, value in limits.items() if value is not None}
    if not given and not not_low:
        row.problem("", f"say how it compares: one of {', '.join((*THRESHOLDS, *BEYOND))}, not_low")
    for key in BEYOND:
        if not 0 <= given.get(key, 0.0) < 1000:
            row.problem(key, "is in percent of the limit, from 0")
    if measure:
        given = {k: _threshold(row, measure, k, v, unit) for k, v in given.items()}
    return replace(Condition(measure=measure, not_low=not_low), **given)


def _threshold(row: Section, measure: str, key: str, value: float, unit: str) -> float:
    if key in BEYOND:
        return value
    converted = convert(measure, value, unit)
    if converted is None:
        row.problem("unit", f"{unit!r} is no unit of {measure}; ours is {UNITS[measure]}")
        return value
    if not is_possible(measure, converted):
        row.problem(
            key, f"{value:g} {unit} cannot be: {measure} lies within {possible_range(measure)}"
        )
    return converted


def holds(
    condition: Condition,
    values: Mapping[str, float],
    intervals: Mapping[str, Interval],
    flags: frozenset[str],
) -> bool:
    """Tell whether a condition holds; what is not known never does.

    Parameters
    ----------
    condition
        The condition.
    values
        Values by code, in our units, rounded as they are printed.
    intervals
        Reference intervals by code.
    flags
        Codes of the flags of the result.
    """
    if condition.flag:
        return condition.flag in flags
    value = values.get(condition.measure)
    if value is None:
        return False
    interval = intervals.get(condition.measure)
    checks = (
        not condition.not_low or (interval is not None and value >= interval.low),
        condition.below is None or value < condition.below,
        condition.at_most is None or value <= condition.at_most,
        condition.above is None or value > condition.above,
        condition.at_least is None or value >= condition.at_least,
        condition.below_interval is None
        or (
            interval is not None and value < interval.low * (1.0 - condition.below_interval / 100.0)
        ),
        condition.above_interval is None
        or (
            interval is not None
            and value > interval.high * (1.0 + condition.above_interval / 100.0)
        ),
    )
    return all(checks)
