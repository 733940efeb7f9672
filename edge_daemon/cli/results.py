"""Commands for the technician: results, show, quarantine.

Queries only: they see `store.queries` and never a stage, so they start at once.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from edge_daemon import errors
from edge_daemon.cli import choosing, options, output, report
from edge_daemon.cli.interpretation import Interpreter, interpreted

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from click.shell_completion import CompletionItem


@click.command()
@choosing.filters
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
def results(data_dir: Path, limit: int, as_json: bool, as_csv: bool, **chosen: Any) -> None:
    """List results, newest first.

    Times are local: 2026-11-22, 2026-11-22T14:30, today, yesterday, or an age such as 12h or 7d.
    """
    how = output.form(as_json=as_json, as_csv=as_csv)
    with choosing.database(data_dir) as db:
        found = list(itertools.islice(interpreted(db, choosing.chosen(chosen), limit), limit))
    if how == "json":
        output.emit_json(found)
        return
    empty = "No results yet." if not any(choosing.chosen(chosen).values()) else "No result matches."
    columns = report.listing_columns(found, marked=how != "csv")
    output.listing(columns, found, how, empty=empty)
    if len(found) == limit and how != "csv":
        output.say(f"\nThe newest {limit}; --limit shows more.")


def _sample_ids(
    ctx: click.Context, _parameter: click.Parameter, start: str
) -> list[CompletionItem]:
    """Complete sample ids of recent results; a box without a database offers none."""
    from click.shell_completion import CompletionItem

    from edge_daemon.store import queries

    data_dir = ctx.params.get("data_dir") or options.configured_data_dir()
    try:
        with choosing.database(data_dir) as db:
            found = queries.results(db, limit=500)
    except errors.EdgeError:
        return []
    names = dict.fromkeys(r["sample_id"] for r in found if r["sample_id"])
    return [CompletionItem(n) for n in names if n.startswith(start) and n.isprintable()]


@click.command()
@click.argument("key", shell_complete=_sample_ids)
@click.option("--no-plot", "plain", is_flag=True, help="Without scattergrams and histograms.")
@options.data_dir_option
@options.json_option
def show(key: str, plain: bool, data_dir: Path, as_json: bool) -> None:
    """Show one result in full, beside what the analyzer itself reported.

    KEY is the number of a run or a sample id (then its newest run); where one number is both,
    write run:12 or sample:12. A sample without a run shows the analyzer's newest report of it,
    report:7 that report. Exit code 4 when there is none.
    """
    from edge_daemon.cli import reports
    from edge_daemon.store import controls, queries
    from edge_daemon.store import reports as stored

    how = output.form(as_json=as_json)
    told = drawn = None
    with choosing.database(data_dir) as db:
        found = None if key.startswith("report:") else queries.run(db, key)
        if found is None and not key.startswith("run:"):
            told = stored.find(db, key)
        if found is not None:
            controls.add_kinds(db, [found])
        if found is not None and not plain and how != "json":
            drawn = _pictures(db, found["id"])
    if found is None and told is None:
        raise reports.not_found(key)
    interpreter = Interpreter()
    if how == "json":
        output.emit_json(interpreter.in_full(found) if found else told)
    elif found:
        report.write(interpreter.in_full(found), how, drawn)
    elif told:
        reports.write(told, how)


def _pictures(db: sqlite3.Connection, run_id: int) -> dict[str, Any] | None:
    """Pictures of a run; damaged ones must not hide its values."""
    from edge_daemon.store import pictures

    try:
        return pictures.of_run(db, run_id)
    except errors.EdgeError as error:
        output.say(f"{error.message}\n{output.next_action(error.action)}")
        return None


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=10_000),
    default=50,
    show_default=True,
    metavar="N",
    help="At most so many.",
)
@options.data_dir_option
@options.json_option
@options.csv_option
def quarantine(data_dir: Path, limit: int, as_json: bool, as_csv: bool) -> None:
    """List what could not be used, why, and what to do; newest first.

    Nothing is lost: a capture in quarantine keeps its bytes and can be analysed again.
    """
    from edge_daemon.store import queries

    how = output.form(as_json=as_json, as_csv=as_csv)
    with choosing.database(data_dir) as db:
        found = report.set_aside(
            queries.quarantined(db, limit=limit), queries.refused(db, limit=limit)
        )
    if how == "json":
        output.emit_json(found)
    elif how == "csv":
        output.listing(report.QUARANTINE_COLUMNS, found, how, empty="")
    elif not found:
        output.say("Nothing is in quarantine.")
    else:
        report.write_quarantine(found)
