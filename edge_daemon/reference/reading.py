"""TOML → tables, with every problem of a file found at once.

Written by hand instead of with pydantic: `show` and `results` read these files at every call, and
importing pydantic alone would cost a third of what they may take.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.records import MEASUREMENT_CODES, SPECIES
from edge_daemon.reference.conditions import conditions
from edge_daemon.reference.section import Section, did_you_mean
from edge_daemon.reference.tables import (
    Bands,
    Breed,
    FlagText,
    Interval,
    NoBands,
    Problem,
    Rule,
    Site,
    Source,
    SpeciesTable,
    Step,
    breed_key,
)
from edge_daemon.units import UNITS, convert, is_possible, possible_range

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KINDS: Final = ("intervals", "rules")


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What one file of rules holds; `off` are ids of rules that a site does without."""

    rules: tuple[Rule, ...]
    off: tuple[str, ...]
    bands: Mapping[str, Bands]
    no_bands: Mapping[str, NoBands]
    flags: Mapping[str, FlagText]


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read: its content, or what is wrong with it.

    Attributes
    ----------
    species
        Of a file of intervals, as far as it can be told.
    content
        None where there are problems.
    """

    path: Path
    species: str | None
    content: SpeciesTable | RuleFile | None
    problems: tuple[Problem, ...]


def read_file(path: Path, *, of_site: bool) -> Read:
    """Read one file; nothing is raised, every problem is listed.

    Parameters
    ----------
    path
        TOML, UTF-8.
    of_site
        It replaces shipped data: then it must say who did that and why.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        return _unread(path, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        return _unread(path, f"byte {error.start} is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        return _unread(path, f"is not TOML: {error}")
    problems: list[Problem] = []
    top = Section(document, "", problems)
    kind = top.choice("kind", KINDS)
    head = _Head(top, of_site=of_site)
    content: SpeciesTable | RuleFile | None = None
    species = None
    if kind == "intervals":
        content = _species_table(top, head)
        species = content.species or None
    elif kind == "rules":
        content = _rules(top, head)
    if kind is not None:
        top.finish()
    return Read(path, species, None if problems else content, tuple(problems))


def _unread(path: Path, message: str) -> Read:
    return Read(path, None, None, (Problem("", message),))


class _Head:
    """What every file begins with: version, sources, and whose it is."""

    def __init__(self, top: Section, *, of_site: bool) -> None:
        self.version = top.text("version")
        self.site: Site | None = None
        if of_site:
            section = top.section("site", "say who replaced the shipped data, and why")
            if section is not None:
                self.site = Site(section.text("by"), section.text("reason"))
                section.finish()
        self._sources: dict[str, Source] = {}
        for name, section in top.sections("sources"):
            self._sources[name] = Source(section.text("text"), section.text("caution", ""))
            section.finish()

    def source(self, section: Section) -> Source:
        """Source that a section names."""
        name = section.text("source")
        if name and name not in self._sources:
            hint = did_you_mean(name, self._sources)
            section.problem("source", f"{name!r} is not among [sources]{hint}")
        return self._sources.get(name, Source(""))


def _species_table(top: Section, head: _Head) -> SpeciesTable:
    species = top.choice("species", SPECIES) or ""
    intervals = _intervals(top, head, species, "")
    breeds = []
    taken: set[str] = set()
    for _, section in top.sections("breeds"):
        names = section.texts("names")
        if not names:
            section.problem("names", "name the breed at least once, the usual name first")
        keys = frozenset(breed_key(name) for name in names)
        if keys & taken:
            section.problem("names", f"{min(keys & taken)!r} stands for another breed too")
        taken |= keys
        name = names[0] if names else ""
        note = section.text("note", "")
        breeds.append(Breed(name, keys, _intervals(section, head, species, name), note))
        section.finish()
    return SpeciesTable(species, head.version, intervals, tuple(breeds), top.texts("notes"))


def _intervals(parent: Section, head: _Head, species: str, breed: str) -> dict[str, Interval]:
    found = {}
    for code, section in parent.sections("intervals"):
        source = head.source(section)
        unit = section.text("unit")
        low, high = section.number("low"), section.number("high")
        section.finish()
        if code not in UNITS:
            section.problem("", f"no measurement is called so; known: {', '.join(UNITS)}")
            continue
        ends = _in_our_unit(section, code, unit, {"low": low, "high": high})
        if ends is None:
            continue
        if ends["low"] >= ends["high"]:
            section.problem("high", "must be above low")
            continue
        found[code] = Interval(
            code, ends["low"], ends["high"], UNITS[code], source, species, breed, head.version,
            head.site,
        )  # fmt: skip
    return found


def _in_our_unit(
    section: Section, code: str, unit: str, numbers: Mapping[str, float | None]
) -> dict[str, float] | None:
    """Convert, and refuse what a unit cannot hold: the wrong unit is the likeliest mistake."""
    found = {}
    for key, number in numbers.items():
        if number is None or not unit:
            return None
        converted = convert(code, number, unit)
        if converted is None:
            section.problem("unit", f"{unit!r} is no unit of {code}; ours is {UNITS[code]}")
            return None
        if not is_possible(code, converted) or not math.isfinite(converted):
            section.problem(
                key, f"{number:g} {unit} cannot be: {code} lies within {possible_range(code)}"
            )
            return None
        found[key] = converted
    return found


def _rules(top: Section, head: _Head) -> RuleFile:
    rules = [_rule(section, head) for section in top.items("rule")]
    ids = [rule.id for rule in rules]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        top.problem("rule", f"{name!r} is the id of more than one rule")
    bands = [_bands(section, head) for section in top.items("bands")]
    off = top.texts("off")
    no_bands = {}
    for section in top.items("no_bands"):
        why = NoBands(section.text("reason"), head.source(section))
        no_bands.update(dict.fromkeys(section.choices("species", SPECIES), why))
        section.finish()
    flags = {}
    for code, section in top.sections("flags"):
        flags[code] = FlagText(section.text("title"), head.source(section))
        section.finish()
    return RuleFile(tuple(rules), off, {b.species: b for b in bands}, no_bands, flags)


def _rule(section: Section, head: _Head) -> Rule:
    severity: Literal["info", "review"] = (
        "review" if section.choice("severity", ("info", "review")) == "review" else "info"
    )
    rule = Rule(
        id=section.text("id"),
        severity=severity,
        title=section.text("title"),
        cause=section.text("cause"),
        action=section.text("action"),
        source=head.source(section),
        when=conditions(section),
        species=frozenset(section.choices("species", SPECIES)),
        not_species=frozenset(section.choices("not_species", SPECIES)),
        breeds=frozenset(breed_key(name) for name in section.texts("breeds")),
        unconfirmed=frozenset(section.choices("unconfirmed", MEASUREMENT_CODES)),
        same_as=section.text("same_as", ""),
        urgent=section.yes("urgent"),
        version=head.version,
        site=head.site,
    )
    section.finish()
    return rule


def _bands(section: Section, head: _Head) -> Bands:
    species = section.choice("species", SPECIES) or ""
    measure = section.choice("measure", ("RETIC", "RETIC%")) or "RETIC"
    unit = section.text("unit")
    steps: list[Step] = []
    rows = section.items("steps")
    for index, row in enumerate(rows):
        name = row.text("name")
        limits = {key: row.number(key, None) for key in ("below", "up_to")}
        ends = {key: end for key, end in limits.items() if end is not None}
        row.finish()
        if index == len(rows) - 1:
            if ends:
                row.problem("", "the last step has no end: leave out below and up_to")
            steps.append(Step(name, None))
        elif len(ends) != 1:
            row.problem("", "give either below or up_to")
        elif (converted := _in_our_unit(row, measure, unit, ends)) is not None:
            key, upper = next(iter(converted.items()))
            if steps and steps[-1].upper is not None and upper <= steps[-1].upper:
                row.problem(key, "must be above the end of the step before")
            steps.append(Step(name, upper, inclusive=key == "up_to"))
    if len(rows) < 2:
        section.problem("steps", "give at least two")
    bands = Bands(
        species, measure, UNITS[measure], section.text("counts"), tuple(steps),
        head.source(section), head.version, head.site,
    )  # fmt: skip
    section.finish()
    return bands
