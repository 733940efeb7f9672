"""The command that writes results for other programs: CSV, JSON Lines, FCS, HL7 v2, FHIR."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from edge_daemon import errors
from edge_daemon.cli import choosing, options, output, report
from edge_daemon.cli.interpretation import Interpreter, interpreted
from edge_daemon.wording import KINDS, counted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from edge_daemon.cli.output import Record

    Serialise = Callable[[Record], bytes]

Form = Literal["csv", "jsonl", "fcs", "hl7", "fhir"]
_SUFFIXES: Final[dict[Form, tuple[str, ...]]] = {
    "fcs": (".fcs",), "hl7": (".hl7",), "fhir": (".json", ".ndjson", ".jsonl"),
}  # fmt: skip
"""Endings of a single file, of the forms that may also have a file for each run."""
_BY_SUFFIX: Final[dict[str, Form]] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".fcs": "fcs", ".hl7": "hl7",
}  # fmt: skip
_PATIENTS_ONLY: Final = ("hl7", "fhir")
_LONGEST_NAME: Final = 60


def _forms(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose the form."""
    for form, text in reversed(
        (
            ("csv", "Write CSV (the default)."),
            ("jsonl", "Write JSON Lines, values unrounded."),
            ("fcs", "Write the cells as FCS 3.1, with class and posterior."),
            ("hl7", "Write HL7 v2.5.1 messages (ORU^R01)."),
            ("fhir", "Write FHIR R4 bundles (DiagnosticReport)."),
        )
    ):
        command = click.option(f"--{form}", f"as_{form}", is_flag=True, help=text)(command)
    return command


@click.command()
@click.argument("keys", metavar="[RUN]...", nargs=-1)
@choosing.filters
@_forms
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Write to this file, or into this folder a file for each run (FCS, HL7, FHIR); the "
    "ending of a file chooses the form.",
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
    help="Configuration that names further profile and model folders, for FCS.",
)
@options.data_dir_option
def export(
    keys: tuple[str, ...], data_dir: Path, target: Path | None, config_file: Path, **given: Any
) -> int:
    """Write results for other programs, newest first: all, those that pass, or those named.

    RUN is the number of a run or a sample id (then its newest run). CSV is safe to open in a
    spreadsheet: text that would be taken for a formula starts with an apostrophe. FCS decodes and
    calls the cells again from the archived bytes. Exit code 3 when a run could not be written or
    counts otherwise than it was stored. HL7 and FHIR have only patients' results: controls,
    blanks and runs of checks are left out, and it is said how many.
    """
    form = _form({name: given.pop(f"as_{name}") for name in ("csv", "jsonl", *_SUFFIXES)}, target)
    chosen = choosing.chosen(given)
    if form in _PATIENTS_ONLY and chosen.get("kind", "patient") != "patient":
        raise click.UsageError(
            f"{form.upper()} messages are patients' reports: --kind {chosen['kind']} is for --csv, "
            "--jsonl and --fcs."
        )
    with choosing.database(data_dir) as db:
        if keys:
            chosen |= {"ids": [_find(db, key) for key in keys], "all_runs": True}
        records = interpreted(db, chosen)
        if form in ("csv", "jsonl"):
            _write_table(records, target, form)
            return errors.EXIT_OK
        written = _Written(named=bool(keys))
        if form in _PATIENTS_ONLY:
            records = written.patients_of(records)
        bodies = _bodies(records, _serialiser(form, db, data_dir, config_file, written), written)
        _write_runs(bodies, target, form, written)
    return written.exit_code(form)


def _form(given: dict[Form, bool], target: Path | None) -> Form:
    asked = [name for name, wanted in given.items() if wanted]
    if len(asked) > 1:
        names = ", ".join(f"--{name}" for name in asked)
        raise click.UsageError(f"{names} exclude each other.")
    if asked:
        return asked[0]
    return _BY_SUFFIX.get(target.suffix.lower(), "csv") if target is not None else "csv"


def _find(db: sqlite3.Connection, key: str) -> int:
    from edge_daemon.store import queries

    found = queries.run(db, key)
    if found is None:
        raise errors.Fatal(
            f"no result has the run number or sample id {key!r}",
            action="Look at `edge-daemon results`; nothing was written.",
            exit_code=errors.EXIT_NOT_FOUND,
        )
    return int(found["id"])


def _write_table(records: Iterator[Record], target: Path | None, form: Form) -> None:
    if target is None:
        _write_records(records, sys.stdout, form)
        return
    _must_be_a_file(target, form)
    with _whole_file(target) as part, part.open("x", encoding="utf-8", newline="") as stream:
        count = _write_records(records, stream, form)
    output.say(f"Wrote {counted(count, 'result')} to {target}.")


def _write_records(records: Iterator[Record], stream: Any, form: Form) -> int:
    if form == "csv":
        return output.write_csv(report.export_columns(), records, stream)
    count = 0
    for record in records:
        stream.write(output.dumps(record) + "\n")
        count += 1
    return count


class _Written:
    """What became of the runs of one export.

    Parameters
    ----------
    named
        Somebody named the runs, and expects each of them.
    """

    def __init__(self, *, named: bool) -> None:
        self.runs = 0
        self.failed = 0
        self.differing: list[int] = []
        self.apart: Counter[str] = Counter()
        self._named = named

    def patients_of(self, records: Iterable[Record]) -> Iterator[Record]:
        """Leave out, and count, what is no patient's result."""
        for record in records:
            if record["kind"] == "patient":
                yield record
            else:
                self.apart[record["kind"]] += 1

    def exit_code(self, form: Form) -> int:
        """Say what is to be said, and how it went."""
        if not self.runs and not self.failed and not self.apart:
            output.say("No result matches; nothing was written.")
        if self.apart:
            told = ", ".join(counted(self.apart[k], k) for k in KINDS if self.apart[k])
            output.say(
                f"Left out: {told}. {form.upper()} messages are patients' reports, and whoever "
                "receives them would take these for such."
            )
            output.say(output.next_action("Export them with --csv or --jsonl."))
        for run in self.differing:
            output.say(
                f"Run {run}: made again on this machine, it counts otherwise than it was stored; "
                f"its {form.upper()} file says so (EDGE_REPRODUCED)."
            )
        if self.failed and not self.runs:
            return errors.EXIT_FAILED
        warn = self.failed or self.differing or (self._named and self.apart)
        return errors.EXIT_WARNINGS if warn else errors.EXIT_OK


def _bodies(
    records: Iterator[Record], serialise: Serialise, written: _Written
) -> Iterator[tuple[Record, bytes]]:
    """Yield what each run is written as; one that cannot be must not end the others."""
    for record in records:
        try:
            body = serialise(record)
        except errors.Retryable:
            raise
        except errors.EdgeError as error:
            written.failed += 1
            output.say(f"Run {record['id']} was not written: {error.message}")
            output.say(output.next_action(error.action))
            continue
        written.runs += 1
        yield record, body


def _serialiser(
    form: Form, db: sqlite3.Connection, data_dir: Path, config_file: Path, written: _Written
) -> Serialise:
    if form == "fcs":
        return _cells(db, data_dir, config_file, written)
    from edge_daemon import __version__
    from edge_daemon.exchange.coding import Origin
    from edge_daemon.exchange.fhir import as_fhir
    from edge_daemon.exchange.hl7 import as_hl7
    from edge_daemon.store import queries

    origin = Origin(queries.epoch(db), __version__)
    write = as_hl7 if form == "hl7" else as_fhir
    interpreter = Interpreter()
    return lambda record: write(interpreter.in_full(record), origin)


def _cells(
    db: sqlite3.Connection, data_dir: Path, config_file: Path, written: _Written
) -> Serialise:
    from edge_daemon.cli.remaking import Remaker, plan_of
    from edge_daemon.exchange.cells import cells_as_fcs
    from edge_daemon.store import queries

    remaker = Remaker(plan_of(config_file), data_dir)

    def cells(record: Record) -> bytes:
        run = queries.run(db, f"run:{record['id']}")
        assert run is not None
        if not run["intact"]:
            raise errors.EdgeError(
                "it was changed after it was stored",
                action="Analyse its file again with `edge-daemon process FILE --replay`.",
            )
        again = remaker.make(run)
        if not again.same:
            written.differing.append(run["id"])
        return cells_as_fcs(
            run, again.batch, again.calls, again.profile.scales, reproduced=again.same
        )

    return cells


def _write_runs(
    bodies: Iterator[tuple[Record, bytes]], target: Path | None, form: Form, written: _Written
) -> None:
    if target is None:
        if form == "fcs":
            raise click.UsageError("--fcs needs -o: a folder, or a file for a single run.")
        for _, body in bodies:
            sys.stdout.buffer.write(body)
        return
    if target.is_dir() or target.suffix.lower() not in _SUFFIXES[form]:
        target.mkdir(parents=True, exist_ok=True)
        for record, body in bodies:
            with _whole_file(target / _file_name(record, form)) as part:
                part.write_bytes(body)
        output.say(f"Wrote {counted(written.runs, 'file')} into {target}.")
        return
    with _whole_file(target) as part, part.open("xb") as stream:
        for _, body in bodies:
            if form == "fcs" and written.runs > 1:
                raise click.UsageError(
                    f"{target} can hold one run, and several match: name one run, or a folder."
                )
            stream.write(body)
        if not written.runs:
            part.unlink()
            return
    output.say(f"Wrote {counted(written.runs, 'result')} to {target}.")


def _must_be_a_file(target: Path, form: Form) -> None:
    if target.is_dir():
        raise click.UsageError(f"{target} is a folder; {form.upper()} is written to one file.")


def _file_name(record: Record, form: Form) -> str:
    """Name that says which run it is, and whose as far as a file name may."""
    sample = re.sub(r"[^A-Za-z0-9._-]+", "-", record["sample_id"] or "").strip("-.")
    named = f"run-{record['id']:06d}_{sample}"[:_LONGEST_NAME].rstrip("-_.")
    return f"{named}{_SUFFIXES[form][0]}"


@contextlib.contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """Give a file beside the target and rename it: half an export must not look like a whole."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        if part.exists():
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
