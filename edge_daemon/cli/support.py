"""Write a support bundle."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from edge_daemon import errors
from edge_daemon.cli import options, output


@click.command("support-bundle")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of edge-daemon-support-<time>.tar.gz here.",
)
@click.option(
    "--with-capture",
    "captures",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="ID",
    help="Also the bytes of this capture, which may hold names; may be repeated.",
)
@options.config_option
@options.data_dir_option
@options.json_option
def support_bundle(
    target: Path | None,
    captures: tuple[int, ...],
    config_file: Path,
    data_dir: Path,
    as_json: bool,
) -> int:
    """Write one archive for whoever helps from afar; nobody's name is in it.

    Versions, configuration without secrets, what `doctor` and the service say, numbers about the
    database, reasons of quarantine by code, and our own journal lines. Sample ids are replaced by
    codes. Exit code 3 when a part could not be read.
    """
    from edge_daemon.cli.status import STATUS_FILE, holder
    from edge_daemon.support_bundle import collect, write

    made = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    target = target or Path(f"edge-daemon-support-{made}.tar.gz")
    pid = holder(data_dir)
    files, missing = collect(config_file, data_dir, pid, data_dir / STATUS_FILE, captures)
    write(target, files)
    size = target.stat().st_size
    if output.form(as_json=as_json) == "json":
        output.emit_json(
            {"file": str(target), "bytes": size, "parts": sorted(files), "missing": missing}
        )
    else:
        click.echo(str(target))
        output.say(f"{len(files)} parts, {size >> 10} kB; README.txt inside says what they are.")
        for name, reason in missing.items():
            output.say(f"Left out: {name}: {reason}")
    if captures:
        output.say("It holds the bytes of captures: they may name patients and owners.")
    return errors.EXIT_WARNINGS if missing else errors.EXIT_OK
