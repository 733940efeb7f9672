"""Every question that people and programs ask goes through here and sees their own clinics alone.

In PostgreSQL the transaction works as a role that can only read, under row-level policies for
the clinics it has named. SQLite has no policies: there views of the same names stand before the
tables in the connection that asks, so that a query that forgets to ask for the clinic sees nothing
of others either.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import create_engine, event, text, true
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from edge_daemon.central import schema
from edge_daemon.central.fleet.tables import READABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Engine, Table

PATIENCE_MS: Final = 20_000
"""Longest time a question may take."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows may be seen.

    Attributes
    ----------
    clinics
        Numbers of the clinics; None: all of them.
    chain
        The chain whose own deeds may be seen.
    """

    clinics: frozenset[int] | None
    chain: int | None = None

    def of(self, table: Table) -> ColumnElement[bool]:
        """Restrict a query of a table to the clinics, so that its index is used.

        What keeps clinics apart is not this but `Reader.reading`.
        """
        if self.clinics is None:
            return true()
        return table.c.clinic_id.in_(sorted(self.clinics))


EVERYTHING: Final = Scope(None)
"""What an operator sees."""


class Reader:
    """Answers questions beside the server's own work, with connections of its own.

    Parameters
    ----------
    url
        Of the server's database; its tables must be there.
    pool
        Questions answered at once on PostgreSQL.
    """

    def __init__(self, url: str, *, pool: int = 6) -> None:
        if make_url(url).get_backend_name() == "sqlite":
            path = Path(make_url(url).database or "").resolve()
            self._engine: Engine = create_engine(
                "sqlite://", creator=lambda: _open(path), poolclass=NullPool
            )
            event.listen(self._engine, "begin", _begin)
        else:
            self._engine = create_engine(
                url,
                pool_size=pool,
                max_overflow=0,
                pool_timeout=20,
                pool_pre_ping=True,
                # A plan that is kept for any words would serve the rare ones badly.
                connect_args={"prepare_threshold": None},
            )

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def reading(self, scope: Scope) -> Iterator[Connection]:
        """Open a transaction that sees the scope's clinics and can change nothing."""
        with self._engine.begin() as db:
            if db.dialect.name == "postgresql":
                _name_clinics(db, scope)
            elif scope.clinics is not None:
                _hide(db, scope)
            yield db


def _name_clinics(db: Connection, scope: Scope) -> None:
    named = "*" if scope.clinics is None else ",".join(map(str, sorted(scope.clinics)))
    db.execute(text("SET TRANSACTION READ ONLY"))
    db.execute(
        text(
            "SELECT set_config('edge.clinics', :clinics, true),"
            " set_config('edge.chain', :chain, true),"
            " set_config('statement_timeout', :patience, true),"
            " set_config('role', :role, true)"
        ),
        {
            "clinics": named,
            "chain": "" if scope.chain is None else str(scope.chain),
            "patience": str(PATIENCE_MS),
            "role": schema.READ_ROLE,
        },
    )


def _hide(db: Connection, scope: Scope) -> None:
    """Put views before the tables; those that people may not read at all show nothing."""
    assert scope.clinics is not None
    db.exec_driver_sql("CREATE TEMP TABLE own_clinics (id INTEGER PRIMARY KEY)")
    for clinic in sorted(scope.clinics):
        db.execute(text("INSERT INTO own_clinics VALUES (:id)"), {"id": clinic})
    chain = "NULL" if scope.chain is None else str(int(scope.chain))
    for table in schema.metadata.sorted_tables:
        view = f"CREATE TEMP VIEW {table.name} AS SELECT * FROM main.{table.name}"  # noqa: S608
        db.exec_driver_sql(f"{view} WHERE {_shown(table, chain)}")


def _shown(table: Table, chain: str) -> str:
    mine = "(SELECT id FROM own_clinics)"
    if table is schema.clinics:
        return f"id IN {mine}"
    if table is schema.chains:
        of_mine = f"SELECT chain_id FROM main.clinics WHERE id IN {mine}"  # noqa: S608 - our names
        return f"id = {chain} OR id IN ({of_mine})"
    if table is schema.rollouts:
        return "1"
    if table is schema.ring_pins:
        own = f"SELECT id FROM main.devices WHERE clinic_id IN {mine}"  # noqa: S608 - our names
        return f"device_id IN ({own})"
    if table is schema.audit:
        return f"clinic_id IN {mine} OR chain_id = {chain}"
    return f"clinic_id IN {mine}" if table in READABLE else "0"


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=30)
    db.isolation_level = None  # BEGIN is ours
    return db


def _begin(db: Any) -> None:
    db.exec_driver_sql("BEGIN")
