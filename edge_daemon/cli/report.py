"""How one result reads: columns of listings, the full report, the quarantine list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon.cli import comparison, interpretation, output, plot
from edge_daemon.cli.output import Column, printable
from edge_daemon.records import MEASUREMENT_CODES
from edge_daemon.reference.interpret import about_measurement
from edge_daemon.wording import (
    CLASS_NAMES,
    CLOCKS,
    HEADLINES,
    SEVERITIES,
    kind,
    local_time,
    patient,
    short_time,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_daemon.cli.output import Form, Record


def headline(record: Mapping[str, Any]) -> str:
    """Return OK, Review or Failed: with the intervals where they were looked at, else by flags."""
    return record.get("headline") or HEADLINES[record["status"]]


def listing_columns(records: Sequence[Record], *, marked: bool = True) -> tuple[Column, ...]:
    """Columns of `results`; the mark of simulated results only where there are any.

    With `marked`, H or L stands before a value outside its interval; CSV keeps plain numbers.
    """
    mark = "Mark" if any(r["simulated"] for r in records) else ""
    flags = "Flags" if any(_flag_codes(r) for r in records) else ""
    told = (Column("kind", "Kind", kind),) if marked and any(kind(r) for r in records) else ()
    any_patient = "Patient" if any(patient(r) for r in records) else ""
    return (
        Column("run", "Run", lambda r: r["id"], right=True),
        Column("analysed", "", lambda r: r["created_wall"]),
        Column("analysed_local", "Analysed", lambda r: short_time(r["created_wall"])),
        Column("sample", "Sample", lambda r: r["sample_id"]),
        Column("patient", any_patient, patient, folds=True),
        Column("species", "Species", lambda r: _species(r, marked=marked)),
        *told,
        Column("status", "Status", headline),
        Column("simulated", mark, output.simulated_mark),
        *(_marked_column(code, marked=marked) for code in output.LISTED),
        Column("marks", "", _marks),
        Column("flags", flags, _flag_codes, folds=True, wide=True),
        *(() if marked else _KIND),
    )


def _species(record: Record, *, marked: bool) -> str:
    """Species for a list; for people none of a control or a blank, whatever was typed in."""
    if marked and record.get("kind") in ("control", "blank"):
        return ""
    return record["species"] or "unknown"


def _marked_column(code: str, *, marked: bool) -> Column:
    column = output.measurement_column(code)

    def cell(record: Record) -> str:
        mark = record.get("marks", {}).get(code, "") if marked else ""
        return f"{mark} {column.cell(record)}".lstrip()

    return replace(column, cell=cell)


def _marks(record: Record) -> str:
    return " ".join(f"{code}:{mark}" for code, mark in record.get("marks", {}).items())


def _flag_codes(record: Mapping[str, Any]) -> str:
    flags = _said_of(record, record["flags"])
    return " ".join(f["code"] for f in flags if f["severity"] != "info")


def _said_of(
    record: Mapping[str, Any], flags: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Choose the flags that people see: of what is no patient's, none about an animal."""
    what = record.get("kind", "patient")
    return [
        f for f in flags if what == "patient" or about_measurement(what, f["severity"], f["code"])
    ]


_WHO: Final = ("id", "sample_id", "patient_id", "patient_name", "species", "breed")
_ORIGIN: Final = (
    "acquired_at", "created_wall", "created_clock", "instrument", "name", "sha256", "profile",
    "model", "events",
)  # fmt: skip


def export_columns() -> tuple[Column, ...]:
    """Columns of the CSV export; always the same, whatever the results hold."""
    return (
        *(_field(key) for key in _WHO),
        Column("simulated", "Mark", output.simulated_mark),
        Column("status", "Status", headline),
        Column("flags", "Flags", lambda r: " ".join(f["code"] for f in r["flags"])),
        *(_field(key) for key in _ORIGIN),
        *(column for code in MEASUREMENT_CODES for column in _value_columns(code)),
        *_KIND,
    )


def _field(key: str) -> Column:
    return Column(key, key, lambda r: r[key])


_KIND: Final = tuple(_field(key) for key in ("kind", "lot", "level"))
"""Last, so that they move no column that programs count on."""


def _value_columns(code: str) -> tuple[Column, ...]:
    def found(record: Record) -> Mapping[str, Any]:
        empty = {"code": code, "value": None, "low": None, "high": None, "unit": None}
        return next((m for m in record["measurements"] if m["code"] == code), empty)

    def value(record: Record) -> str:
        measured = found(record)
        return output.measurement(measured) if measured["unit"] else ""

    return (
        Column(code, code, value),
        Column(f"{code}_unit", code, lambda r: found(r)["unit"]),
        Column(f"{code}_low", code, lambda r: output.number(code, found(r)["low"])),
        Column(f"{code}_high", code, lambda r: output.number(code, found(r)["high"])),
    )


def write(record: Record, how: Form, pictures: Mapping[str, Any] | None = None) -> None:
    """Write the full report of one run, with its pictures if they are given."""
    word = headline(record)
    output.headline(f"{word}: {record['reason']}", word)
    if not record["intact"]:
        output.headline("This result was changed after it was stored: do not use it.", "Failed")
    if record["simulated"]:
        click.echo(click.style(f"{output.SIMULATED}: not a patient's result", fg="magenta"))
    output.pairs(_what(record) if kind(record) else identity(record))
    output.pairs([("Corrected", _correction(one)) for one in record["corrections"]])
    click.echo()
    columns = (
        _MEASUREMENTS[:2] + interpretation.VALUE_COLUMNS[:1] + _MEASUREMENTS[2:4]
        + interpretation.VALUE_COLUMNS[1:] + _MEASUREMENTS[4:]
        + comparison.columns(record["analyzer"])
    )  # fmt: skip
    output.listing(columns, interpretation.beside(record), how, empty="No measurements.")
    interpretation.write_sources(record)
    comparison.write_others(record)
    interpretation.write_remarks(record)
    _write_flags(record)
    _write_notes(record["remarks"])
    if pictures is not None:
        plot.write(pictures, how)
    _write_counts(record["counts"])
    click.echo("\nWhere it comes from")
    output.pairs(_provenance(record))


def _what(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what a run of no patient is, in place of a species."""
    by = f" (marked by {record['kind_by']})" if record["kind_by"] else ""
    return [
        ("Kind", f"{kind(record)}{by}"),
        *(pair for pair in identity(record) if pair[0] != "Species"),
    ]


def identity(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say whose a run or a report is, and when it was measured and received."""
    animal = ", ".join(filter(None, (record["species"] or "species unknown", record["breed"])))
    analyzer = " ".join(
        filter(
            None,
            (
                record["instrument_model"] or record["instrument"],
                record["instrument_serial"] and f"serial {record['instrument_serial']}",
                record["firmware"] and f"firmware {record['firmware']}",
            ),
        )
    )
    received = record["capture"]
    clock = CLOCKS.get(received["received_clock"], received["received_clock"])
    return [
        ("Sample", record["sample_id"] or "not given"),
        ("Patient", patient(record) or "not given"),
        ("Species", animal),
        ("Analyzer", analyzer),
        (
            "Measured",
            f"{record['acquired_at']} (analyzer's clock)" if record["acquired_at"] else "",
        ),
        ("Received", f"{local_time(received['received_wall'])} ({clock})"),
    ]


_MEASUREMENTS: Final = (
    Column("code", "Measurement", lambda m: m["code"]),
    Column("value", "Value", output.measurement, right=True),
    Column("unit", "Unit", lambda m: output.unit(m["unit"]) if m["value"] is not None else ""),
    Column(
        "interval",
        "95 % interval",
        lambda m: output.interval(m["code"], m["low"], m["high"]),
        right=True,
    ),
    Column("method", "Method", lambda m: m["method"]),
    Column("flags", "Flags", lambda m: " ".join(m["flags"]), folds=True),
)


def _write_flags(record: Record) -> None:
    flags = _said_of(record, [*record["flags"], *record["analyzer"]["remarks"]])
    if flags:
        click.echo("\nFlags")
    for flag in flags:
        click.echo(printable(f"{SEVERITIES[flag['severity']]:<7}{flag['code']}: {flag['message']}"))
        if flag["action"]:
            click.echo(f"       {output.next_action(flag['action'])}")
        if source := interpretation.source_of_flag(record, flag["code"]):
            click.echo(f"       {printable(source)}")


def _correction(correction: Mapping[str, Any]) -> str:
    """Say what was corrected, by whom, when and why."""
    changes = "; ".join(
        f"{one['field'].replace('_', ' ')}: {one['before'] or 'not given'} → "
        f"{one['after'] or 'not given'}"
        for one in correction["changes"]
    )
    when = local_time(correction["made_wall"])
    return f"{changes} ({correction['made_by']}, {when}: {correction['reason']})"


def _write_notes(notes: Sequence[Mapping[str, Any]]) -> None:
    if notes:
        click.echo("\nNotes")
    for note in notes:
        smear = f"smear {note['verdict']} {note['concerns']}: " if note["verdict"] else ""
        told = f"({note['made_by']}, {local_time(note['made_wall'])})"
        click.echo(printable(f"{smear}{note['text']} {told}"))


def _write_counts(counts: Mapping[str, int]) -> None:
    total = sum(counts.values())
    click.echo(f"\nCells ({total:,} events)")
    for key, name in CLASS_NAMES.items():
        share = 100 * counts[key] / total if total else 0.0
        click.echo(f"{name:<17}{counts[key]:>10,}{share:>8.2f} %")


def _provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("Run", f"{record['id']}{_other_runs(record)}"),
        ("Profile", f"{record['profile']}  sha256 {record['profile_sha256']}"),
        ("Model", f"{record['model']}  sha256 {record['model_sha256']}"),
        ("File", f"{record['name']}  sha256 {record['sha256']}"),
    ]
    rows += [
        ("Seen also", f"{s['name']} through {s['source']}, {local_time(s['seen_wall'])}")
        for s in record["sightings"]
    ]
    return rows + [("Note", note) for note in record["notes"]]


def _other_runs(record: Mapping[str, Any]) -> str:
    others = ", ".join(str(r["id"]) for r in record["other_runs"])
    return f" (the same capture also has run {others})" if others else ""


def set_aside(captures: Sequence[Record], refusals: Sequence[Record]) -> list[Record]:
    """Bring captures in quarantine and refused files into one form: captures, then refusals."""
    found = [
        {
            "kind": "capture",
            "capture_id": c["id"],
            "when": c["received_wall"],
            "name": c["name"],
            "source": c["source"],
            "sha256": c["sha256"],
            "times": 1,
            "reason": {
                "code": c["reason_code"],
                "message": c["reason_message"],
                "action": c["reason_action"],
                "candidates": c["reason_candidates"],
            },
        }
        for c in captures
    ]
    refused = [
        {
            "kind": "refusal",
            "capture_id": None,
            "when": r["last_wall"],
            "name": r["name"],
            "source": r["source"],
            "sha256": None,
            "times": r["times"],
            "reason": {
                "code": r["code"],
                "message": r["message"],
                "action": r["action"],
                "candidates": [],
            },
        }
        for r in refusals
    ]
    return found + refused


QUARANTINE_COLUMNS: Final = (
    Column("when", "When", lambda r: r["when"]),
    Column("kind", "Kind", lambda r: r["kind"]),
    Column("name", "File", lambda r: r["name"]),
    Column("source", "Source", lambda r: r["source"]),
    Column("code", "Reason", lambda r: r["reason"]["code"]),
    Column("message", "Message", lambda r: r["reason"]["message"]),
    Column("action", "What to do", lambda r: r["reason"]["action"]),
    Column("times", "Times", lambda r: r["times"]),
    Column("sha256", "sha256", lambda r: r["sha256"]),
)


def write_quarantine(records: Sequence[Record]) -> None:
    """Write one paragraph for each: sentences do not fit into columns."""
    for index, record in enumerate(records):
        why = record["reason"]
        click.echo("\n" * (index > 0), nl=False)
        times = f", {record['times']} times" if record["times"] > 1 else ""
        when = local_time(record["when"])
        click.echo(printable(f"{when}  {record['name']}  [{why['code']}{times}]"))
        click.echo(printable(f"  {why['message']}"))
        if why["action"]:
            click.echo(f"  {output.next_action(why['action'])}")
        if why["candidates"]:
            click.echo(printable(f"  Near: {', '.join(why['candidates'])}"))
