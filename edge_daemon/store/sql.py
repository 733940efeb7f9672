"""Rows in and out of the writer's connection, by name. Standard library only.

Statements are written out where they are used; only an INSERT is made from the row itself, so
that its columns are named once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    Parameters = Sequence[object] | Mapping[str, object]


def rows(db: sqlite3.Connection, query: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
    """All rows of a question."""
    return [dict(row) for row in db.execute(query, parameters).fetchall()]


def row(db: sqlite3.Connection, query: str, parameters: Parameters = ()) -> dict[str, Any] | None:
    """Only row of a question, or None."""
    found = rows(db, query, parameters)
    assert len(found) <= 1, query
    return found[0] if found else None


def values(db: sqlite3.Connection, query: str, parameters: Parameters = ()) -> list[Any]:
    """First column of every row of a question."""
    return [found[0] for found in db.execute(query, parameters).fetchall()]


def value(db: sqlite3.Connection, query: str, parameters: Parameters = ()) -> Any:
    """First column of a question's only row, or None."""
    found = values(db, query, parameters)
    assert len(found) <= 1, query
    return found[0] if found else None


def insert(db: sqlite3.Connection, table: str, row: Mapping[str, object]) -> int:
    """Insert a row and return its number, where the table gives one."""
    return db.execute(_insert(table, tuple(row)), row).lastrowid or 0


def insert_new(db: sqlite3.Connection, table: str, row: Mapping[str, object]) -> bool:
    """Insert a row unless one like it is there; tell whether it was inserted."""
    statement = f"{_insert(table, tuple(row))} ON CONFLICT DO NOTHING"
    return db.execute(statement, row).rowcount == 1


def insert_all(db: sqlite3.Connection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows that all have the columns of the first."""
    if rows:
        db.executemany(_insert(table, tuple(rows[0])), rows)


def keep(db: sqlite3.Connection, key: str, text: str) -> None:
    """Write a fact about the database into ``meta``."""
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, text))


@cache
def _insert(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names of our own
