"""Our values against the analyzers' own, across boxes, by instrument and species."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from sqlalchemy import select

from edge_daemon.central.fleet.tables import pairs
from edge_daemon.central.schema import clinics, devices
from edge_daemon.quality.pairs import MIN_PAIRS
from edge_daemon.quality.robust import FEWEST, median_interval
from edge_daemon.quality.verdict import GOALS
from edge_daemon.units import UNITS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, RowMapping

    from edge_daemon.central.reading import Scope
    from edge_daemon.quality.robust import Median

Word = Literal["agrees", "small", "undecided", "differs", "too_few", "no_goal"]

DAYS: Final = 90
MOST: Final = 50_000
"""Pairs that one question looks at, the newest."""

WORDS: Final[Mapping[Word, str]] = {
    "agrees": "agrees",
    "small": "small difference",
    "undecided": "not decided",
    "differs": "DIFFERS",
    "too_few": "too few",
    "no_goal": "no goal is set",
}


@dataclass(frozen=True, slots=True)
class Group:
    """What belongs together: nothing is averaged over two of them."""

    instrument: str
    analyzer: str
    species: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class OfBox:
    """Agreement of one value at one box.

    Attributes
    ----------
    n
        Pairs.
    percent
        Median difference, ours less the analyzer's, in percent of each pair's mean; None where
        there are fewer than `MIN_PAIRS`.
    word
        What it means.
    """

    device: str
    box: str
    clinic: str
    n: int
    percent: Median | None
    word: Word


@dataclass(frozen=True, slots=True)
class Line:
    """Agreement of one value across the boxes of a group.

    Attributes
    ----------
    n
        Pairs of all boxes.
    percent
        Median of the boxes' own medians, and where it lies with 95 %: results of one box share
        what is peculiar to it, so that boxes are counted, not results. None where fewer than
        `FEWEST` boxes have enough pairs.
    boxes
        Each box, those that differ most first.
    """

    code: str
    n: int
    percent: Median | None
    word: Word
    boxes: Sequence[OfBox]

    @property
    def counted(self) -> int:
        """Boxes with enough pairs."""
        return sum(one.percent is not None for one in self.boxes)


@dataclass(frozen=True, slots=True)
class Agreement:
    """All groups, clinical ones first; `cut`: only the newest `MOST` pairs were looked at."""

    groups: Sequence[tuple[Group, Sequence[Line]]]
    pairs: int
    cut: bool
    since: dt.datetime


def agreement(
    db: Connection,
    scope: Scope,
    since: dt.datetime,
    *,
    instrument: str | None = None,
    species: str | None = None,
) -> Agreement:
    """Compare what boxes have sent since a moment.

    Parameters
    ----------
    db
        Connection from `Reader.reading`.
    instrument, species
        Only these.
    """
    query = (
        select(pairs, devices.c.name.label("box"), clinics.c.name.label("clinic"))
        .join(devices, devices.c.id == pairs.c.device_id)
        .join(clinics, clinics.c.id == pairs.c.clinic_id)
        .where(scope.of(pairs), pairs.c.at >= since)
        .order_by(pairs.c.at.desc(), pairs.c.run_id.desc())
        .limit(MOST + 1)
    )
    if instrument is not None:
        query = query.where(pairs.c.instrument == instrument)
    if species is not None:
        query = query.where(pairs.c.species == species)
    found = db.execute(query).mappings().all()
    groups = _groups(found[:MOST])
    return Agreement(groups, min(len(found), MOST), len(found) > MOST, since)


def _groups(found: Iterable[RowMapping]) -> list[tuple[Group, list[Line]]]:
    columns: dict[Group, dict[str, dict[str, list[float]]]] = {}
    known: dict[tuple[Any, ...], dict[str, dict[str, list[float]]]] = {}
    named: dict[str, tuple[str, str]] = {}
    for row in found:
        key = row["instrument"], row["analyzer"], row["species"], row["simulated"]
        of_group = known.get(key)
        if of_group is None:  # a group is made once, not for each of its pairs
            of_group = known[key] = columns[Group(*key[:3], bool(key[3]))] = {}
        device = row["device_id"]
        named[device] = row["box"], row["clinic"]
        for code, (ours, theirs) in json.loads(row["facts"])["values"].items():
            if ours + theirs > 0.0:  # a percentage of nothing is none
                by_box = of_group.setdefault(code, {})
                by_box.setdefault(device, []).append(200.0 * (ours - theirs) / (ours + theirs))
    order = sorted(columns, key=lambda g: (g.simulated, g.instrument, g.species, g.analyzer))
    return [
        (group, [_line(code, columns[group][code], named) for code in UNITS
                 if code in columns[group]])
        for group in order
    ]  # fmt: skip


def _line(
    code: str, by_box: Mapping[str, Sequence[float]], named: Mapping[str, tuple[str, str]]
) -> Line:
    of_boxes = [_of_box(code, device, by_box[device], *named[device]) for device in by_box]
    of_boxes.sort(
        key=lambda one: (
            one.percent is None,
            -abs(one.percent.median) if one.percent else 0,
            one.box,
        )
    )
    medians = [one.percent.median for one in of_boxes if one.percent is not None]
    percent = median_interval(medians) if len(medians) >= FEWEST else None
    n = sum(map(len, by_box.values()))
    return Line(code, n, percent, _word(code, percent), of_boxes)


def _of_box(code: str, device: str, percents: Sequence[float], box: str, clinic: str) -> OfBox:
    percent = median_interval(np.asarray(percents)) if len(percents) >= MIN_PAIRS else None
    return OfBox(device, box, clinic, len(percents), percent, _word(code, percent))


def _word(code: str, percent: Median | None) -> Word:
    """Judge an interval by the goal for the code, as the box's own page does."""
    if percent is None:
        return "too_few"
    goal = GOALS.get(code)
    if goal is None:
        return "no_goal"
    if percent.low > goal or percent.high < -goal:
        return "differs"
    if -goal <= percent.low and percent.high <= goal:
        return "agrees" if percent.low <= 0.0 <= percent.high else "small"
    return "undecided"
