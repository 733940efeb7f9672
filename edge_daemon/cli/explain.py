"""The command that says which signals made the calls of a run.

The run is made again in memory from the archived bytes with the very profile and model that made
it; the store is only read, so the service may go on meanwhile.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output
from edge_daemon.cli.remaking import Remaker, plan_of
from edge_daemon.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.classify.explanation import Attribution, CellExplanation, Explanation
    from edge_daemon.cli.output import Form, Record

_COMPARED: Final = {"red_cells": "red cells", "others": "all but red cells", "run": "all events"}
_ABOUT: Final = ("sample_id", "species", "simulated", "name", "sha256", "profile", "model")
_STRONGEST: Final = 3


@click.command()
@click.argument("key", metavar="RUN")
@click.option(
    "--cell", type=click.IntRange(min=0), metavar="N", help="Explain event N alone, from 0."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sampling."
)
@click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar=options.CONFIG_VARIABLE,
    default=options.DEFAULT_CONFIG,
    show_default=True,
    show_envvar=True,
    help="Configuration that names further profile and model folders.",
)
@options.data_dir_option
@options.json_option
def explain(
    key: str, cell: int | None, seed: int, config_file: Path, data_dir: Path, as_json: bool
) -> int:
    """Say which signals made the calls of a run.

    RUN is the number of a run or a sample id (then its newest run). For each class: how much each
    detector spoke for the call, and at which level of a signal the call would have been another.
    Exit code 3 when the run made again does not count exactly as the stored one.
    """
    from edge_daemon.classify import explain as explaining

    run = _find(data_dir, key)
    again = Remaker(plan_of(config_file), data_dir).make(run)
    batch, calls, bundle, same = again.batch, again.calls, again.bundle, again.same
    how = output.form(as_json=as_json)
    about = {"run": run["id"], **{name: run[name] for name in _ABOUT}, "reproduced": same}
    if cell is None:
        found = explaining.explain(batch, calls, bundle, seed=seed)
        if how == "json":
            output.emit_json(about | found.as_dict())
        else:
            _write_heading(run, batch.events)
            _write_run(found, how)
    else:
        single = explaining.explain_cell(batch, calls, bundle, cell, seed=seed)
        if how == "json":
            output.emit_json(about | single.as_dict())
        else:
            _write_heading(run, batch.events)
            _write_cell(single, how)
    if not same:
        output.say("\nMade again on this machine, the run counts otherwise than it was stored.")
    return errors.EXIT_OK if same else errors.EXIT_WARNINGS


def _find(data_dir: Path, key: str) -> Record:
    from edge_daemon.store import queries

    with contextlib.closing(queries.connect(data_dir)) as db:
        run = queries.run(db, key)
    if run is None:
        raise errors.Fatal(
            f"no result has the run number or sample id {key!r}",
            action="Look at `edge-daemon results` and `edge-daemon quarantine`.",
            exit_code=errors.EXIT_NOT_FOUND,
        )
    if not run["intact"]:
        raise errors.EdgeError(
            f"run {run['id']} was changed after it was stored: it says nothing reliable",
            action="Analyse its file again with `edge-daemon process FILE --replay`.",
        )
    return run


def _write_heading(run: Mapping[str, Any], events: int) -> None:
    sample = run["sample_id"] or "without sample id"
    species = run["species"] or "species unknown"
    output.headline(f"Run {run['id']}, sample {sample}, {species}, {counted(events, 'event')}", "")
    if run["simulated"]:
        output.headline(f"{output.SIMULATED}: not a patient's result", output.SIMULATED)
    click.echo(output.printable(f"Called by {run['model']} through profile {run['profile']}"))


def _write_run(found: Explanation, how: Form) -> None:
    from edge_daemon.classify.explanation import CALL_NAMES, limits

    for part in found.classes:
        name = CALL_NAMES[part.name].capitalize()
        events = counted(part.events, "event")
        click.echo(f"\n{name}: {events}; event {part.typical.event} is typical")
        click.echo(part.typical.sentence)
        if text := limits(part):
            click.echo(text)
    for call, count in found.too_few.items():
        name, events = CALL_NAMES[call].capitalize(), counted(count, "event")
        click.echo(f"\n{name}: {events}, too few to explain.")
    click.echo()
    records: list[Record] = [
        {"called": CALL_NAMES[part.name], "attribution": part.attributions[0]}
        for part in found.classes
    ]
    called = output.Column("called", "Called", lambda r: r["called"])
    columns = [called, *_attribution_columns(found.classes[0].attributions[0])]
    output.listing(columns, records, how, empty="")
    drawn = max(part.explained for part in found.classes)
    _write_legend(found.classes[0].attributions[0], f"averages over up to {drawn} cells")


def _write_cell(found: CellExplanation, how: Form) -> None:
    from edge_daemon.classify.explanation import CALL_NAMES

    click.echo(f"\nEvent {found.event}")
    click.echo(f"{found.sentence}\n")
    records: list[Record] = [{"attribution": part} for part in found.attributions]
    output.listing(_attribution_columns(found.attributions[0]), records, how, empty="")
    _write_legend(found.attributions[0], "this cell")
    click.echo("\nProbability of each class")
    for name, probability in found.posterior.items():
        click.echo(f"{CALL_NAMES[name]:<17}{100 * probability:>8.2f} %")
    click.echo("\nSignal over the run's red-cell median")
    for channel, multiple in found.multiples.items():
        click.echo(f"{channel:<6}{multiple:>8.2f} ×")


def _attribution_columns(example: Attribution) -> list[output.Column]:
    def contribution(detector: str) -> output.Column:
        def cell(record: Record) -> str:
            part: Attribution = record["attribution"]
            found = next(c for c in part.detectors if c.name == detector)
            return f"{found.value:+.1f} ± {found.standard_error:.1f}"

        return output.Column(detector, detector, cell, right=True)

    return [
        output.Column("with", "Against", lambda r: _COMPARED[r["attribution"].background]),
        *(contribution(c.name) for c in example.detectors),
        output.Column("channels", "Strongest", lambda r: _strongest(r["attribution"]), folds=True),
    ]


def _strongest(attribution: Attribution) -> str:
    """Channels that move the call most, either way, and visibly more than their error."""
    ranked = sorted(attribution.channels, key=lambda c: -abs(c.value))[:_STRONGEST]
    return ", ".join(
        f"{c.name} {c.value:+.1f}" for c in ranked if abs(c.value) > max(2 * c.standard_error, 0.05)
    )


def _write_legend(example: Attribution, what: str) -> None:
    from edge_daemon.classify.explanation import DETECTOR_NAMES

    click.echo(
        f"\nThe table ({what}): what each detector adds to the log-odds of the call, ± standard "
        "error.\n+2.3 makes the call ten times as likely, -2.3 ten times less."
    )
    for contribution in example.detectors:
        click.echo(f"{contribution.name:<5}{DETECTOR_NAMES[contribution.name]}")
