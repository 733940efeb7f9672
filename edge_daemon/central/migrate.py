"""Bring the server's database to the schema this software needs: in one transaction, or not at all.

Whoever opens the database first does it, while other processes of the server wait. A database
from before there were migrations is taken as it is and moved forward like any other.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from edge_daemon.errors import EXIT_BAD_CONFIG, Fatal

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

REVISION: Final = "0007"
"""Newest migration; revisions are zero-padded so that text order is age."""

MIGRATIONS: Final = Path(__file__).resolve().parent / "migrations"
_FIRST: Final = "0001"
_LOCK: Final = 0x65646765  # "edge": any number that nobody else locks in this database


def migrate(engine: Engine, *, migrations: Path = MIGRATIONS, revision: str = REVISION) -> None:
    """Create the tables, or move older ones forward.

    An SQLite file is copied first, beside itself; of a PostgreSQL database the operator keeps
    backups.

    Raises
    ------
    Fatal
        The schema is newer than this software, or the tables are not ours.
    """
    with engine.connect() as db:
        found = read_revision(db)
    if found == revision:
        return
    if found is not None and found > revision:
        raise newer_schema(found, revision)
    if found is not None:
        _copy(engine, found, revision)
    with engine.begin() as db:
        if db.dialect.name == "postgresql":
            db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = read_revision(db)  # another process may have done it meanwhile
        if found is None or found < revision:
            _upgrade(db, migrations, adopt=found is not None and not _stamped(db))


def read_revision(db: Connection) -> str | None:
    """Revision of a database; None if it holds no table.

    Raises
    ------
    Fatal
        It holds tables but none of ours.
    """
    names = set(inspect(db).get_table_names())
    if not names:
        return None
    if "alembic_version" in names:
        found = db.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if found is not None:
            return str(found)
    if {"clinics", "devices", "documents", "receipts"} <= names:
        return _FIRST  # made before there were migrations
    raise Fatal(
        f"{db.engine.url.render_as_string()}: a database, but not one of a central server",
        action="name an empty database with --database, or the one that the server made",
        exit_code=EXIT_BAD_CONFIG,
    )


def newer_schema(found: str, known: str) -> Fatal:
    """Make the error for a database that a later release has upgraded."""
    return Fatal(
        f"the database has schema {found}, newer than {known}, the newest this software knows",
        action="upgrade the server's software; the database was not touched",
        exit_code=EXIT_BAD_CONFIG,
    )


def _stamped(db: Connection) -> bool:
    return inspect(db).has_table("alembic_version")


def _upgrade(db: Connection, migrations: Path, *, adopt: bool) -> None:
    from alembic import command  # noqa: PLC0415 - only when behind
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = db
    if adopt:
        command.stamp(config, _FIRST)
    command.upgrade(config, "head")


def _copy(engine: Engine, found: str, revision: str) -> None:
    """Keep an SQLite database as it is before it is changed."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or not name:
        return
    source = Path(name)
    target = source.with_name(f"{source.stem}.before-{found}-to-{revision}{source.suffix}")
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as db, closing(sqlite3.connect(part)) as copy:
        db.backup(copy)
    part.replace(target)
