"""Control material of a lot over time, as Levey and Jennings draw it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edge_daemon.quality.westgard import Hit, Point, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

State = Literal["in_control", "warning", "out_of_control", "no_target"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a lot should measure, in our unit: the mean and one standard deviation."""

    mean: float
    sd: float
    unit: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one measurement of control material.

    Attributes
    ----------
    key
        Run or report it comes from, e.g. ``run:12``.
    lot, level
        Of the control.
    at_s
        Seconds on the clock that orders the readings.
    wall
        The time as people read it.
    """

    key: str
    lot: str
    level: str
    value: float
    at_s: float
    wall: str


@dataclass(frozen=True, slots=True)
class Plotted:
    """A reading with its place in the chart and the rules it breaks."""

    reading: Reading
    target: Target
    z: float
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One value of one instrument, all levels.

    Attributes
    ----------
    points
        Oldest first; a hit's points are indices into them.
    """

    code: str
    points: tuple[Plotted, ...]

    @property
    def newest(self) -> dict[str, Plotted]:
        """Newest point of each level."""
        return {plotted.reading.level: plotted for plotted in self.points}

    @property
    def state(self) -> State:
        """What the newest reading of each level says; a rule stays broken until it is run again."""
        hits = [hit for plotted in self.newest.values() for hit in plotted.hits]
        if not self.points:
            return "no_target"
        if any(hit.rejects for hit in hits):
            return "out_of_control"
        return "warning" if hits else "in_control"


def chart(
    code: str, readings: Sequence[Reading], targets: Mapping[tuple[str, str], Target]
) -> Chart:
    """Place readings about their targets and judge them.

    Parameters
    ----------
    code
        Of the value.
    readings
        Of one instrument and side, oldest first.
    targets
        By lot and level; readings without one are left out. A new lot goes on where the last
        ended, since rules look at standard deviations.
    """
    placed = []
    for reading in readings:
        target = targets.get((reading.lot, reading.level))
        if target is not None and target.sd > 0:
            placed.append((reading, target, (reading.value - target.mean) / target.sd))
    hits = judge([Point(reading.level, z, reading.at_s) for reading, _, z in placed])
    points = [
        Plotted(reading, target, z, broken)
        for (reading, target, z), broken in zip(placed, hits, strict=True)
    ]
    return Chart(code, tuple(points))
