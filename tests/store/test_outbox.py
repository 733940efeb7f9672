"""The outbox: what waits, newest first, and what the server's answers make of it."""

from contextlib import closing

import pytest

from edge_daemon.store import outbox, queries, sending
from edge_daemon.store.outbox import Settled


@pytest.fixture
def db(store, data_dir):
    with closing(queries.connect(data_dir)) as db:
        yield db


def row(db, seq):
    return db.execute("SELECT * FROM outbox WHERE seq = ?", (seq,)).fetchone()


def test_newest_waits_first_and_pages_go_back(analyse, db):
    for number in range(5):
        analyse(number)
    first = outbox.waiting(db, simulated=False, limit=2)
    rest = outbox.waiting(db, simulated=False, limit=9, before=first[-1]["seq"])
    assert [r["seq"] for r in first + rest] == [5, 4, 3, 2, 1]
    assert first[0]["body"] == row(db, 5)["body"]


def test_simulated_rows_wait_only_where_they_are_asked_for(analyse, db):
    analyse(1, simulated=True)
    analyse(2)
    assert [r["seq"] for r in outbox.waiting(db, simulated=False, limit=9)] == [2]
    assert [r["seq"] for r in outbox.waiting(db, simulated=True, limit=9)] == [2, 1]
    assert outbox.summary(db, simulated=False)["waiting"] == 1


def test_an_answer_settles_its_own_row_once(store, analyse, db):
    analyse(1)
    analyse(2)
    right, other = row(db, 1)["digest"], row(db, 2)["digest"]
    sending.settle(store, [Settled(1, other, "stored"), Settled(2, other, "dead", "digest")])
    assert (row(db, 1)["state"], row(db, 2)["state"]) == ("waiting", "dead")
    sending.settle(store, [Settled(1, right, "stored"), Settled(2, other, "stored")])
    assert (row(db, 1)["state"], row(db, 2)["state"]) == ("stored", "dead")
    assert row(db, 1)["attempts"] == 1


def test_dead_letters_say_why_and_can_wait_again(store, analyse, db):
    for number in (1, 2):
        analyse(number)
    sending.settle(store, [Settled(n, row(db, n)["digest"], "dead", f"why {n}") for n in (1, 2)])
    found = outbox.dead_letters(db, limit=9)
    assert [(r["seq"], r["reason"], r["attempts"]) for r in found] == [
        (2, "why 2", 1),
        (1, "why 1", 1),
    ]
    assert sending.send_again(store, [2, 7]) == 1
    assert (row(db, 2)["state"], row(db, 2)["reason"]) == ("waiting", None)
    assert sending.send_again(store) == 1
    assert outbox.summary(db, simulated=False)["dead"] == 0


def test_the_summary_names_the_oldest_that_waits(store, analyse, db):
    assert outbox.summary(db, simulated=False) == {"waiting": 0, "oldest_waiting": None, "dead": 0}
    analyse(1)
    analyse(2)
    sending.settle(store, [Settled(1, row(db, 1)["digest"], "stored")])
    assert outbox.summary(db, simulated=False)["oldest_waiting"] == row(db, 2)["created_wall"]


def test_what_is_remembered_is_there_after_a_restart(store, db, data_dir, clock):
    assert outbox.remembered(db, "sync") is None
    sending.remember(store, "sync", "one")
    sending.remember(store, "sync", "two")
    assert outbox.remembered(db, "sync") == "two"


@pytest.mark.parametrize("query", ["waiting", "dead_letters"])
def test_lists_are_read_by_index(db, query):
    plans = []
    db.set_trace_callback(plans.append)
    if query == "waiting":
        outbox.waiting(db, simulated=False, limit=9)
    else:
        outbox.dead_letters(db, limit=9)
    plan = " ".join(r["detail"] for r in db.execute(f"EXPLAIN QUERY PLAN {plans[-1]}"))
    assert "USING INDEX outbox_" in plan
    assert "TEMP B-TREE" not in plan
