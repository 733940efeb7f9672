"""Reference intervals and rules as frozen data.

`reading` makes them of TOML; docs/intervals.md describes the files. Every value stands in our
unit of its measurement (`edge_daemon.units.UNITS`), whatever unit the file gave it in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Severity = Literal["info", "review"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number comes from.

    Attributes
    ----------
    text
        The study, book or list.
    caution
        What limits its use, e.g. that only a secondary copy was read; may be empty.
    """

    text: str
    caution: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """Who replaced shipped data for this site, and why."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Interval:
    """The range that healthy adults of one species or breed keep to.

    Attributes
    ----------
    low, high
        Limits in our unit of the measurement; both belong to the interval.
    species, breed
        Whom it holds for; `breed` is empty where it holds for the whole species.
    version
        Of the file it stands in.
    site
        Who replaced the shipped one, or None where it is the shipped one.
    """

    code: str
    low: float
    high: float
    unit: str
    source: Source
    species: str
    breed: str
    version: str
    site: Site | None = None


@dataclass(frozen=True, slots=True)
class Breed:
    """A breed whose blood differs from that of its species.

    Attributes
    ----------
    name
        As people call it.
    names
        Every way it is written, by `breed_key`.
    note
        What is particular; may be empty.
    """

    name: str
    names: frozenset[str]
    intervals: Mapping[str, Interval]
    note: str = ""


@dataclass(frozen=True, slots=True)
class SpeciesTable:
    """What is known of one species.

    Attributes
    ----------
    intervals
        By measurement code.
    breeds
        Those with an interval or a note of their own.
    notes
        What holds for the species and fits no interval.
    """

    species: str
    version: str
    intervals: Mapping[str, Interval]
    breeds: tuple[Breed, ...] = ()
    notes: tuple[str, ...] = ()

    def breed(self, written: str | None) -> Breed | None:
        """Find a breed by how an analyzer or a person wrote it; exact, but for case and hyphens."""
        key = breed_key(written or "")
        return next((breed for breed in self.breeds if key in breed.names), None)

    def interval(self, code: str, breed: str | None = None) -> Interval | None:
        """Interval of a measurement: the breed's own where there is one, else the species'."""
        found = self.breed(breed)
        own = found.intervals.get(code) if found else None
        return own or self.intervals.get(code)


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold of a result.

    A condition names a `flag` that the result carries, or a `measure` and how it compares. All
    comparisons given must hold.

    Attributes
    ----------
    below, at_most, above, at_least
        Fixed thresholds in our unit of the measurement.
    below_interval, above_interval
        The value lies beyond the reference limit by more than so many percent of that limit.
    not_low
        The value has an interval and is not below it.
    """

    flag: str = ""
    measure: str = ""
    below: float | None = None
    at_most: float | None = None
    above: float | None = None
    at_least: float | None = None
    below_interval: float | None = None
    above_interval: float | None = None
    not_low: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A remark on results that fulfil every condition.

    Attributes
    ----------
    severity
        ``review`` asks for a look before the result is used, ``info`` does not.
    species, not_species
        Only for these, never for those; empty means any.
    breeds
        Only for these, by `breed_key`; empty means any.
    unconfirmed
        Codes of values that must not be taken for granted until the action is done.
    same_as
        A flag that says the same: with it the remark is not made a second time.
    urgent
        Stands before every other remark and flag of its severity: somebody must act at once.
    """

    id: str
    severity: Severity
    title: str
    cause: str
    action: str
    source: Source
    when: tuple[Condition, ...]
    species: frozenset[str] = frozenset()
    not_species: frozenset[str] = frozenset()
    breeds: frozenset[str] = frozenset()
    unconfirmed: frozenset[str] = frozenset()
    same_as: str = ""
    urgent: bool = False
    version: str = ""
    site: Site | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One band of a scale: everything up to `upper`; None is the last one, without an end.

    `inclusive` says whether the upper end itself still belongs to it.
    """

    name: str
    upper: float | None
    inclusive: bool = True


@dataclass(frozen=True, slots=True)
class Bands:
    """Names for how strongly the marrow answers an anaemia, by absolute reticulocytes.

    Attributes
    ----------
    counts
        What is counted, e.g. ``aggregate reticulocytes``.
    """

    species: str
    measure: str
    unit: str
    counts: str
    steps: tuple[Step, ...]
    source: Source
    version: str = ""
    site: Site | None = None

    def name(self, value: float) -> str:
        """Name of the band a value lies in."""
        for step in self.steps:
            if step.upper is None or value < step.upper or (step.inclusive and value == step.upper):
                return step.name
        return self.steps[-1].name


@dataclass(frozen=True, slots=True)
class NoBands:
    """Why reticulocytes of a species give no verdict."""

    reason: str
    source: Source


@dataclass(frozen=True, slots=True)
class FlagText:
    """What stands behind a flag of a result: its name for people and the studies behind it."""

    title: str
    source: Source


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: the key it stands at, empty for the file as a whole, and what."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key or 'file'}: {self.message}"


@dataclass(frozen=True, slots=True)
class Broken:
    """A file of the site that cannot be used.

    `species` is what it is about, None where that cannot be told: then it may be about any, and
    nothing is marked, because the intervals that the site replaced would mark wrongly.
    """

    path: Path
    species: str | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """All that `interpret` needs.

    Attributes
    ----------
    species
        By name; only those that were asked for.
    broken
        Files of the site that were left out.
    """

    species: Mapping[str, SpeciesTable]
    rules: tuple[Rule, ...]
    bands: Mapping[str, Bands]
    no_bands: Mapping[str, NoBands]
    flags: Mapping[str, FlagText]
    broken: tuple[Broken, ...] = field(default=())


def breed_key(written: str) -> str:
    """Return what two spellings of a breed share: lower case, hyphens and spaces made one."""
    return re.sub(r"[\s_-]+", " ", written).strip().casefold()
