"""Our values and the analyzer's of the same samples, as Bland and Altman plot them: pure.

Takes the measures of ``edge-daemon agreement --json --points``. One plot at a time: the choice is
part of the address, so that it works without a script and can be kept or printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.store.comparisons import UNITS
from edge_daemon.web.drift import IN_PERCENT, plot_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_daemon.web.numbers import Numbers

_LINES: Final = (
    ("bias", "Bias", "bias_ci"),
    ("low", "Lower limit", "low_ci"),
    ("high", "Upper limit", "high_ci"),
)


@dataclass(frozen=True, slots=True)
class Level:
    """One horizontal line with its 95 % confidence interval; as numbers and as text."""

    key: str
    name: str
    at: float
    low: float
    high: float
    value: str
    interval: str


@dataclass(frozen=True, slots=True)
class Point:
    """One sample.

    Attributes
    ----------
    x, y
        Mean of both, and ours less the analyzer's, as they are drawn.
    beyond
        Outside the limits of agreement.
    """

    run: int
    ours: str
    theirs: str
    mean: str
    difference: str
    x: float
    y: float
    beyond: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """One measure of one instrument and species.

    Attributes
    ----------
    of
        As the address has it.
    percent
        Differences are in percent of each pair's mean.
    unit, y_unit
        Of the mean; of the difference.
    n
        Pairs that the lines are of.
    hidden
        Those of them that are older than what is shown.
    points
        Newest first.
    """

    of: str
    title: str
    code: str
    simulated: bool
    percent: bool
    unit: str
    y_unit: str
    n: int
    hidden: int
    lines: tuple[Level, ...]
    points: tuple[Point, ...]


def choices(measures: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """List what can be plotted: as the address has it, and as people read it."""
    return [(plot_key(one), f"{_title(one)}: {one['code']}") for one in measures if one["absolute"]]


def _title(one: Mapping[str, Any]) -> str:
    through = f", reports from {one['analyzer']}" if one["analyzer"] != one["instrument"] else ""
    mark = " (SIMULATED)" if one["simulated"] else ""
    return f"{one['instrument']}{through}, {one['species']}{mark}"


def plot(
    measures: Sequence[Mapping[str, Any]], of: str, scale: str, numbers: Numbers
) -> Plot | None:
    """Lay out one plot; None where nothing can be plotted.

    Parameters
    ----------
    measures
        As the command has them.
    of
        Which one; any other text is the first that differs, or the first.
    scale
        ``percent`` or ``unit``; any other text is what suits the measure.
    numbers
        How to write them.
    """
    known = [one for one in measures if one["absolute"]]
    if not known:
        return None
    differing = [one for one in known if one["verdict"] and one["verdict"]["word"] == "differs"]
    chosen = next((one for one in known if plot_key(one) == of), (differing or known)[0])
    wanted = scale == "percent" or (scale != "unit" and chosen["code"] in IN_PERCENT)
    percent = wanted and chosen["percent"] is not None
    found = chosen["percent"] if percent else chosen["absolute"]
    code = chosen["code"]
    points = [_point(code, found, pair, numbers, percent=percent) for pair in chosen["points"]]
    shown = [point for point in points if point is not None]
    return Plot(
        of=plot_key(chosen),
        title=_title(chosen),
        code=code,
        simulated=chosen["simulated"],
        percent=percent,
        unit=numbers.unit(code, UNITS[code]),
        y_unit="%" if percent else numbers.unit(code, UNITS[code]),
        n=found["n"],
        hidden=max(0, found["n"] - len(shown)),
        lines=tuple(_level(*names, code, found, numbers, percent=percent) for names in _LINES),
        points=tuple(reversed(shown)),
    )


def _level(
    key: str,
    name: str,
    interval: str,
    code: str,
    found: Mapping[str, Any],
    numbers: Numbers,
    *,
    percent: bool,
) -> Level:
    at, (low, high) = found[key], found[interval]
    ends = " to ".join(_difference(code, end, numbers, percent=percent) for end in (low, high))
    drawn = [_drawn(code, value, numbers, percent=percent) for value in (at, low, high)]
    value = _difference(code, at, numbers, percent=percent)
    return Level(key, name, drawn[0], drawn[1], drawn[2], value, ends)


def _point(
    code: str,
    found: Mapping[str, Any],
    pair: Sequence[float],
    numbers: Numbers,
    *,
    percent: bool,
) -> Point | None:
    """One pair; None where it has no percentage, as it is left out of the lines."""
    run, ours, theirs = pair
    mean, difference = 0.5 * (ours + theirs), ours - theirs
    if percent:
        if mean <= 0:
            return None
        difference = 100.0 * difference / mean
    return Point(
        run=int(run),
        ours=numbers.value(code, ours),
        theirs=numbers.value(code, theirs),
        mean=numbers.value(code, mean),
        difference=_difference(code, difference, numbers, percent=percent),
        x=numbers.converted(code, mean, UNITS[code]) or 0.0,
        y=_drawn(code, difference, numbers, percent=percent),
        beyond=not found["low"] <= difference <= found["high"],
    )


def _drawn(code: str, value: float, numbers: Numbers, *, percent: bool) -> float:
    return value if percent else numbers.converted(code, value, UNITS[code]) or 0.0


def _difference(code: str, value: float, numbers: Numbers, *, percent: bool) -> str:
    return numbers.percent(value) if percent else numbers.signed(code, value)
