"""Westgard's rules on control material: what breaks, and what that says.

Westgard, Barry, Hunt and Groth, Clin Chem 1981; 27: 493-501. Pure; a measurement of control
material is how many standard deviations it lies from the lot's target.

======= ========= ================================================================= ==========
rule    breaks    when                                                              points to
======= ========= ================================================================= ==========
1-2s    warning   one beyond 2 SD                                                   look
1-3s    rejects   one beyond 3 SD                                                   random
2-2s    rejects   two in a row beyond 2 SD on one side, of a level or across levels systematic
R-4s    rejects   two levels of one event beyond 2 SD on opposite sides             random
4-1s    rejects   four in a row beyond 1 SD on one side, of a level or across       systematic
======= ========= ================================================================= ==========

"Beyond" is strictly beyond, as in the paper: a value at 2.0 SD warns of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

RuleName = Literal["1-2s", "1-3s", "2-2s", "R-4s", "4-1s"]

REJECTS: Final[frozenset[RuleName]] = frozenset({"1-3s", "2-2s", "R-4s", "4-1s"})
RANDOM: Final[frozenset[RuleName]] = frozenset({"1-3s", "R-4s"})
SYSTEMATIC: Final[frozenset[RuleName]] = frozenset({"2-2s", "4-1s"})

ACTIONS: Final[dict[RuleName, str]] = {
    "1-2s": "look at the other level and at the last values; results may go on",
    "1-3s": "hold results back; mix the control well and run it again once; if it is still out, "
    "open a new vial, then run a blank and rinse",
    "R-4s": "hold results back; mix both controls well and run them again once; if they still lie "
    "apart, look for bubbles and clots, run a blank and rinse",
    "2-2s": "hold results back; check lot and age of control and reagents and the temperature; run "
    "calibration particles, and look again at patients since the last good control",
    "4-1s": "hold results back; something moves slowly: run calibration particles, check the "
    "reagent's age, and look again at patients since the last good control",
}
"""What to do when a rule breaks."""

EVENT_S: Final = 4 * 3600.0
"""Levels that were measured within so long of the first belong to one event."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement of control material.

    Attributes
    ----------
    level
        Of the control, e.g. ``low``.
    z
        Standard deviations from the lot's target.
    at_s
        When, on any clock that all points share, in seconds.
    """

    level: str
    z: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that breaks at a point.

    Attributes
    ----------
    levels
        Whether it needed more than one level.
    points
        Indices of the points it rests on, the newest last.
    """

    rule: RuleName
    levels: bool
    points: tuple[int, ...]

    @property
    def rejects(self) -> bool:
        """Whether results are to be held back."""
        return self.rule in REJECTS


def events(points: Sequence[Point], within_s: float = EVENT_S) -> list[tuple[int, ...]]:
    """Group points into events: one measurement of each level, made together.

    A level that is measured a second time begins the next event, and so does one that comes
    too late.

    Parameters
    ----------
    points
        Of one value, oldest first.
    within_s
        Largest distance from the first of an event.

    Returns
    -------
    list of tuple
        Indices of the points of each event.
    """
    found: list[list[int]] = []
    for index, point in enumerate(points):
        last = found[-1] if found else []
        fresh = (
            not last
            or point.at_s - points[last[0]].at_s > within_s
            or any(points[other].level == point.level for other in last)
        )
        if fresh:
            found.append([index])
        else:
            last.append(index)
    return [tuple(group) for group in found]


def judge(points: Sequence[Point], within_s: float = EVENT_S) -> list[tuple[Hit, ...]]:
    """Apply every rule.

    Parameters
    ----------
    points
        Of one value on one instrument, all levels, oldest first.
    within_s
        As for `events`.

    Returns
    -------
    list of tuple
        For each point, the rules that it breaks as the newest of what they rest on.
    """
    groups = {index: group for group in events(points, within_s) for index in group}
    found = []
    for index, point in enumerate(points):
        hits: list[Hit] = []
        size = abs(point.z)
        if size > 2:
            hits.append(Hit("1-2s", levels=False, points=(index,)))
        if size > 3:
            hits.append(Hit("1-3s", levels=False, points=(index,)))
        own = [other for other in range(index + 1) if points[other].level == point.level]
        together = [other for other in groups[index] if other <= index]
        hits += _two(points, own, levels=False) or _two(points, together, levels=True)
        hits += _range(points, together)
        hits += _four(points, own, levels=False) or _four(
            points, list(range(index + 1)), levels=True
        )
        found.append(tuple(hits))
    return found


def _two(points: Sequence[Point], among: Sequence[int], *, levels: bool) -> list[Hit]:
    last = tuple(among[-2:])
    if len(last) == 2 and _beyond(points, last, 2.0):
        return [Hit("2-2s", levels=levels, points=last)]
    return []


def _four(points: Sequence[Point], among: Sequence[int], *, levels: bool) -> list[Hit]:
    last = tuple(among[-4:])
    mixed = len({points[index].level for index in last}) > 1
    if len(last) == 4 and mixed == levels and _beyond(points, last, 1.0):
        return [Hit("4-1s", levels=levels, points=last)]
    return []


def _range(points: Sequence[Point], together: Sequence[int]) -> list[Hit]:
    """Find the earlier level of the same event that lies furthest on the other side."""
    newest = points[together[-1]].z
    if abs(newest) <= 2:
        return []
    others = [i for i in together[:-1] if points[i].z * newest < 0 and abs(points[i].z) > 2]
    if not others:
        return []
    other = max(others, key=lambda index: abs(points[index].z))
    return [Hit("R-4s", levels=True, points=(other, together[-1]))]


def _beyond(points: Sequence[Point], among: Sequence[int], limit: float) -> bool:
    """Tell whether all lie beyond the limit on the same side."""
    values = [points[index].z for index in among]
    return all(z > limit for z in values) or all(z < -limit for z in values)
