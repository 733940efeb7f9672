"""Commands that keep the data: copy the database, and put a copy back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_daemon import errors
from edge_daemon.cli import options, output
from edge_daemon.cli.status import size
from edge_daemon.wording import counted

if TYPE_CHECKING:
    from edge_daemon.store.reingest import Recovery


@click.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE, e.g. on a USB stick; default: the next backup of the data folder.",
)
@options.data_dir_option
@options.json_option
def backup(out: Path | None, data_dir: Path, as_json: bool) -> None:
    """Copy the database and check the copy; the service may run meanwhile.

    The copy holds every result. The raw captures are not in it: they lie in `captures` of the
    data folder.
    """
    from edge_daemon.store import backup as copies
    from edge_daemon.store import layout, queries

    with contextlib.closing(queries.connect(data_dir)):
        pass  # says what is wrong where there is no store
    made = True
    if out is None:
        file, made = copies.back_up(data_dir)
    else:
        file = out.absolute()
        if os.path.lexists(file):
            raise errors.Fatal(
                f"{file}: exists already and was not changed",
                action="Give another name, or move it away.",
            )
        copies.copy_database(layout.database_path(data_dir), file)
    written = file.stat().st_size
    if as_json:
        output.emit_json({"file": str(file), "bytes": written, "made": made})
    elif made:
        click.echo(output.printable(f"{file}: {size(written)}, checked"))
    else:
        click.echo(output.printable(f"{file}: nothing has changed since this backup"))


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@options.data_dir_option
@options.json_option
def restore(file: Path | None, data_dir: Path, as_json: bool) -> int:
    """Put a backup in the place of the database, then take in again what came after it.

    FILE is a backup; the newest good one of the data folder unless given, and without any
    everything is taken in from the archive. The service must be stopped. The present database
    is moved to `set-aside` of the data folder, never deleted. Exit code 3 when captures are
    missing or their instrument is unknown.
    """
    from edge_daemon.clock import SystemClock
    from edge_daemon.store.backup import newest_good
    from edge_daemon.store.replace import decide, finish
    from edge_daemon.store.soundness import was_ours
    from edge_daemon.store.writer import Store

    how = output.form(as_json=as_json)
    if file is None and not was_ours(data_dir):
        raise errors.Fatal(
            f"{data_dir}: neither backups nor captures here",
            action="Name the backup, or give the service's data folder.",
            exit_code=errors.EXIT_NOT_FOUND,
        )
    if file is not None:
        options.existing((file,))
    aside: list[Path | None] = []

    def prepare(folder: Path) -> None:
        chosen = newest_good(folder) if file is None else file.absolute()
        decide(folder, chosen, "restored by hand")
        aside.append(finish(folder))

    with output.progress("Taking in", how) as advance:
        store = Store.open(data_dir, SystemClock(), prepare=prepare, progress=advance)
    with store:
        waiting, written = len(store.pending()), store.put_back
        found = store.recovery
    assert found is not None
    if how == "json":
        output.emit_json(_report(found, data_dir, aside[0], waiting) | {"written": written})
    else:
        _write(found, aside[0], waiting, written)
    doubtful = found.missing or found.unattributed
    return errors.EXIT_WARNINGS if doubtful else errors.EXIT_OK


def _report(found: Recovery, data_dir: Path, aside: Path | None, waiting: int) -> output.Record:
    return {
        "data_dir": str(data_dir),
        "backup": found.backup,
        "set_aside": None if aside is None else str(aside),
        "epoch": found.epoch,
        "taken": found.taken,
        "unattributed": found.unattributed,
        "missing": found.missing,
        "waiting": waiting,
    }


def _write(found: Recovery, aside: Path | None, waiting: int, written: int) -> None:
    put_back = counted(written, "correction or note", "corrections and notes")
    output.pairs(
        [
            ("Restored", found.backup or "nothing: there was no good backup"),
            ("Taken in", f"{counted(found.taken, 'capture')} that it did not hold"),
            ("Put back", put_back if written else ""),
            ("Waiting", f"{counted(waiting, 'capture')}, analysed when the service runs"),
            ("Set aside", "" if aside is None else str(aside)),
        ]
    )
    if found.unattributed:
        output.say(
            f"Only the bytes were left of {counted(found.unattributed, 'capture')}, and the "
            "instrument reads 'recovered'. Export again from the analyzer to have its name."
        )
    if found.missing:
        output.say(
            f"{counted(found.missing, 'capture was', 'captures were')} here once, and the bytes are"
            " gone too. Export again from the analyzer."
        )
