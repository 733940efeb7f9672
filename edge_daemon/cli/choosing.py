"""Which stored results a query command is about: its filters and the database."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from edge_daemon.cli import options
from edge_daemon.records import SPECIES
from edge_daemon.wording import KINDS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_STATUS = {"ok": "ok", "review": "review", "failed": "invalid"}


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
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
                "--kind",
                type=click.Choice(["patient", *KINDS]),
                help="Only patients' results, or only controls, blanks or runs of checks.",
            ),
            click.option(
                "--all-runs", is_flag=True, help="Also results that a replay has replaced."
            ),
        )
    ):
        command = option(command)
    return command


def chosen(options_given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the options into filters of `interpretation.interpreted`."""
    given = {k: v for k, v in options_given.items() if v is not None}
    if "status" in given:
        given["status"] = _STATUS[given["status"]]
    return given


@contextlib.contextmanager
def database(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the store of a data folder for reading."""
    from edge_daemon.store import queries

    with contextlib.closing(queries.connect(data_dir)) as db:
        yield db
