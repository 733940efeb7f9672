"""Measure this box and say in words whether it keeps up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_daemon import errors
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from edge_daemon.bench import Report, StageTime, Through

_BUSY = 0.5
"""Share of its time from which a box has too little room for a queue after a break."""


@click.command()
@click.option(
    "--events",
    type=click.IntRange(min=2_000, max=1_000_000),
    default=100_000,
    show_default=True,
    metavar="N",
    help="Cells in each capture.",
)
@click.option(
    "--captures",
    type=click.IntRange(min=1, max=1000),
    default=24,
    show_default=True,
    metavar="N",
    help="Captures taken from disk to committed results at once.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1, max=100),
    default=3,
    show_default=True,
    metavar="N",
    help="Of each stage, of which the best counts.",
)
@click.option(
    "--workers", type=click.IntRange(min=1, max=16), metavar="N", help="Worker processes."
)
@click.option(
    "--per-hour",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="N",
    help="Samples an hour that the analyzers of the clinic run at most.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    metavar="DIR",
    help="Commit results on the disk of DIR, such as the data folder; default: that of the"
    " temporary files.",
)
@options.json_option
def bench(
    events: int,
    captures: int,
    rounds: int,
    workers: int | None,
    per_hour: float,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Measure how fast this box analyses samples, and whether it keeps up.

    Simulated captures go through every stage on their own, then from disk to committed results
    in a temporary folder, which is deleted afterwards. Your results are not touched. Exit code 3
    when the box would be busy for more than half of the time.
    """
    from edge_daemon.bench import measure
    from edge_daemon.config import usable_cores

    how = output.form(as_json=as_json)
    if how != "json":
        output.say(f"Simulating and analysing captures of {events:,} cells …")
    report = measure(
        events=events,
        captures=captures,
        rounds=rounds,
        workers=workers or usable_cores(),
        folder=folder,
    )
    assert report.through is not None
    each = report.through.wall_s / report.through.captures
    busy = per_hour * each / 3600
    if how == "json":
        output.emit_json(report.as_dict() | {"per_hour": per_hour, "busy": busy})
    else:
        _write(report, report.through)
        click.echo(_words(each, busy, per_hour))
    return errors.EXIT_WARNINGS if busy > _BUSY else errors.EXIT_OK


def _write(report: Report, through: Through) -> None:
    click.echo(
        f"One core, for each run of {report.events:,} cells in {report.channels} channels"
        f" ({report.model}):"
    )
    for row in report.stages:
        click.echo(_stage(row))
    click.echo(f"  everything over inference alone: {report.over_inference():.2f} ×\n")
    median, longest = through.latency_s
    click.echo(f"{through.captures} captures from disk to committed results, on {report.folder}:")
    rows = (
        ("wall time", f"{through.wall_s:.2f} s with {through.workers} workers"),
        (
            "CPU time",
            f"{through.cpu_s:.2f} s, {1000 * through.cpu_s / through.captures:.0f} ms each",
        ),
        ("one alone", f"{1000 * median:.0f} ms, at most {1000 * longest:.0f} ms"),
        ("written", f"{through.written_bytes / 1000:.0f} kB each, beyond the raw bytes"),
        ("memory", f"{through.worker_rss / 1e6:.0f} MB in a worker"),
    )
    for label, text in rows:
        click.echo(f"  {label:<12}{text}")
    click.echo()


def _stage(row: StageTime) -> str:
    return (
        f"  {row.stage:<16}{1000 * row.cpu_s:8.1f} ms{row.events_per_s / 1e6:8.2f} million cells/s"
    )


def _words(each: float, busy: float, per_hour: float) -> str:
    most = 3600 / each
    pace = f"{per_hour:,.0f} samples an hour"
    if busy > 1:
        return (
            f"This box does NOT keep up with {pace}: it analyses {most:,.0f}.\n"
            + output.next_action("use a faster computer, or export fewer cells of each sample")
        )
    share = f"{100 * busy:.0f} %" if busy >= 0.01 else f"{100 * busy:.2f} %"
    room = f"{pace} keep it busy for {share} of the time; it could analyse {most:,.0f} an hour"
    if busy > _BUSY:
        return f"This box hardly keeps up: {room}.\n" + output.next_action(
            "after a break it will be late; use a faster computer"
        )
    return f"This box keeps up: {room}."
