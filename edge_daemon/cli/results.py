"""Commands for the technician: results, show, export, quarantine.

Queries only: they see `store.queries` and never a stage, so they start at once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_daemon import errors
from edge_daemon.cli import options, output, report
from edge_daemon.cli.interpretation import Interpreter
from edge_daemon.records import SPECIES
from edge_daemon.wording import HEADLINES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping

    from click.shell_completion import CompletionItem

    from edge_daemon.cli.output import Record

_STATUS = {"ok": "ok", "review": "review", "failed": "invalid"}


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose runs."""
    for option in reversed(
        (
            click.option("--since", type=options.Moment(), help="Analysed at or after this time."),
            click.option("--until", type=options.Moment(), help="Analysed before this time."),
            click.option("--sample", metavar="ID", help="Only this sample id."),
            click.option("--patient", metavar="ID", help="Only this patient id or name."),
            click.option(
                "--species", type=click.Choice(SPECIES), metavar="NAME", help="Only this species."
            ),
            click.option("--flag", metavar="CODE", help="Only results that carry this flag."),
            click.option(
                "--status",
                type=click.Choice(list(_STATUS)),
                help="Only results with this headline.",
            ),
            click.option(
                "--all-runs", is_flag=True, help="Also results that a replay has replaced."
            ),
        )
    ):
        command = option(command)
    return command


def _chosen(options_given: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {k: v for k, v in options_given.items() if v is not None}
    if "status" in chosen:
        chosen["status"] = _STATUS[chosen["status"]]
    return chosen


@contextlib.contextmanager
def _database(data_dir: Path) -> Iterator[sqlite3.Connection]:
    from edge_daemon.store import queries

    with contextlib.closing(queries.connect(data_dir)) as db:
        yield db


@click.command()
@_filters
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
    from edge_daemon.store import queries

    how = output.form(as_json=as_json, as_csv=as_csv)
    with _database(data_dir) as db:
        found = list(itertools.islice(_interpreted(queries, db, _chosen(chosen), limit), limit))
    if how == "json":
        output.emit_json(found)
        return
    empty = "No results yet." if not any(_chosen(chosen).values()) else "No result matches."
    columns = report.listing_columns(found, marked=how != "csv")
    output.listing(columns, found, how, empty=empty)
    if len(found) == limit and how != "csv":
        output.say(f"\nThe newest {limit}; --limit shows more.")


def _interpreted(
    queries: Any, db: sqlite3.Connection, chosen: dict[str, Any], limit: int | None = None
) -> Iterator[Record]:
    """Yield runs, newest first, beside their intervals.

    A remark can ask for a look at a run without such a flag, so the store alone cannot tell which
    runs have the headline that is asked for.
    """
    wanted = chosen.pop("status", None)
    if wanted in ("ok", "invalid"):
        chosen["status"] = wanted
    # The first page has the size of the list that is wanted.
    stored = queries.export(db, limit=None if wanted else limit, **chosen)
    for record in Interpreter().add(stored):
        if wanted is None or record["headline"] == HEADLINES[wanted]:
            yield record


def _sample_ids(
    ctx: click.Context, _parameter: click.Parameter, start: str
) -> list[CompletionItem]:
    """Complete sample ids of recent results; a box without a database offers none."""
    from click.shell_completion import CompletionItem

    from edge_daemon.store import queries

    data_dir = ctx.params.get("data_dir") or options.configured_data_dir()
    try:
        with _database(data_dir) as db:
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
    from edge_daemon.store import queries
    from edge_daemon.store import reports as stored

    how = output.form(as_json=as_json)
    told = drawn = None
    with _database(data_dir) as db:
        found = None if key.startswith("report:") else queries.run(db, key)
        if found is None and not key.startswith("run:"):
            told = stored.find(db, key)
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
@_filters
@options.csv_option
@click.option("--jsonl", "as_jsonl", is_flag=True, help="Write JSON Lines, values unrounded.")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of stdout; its ending chooses the form.",
)
@options.data_dir_option
def export(
    data_dir: Path, as_csv: bool, as_jsonl: bool, target: Path | None, **chosen: Any
) -> None:
    """Write results as CSV or JSON Lines, newest first.

    CSV has one line a result and is safe to open in a spreadsheet: text that would be taken for
    a formula starts with an apostrophe.
    """
    from edge_daemon.store import queries

    if as_csv and as_jsonl:
        raise click.UsageError("--csv and --jsonl exclude each other.")
    if not as_csv and not as_jsonl:
        as_jsonl = target is not None and target.suffix in (".jsonl", ".ndjson", ".json")
    with _database(data_dir) as db:
        records = _interpreted(queries, db, _chosen(chosen))
        if target is None:
            _write(records, sys.stdout, as_jsonl=as_jsonl)
            return
        count = _write_file(records, target, as_jsonl=as_jsonl)
    output.say(f"Wrote {count} results to {target}.")


def _write(records: Iterator[Record], stream: Any, *, as_jsonl: bool) -> int:
    if not as_jsonl:
        return output.write_csv(report.export_columns(), records, stream)
    count = 0
    for record in records:
        stream.write(output.dumps(record) + "\n")
        count += 1
    return count


def _write_file(records: Iterator[Record], target: Path, *, as_jsonl: bool) -> int:
    """Write beside the target and rename: half an export must not look like a whole one."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="utf-8", newline="") as stream:
            count = _write(records, stream, as_jsonl=as_jsonl)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return count


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
    with _database(data_dir) as db:
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
