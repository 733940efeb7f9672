"""Bring a database to the schema this software needs: all of it in one transaction, or nothing.

A new database is made from `schema.sql`. `upgrade`, with SQLAlchemy and Alembic, is imported only
for one of an earlier release: no other start pays for it.
"""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Final

from edge_daemon.store import layout
from edge_daemon.store.archive import make_directory, sync_directory
from edge_daemon.store.backup import copy_database
from edge_daemon.store.engine import BUSY_TIMEOUT_S, connect, wrap
from edge_daemon.store.revision import newer_schema, read_revision

MIGRATIONS: Final = Path(__file__).resolve().parent / "migrations"
SCHEMA: Final = MIGRATIONS.with_name("schema.sql")


def migrate(
    data_dir: Path, *, migrations: Path = MIGRATIONS, revision: str = layout.REVISION
) -> None:
    """Create the database, or move an older one forward after backing it up.

    Parameters
    ----------
    data_dir
        The data directory; its lock must be held.
    migrations
        Alembic's script directory, for a database of an earlier release.
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
        if found is None:
            _make(database)
        elif found > revision:
            raise newer_schema(database, found)
        else:
            folder = data_dir / layout.BACKUPS_NAME
            make_directory(folder)
            copy_database(database, folder / f"before-{found}-to-{revision}.db")
            _upgrade(database, migrations)
        sync_directory(data_dir)
    except sqlite3.Error as error:
        raise wrap(error, database) from error


def create(database: Path) -> None:
    """Make a new database with every table of this software.

    Raises
    ------
    Retryable
        The disk is full, failing or read-only.
    """
    try:
        _make(database)
    except sqlite3.Error as error:
        raise wrap(error, database) from error


def _make(database: Path) -> None:
    """Make the tables, their revision, and the epoch that names them to the central server."""
    with closing(connect(database)) as db:
        db.executescript(f"BEGIN IMMEDIATE;\n{SCHEMA.read_text(encoding='utf-8')}")
        db.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (layout.REVISION,))
        db.execute("INSERT INTO meta (key, value) VALUES ('epoch', ?)", (str(uuid.uuid4()),))
        db.execute("COMMIT")


def _upgrade(database: Path, migrations: Path) -> None:
    from edge_daemon.store.upgrade import upgrade  # noqa: PLC0415 - only when behind

    upgrade(database, migrations)
