"""Compare and follow all measures of all instruments and species; each group stands alone.

A group is one instrument, one species, and clinical or simulated: nothing is ever averaged over
two of them.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EdgeError
from edge_daemon.quality.bland_altman import BlandAltman, bland_altman
from edge_daemon.quality.moving import Stream, stream
from edge_daemon.quality.passing_bablok import PassingBablok, passing_bablok
from edge_daemon.quality.verdict import Verdict, drift_action, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FOLLOWED: Final = ("MCV", "MCH", "MCHC", "RBC", "HGB", "HCT", "PLT", "RBC/s", "PLT/s")
"""Values whose moving averages are kept: indices first, then what they are blind to."""


@dataclass(frozen=True, slots=True)
class Group:
    """What belongs together; `analyzer` is the instrument whose reports are compared."""

    instrument: str
    analyzer: str
    species: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Measure:
    """Agreement of one measure in one group.

    Attributes
    ----------
    n
        Pairs with a number on both sides.
    absolute, percent
        Limits of agreement in the measure's unit, and in percent of each pair's mean.
    line
        The regression.
    verdict
        What it means.
    refused
        Why there is none of these, or no regression; None where all are there.
    points
        The newest pairs, oldest first, as many as were asked for: run, ours, the analyzer's.
    """

    group: Group
    code: str
    n: int
    absolute: BlandAltman | None
    percent: BlandAltman | None
    line: PassingBablok | None
    verdict: Verdict | None
    refused: str | None
    points: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Followed:
    """The moving averages of one value on one instrument, one species.

    Attributes
    ----------
    ours, analyzer
        The streams of both sides; None where there are no values.
    action
        What to do; empty while none drifts.
    """

    instrument: str
    species: str
    simulated: bool
    code: str
    ours: Stream | None
    analyzer: Stream | None
    action: str

    @property
    def drifts(self) -> bool:
        """Whether either side has left its limits."""
        return any(s is not None and s.state == "drift" for s in (self.ours, self.analyzer))


def compare(
    pairs: Iterable[Mapping[str, Any]], codes: Sequence[str], *, points: int = 0
) -> list[Measure]:
    """Compare our values with the analyzer's.

    Parameters
    ----------
    pairs
        Oldest first, each with ``instrument``, ``analyzer``, ``species``, ``simulated``,
        ``ours`` and ``theirs`` (code → value), and ``run_id`` where `points` are asked for.
    codes
        Measures to compare, in this order.
    points
        So many of the newest pairs of each measure are kept.
    """
    newest: dict[tuple[Group, str], deque[tuple[int, float, float]]] = {}
    columns: dict[tuple[Group, str], tuple[array[float], array[float]]] = {}
    for pair in pairs:
        group = Group(
            pair["instrument"], pair["analyzer"], pair["species"] or "unknown", pair["simulated"]
        )
        for code in codes:
            ours, theirs = pair["ours"].get(code), pair["theirs"].get(code)
            if ours is not None and theirs is not None:
                y, x = columns.setdefault((group, code), (array("d"), array("d")))
                y.append(ours)
                x.append(theirs)
                if points:
                    kept = newest.setdefault((group, code), deque(maxlen=points))
                    kept.append((pair["run_id"], ours, theirs))
    order = {code: position for position, code in enumerate(codes)}
    keys = sorted(columns, key=lambda k: (_place(k[0]), order[k[1]]))
    return [
        replace(_measure(*key, *columns[key]), points=tuple(newest.get(key, ()))) for key in keys
    ]


def _place(group: Group) -> tuple[bool, str, str, str]:
    return group.simulated, group.instrument, group.analyzer, group.species


def _measure(group: Group, code: str, ours: array[float], theirs: array[float]) -> Measure:
    n = len(ours)
    try:
        absolute = bland_altman(ours, theirs)
    except EdgeError as error:
        return Measure(group, code, n, None, None, None, None, _words(error))
    line, refused = None, None
    try:
        line = passing_bablok(ours, theirs)
    except EdgeError as error:
        refused = _words(error)
    percent = None
    positive = [(y, x) for y, x in zip(ours, theirs, strict=True) if x + y > 0.0]
    try:
        percent = bland_altman(*zip(*positive, strict=True), percent=True) if positive else None
    except EdgeError as error:
        refused = refused or _words(error)
    verdict = judge(code, percent, line) if percent is not None else None
    return Measure(group, code, n, absolute, percent, line, verdict, refused)


def _words(error: EdgeError) -> str:
    return f"{error.message}: {error.action}" if error.action else error.message


def follow(points: Iterable[Mapping[str, Any]]) -> list[Followed]:
    """Follow the moving averages of both sides.

    Parameters
    ----------
    points
        Each side oldest first, with ``side`` (``ours`` or ``analyzer``), ``instrument``,
        ``species``, ``simulated``, ``patient`` and ``values`` (code → value).
    """
    series: dict[tuple[bool, str, str, str, str], list[tuple[str | None, float]]] = {}
    for point in points:
        place = point["simulated"], point["instrument"], point["species"]
        for code in FOLLOWED:
            value = point["values"].get(code)
            if value is not None and math.isfinite(value):
                key = (*place, code, point["side"])
                series.setdefault(key, []).append((point["patient"], value))
    found = []
    for simulated, instrument, species in sorted({key[:3] for key in series}):
        for code in FOLLOWED:
            ours, analyzer = (
                stream(code, series[key]) if key in series else None
                for key in (
                    (simulated, instrument, species, code, side) for side in ("ours", "analyzer")
                )
            )
            if ours is None and analyzer is None:
                continue
            sides = {"ours": ours, "analyzer": analyzer}
            drifts = any(s is not None and s.state == "drift" for s in sides.values())
            action = drift_action(sides) if drifts else ""
            found.append(Followed(instrument, species, simulated, code, ours, analyzer, action))
    return found
