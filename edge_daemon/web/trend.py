"""A patient's visits as columns and rows of one table, which the trend plot draws from: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import wording
from edge_daemon.records import MEASUREMENT_CODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_daemon.web.numbers import Numbers

_KEY: Final = ("HCT", "RBC", "RETIC", "PLT", "HGB", "MCV", "MCHC", "RDW")
"""Shown first; the others follow as on a printed result."""


@dataclass(frozen=True, slots=True)
class Column:
    """One measurand; `low` and `high` are its reference interval in `unit`, or None."""

    code: str
    unit: str
    digits: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of one visit, in the column's unit; None where it is not reported."""

    code: str
    text: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Visit:
    """One result of the patient; `at` is its time in seconds since 1970, for the plot alone."""

    id: int
    when: str
    at: float
    status: str
    cells: tuple[Cell, ...]


def columns(
    visits: Sequence[Mapping[str, Any]],
    intervals: Mapping[str, tuple[float, float]],
    numbers: Numbers,
) -> list[Column]:
    """List the measurands that any visit reports.

    Parameters
    ----------
    visits
        As `queries.results`.
    intervals
        Reference interval by code, in conventional units.
    numbers
        How to write numbers.
    """
    units = {
        m["code"]: m["unit"] for v in visits for m in v["measurements"] if m["value"] is not None
    }
    order = [*_KEY, *(code for code in MEASUREMENT_CODES if code not in _KEY)]
    return [
        Column(
            code=code,
            unit=numbers.unit(code, units[code]),
            digits=numbers.decimals(code, units[code]),
            low=numbers.converted(code, intervals.get(code, (None, None))[0]),
            high=numbers.converted(code, intervals.get(code, (None, None))[1]),
        )
        for code in order
        if code in units
    ]


def rows(
    visits: Sequence[Mapping[str, Any]], shown: Sequence[Column], numbers: Numbers
) -> list[Visit]:
    """Lay the visits out, newest first."""
    return [_visit(visit, shown, numbers) for visit in visits]


def _visit(visit: Mapping[str, Any], shown: Sequence[Column], numbers: Numbers) -> Visit:
    measured = {m["code"]: m for m in visit["measurements"]}
    return Visit(
        id=visit["id"],
        when=wording.local_time(visit["created_wall"]),
        at=_seconds(visit["created_wall"]),
        status=visit["status"],
        cells=tuple(_cell(column.code, measured.get(column.code), numbers) for column in shown),
    )


def _cell(code: str, measured: Mapping[str, Any] | None, numbers: Numbers) -> Cell:
    if measured is None:
        return Cell(code, "", None, None, None)
    unit = measured["unit"]
    ends = (numbers.converted(code, measured[key], unit) for key in ("value", "low", "high"))
    return Cell(code, numbers.value(code, measured["value"], unit), *ends)


def _seconds(wall: str) -> float:
    try:
        return datetime.fromisoformat(wall).timestamp()
    except ValueError:
        return 0.0
