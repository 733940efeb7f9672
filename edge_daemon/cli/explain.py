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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.classify.explanation import Attribution, CellExplanation, Explanation
    from edge_daemon.cli.output import Form, Record
    from edge_daemon.decode.profile import Profile
    from edge_daemon.records import CellBatch, CellCalls
    from edge_daemon.tasks import Plan

_COMPARED: Final = {"red_cells": "red cells", "others": "all but red cells", "run": "all events"}
_ABOUT: Final = ("sample_id", "species", "simulated", "name", "sha256", "profile", "model")
_STRONGEST: Final = 3
_RESTORE: Final = (
    "Put back what made the run, or analyse its file again with `edge-daemon process FILE "
    "--replay` and explain the new run."
)


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
    batch, calls, bundle, same = _make_again(run, data_dir, _plan(config_file))
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


def _plan(config_file: Path) -> Plan:
    """Folders the service finds profiles and models in; a box without a service has no file."""
    if config_file == options.DEFAULT_CONFIG and not config_file.is_file():
        from edge_daemon.pipeline import default_plan

        return default_plan()
    from edge_daemon.config import load_config
    from edge_daemon.service import plan_for

    return plan_for(load_config(config_file))


def _make_again(
    run: Mapping[str, Any], data_dir: Path, plan: Plan
) -> tuple[CellBatch, CellCalls, Bundle, bool]:
    """Decode and classify as the run did; the last item says whether the counts are the same."""
    from edge_daemon.classify.quantify import quantify
    from edge_daemon.classify.runtime import Classifier
    from edge_daemon.decode import decode
    from edge_daemon.decode.limits import Limits
    from edge_daemon.store.archive import archived_path, read_archived
    from edge_daemon.store.layout import ARCHIVE_NAME

    profile, bundle = _profile(run, plan), _bundle(run, plan)
    data = read_archived(archived_path(data_dir / ARCHIVE_NAME, run["sha256"]), run["sha256"])
    limits = Limits(max_bytes=plan.max_bytes)
    name, dataset = run["capture"]["name"], _dataset(run["notes"])
    batch = decode(data, profile, name=name, dataset=dataset, limits=limits)
    calls = Classifier(bundle).classify(batch)
    return batch, calls, bundle, dict(quantify(batch, calls, bundle).counts) == run["counts"]


def _profile(run: Mapping[str, Any], plan: Plan) -> Profile:
    from edge_daemon.decode.registry import Registry

    registry = Registry.load(plan.profile_dirs)
    profile = registry.profiles.get(run["profile"])
    if profile is None:
        raise _gone(run, "profile", registry.problems)
    _must_be_the_same(run, "profile", profile.sha256)
    return profile


def _bundle(run: Mapping[str, Any], plan: Plan) -> Bundle:
    from edge_daemon.classify.bundle import BundleShelf

    shelf = BundleShelf.load(plan.model_dirs)
    bundle = shelf.bundles.get(run["model"])
    if bundle is None:
        raise _gone(run, "model", shelf.problems)
    _must_be_the_same(run, "model", bundle.manifest_sha256)
    return bundle


def _gone(
    run: Mapping[str, Any], what: str, problems: Sequence[errors.EdgeError]
) -> errors.EdgeError:
    """Say that it is absent, with the problems of those that are there and cannot be used."""
    unusable = "".join(f"; {problem.message}" for problem in problems)
    return errors.EdgeError(
        f"{what} {run[what]}, which made run {run['id']}, is not on this box or not usable"
        f"{unusable}",
        action=_RESTORE,
    )


def _must_be_the_same(run: Mapping[str, Any], what: str, found: str) -> None:
    expected = run[f"{what}_sha256"]
    if found != expected:
        raise errors.EdgeError(
            f"{what} {run[what]} is not the one that made run {run['id']}: expected SHA-256 "
            f"{expected}, found {found}",
            action=_RESTORE,
        )


def _dataset(notes: list[str]) -> int:
    """Which data set of the file the run was made from."""
    from edge_daemon.tasks import DATASET_NOTE

    for note in notes:
        number = note.removeprefix(DATASET_NOTE).partition(" ")[0]
        if note.startswith(DATASET_NOTE) and number.isascii() and number.isdigit():
            return int(number)
    return 1


def _write_heading(run: Mapping[str, Any], events: int) -> None:
    sample = run["sample_id"] or "without sample id"
    species = run["species"] or "species unknown"
    output.headline(f"Run {run['id']}, sample {sample}, {species}, {events:,} events", "")
    if run["simulated"]:
        output.headline(f"{output.SIMULATED}: not a patient's result", output.SIMULATED)
    click.echo(output.printable(f"Called by {run['model']} through profile {run['profile']}"))


def _write_run(found: Explanation, how: Form) -> None:
    from edge_daemon.classify.explanation import CALL_NAMES, limits

    for part in found.classes:
        name = CALL_NAMES[part.name].capitalize()
        click.echo(f"\n{name}: {part.events:,} events; event {part.typical.event} is typical")
        click.echo(part.typical.sentence)
        if text := limits(part):
            click.echo(text)
    for call, count in found.too_few.items():
        click.echo(f"\n{CALL_NAMES[call].capitalize()}: {count} events, too few to explain.")
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
