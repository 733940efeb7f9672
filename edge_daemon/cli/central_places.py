"""Where a central server keeps its things, as its commands are told."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_daemon import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_daemon.central.store import CentralStore

server_folder = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    envvar="EDGE_CENTRAL_DIR",
    metavar="DIR",
    help="Folder of the server (environment EDGE_CENTRAL_DIR).",
)
_database = click.option(
    "--database",
    envvar="EDGE_CENTRAL_DATABASE",
    metavar="URL",
    help="postgresql+psycopg://… (environment EDGE_CENTRAL_DATABASE); default: SQLite in DIR.",
)


def places(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the server's folder and database are."""
    return server_folder(_database(command))


def must_have_database(folder: Path, database: str | None) -> None:
    """Make no new database because a folder was mistyped, or `--database` was forgotten."""
    from edge_daemon.central.serve import DATABASE

    if database is None and not (folder / DATABASE).exists():
        raise errors.Fatal(
            f"{folder}: there is no database of a central server here",
            action="Give its folder with --dir and, if it has PostgreSQL, the address with "
            "--database; a new server is made with `edge-daemon central init`.",
            exit_code=errors.EXIT_NOT_FOUND,
        )


@contextlib.contextmanager
def open_store(folder: Path, database: str | None, *, make: bool = False) -> Iterator[CentralStore]:
    """Open the server's database, or `make` it; what is done there is the caller's deed."""
    needs_extra()
    from edge_daemon.central.audit import operator
    from edge_daemon.central.serve import Place

    if not make:
        must_have_database(folder, database)
    store = Place(folder, "", 0, database=database).open_store()
    store.by = operator()
    with contextlib.closing(store):
        yield store


def needs_extra() -> None:
    """Say what to install where it is not there."""
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise errors.Fatal(
            "the central server needs packages that boxes do not",
            action="Install them with `pip install edge-daemon[central]`.",
        ) from error
