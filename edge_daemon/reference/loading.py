"""Find and read the tables: what ships, then what a site replaces."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.records import SPECIES
from edge_daemon.reference.reading import Read, RuleFile, read_file
from edge_daemon.reference.section import did_you_mean
from edge_daemon.reference.tables import Broken, Problem, SpeciesTable, Tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_daemon.reference.tables import Bands, Interval, NoBands

SHIPPED: Final = Path(__file__).resolve().parent / "shipped"
RULES_NAME: Final = "rules.toml"


def load_tables(extra: Sequence[Path] = (), species: Iterable[str] | None = None) -> Tables:
    """Read the shipped tables and put a site's own over them.

    A site's interval or rule replaces the shipped one of the same code or id; everything else
    stays. Of several files of a site the later one wins. A file with problems is left out and
    listed in `Tables.broken`.

    Parameters
    ----------
    extra
        Folders with ``*.toml``, or single files, of the site (``[reference] extra_dirs``).
    species
        Only these; None for all. A list of results need not read nine files.
    """
    wanted = SPECIES if species is None else tuple(set(species) & set(SPECIES))
    rules = _shipped(SHIPPED / RULES_NAME)
    assert isinstance(rules, RuleFile)
    tables: dict[str, SpeciesTable] = {}
    for name in wanted:
        table = _shipped(SHIPPED / f"{name}.toml")
        assert isinstance(table, SpeciesTable)
        tables[name] = table
    broken = []
    for found in site_files(extra, frozenset(rule.id for rule in rules.rules)):
        if found.content is None:
            broken.append(Broken(found.path, found.species, found.problems))
        elif isinstance(found.content, SpeciesTable):
            if found.content.species in tables:
                before = tables[found.content.species]
                tables[before.species] = _over(before, found.content)
        else:
            rules = _rules_over(rules, found.content)
    return Tables(tables, rules.rules, rules.bands, rules.no_bands, rules.flags, tuple(broken))


def check_file(path: Path) -> Read:
    """Read one file of a site as `load_tables` would; nothing is raised."""
    return site_files([path], shipped_rules())[0]


def shipped_rules() -> frozenset[str]:
    """Ids of the shipped rules."""
    rules = _shipped(SHIPPED / RULES_NAME)
    assert isinstance(rules, RuleFile)
    return frozenset(rule.id for rule in rules.rules)


def site_files(extra: Sequence[Path], shipped: frozenset[str]) -> list[Read]:
    """Read every file of a site, in order; a place that is not there is one with a problem.

    Parameters
    ----------
    extra
        Folders and files.
    shipped
        Ids of the shipped rules: only those can be left out.
    """
    found: list[Read] = []
    for place in extra:
        if place.is_dir():
            found += [read_file(path, of_site=True) for path in sorted(place.glob("*.toml"))]
        elif place.is_file():
            found.append(read_file(place, of_site=True))
        else:
            missing = Problem("", "there is no such file or folder")
            found.append(Read(place, None, None, (missing,)))
    return [_without_unknown_ids(read, shipped) for read in found]


def _without_unknown_ids(read: Read, shipped: frozenset[str]) -> Read:
    """Refuse a file that leaves out a rule that is not there: the id is likely misspelt."""
    if not isinstance(read.content, RuleFile):
        return read
    unknown = [name for name in read.content.off if name not in shipped]
    if not unknown:
        return read
    problems = tuple(
        Problem("off", f"there is no rule {name!r}{did_you_mean(name, shipped)}")
        for name in unknown
    )
    return dataclasses.replace(read, content=None, problems=problems)


def _shipped(path: Path) -> SpeciesTable | RuleFile:
    read = read_file(path, of_site=False)
    if read.content is None:
        problems = "; ".join(map(str, read.problems))
        raise ValueError(f"{path}: the installation is damaged: {problems}")
    return read.content


def _over(shipped: SpeciesTable, site: SpeciesTable) -> SpeciesTable:
    """Put a site's table over another: interval by interval, breed by breed."""
    breeds = list(shipped.breeds)
    for own in site.breeds:
        same = [breed for breed in breeds if breed.names & own.names]
        intervals: dict[str, Interval] = {}
        names = own.names
        for breed in same:
            intervals.update(breed.intervals)
            names |= breed.names
            breeds.remove(breed)
        note = own.note or " ".join(breed.note for breed in same)
        intervals.update(own.intervals)
        breeds.append(dataclasses.replace(own, names=names, intervals=intervals, note=note))
    return dataclasses.replace(
        shipped,
        intervals={**shipped.intervals, **site.intervals},
        breeds=tuple(breeds),
        notes=(*shipped.notes, *site.notes),
    )


def _rules_over(shipped: RuleFile, site: RuleFile) -> RuleFile:
    own = {rule.id: rule for rule in site.rules}
    kept = [own.pop(rule.id, rule) for rule in shipped.rules if rule.id not in site.off]
    return RuleFile(
        rules=(*kept, *own.values()),
        off=(),
        bands={**shipped.bands, **site.bands},
        no_bands={**_without(shipped.no_bands, site.bands), **site.no_bands},
        flags={**shipped.flags, **site.flags},
    )


def _without(reasons: Mapping[str, NoBands], bands: Mapping[str, Bands]) -> dict[str, NoBands]:
    return {species: why for species, why in reasons.items() if species not in bands}
