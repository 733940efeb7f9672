from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import wait

import pytest

from edge_daemon.errors import EdgeError, Fatal, Retryable
from edge_daemon.store import engine
from edge_daemon.store.committer import MAX_STRIKES, Committer

INSERT = "INSERT INTO t (id) VALUES (:id)"


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "t.sqlite3"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, blob BLOB) STRICT")
    db.close()
    return path


@pytest.fixture
def committer(database):
    opened = Committer(database)
    yield opened
    opened.close()


def put(number):
    return lambda db: db.execute(INSERT, {"id": number}) and number


def ids(database):
    db = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    try:
        return [row[0] for row in db.execute("SELECT id FROM t ORDER BY id")]
    finally:
        db.close()


class Held:
    """Keeps the writer inside one operation, so that what follows forms one group."""

    def __init__(self, committer):
        self._go = threading.Event()
        started = threading.Event()
        self.answer = committer.submit(lambda _: started.set() or self._go.wait(30))
        assert started.wait(30)

    def release(self):
        self._go.set()


def test_a_failing_operation_in_a_group_undoes_only_itself(committer, database):
    def half(db):
        db.execute(INSERT, {"id": 50})
        raise EdgeError("refused half-way")

    def broken(db):
        db.execute(INSERT, {"id": 51})
        raise ZeroDivisionError

    held = Held(committer)
    answers = [committer.submit(work) for work in (put(1), half, put(1), broken, put(2))]
    held.release()
    wait(answers)
    assert answers[0].result() == 1
    with pytest.raises(EdgeError, match="half-way"):
        answers[1].result()
    with pytest.raises(EdgeError, match="UNIQUE"):
        answers[2].result()
    with pytest.raises(ZeroDivisionError):
        answers[3].result()
    assert answers[4].result() == 2
    assert ids(database) == [1, 2]


def test_waiting_operations_share_a_commit(committer):
    seen = []
    committer.submit(lambda db: db.set_trace_callback(seen.append)).result()
    seen.clear()
    held = Held(committer)
    answers = [committer.submit(put(number)) for number in range(100)]
    held.release()
    wait(answers)
    assert seen.count("COMMIT") == 3  # the held one, then 64 and 36


def test_nobody_is_answered_before_the_commit(committer, database):
    seen = []
    held = Held(committer)
    answers = [committer.submit(put(number)) for number in range(3)]
    for answer in answers:
        answer.add_done_callback(lambda _: seen.append(ids(database)))
    held.release()
    wait(answers)
    committer.close()
    assert seen == [[0, 1, 2]] * 3


def test_a_transaction_that_the_database_ended_fails_its_whole_group(committer, database):
    held = Held(committer)
    answers = [
        committer.submit(work) for work in (put(1), lambda db: db.execute("ROLLBACK"), put(2))
    ]
    held.release()
    wait(answers)
    for answer in answers:
        with pytest.raises(EdgeError):
            answer.result()
    assert committer.submit(put(3)).result() == 3
    assert ids(database) == [3]


def test_a_full_disk_is_to_be_tried_later(committer, database):
    def limit(pages):
        return committer.submit(
            lambda db: db.execute(f"PRAGMA max_page_count={pages}").fetchone()[0]
        ).result()

    limit(3)
    large = "INSERT INTO t (blob) VALUES (zeroblob(100000))"
    with pytest.raises(Retryable, match="full"):
        committer.submit(lambda db: db.execute(large)).result()
    assert committer.submit(put(1)).result() == 1
    limit(1_000_000)
    committer.submit(lambda db: db.execute(large)).result()
    assert len(ids(database)) == 2


def test_a_locked_database_is_to_be_tried_later(database, monkeypatch):
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.01)
    committer = Committer(database)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Retryable, match="locked"):
            committer.submit(put(1)).result()
        other.execute("ROLLBACK")
        assert committer.submit(put(1)).result() == 1
    finally:
        other.close()
        committer.close()


def damage(database, page_bytes):
    with database.open("r+b") as file:
        file.seek(4096)  # root page of the table
        kept = file.read(4096)
        file.seek(4096)
        file.write(page_bytes or kept)
    return kept


def test_one_sign_of_damage_is_no_proof(database):
    kept = damage(database, b"\xff" * 4096)
    committer = Committer(database)
    try:
        with pytest.raises(Retryable, match="damaged"):
            committer.submit(put(1)).result()
        damage(database, kept)
        for number in range(1, 4):
            assert committer.submit(put(number)).result() == number
    finally:
        committer.close()
    assert ids(database) == [1, 2, 3]


def test_three_signs_of_damage_in_a_row_stop_the_writer(database):
    kept = damage(database, b"\xff" * 4096)
    committer = Committer(database)
    try:
        for _ in range(MAX_STRIKES - 1):
            with pytest.raises(Retryable):
                committer.submit(put(1)).result()
        with pytest.raises(Fatal, match="3 times") as caught:
            committer.submit(put(1)).result()
        assert caught.value.action
        damage(database, kept)
        with pytest.raises(Fatal):
            committer.submit(put(1)).result()
    finally:
        committer.close()


def test_close_finishes_what_was_submitted(committer, database):
    held = Held(committer)
    answers = [committer.submit(put(number)) for number in range(200)]
    held.release()
    committer.close()
    assert all(answer.done() for answer in answers)
    assert not database.with_name("t.sqlite3-wal").exists()
    assert ids(database) == list(range(200))
    with pytest.raises(EdgeError, match="closed"):
        committer.submit(put(1))


def test_a_database_that_cannot_be_opened(tmp_path):
    with pytest.raises(Retryable, match="cannot be opened"):
        Committer(tmp_path / "absent" / "t.sqlite3")


def test_durability_settings(committer):
    def read(db):
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert committer.submit(read).result() == ["wal", 2, 1]


def test_a_reader_of_today_does_not_delay_a_start_and_one_of_yesterday_is_named(
    database, monkeypatch
):
    first = Committer(database)
    old = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, isolation_level=None)
    old.execute("BEGIN")
    old.execute("SELECT count(*) FROM t").fetchone()
    first.submit(put(1)).result()
    first.close()
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.01)
    with pytest.raises(Retryable, match="while it is read"):
        Committer(database)
    old.execute("COMMIT")
    old.execute("BEGIN")
    old.execute("SELECT count(*) FROM t").fetchone()
    second = Committer(database)
    assert second.submit(put(2)).result() == 2
    second.close()
    old.close()
