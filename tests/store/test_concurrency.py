from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from edge_daemon.errors import Retryable
from edge_daemon.store import committer, layout, queries, reader

WRITERS, EACH, READERS = 4, 40, 4
WAL_LIMIT = 64 * 2**20


def test_readers_are_never_locked_out_and_see_only_whole_results(store, make, data_dir):
    done = threading.Event()

    def write(writer):
        for number in range(EACH):
            key = store.accept(make.capture(writer * 1000 + number)).capture_id
            store.record_decoded(key, make.decoded())
            store.record_run(key, make.decoded(), make.classified(make.flag("x", "info", "m")))

    def read(_):
        rounds = 0
        newest = 0
        while not done.is_set() or not rounds:
            with closing(queries.connect(data_dir)) as db:
                page = queries.results(db, limit=10)
                for row in page:
                    assert len(row["measurements"]) == 3
                    assert len(row["flags"]) == 1
                if page:
                    assert page[0]["id"] >= newest
                    newest = page[0]["id"]
                    assert queries.run(db, f"run:{newest}")["intact"]
                queries.status(db)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(WRITERS + READERS) as pool:
        reading = [pool.submit(read, number) for number in range(READERS)]
        writing = [pool.submit(write, number) for number in range(WRITERS)]
        try:
            for future in writing:
                future.result()
        finally:
            done.set()
        assert all(future.result() > 1 for future in reading)
    with closing(queries.connect(data_dir)) as db:
        ids = [row["id"] for row in queries.results(db, limit=1000)]
    assert ids == list(range(WRITERS * EACH, 0, -1))
    wal = layout.database_path(data_dir).with_name(f"{layout.DATABASE_NAME}-wal")
    assert wal.stat().st_size < WAL_LIMIT


def test_a_reader_in_the_middle_of_a_query_does_not_hold_the_writer_up(store, make, data_dir):
    for number in range(3):
        store.accept(make.capture(number))
    with closing(queries.connect(data_dir)) as db:
        db.execute("BEGIN")
        assert db.execute("SELECT count(*) FROM captures").fetchone()[0] == 3
        store.accept(make.capture(3))
        assert db.execute("SELECT count(*) FROM captures").fetchone()[0] == 3
        db.execute("COMMIT")
        assert db.execute("SELECT count(*) FROM captures").fetchone()[0] == 4


def test_many_threads_handing_in_the_same_bytes_make_one_capture(store, make):
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(store.accept, [make.capture(1, name=f"{n}.fcs") for n in range(40)]))
    assert sum(answer.new for answer in taken) == 1
    assert {answer.capture_id for answer in taken} == {1}
    assert sum(answer.sighted for answer in taken) == 39


FOR_EVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"


def test_a_question_that_takes_too_long_is_ended(store, make, data_dir):
    store.accept(make.capture(1))
    with closing(queries.connect(data_dir, limit_s=0.2)) as db:
        with pytest.raises(Retryable, match=r"longer than 0\.2 s") as caught:
            reader.rows(db, f"SELECT max(i) FROM ({FOR_EVER}), captures")
        assert "--since" in caught.value.action
        assert len(queries.captures(db)) == 1  # the connection can be used again


def wal_bytes(data_dir):
    log = layout.database_path(data_dir).with_name(f"{layout.DATABASE_NAME}-wal")
    return log.stat().st_size


@pytest.mark.campaign
def test_an_hour_of_writing_beside_four_readers_and_slow_questions(store, make, data_dir):
    """R2: nobody is locked out and the log stays small; EDGE_HOUR_S shortens the hour."""
    until = time.monotonic() + float(os.environ.get("EDGE_HOUR_S", "3600"))

    def read(number):
        rounds = late = 0
        while time.monotonic() < until:
            with closing(queries.connect(data_dir)) as db:
                queries.status(db)
                queries.results(db, limit=50)
                if number == 0:
                    with pytest.raises(Retryable, match="longer than"):
                        reader.rows(db, f"SELECT max(i) FROM ({FOR_EVER}), captures")
                    late += 1
            rounds += 1
        return rounds, late

    with ThreadPoolExecutor(READERS) as pool:
        reading = [pool.submit(read, number) for number in range(READERS)]
        written = largest = 0
        while time.monotonic() < until:
            key = store.accept(make.capture(written)).capture_id
            store.record_decoded(key, make.decoded())
            store.record_run(key, make.decoded(), make.classified())
            written += 1
            largest = max(largest, wal_bytes(data_dir))
        counts = [future.result() for future in reading]
    print(f"{written} results, {counts} rounds, log at most {largest >> 10} KiB")  # noqa: T201
    assert all(rounds for rounds, _ in counts)
    assert counts[0][1]
    assert largest < WAL_LIMIT


def test_the_log_is_begun_anew_under_readers_that_never_pause(store, make, data_dir, monkeypatch):
    """There is no moment without a reader, at which SQLite would begin it anew by itself."""
    monkeypatch.setattr(committer, "LOG_BYTES", 1 << 20)
    monkeypatch.setattr(store._committer, "_log_limit", 1 << 20)
    over = threading.Event()

    def read():
        while not over.is_set():
            with closing(queries.connect(data_dir)) as db:
                db.execute("BEGIN")
                queries.status(db)
                over.wait(0.02)

    largest = 0
    with ThreadPoolExecutor(READERS) as pool:
        reading = [pool.submit(read) for _ in range(READERS)]
        for number in range(50):
            key = store.accept(make.capture(number)).capture_id
            store.record_decoded(key, make.decoded())
            store.record_run(key, make.decoded(), make.classified())
            largest = max(largest, wal_bytes(data_dir))
        over.set()
        for future in reading:
            future.result()
    assert largest < 4 << 20
