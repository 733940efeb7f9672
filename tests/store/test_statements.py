"""What one result costs the database: few statements, and none that walks a table."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from edge_daemon.store import layout

MOST_STATEMENTS = 45
"""For a capture from acceptance to its result, in three transactions."""
MOST_COMMITS = 3


def traced(store, work):
    """Run it; every statement that the writer gave to SQLite meanwhile."""
    seen: list[str] = []
    store.transact(lambda db: db.set_trace_callback(seen.append))
    seen.clear()
    work()
    store.transact(lambda db: db.set_trace_callback(None))
    return seen


@pytest.fixture
def statements(store, analyse):
    """Of the second run; the first has filled every cache."""
    analyse(1)
    return traced(store, lambda: analyse(2))


def test_a_result_takes_few_statements_and_commits(statements):
    commits = [text for text in statements if text.startswith("COMMIT")]
    assert len(commits) <= MOST_COMMITS + 1  # the one that ends the trace
    assert 10 < len(statements) <= MOST_STATEMENTS, statements


def test_no_statement_of_a_result_walks_a_table(store, statements, data_dir):
    assert store
    asked = [s for s in statements if s.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert asked
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        for statement in asked:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert not [step for step in plan if step.startswith("SCAN")], (statement, plan)
