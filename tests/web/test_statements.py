"""What each page costs the database: few statements, and none that walks a table of results."""

from contextlib import closing

import pytest

from edge_daemon.store import queries

MOST_STATEMENTS = 40
COUNTED = {"/device": 7}
"""Pages that count rows, and how many of their statements do: each walks an index."""
PAGES = {
    "list": "/",
    "search": "/?q=Bel&flag=clumps",
    "result": "/results/2",
    "set aside": "/set-aside",
    "quality": "/quality",
    "device": "/device",
    "live": "/live.json",
}


@pytest.fixture
def asked(monkeypatch):
    """Statements that pages ask, as SQLite is given them, with their plans."""
    seen = []
    connect = queries.connect

    def traced(*args, **settings):
        db = connect(*args, **settings)
        db.set_trace_callback(seen.append)
        return db

    monkeypatch.setattr(queries, "connect", traced)
    return seen


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_asks_little_and_walks_no_table(box, browser, asked, path):
    for _ in range(3):
        box.add()
    box.set_aside()
    browser.get(path)  # what is kept between requests is there now
    asked.clear()
    page = browser.get(path)
    assert page.status == 200
    statements = list(asked)
    assert 0 < len(statements) <= MOST_STATEMENTS, statements
    with closing(queries.connect(box.path)) as db:
        db.set_trace_callback(None)
        walked = [s for s in statements if s.startswith(("SELECT", "WITH")) and walks(db, s)]
    assert len(walked) <= COUNTED.get(path, 0), walked


def walks(db, statement):
    """Whether it looks at every row of a table; the first few in key order are not every row."""
    tables = {row["name"] for row in db.execute("SELECT name FROM sqlite_master")}
    plan = [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
    scanned = {step.split()[1] for step in plan if step.startswith("SCAN")} & tables
    sorts = any("ORDER BY" in step for step in plan)
    return bool(scanned) and (sorts or "LIMIT" not in statement)
