"""Control material, blanks and carry-over, worded for the page: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import wording
from edge_daemon.quality.checks import BLANK_ACTION, CARRY_OVER_ACTION
from edge_daemon.quality.westgard import ACTIONS
from edge_daemon.web.apart import signed, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_daemon.control_charts import ControlChart
    from edge_daemon.quality.checks import CarryOver
    from edge_daemon.quality.levey_jennings import Plotted
    from edge_daemon.quality.westgard import RuleName
    from edge_daemon.web.numbers import Numbers

STATES: Final = {
    "in_control": ("ok", "in control"),
    "warning": ("info", "warning"),
    "out_of_control": ("invalid", "out of control"),
    "no_target": ("info", "no target"),
}
_SIDES: Final = {"ours": "our values", "analyzer": "its own values"}
_GRAVITY: Final = ("ok", "info", "invalid")


@dataclass(frozen=True, slots=True)
class Level:
    """The newest measurement of one level of one value, as text."""

    code: str
    lot: str
    level: str
    value: str
    target: str
    unit: str
    sds: str
    when: str
    rules: str
    status: str
    words: str


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule that the newest controls break."""

    rule: str
    codes: str
    action: str
    rejects: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement of one value; `sds` from the target."""

    code: str
    sds: float
    text: str
    rules: str


@dataclass(frozen=True, slots=True)
class Line:
    """All values of one measurement of a control."""

    when: str
    short: str
    lot: str
    level: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Controls:
    """The controls of one instrument and side.

    Attributes
    ----------
    status
        Of its gravest value.
    worst
        The value to show first.
    lines
        Newest first.
    """

    instrument: str
    side: str
    simulated: bool
    status: str
    words: str
    worst: str
    codes: tuple[str, ...]
    levels: tuple[Level, ...]
    broken: tuple[Broken, ...]
    lines: tuple[Line, ...]


def controls(charts: Sequence[ControlChart], numbers: Numbers) -> list[Controls]:
    """Lay out charts by instrument and side, the gravest first."""
    places: dict[tuple[str, str, bool], list[ControlChart]] = {}
    for one in charts:
        places.setdefault((one.instrument, one.side, one.simulated), []).append(one)
    every = [_controls(*key, found, numbers) for key, found in places.items()]
    return sorted(every, key=lambda one: -_GRAVITY.index(one.status))


def _controls(
    instrument: str,
    side: str,
    simulated: bool,  # noqa: FBT001 - part of the group's key
    charts: Sequence[ControlChart],
    numbers: Numbers,
) -> Controls:
    worst = max(charts, key=lambda one: _GRAVITY.index(STATES[one.state][0]))
    status, words = STATES[worst.state]
    return Controls(
        instrument=instrument,
        side=_SIDES[side],
        simulated=simulated,
        status=status,
        words=words,
        worst=worst.code,
        codes=tuple(one.code for one in charts),
        levels=tuple(
            _level(one.code, point, numbers)
            for one in charts
            for point in one.chart.newest.values()
        ),
        broken=tuple(_broken(charts)),
        lines=tuple(_lines(charts, numbers)),
    )


def _level(code: str, point: Plotted, numbers: Numbers) -> Level:
    target, reading = point.target, point.reading
    rejects = any(hit.rejects for hit in point.hits)
    state = "out_of_control" if rejects else "warning" if point.hits else "in_control"
    status, words = STATES[state]
    return Level(
        code=code,
        lot=reading.lot,
        level=reading.level,
        value=numbers.value(code, reading.value, target.unit),
        target=f"{numbers.value(code, target.mean, target.unit)} ± "
        f"{spread(code, target.sd, numbers)}",
        unit=numbers.unit(code, target.unit),
        sds=signed(point.z, numbers),
        when=wording.short_time(reading.wall),
        rules=", ".join(hit.rule for hit in point.hits),
        status=status,
        words=words,
    )


def _broken(charts: Sequence[ControlChart]) -> list[Broken]:
    """List each rule once, with the values it breaks in; a warning only where none rejects."""
    found: dict[RuleName, list[str]] = {}
    rejecting: set[RuleName] = set()
    for one in charts:
        for point in one.chart.newest.values():
            for hit in point.hits:
                found.setdefault(hit.rule, []).append(one.code)
                rejecting |= {hit.rule} if hit.rejects else set()
    return [
        Broken(rule, ", ".join(dict.fromkeys(codes)), ACTIONS[rule], rule in rejecting)
        for rule, codes in found.items()
        if not rejecting or rule in rejecting
    ]


def _lines(charts: Sequence[ControlChart], numbers: Numbers) -> list[Line]:
    lines: dict[str, tuple[float, Line]] = {}
    for one in charts:
        for point in one.chart.points:
            reading = point.reading
            if reading.key not in lines:
                when = wording.local_time(reading.wall)
                line = Line(
                    when, wording.short_time(reading.wall)[:6], reading.lot, reading.level, {}
                )
                lines[reading.key] = reading.at_s, line
            cells = lines[reading.key][1].cells
            assert isinstance(cells, dict)
            rules = " ".join(hit.rule for hit in point.hits if hit.rejects)
            text = numbers.value(one.code, reading.value, point.target.unit)
            cells[one.code] = Cell(one.code, point.z, f"{text} ({signed(point.z, numbers)})", rules)
    return [line for _, line in sorted(lines.values(), key=lambda pair: -pair[0])]


def blank(found: Mapping[str, Any] | None, numbers: Numbers) -> dict[str, Any] | None:
    """Word the newest blank; None where there is none."""
    if found is None:
        return None
    values = [
        {
            "code": row["code"],
            "value": numbers.value(row["code"], row["value"], row["unit"]) or wording.NOT_REPORTED,
            "limit": numbers.value(row["code"], row["limit"], row["unit"]),
            "unit": numbers.unit(row["code"], row["unit"]),
            "words": _passes(row),
            "fails": row["value"] is not None and not row["passes"],
        }
        for row in found["values"]
    ]
    fails = any(row["fails"] for row in values)
    return {**found, "values": values, "action": BLANK_ACTION if fails else ""}


def _passes(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "proves nothing"
    return "passes" if row["passes"] else "too high"


def carry_over(found: Sequence[CarryOver], numbers: Numbers) -> dict[str, Any]:
    """Word a check of carry-over."""
    values = [
        {
            "code": one.code,
            "percent": f"{numbers.plain(one.percent, 2)} %",
            "interval": f"{numbers.plain(one.low, 2)} to {numbers.plain(one.high, 2)} %",
            "limit": f"{numbers.plain(one.limit, 1)} %",
            "words": one.unfit or ("passes" if one.passes else "too much"),
            "fails": not one.unfit and not one.passes,
        }
        for one in found
    ]
    fails = any(row["fails"] for row in values)
    return {"values": values, "action": CARRY_OVER_ACTION if fails else ""}
