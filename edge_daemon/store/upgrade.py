"""Run the migrations: the only part of the store that needs SQLAlchemy and Alembic."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, pool
from sqlalchemy.exc import DBAPIError

from edge_daemon.store.engine import connect

if TYPE_CHECKING:
    from pathlib import Path


def make_engine(database: Path) -> Engine:
    """Make an engine whose transactions all begin with ``BEGIN IMMEDIATE``."""

    def raw() -> sqlite3.Connection:
        db = connect(database)
        db.row_factory = None  # SQLAlchemy makes its own rows of tuples
        return db

    engine = create_engine("sqlite://", creator=raw, poolclass=pool.NullPool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def upgrade(database: Path, migrations: Path) -> None:
    """Run every migration that is due, in one transaction.

    Raises
    ------
    sqlite3.Error
        The database refused; it is as it was.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    try:
        with make_engine(database).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from error
        raise
