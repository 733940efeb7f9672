"""Commands for the desk: correct whose a result is, and note what was seen on a smear."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output
from edge_daemon.records import SPECIES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_daemon.cli.output import Record

_FIELDS: Final = {
    "sample_id": "sample id",
    "patient_id": "patient id",
    "patient_name": "patient's name",
    "species": "species",
    "breed": "breed",
}


@click.command()
@click.argument("key", metavar="RUN")
@click.option("--sample", "sample_id", metavar="ID", help="The right sample id.")
@click.option("--patient-id", metavar="ID", help="The right patient id.")
@click.option("--patient-name", metavar="NAME", help="The patient's right name.")
@click.option("--species", type=click.Choice(SPECIES), metavar="NAME", help="The right species.")
@click.option("--breed", metavar="NAME", help="The right breed.")
@click.option("--by", required=True, metavar="NAME", help="Who corrects.")
@click.option("--reason", required=True, metavar="TEXT", help="Why.")
@options.data_dir_option
@options.json_option
def correct(
    key: str, by: str, reason: str, data_dir: Path, as_json: bool, **wanted: str | None
) -> None:
    """Correct sample, patient, species or breed of a result after it was measured.

    RUN is as KEY of `show`. The original is kept and shown; lists and searches use what is right
    now. Another species means another analysis, since calls depend on it: a new result follows.
    An empty text takes a wrong entry away.
    """
    changes = {field: value or None for field, value in wanted.items() if value is not None}
    if not changes:
        raise click.UsageError("Say what is right: --species, --patient-id, --sample, …")
    run = find_run(data_dir, key)
    errand = {
        "errand": "correct",
        "run_id": run["id"],
        "changes": changes,
        "by": by,
        "reason": reason,
    }
    done, result_id = _corrected(data_dir, errand)
    if as_json:
        output.emit_json({**done, "result_id": result_id})
        return
    for field, value in changes.items():
        before, after = run[field] or "not given", value or "not given"
        click.echo(output.printable(f"{_FIELDS[field]}: {before} → {after}"))
    shown = result_id or done["run_id"]
    if done["analysed_again"] and result_id is None:
        output.say("The sample is analysed again for the right species; the new result follows.")
    output.say(f"Look at it with `edge-daemon show run:{shown}`.")


def find_run(data_dir: Path, key: str) -> Record:
    """Return a run by its KEY; exit code 4 when there is none."""
    from edge_daemon.store import queries

    with contextlib.closing(queries.connect(data_dir)) as db:
        run = queries.run(db, key)
    if run is None:
        raise errors.Fatal(
            f"no result has the run number or sample id {key!r}",
            action="Look at `edge-daemon results`.",
            exit_code=errors.EXIT_NOT_FOUND,
        )
    return run


def _corrected(data_dir: Path, errand: Mapping[str, Any]) -> tuple[Record, int | None]:
    """Ask the service, or do it here; the second item is the run of the new analysis, if made."""
    from edge_daemon.errands import ask_service, run_errand

    if (done := ask_service(data_dir, errand)) is not None:
        return done, None
    from edge_daemon.cli.operate import site_plan
    from edge_daemon.clock import SystemClock
    from edge_daemon.pipeline import analyse_again
    from edge_daemon.store.writer import Store

    with Store.open(data_dir, SystemClock()) as store:
        done = run_errand(store, errand)
        if done["analysed_again"]:
            analyse_again(store, done["capture_id"], site_plan(data_dir))
    return done, _newest(data_dir, done["run_id"]) if done["analysed_again"] else None


def _newest(data_dir: Path, run_id: int) -> int | None:
    """Newest run of a run's capture; None where the new analysis gave none."""
    from edge_daemon.store import queries

    with contextlib.closing(queries.connect(data_dir)) as db:
        run = queries.run(db, f"run:{run_id}")
    later = [] if run is None else [r["id"] for r in run["other_runs"] if r["id"] > run_id]
    return max(later, default=None)


@click.command()
@click.argument("key", metavar="RUN")
@click.argument("text")
@click.option("--by", required=True, metavar="NAME", help="Who writes.")
@click.option("--confirms", metavar="WHAT", help="A smear confirms this.")
@click.option("--refutes", metavar="WHAT", help="A smear refutes this.")
@options.data_dir_option
@options.json_option
def note(
    key: str,
    text: str,
    by: str,
    confirms: str | None,
    refutes: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Note TEXT about a result, such as what a blood smear showed.

    RUN is as KEY of `show`. WHAT is a cell class (`clumped_rbc`), a value (`PLT`) or a flag of the
    result (`platelets_count_limited`).
    """
    if confirms and refutes:
        raise click.UsageError("--confirms and --refutes exclude each other: write two notes.")
    run = find_run(data_dir, key)
    seen = confirms or refutes
    errand = {
        "errand": "note",
        "run_id": run["id"],
        "text": text,
        "by": by,
        "kind": "smear" if seen else "note",
        "concerns": seen,
        "verdict": ("confirms" if confirms else "refutes") if seen else None,
    }
    done = do_errand(data_dir, errand)
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"Noted. `edge-daemon show run:{run['id']}` shows it.")


def do_errand(data_dir: Path, errand: Mapping[str, Any]) -> Record:
    """Ask the running service to write, or write where none runs."""
    from edge_daemon.errands import ask_service, run_errand

    if (done := ask_service(data_dir, errand)) is not None:
        return done
    from edge_daemon.clock import SystemClock
    from edge_daemon.store.writer import Store

    with Store.open(data_dir, SystemClock()) as store:
        return run_errand(store, errand)
