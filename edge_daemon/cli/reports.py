"""The command `reports`, and how one report of the analyzer reads.

Queries only, as in `cli.results`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors, wording
from edge_daemon.cli import comparison, options, output, report
from edge_daemon.cli.output import Column
from edge_daemon.records import SPECIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_daemon.cli.output import Form, Record

_REASONS: Final = {
    "patient_differs": "patient differs",
    "species_differs": "species differs",
    "analyzer_differs": "serial number differs",
    "control_material": "control material",
    "other_analyzer": "other instrument",
}


@click.command()
@click.option("--since", type=options.Moment(), help="Received at or after this time.")
@click.option("--until", type=options.Moment(), help="Received before this time.")
@click.option("--sample", metavar="ID", help="Only this sample id.")
@click.option("--patient", metavar="ID", help="Only this patient id or name.")
@click.option("--species", type=click.Choice(SPECIES), metavar="NAME", help="Only this species.")
@click.option("--instrument", metavar="NAME", help="Only this instrument.")
@click.option("--kind", type=click.Choice(["sample", "control"]), help="Only these.")
@click.option("--unmatched", is_flag=True, help="Only reports that no run is compared with.")
@click.option("--missing", is_flag=True, help="Instead: runs without a report of the analyzer.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=10_000),
    default=20,
    show_default=True,
    metavar="N",
    help="At most so many.",
)
@options.data_dir_option
@options.json_option
@options.csv_option
def reports(
    data_dir: Path, limit: int, missing: bool, as_json: bool, as_csv: bool, **chosen: Any
) -> None:
    """List what the analyzers themselves reported, newest first.

    Each with the run of ours it belongs to: same sample id, within 12 hours, and of no other
    patient, species or analyzer. `edge-daemon show report:7` shows one in full.
    """
    from edge_daemon.store import queries
    from edge_daemon.store import reports as stored

    how = output.form(as_json=as_json, as_csv=as_csv)
    if missing and (chosen["kind"] or chosen["unmatched"]):
        raise click.UsageError("--missing lists runs: it takes neither --kind nor --unmatched.")
    with contextlib.closing(queries.connect(data_dir)) as db:
        if missing:
            found = _missing(db, limit, chosen)
        else:
            found = stored.listing(db, limit=limit, **chosen)
    if how == "json":
        output.emit_json(found)
        return
    if missing:
        output.listing(report.listing_columns(found), found, how, empty="Every run has a report.")
    else:
        any_given = any(chosen.values())
        empty = "No report matches." if any_given else "No analyzer has reported anything yet."
        output.listing(_listing_columns(found), found, how, empty=empty)
    if len(found) == limit and how != "csv":
        output.say(f"\nThe newest {limit}; --limit shows more.")


def _missing(db: Any, limit: int, chosen: Record) -> list[Record]:
    from edge_daemon.store import queries
    from edge_daemon.store import reports as stored

    filters = {k: v for k, v in chosen.items() if k not in ("unmatched", "kind")}
    return queries.results(db, ids=stored.unmatched_runs(db), limit=limit, **filters)


def _listing_columns(found: Sequence[Record]) -> tuple[Column, ...]:
    mark = "Mark" if any(r["simulated"] for r in found) else ""
    any_patient = "Patient" if any(wording.patient(r) for r in found) else ""
    return (
        Column("report", "Report", lambda r: r["id"], right=True),
        Column("received", "", lambda r: r["received_wall"]),
        Column("received_local", "Received", lambda r: wording.short_time(r["received_wall"])),
        Column("measured", "Measured", lambda r: r["acquired_at"], wide=True),
        Column("instrument", "Instrument", lambda r: r["instrument"], wide=True),
        Column("sample", "Sample", lambda r: r["sample_id"]),
        Column("patient", any_patient, wording.patient, folds=True),
        Column("species", "Species", _species),
        Column("simulated", mark, output.simulated_mark),
        *comparison.value_columns(),
        Column("messages", "", lambda r: "; ".join(r["messages"])),
        Column("run", "Run", _run, folds=True),
    )


def _species(record: Record) -> str:
    return "control" if record["kind"] == "control" else record["species"] or "unknown"


def _run(record: Record) -> str:
    if record["run_id"] is None:
        return "none"
    reason = record["reason"]
    return f"{record['run_id']}, not compared: {_REASONS[reason]}" if reason else record["run_id"]


def write(record: Record, how: Form) -> None:
    """Write one report in full."""
    kind = "control material" if record["kind"] == "control" else "sample"
    amends = ", corrects or completes an earlier one" if record["amends"] else ""
    output.headline(f"The analyzer's own report {record['id']} ({kind}{amends})", "")
    if not record["intact"]:
        output.headline("This report was changed after it was stored: do not use it.", "Failed")
    if record["simulated"]:
        click.echo(click.style(f"{output.SIMULATED}: not a patient's result", fg="magenta"))
    output.pairs(report.identity(record))
    output.pairs([("Our run", _our_run(record))])
    click.echo()
    output.listing(comparison.VALUES, record["values"], how, empty="No values.")
    for text in record["messages"]:
        click.echo(f"It says: {output.printable(text)}")
    for drawn in record["histograms"]:
        bins = f"{len(drawn['counts'])} bins, {drawn['low']:g} to {drawn['high']:g} {drawn['unit']}"
        click.echo(f"Histogram {output.printable(drawn['name'])}: {output.printable(bins)}")
    click.echo("\nWhere it comes from")
    output.pairs(_provenance(record))


def _our_run(record: Record) -> str:
    if record["run_id"] is None:
        return "none of this sample within 12 hours"
    if record["reason"]:
        return f"{record['run_id']}, not compared: {_REASONS[record['reason']]}"
    others = ", ".join(f"report:{key}" for key in record["other_reports"])
    return f"{record['run_id']}{f' (also {others})' if others else ''}"


def _provenance(record: Record) -> list[tuple[str, str]]:
    rows = [
        ("Message", record["message_id"] or ""),
        ("Profile", f"{record['profile']}  sha256 {record['profile_sha256']}"),
        ("File", f"{record['name']}  sha256 {record['sha256']}"),
    ]
    rows += [
        ("Sent again", f"{s['name']} through {s['source']}, {wording.local_time(s['seen_wall'])}")
        for s in record["sightings"]
    ]
    return rows + [("Note", note) for note in record["notes"]]


def not_found(key: str) -> errors.Fatal:
    """Make the error for a key that names neither a run nor a report."""
    return errors.Fatal(
        f"no result has the run number or sample id {key!r}, and no report of an analyzer",
        action="Look at `edge-daemon results`, `reports` and `quarantine`.",
        exit_code=errors.EXIT_NOT_FOUND,
    )
