"""Bring a database to the schema this software needs: all of it in one transaction, or nothing.

Alembic is imported only when the database is behind, so that a normal start does not pay for it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from edge_daemon.store import layout
from edge_daemon.store.archive import make_directory, sync_directory
from edge_daemon.store.backup import copy_database
from edge_daemon.store.engine import BUSY_TIMEOUT_S, make_engine, wrap
from edge_daemon.store.revision import newer_schema, read_revision

if TYPE_CHECKING:
    from sqlalchemy import Engine

MIGRATIONS: Final = Path(__file__).resolve().parent / "migrations"


def migrate(
    data_dir: Path, *, migrations: Path = MIGRATIONS, revision: str = layout.REVISION
) -> None:
    """Create the database, or move an older one forward after backing it up.

    Parameters
    ----------
    data_dir
        The data directory; its lock must be held.
    migrations
        Alembic's script directory.
    revision
        The newest revision in it.

    Raises
    ------
    Fatal
        The schema is newer than this software, or the file is not ours.
    Retryable
        The disk is full, failing or read-only.
    """
    database = layout.database_path(data_dir)
    try:
        with closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT_S)) as raw:
            found = read_revision(raw, database)
        if found == revision:
            return
        if found is not None:
            if found > revision:
                raise newer_schema(database, found)
            folder = data_dir / layout.BACKUPS_NAME
            make_directory(folder)
            copy_database(database, folder / f"before-{found}-to-{revision}.db")
        _upgrade(make_engine(database), migrations)
        sync_directory(data_dir)
    except sqlite3.Error as error:
        raise wrap(error, database) from error
    except DBAPIError as error:
        if not isinstance(error.orig, sqlite3.Error):
            raise
        raise wrap(error.orig, database) from error


def create(database: Path) -> None:
    """Make a new database with every table of this software.

    Raises
    ------
    Retryable
        The disk is full, failing or read-only.
    """
    try:
        _upgrade(make_engine(database), MIGRATIONS)
    except DBAPIError as error:
        if not isinstance(error.orig, sqlite3.Error):
            raise
        raise wrap(error.orig, database) from error


def _upgrade(engine: Engine, migrations: Path) -> None:
    from alembic import command  # noqa: PLC0415 - only when behind
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
