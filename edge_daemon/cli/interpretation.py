"""How a result reads beside the reference intervals and rules of this site.

Queries only, as in `cli.results`: tables are TOML, read for the species that are shown.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon.cli import options, output
from edge_daemon.cli.output import Column, printable
from edge_daemon.reference.interpret import interpret_apart, interpret_record
from edge_daemon.reference.loading import load_tables
from edge_daemon.wording import HEADLINES, KINDS, SEVERITIES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edge_daemon.cli.output import Record
    from edge_daemon.reference.findings import Interpretation
    from edge_daemon.reference.tables import Tables

_PAGE: Final = 200
_FAILED: Final = HEADLINES["invalid"]


class Interpreter:
    """Reads the tables once, when the first record of a species comes by.

    Files of the site that cannot be used are named on stderr, once.
    """

    def __init__(self) -> None:
        self._places = options.reference_places()
        self._tables: dict[str, Tables] = {}
        self._warned = False

    def add(self, records: Iterable[Record]) -> Iterator[Record]:
        """Add headline, reason and marks to runs, in place, and hand them on."""
        for record in records:
            self._read(record)
            yield record

    def in_full(self, record: Record) -> Record:
        """Add to a run all that can be said of it, as plain values."""
        found = asdict(self._read(record))
        record["interpretation"] = found | {key: record[key] for key in ("headline", "reason")}
        return record

    def _read(self, record: Record) -> Interpretation:
        kind = record.get("kind", "patient")
        if kind == "patient":
            found = interpret_record(record, self._for(record["species"]))
        else:
            found = interpret_apart(record, self._for(None), kind)
        record["headline"], record["reason"] = found.headline, found.reason
        if kind != "patient" and found.headline != _FAILED:
            record["headline"], record["reason"] = KINDS[kind], _APART[kind]
        record["marks"] = dict(found.marks)
        return found

    def _for(self, species: str | None) -> Tables:
        name = species or ""
        if name not in self._tables:
            self._tables[name] = load_tables(self._places, [name])
            self._warn(self._tables[name])
        return self._tables[name]

    def _warn(self, tables: Tables) -> None:
        if tables.broken and not self._warned:
            self._warned = True
            for broken in tables.broken:
                output.say(f"{broken.path}: {len(broken.problems)} mistake(s); it is not used.")
            output.say(output.next_action("Run `edge-daemon intervals --check`."))


_APART: Final = {
    "control": "no patient's sample; `edge-daemon qc chart` holds it against its targets",
    "blank": "no patient's sample; `edge-daemon qc blank` holds it against its limits",
    "check": "no patient's sample: part of a check",
}


def interpreted(
    db: sqlite3.Connection, chosen: Mapping[str, Any], limit: int | None = None
) -> Iterator[Record]:
    """Yield runs that pass the filters of `queries.results`, newest first, beside their intervals.

    Each says its ``kind`` (`controls.add_kinds`), which can be asked for, too.

    A remark can ask for a look at a run without such a flag, so the store alone cannot tell which
    runs have the headline that is asked for.
    """
    from edge_daemon.store import controls, queries

    filters = dict(chosen)
    wanted, kind = filters.pop("status", None), filters.pop("kind", None)
    if wanted in ("ok", "invalid"):
        filters["status"] = wanted
    if kind in KINDS:
        filters["captures"] = controls.no_patients(db)
    # The first page has the size of the list that is wanted.
    stored = queries.export(db, limit=None if wanted or kind else limit, **filters)
    pages = iter(lambda: list(itertools.islice(stored, _PAGE)), [])
    told = (record for page in pages for record in controls.add_kinds(db, page))
    for record in Interpreter().add(told):
        if kind in (None, record["kind"]) and (
            wanted is None or record["headline"] == HEADLINES[wanted]
        ):
            yield record


def beside(record: Mapping[str, Any]) -> list[Record]:
    """Measurements of a run, each with its ``marked`` value and the ``letter`` of its source."""
    letters = _letters(record)
    by_code = {value["code"]: value for value in record["interpretation"]["values"]}
    return [
        {
            **measured,
            "marked": by_code[measured["code"]],
            "letter": letters.get(_source_of(by_code[measured["code"]]), ""),
        }
        for measured in record["measurements"]
    ]


def _mark(record: Record) -> str:
    marked = record["marked"]
    doubt = "unconfirmed" if marked["unconfirmed"] else ""
    return " ".join(filter(None, (marked["mark"], doubt)))


def _reference(record: Record) -> str:
    reference = record["marked"]["reference"]
    if reference is None or record["value"] is None:
        return ""
    bounds = output.interval(record["code"], reference["low"], reference["high"])
    unit = "" if reference["unit"] == record["unit"] else f" {output.unit(reference['unit'])}"
    return f"{bounds}{unit} {record['letter']}"


VALUE_COLUMNS: Final = (
    Column("mark", "Mark", _mark),
    Column("reference", "Reference", _reference, right=True),
)
"""Columns beside our measurements; their records are those of `beside`."""


def _source_of(marked: Mapping[str, Any]) -> tuple[str, ...]:
    reference = marked["reference"]
    if reference is None or marked["value"] is None:
        return ()
    site = reference["site"]
    told = f"this site: {site['by']}, {site['reason']}" if site else ""
    return (
        reference["of"], reference["source"], reference["caution"], reference["version"], told,
    )  # fmt: skip


def _letters(record: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    """Letter of each source, in the order in which the values name them."""
    used = dict.fromkeys(_source_of(value) for value in record["interpretation"]["values"])
    used.pop((), None)
    return {source: chr(ord("a") + index) for index, source in enumerate(used)}


def write_sources(record: Mapping[str, Any]) -> None:
    """Write whose intervals stand in the table, or why there are none."""
    for (of, source, caution, version, told), letter in _letters(record).items():
        text = f"{letter}  {of}, version {version}: {source}"
        click.echo(printable("; ".join(filter(None, (text, caution, told)))))
    values = record["interpretation"]["values"]
    reasons = dict.fromkeys(value["reason"] for value in values if value["reason"])
    for reason in reasons:
        codes = " ".join(value["code"] for value in values if value["reason"] == reason)
        click.echo(printable(f"{codes}: {reason}"))


def write_remarks(record: Mapping[str, Any]) -> None:
    """Write the regeneration band, the remarks and the notes."""
    found = record["interpretation"]
    if found["regeneration"] is not None:
        answer = found["regeneration"]
        click.echo(f"\n{printable(_sentence(answer['text']))} ({printable(answer['source'])})")
    if found["comments"]:
        click.echo("\nRemarks")
    for comment in found["comments"]:
        facts = "; ".join(comment["facts"])
        title = f"{comment['title']}: {facts}" if facts else comment["title"]
        click.echo(printable(f"{SEVERITIES[comment['severity']]:<7}{title}"))
        click.echo(f"       {printable(comment['cause'])}")
        click.echo(f"       {output.next_action(comment['action'])}")
        click.echo(f"       {printable(_cited(comment['source']))}")
    for note in found["notes"]:
        click.echo(f"Note   {printable(note)}")


def _cited(source: Mapping[str, str]) -> str:
    return f"[{'; '.join(filter(None, (source['text'], source['caution'])))}]"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def source_of_flag(record: Mapping[str, Any], code: str) -> str:
    """Studies behind a flag of a run, in brackets; empty where none is known."""
    flags: Sequence[Mapping[str, str]] = record["interpretation"]["flags"]
    found = next((flag["source"] for flag in flags if flag["code"] == code), "")
    return f"[{found}]" if found else ""
