"""Model bundles: list, verify, train, evaluate.

Heavy modules (numpy, onnxruntime, JAX) are imported inside the commands.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_daemon import errors, resources
from edge_daemon.cli import options, output
from edge_daemon.cli.options import data_dir_option, json_option
from edge_daemon.cli.update import activate_model, rollback_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.decode.registry import Registry
    from edge_daemon.training.evaluate import Evaluation
    from edge_daemon.training.scores import Method
    from edge_daemon.training.trainer import Report

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EPOCHS_PER_LINE = 5

_profiles = click.option(
    "--profiles",
    "profile_dirs",
    multiple=True,
    type=_FOLDER,
    metavar="DIR",
    help="Also the profiles of this folder; may be repeated.",
)


@click.group()
def model() -> None:
    """List, verify, activate and roll back model bundles."""


model.add_command(activate_model)
model.add_command(rollback_model)


@model.command("list")
@data_dir_option
@json_option
def list_bundles(data_dir: Path, as_json: bool) -> int:
    """List the shipped, configured and stored bundles; broken ones with their reason.

    Stored are those in the data folder's ``models``.

    Exit code 3 when a bundle is broken.
    """
    from edge_daemon.classify.bundle import BundleShelf
    from edge_daemon.updates.folder import active_folders

    settings = options.box_settings()
    configured = settings.models.extra_dirs if settings else ()
    updates = active_folders(data_dir, "model")
    shelf = BundleShelf.load([resources.models_dir(), *configured, *updates, data_dir / "models"])
    records = [
        _describe(bundle) | {"origin": _origin(bundle.path, data_dir)}
        for bundle in shelf.bundles.values()
    ]
    records += [
        {"bundle": problem.file, "status": "broken", "reason": problem.message}
        for problem in shelf.problems
    ]
    how = output.form(as_json=as_json)
    if how == "json":
        output.emit_json(records)
    else:
        output.listing(_COLUMNS, records, how, empty="No model bundle is installed.")
        for problem in shelf.problems:
            output.say(f"{problem.message}\n→ {problem.action}")
    return errors.EXIT_WARNINGS if shelf.problems else errors.EXIT_OK


def _origin(path: Path, data_dir: Path) -> str:
    """Where a bundle comes from: ``shipped``, ``site`` or ``update``."""
    if path.is_relative_to(resources.models_dir()):
        return "shipped"
    return "update" if path.is_relative_to(data_dir / "updates") else "site"


def _describe(bundle: Bundle) -> output.Record:
    manifest = bundle.manifest
    return {
        "bundle": bundle.id,
        "status": "ok",
        "simulated": manifest.provenance.simulated,
        "profiles": list(manifest.valid.profiles),
        "species": list(manifest.valid.species),
        "title": manifest.bundle.title,
        "manifest_sha256": bundle.manifest_sha256,
        "path": str(bundle.path),
    }


_COLUMNS = (
    output.Column("bundle", "Bundle", lambda r: r["bundle"]),
    output.Column("status", "Status", lambda r: r["status"]),
    output.Column("origin", "From", lambda r: r.get("origin")),
    output.Column("trained_on", "Trained on", output.simulated_mark),
    output.Column("profiles", "Profiles", lambda r: " ".join(r.get("profiles", ()))),
    output.Column("species", "Species", lambda r: " ".join(r.get("species", ()))),
)


@model.command()
@click.argument("bundles", nargs=-1, type=_FOLDER)
@json_option
def verify(bundles: tuple[Path, ...], as_json: bool) -> int:
    """Check BUNDLES (default: the shipped ones): schema, digests, graphs, golden vectors.

    Exit code 1 when any fails.
    """
    from edge_daemon.classify.bundle import MANIFEST, BundleError, load_bundle

    shipped = sorted(p.parent for p in resources.models_dir().glob(f"*/{MANIFEST}"))
    records: list[output.Record] = []
    for folder in bundles or shipped:
        try:
            record = _describe(load_bundle(folder))
        except BundleError as error:
            record = {
                "bundle": folder.name,
                "status": "broken",
                "path": str(folder),
                "file": error.file,
                "expected": error.expected,
                "found": error.found,
                "action": error.action,
            }
        records.append(record)
    how = output.form(as_json=as_json)
    if how == "json":
        output.emit_json(records)
    else:
        for record in records:
            _say_verdict(record)
    return errors.EXIT_FAILED if any(r["status"] != "ok" for r in records) else errors.EXIT_OK


def _say_verdict(record: output.Record) -> None:
    if record["status"] == "ok":
        output.headline(f"OK      {record['bundle']}: golden vectors reproduced exactly", "OK")
        return
    output.headline(f"Failed  {record['bundle']}", "Failed")
    click.echo(f"  file:     {output.printable(record['file'])}")
    click.echo(f"  expected: {output.printable(record['expected'])}")
    click.echo(f"  found:    {output.printable(record['found'])}")
    click.echo(f"  → {output.printable(record['action'])}")


@click.command()
@click.option("--captures", required=True, type=_FOLDER, metavar="DIR", help="Captures.")
@click.option(
    "--references",
    required=True,
    type=_FILE,
    metavar="CSV",
    help="What an analyzer reported for each capture.",
)
@click.option("--profile", "profile_id", metavar="ID", help="Only captures of this profile.")
@_profiles
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Folder to create; <name>-<version> names the bundle.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, metavar="S")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most this many passes over the runs, for each stage.",
)
def train(
    captures: Path,
    references: Path,
    profile_id: str | None,
    profile_dirs: tuple[Path, ...],
    out: Path,
    seed: int,
    epochs: int | None,
) -> None:
    """Train a bundle from sample-level values alone: no cell is labelled.

    The reference table has the columns capture, species, rbc_10e6_per_ul, plt_10e3_per_ul,
    retic_pct, dilution, volume_ul; an empty field is a value not known.
    """
    _need_training_extra()
    from edge_daemon.training.build import train_bundle
    from edge_daemon.training.trainer import Schedule

    how = output.form(as_json=False)
    schedule = Schedule() if epochs is None else Schedule(epochs=epochs)
    with output.progress("Decoding", how) as advance, _training_report(how) as report:
        bundle = train_bundle(
            captures,
            references,
            out,
            _registry(profile_dirs),
            seed=seed,
            profile_id=profile_id,
            schedule=schedule,
            report=report,
            progress=advance,
            say=output.say,
        )
    output.say(f"Wrote {bundle.id} to {bundle.path}; its card says how well it agrees.")
    output.say(f"Look at {out}-report/report.html.")
    output.say(f"Next: edge-daemon evaluate --bundle {out} --captures DIR --truth CSV")


def _need_training_extra() -> None:
    import importlib.util

    missing = [m for m in ("jax", "onnx", "sklearn") if importlib.util.find_spec(m) is None]
    if missing:
        raise errors.Fatal(
            f"training needs {', '.join(missing)}, which a box does not carry",
            action="On a workstation: pip install 'edge-daemon[train]'.",
        )


def _registry(directories: tuple[Path, ...]) -> Registry:
    from edge_daemon.decode import Registry
    from edge_daemon.updates.folder import active_folders

    settings = options.box_settings()
    configured = settings.profiles.extra_dirs if settings else ()
    updates = active_folders(options.present_data_dir(), "profile")
    registry = Registry.load([resources.profiles_dir(), *configured, *updates, *directories])
    for problem in registry.problems:
        output.say(f"left out: {problem.message}\n→ {problem.action}")
    return registry


@contextlib.contextmanager
def _training_report(how: output.Form) -> Iterator[Report]:
    """Show a bar for each phase in a terminal, else a line every few epochs; both on stderr."""
    if how != "terminal":
        yield _say_epoch
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        tasks: dict[str, Any] = {}

        def report(stage: str, epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=epochs)
            bar.update(tasks[stage], completed=epoch, description=_losses(stage, losses))

        yield report


def _say_epoch(stage: str, epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
    if epoch == 1 or epoch % EPOCHS_PER_LINE == 0 or epoch == epochs:
        output.say(f"{_losses(stage, losses)} epoch {epoch}/{epochs}")


def _losses(stage: str, losses: Mapping[str, float]) -> str:
    return f"{stage}: " + " ".join(f"{name} {value:.3f}" for name, value in losses.items())


@click.command()
@click.option("--bundle", "bundle_dir", required=True, type=_FOLDER, metavar="BUNDLE")
@click.option("--captures", required=True, type=_FOLDER, metavar="DIR", help="Captures.")
@click.option("--truth", required=True, type=_FILE, metavar="CSV", help="Their truth.csv.")
@click.option("--baselines", is_flag=True, help="Also fixed thresholds and a mixture per run.")
@click.option(
    "--train-captures",
    type=_FOLDER,
    metavar="DIR",
    help="Other captures, to train plain IDEC and a supervised oracle on.",
)
@click.option("--train-truth", type=_FILE, metavar="CSV", help="Their truth.csv.")
@click.option(
    "--float",
    "float_dir",
    type=_FOLDER,
    metavar="DIR",
    help="Folder of the float stage1.onnx and stage2.onnx, to compare int8 with.",
)
@click.option(
    "--busy",
    type=_FOLDER,
    metavar="DIR",
    help="The same samples at another event rate, with their truth.csv.",
)
@_profiles
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write an HTML report with figures.",
)
@click.option(
    "--into-card",
    metavar="TEXT",
    help="Also write the table into the bundle's card, under this sentence; a release step.",
)
@json_option
def evaluate(
    bundle_dir: Path,
    captures: Path,
    truth: Path,
    baselines: bool,
    train_captures: Path | None,
    train_truth: Path | None,
    float_dir: Path | None,
    busy: Path | None,
    profile_dirs: tuple[Path, ...],
    report_file: Path | None,
    into_card: str | None,
    as_json: bool,
) -> int:
    """Measure a bundle against a cohort with known truth, beside other methods.

    Exit code 3 when some captures could not be classified.
    """
    if (train_captures is None) != (train_truth is None):
        raise click.UsageError("--train-captures and --train-truth belong together.")
    from edge_daemon.classify.bundle import load_bundle
    from edge_daemon.training.evaluate import evaluate as measure
    from edge_daemon.training.evaluate import float_twin

    how = output.form(as_json=as_json)
    bundle = load_bundle(bundle_dir)
    registry = _registry(profile_dirs)
    others = _methods(bundle, registry, how, baselines, train_captures, train_truth)
    with output.progress("Evaluating", how) as advance:
        result = measure(
            bundle,
            captures,
            truth,
            registry,
            others=others,
            exact=float_twin(bundle, float_dir) if float_dir else None,
            busy=busy,
            progress=advance,
        )
    if into_card is not None:
        from edge_daemon.training.card import add_evaluation

        add_evaluation(bundle, result, into_card)
    if report_file is not None:
        from edge_daemon.training.report import evaluation_report, write_report

        write_report(report_file, evaluation_report(result).encode())
    if how == "json":
        output.emit_json(result.as_dict())
    else:
        _print_table(result, how)
    for reason in result.failed:
        output.say(reason)
    return errors.EXIT_WARNINGS if result.failed else errors.EXIT_OK


def _methods(
    bundle: Bundle,
    registry: Registry,
    how: output.Form,
    baselines: bool,
    captures: Path | None,
    truth: Path | None,
) -> list[Method]:
    """Set up what the bundle is shown beside, the best first."""
    found: list[Method] = []
    if captures is not None and truth is not None:
        _need_training_extra()
        from edge_daemon.training.baselines_idec import plain_idec
        from edge_daemon.training.oracle import load_labelled, oracle

        with output.progress("Decoding", how) as advance:
            cells = load_labelled(bundle, captures, truth, registry, advance)
        with output.progress("Training the oracle", how) as advance:
            found.append(oracle(bundle, cells, advance))
        with output.progress("Training plain IDEC", how) as advance:
            found.append(plain_idec(bundle, cells, advance))
    if baselines:
        _need_training_extra()
        from edge_daemon.training.baselines import Mixture, Threshold

        found += [Mixture(), Threshold()]
    return found


def _print_table(result: Evaluation, how: output.Form) -> None:
    from edge_daemon.training.measures import text
    from edge_daemon.training.table import MISSED

    def column(name: str) -> output.Column:
        def cell(record: output.Record) -> str:
            row = record["row"]
            missed = MISSED if name == "bundle" and row.met is False else ""
            return text(row.kind, row.values.get(name)) + missed

        return output.Column(name, name, cell, right=True)

    columns = [
        output.Column("measure", "Measure", lambda r: r["row"].name, folds=True),
        output.Column("runs", "Runs", lambda r: r["row"].runs, right=True),
        output.Column("bar", "Bar", lambda r: r["row"].bar),
        *(column(name) for name in result.scores),
    ]
    records = [{"row": row} for row in result.table()]
    output.listing(columns, records, how, empty="No run was evaluated.")
