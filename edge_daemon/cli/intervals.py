"""The command `intervals`: which intervals and rules this box uses, and whose they are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output
from edge_daemon.cli.output import Column
from edge_daemon.records import SPECIES
from edge_daemon.reference.loading import check_file, load_tables, shipped_rules, site_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_daemon.cli.output import Form, Record
    from edge_daemon.reference.reading import Read
    from edge_daemon.reference.tables import Rule, SpeciesTable, Tables


@click.command()
@click.argument("species", type=click.Choice(SPECIES), required=False)
@click.option("--breed", metavar="NAME", help="As they hold for this breed of SPECIES.")
@click.option("--rules", is_flag=True, help="Show the rules for remarks instead.")
@click.option(
    "--check",
    is_flag=True,
    help="Check the site's own files, or those given with --file, and list every mistake.",
)
@click.option(
    "--file",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Also use this file or folder, as if the configuration named it; may be repeated.",
)
@options.json_option
@options.csv_option
def intervals(
    species: str | None,
    breed: str | None,
    rules: bool,
    check: bool,
    files: tuple[Path, ...],
    as_json: bool,
    as_csv: bool,
) -> int:
    """Show the reference intervals of SPECIES, each with its source; without SPECIES, of all.

    Intervals that a site has replaced say who did that and why. Exit code 78 when --check finds
    a mistake, 3 when a file of the site cannot be used.
    """
    how = output.form(as_json=as_json, as_csv=as_csv)
    if breed and not species:
        raise click.UsageError("--breed needs SPECIES.")
    if check:
        return _check(options.existing(files), how)
    places = (*options.reference_places(), *options.existing(files))
    tables = load_tables(places, None if species is None else [species])
    if rules:
        _write_rules(tables, species, how)
    elif species is None:
        _write_species(tables, how)
    else:
        _write_intervals(tables.species[species], breed, how)
    for broken in tables.broken:
        output.say(f"{broken.path}: not used:")
        for problem in broken.problems:
            output.say(f"  {problem}")
    return errors.EXIT_WARNINGS if tables.broken else errors.EXIT_OK


def _check(files: Sequence[Path], how: Form) -> int:
    """Check files and list every mistake with its key."""
    if files:
        read = [found for place in files for found in _read(place)]
    else:
        read = site_files(options.reference_places(), shipped_rules())
    if how == "json":
        output.emit_json(
            [
                {
                    "file": str(found.path),
                    "ok": not found.problems,
                    "problems": [asdict(problem) for problem in found.problems],
                }
                for found in read
            ]
        )
    else:
        for found in read:
            said = f"{len(found.problems)} mistake(s)" if found.problems else "is right"
            click.echo(output.printable(f"{found.path}: {said}"))
            for problem in found.problems:
                click.echo(output.printable(f"  {problem}"))
        if not read:
            output.say("This site has no intervals or rules of its own.")
    wrong = any(found.problems for found in read)
    return errors.EXIT_BAD_CONFIG if wrong else errors.EXIT_OK


def _read(place: Path) -> list[Read]:
    return site_files([place], shipped_rules()) if place.is_dir() else [check_file(place)]


def _write_species(tables: Tables, how: Form) -> None:
    rows = [_species_row(table) for table in tables.species.values()]
    if how == "json":
        output.emit_json(rows)
        return
    output.listing(_SPECIES, rows, how, empty="")


def _species_row(table: SpeciesTable) -> Record:
    every = [*table.intervals.values(), *(i for b in table.breeds for i in b.intervals.values())]
    return {
        "species": table.species,
        "version": table.version,
        "intervals": len(table.intervals),
        "codes": list(table.intervals),
        "breeds": [breed.name for breed in table.breeds],
        "replaced": sorted({i.code for i in every if i.site is not None}),
    }


_SPECIES: Final = (
    Column("species", "Species", lambda r: r["species"]),
    Column("version", "Version", lambda r: r["version"]),
    Column("intervals", "Intervals", lambda r: r["intervals"], right=True),
    Column("codes", "Of", lambda r: " ".join(r["codes"]), folds=True),
    Column("breeds", "Breeds of their own", lambda r: ", ".join(r["breeds"]), folds=True),
    Column("replaced", "Replaced by this site", lambda r: " ".join(r["replaced"]), folds=True),
)


def _write_intervals(table: SpeciesTable, breed: str | None, how: Form) -> None:
    found = table.breed(breed)
    if breed and found is None:
        known = ", ".join(b.name for b in table.breeds) or "none"
        output.say(f"No breed {breed!r} is known apart from {table.species} (known: {known}).")
    held = {code: i for code in _codes(table) if (i := table.interval(code, breed)) is not None}
    rows = [asdict(interval) for interval in held.values()]
    notes = [*table.notes, *([found.note] if found and found.note else [])]
    if how == "json":
        output.emit_json(
            {
                "species": table.species,
                "breed": found.name if found else "",
                "version": table.version,
                "intervals": rows,
                "breeds": [b.name for b in table.breeds],
                "notes": notes,
            }
        )
        return
    output.listing(_INTERVALS, rows, how, empty="No interval is known.")
    if how != "csv":
        for note in notes:
            click.echo(f"Note: {output.printable(note)}")


def _codes(table: SpeciesTable) -> list[str]:
    every = [*table.intervals, *(code for breed in table.breeds for code in breed.intervals)]
    return list(dict.fromkeys(every))


def _site(record: Record) -> str:
    site = record["site"]
    return f"{site['by']}: {site['reason']}" if site else ""


def _of(record: Record) -> str:
    return ", ".join(filter(None, (record["species"], record["breed"])))


_INTERVALS: Final = (
    Column("code", "Measurement", lambda r: r["code"]),
    Column("low", "Low", lambda r: output.number(r["code"], r["low"]), right=True),
    Column("high", "High", lambda r: output.number(r["code"], r["high"]), right=True),
    Column("unit", "Unit", lambda r: output.unit(r["unit"])),
    Column("of", "Of", _of),
    Column("version", "Version", lambda r: r["version"]),
    Column("source", "Source", lambda r: r["source"]["text"], folds=True),
    Column("caution", "Caution", lambda r: r["source"]["caution"], folds=True),
    Column("site", "Replaced by", _site, folds=True),
)


def _write_rules(tables: Tables, species: str | None, how: Form) -> None:
    found = [rule for rule in tables.rules if species is None or _concerns(rule, species)]
    if how == "json":
        output.emit_json([_rule(rule) for rule in found])
    elif how == "csv":
        output.listing(_RULES, [_rule(rule) for rule in found], how, empty="")
    else:
        for rule in found:
            click.echo(output.printable(f"{rule.id} ({rule.severity}): {rule.title}"))
            click.echo(f"  {output.printable(rule.cause)}")
            click.echo(f"  {output.next_action(rule.action)}")
            click.echo(f"  {output.printable(f'[{rule.source.text}]')}")
            if rule.site is not None:
                told = f"Replaced by {rule.site.by}: {rule.site.reason}"
                click.echo(f"  {output.printable(told)}")


def _concerns(rule: Rule, species: str) -> bool:
    return species not in rule.not_species and (not rule.species or species in rule.species)


def _rule(rule: Rule) -> dict[str, Any]:
    plain = asdict(rule)
    for key in ("species", "not_species", "breeds", "unconfirmed"):
        plain[key] = sorted(plain[key])
    return plain


_RULES: Final = (
    Column("id", "Rule", lambda r: r["id"]),
    Column("severity", "Severity", lambda r: r["severity"]),
    Column("title", "Title", lambda r: r["title"]),
    Column("cause", "Cause", lambda r: r["cause"]),
    Column("action", "What to do", lambda r: r["action"]),
    Column("source", "Source", lambda r: r["source"]["text"]),
    Column("site", "Replaced by", _site),
)
