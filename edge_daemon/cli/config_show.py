"""The settings the service works with, and where each comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_daemon import errors
from edge_daemon.cli import options, output

if TYPE_CHECKING:
    from edge_daemon.updates.settings import Effective

_WORDS = {"default": "default", "file": "this box's file", "fleet": "the fleet"}


@click.command("show")
@click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar=options.CONFIG_VARIABLE,
    default=options.DEFAULT_CONFIG,
)
@click.option("--all", "everything", is_flag=True, help="Also what has its default.")
@options.json_option
def config_show(file: Path, everything: bool, as_json: bool) -> int:
    """Show the settings the service works with, each with where it comes from.

    FILE is as for `config check`. Exit code 3 when settings of the fleet cannot be used.
    """
    from edge_daemon.config import load_config, must_exist
    from edge_daemon.updates.settings import effective

    must_exist(file)
    own = load_config(file)
    found = effective(own, own.box.data_dir)
    records = [row for row in _rows(found) if everything or row["origin"] != "default"]
    how = output.form(as_json=as_json)
    if how == "json":
        output.emit_json({"file": str(file), "settings": records, "problem": found.problem})
    else:
        output.listing(_COLUMNS, records, how, empty="Everything has its default.")
        if found.problem:
            output.say(f"Settings of the fleet are not used: {found.problem}")
    return errors.EXIT_WARNINGS if found.problem else errors.EXIT_OK


def _rows(found: Effective) -> list[dict[str, Any]]:
    rows = []
    document = found.settings.model_dump(mode="json")
    for section, table in document.items():
        if section == "source":
            rows += [
                {"key": f"source.{number}.{name}", "value": value, "origin": "file", "kept": False}
                for number, source in enumerate(table, 1)
                for name, value in source.items()
            ]
            continue
        for name, value in table.items():
            key = f"{section}.{name}"
            rows.append(
                {"key": key, "value": value, "origin": found.origin(key), "kept": key in found.kept}
            )
    return rows


def _origin(row: dict[str, Any]) -> str:
    kept = ", kept from the fleet" if row["kept"] else ""
    return _WORDS[row["origin"]] + kept


_COLUMNS = (
    output.Column("key", "Setting", lambda r: r["key"]),
    output.Column("value", "Value", lambda r: "" if r["value"] is None else str(r["value"])),
    output.Column("origin", "From", _origin),
)
