"""A hundred thousand runs and reports, of a clinic that numbers its samples 1 to 40 every day."""

from __future__ import annotations

import itertools
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from edge_daemon.store import layout, queries, reports

N = 100_000
DAILY = 40
MINUTES = 36  # between samples: 40 a day

SAMPLE = ("sample_id", "sample_key", "species", "acquired_at", "simulated")
STAMP = ("wall", "clock", "boot", "monotonic_s")


def insert(db, table, rows):
    rows = iter(rows)
    first = next(rows)
    marks = ", ".join("?" * len(first))
    query = f"INSERT INTO {table} ({', '.join(first)}) VALUES ({marks})"
    db.executemany(query, (tuple(row.values()) for row in itertools.chain([first], rows)))


def moment(number):
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=MINUTES * number)


def stamp(what, number):
    wall = moment(number).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    values = (wall, "synchronised", "boot", number * MINUTES * 60.0)
    return dict(zip((f"{what}_{part}" for part in STAMP), values, strict=True))


def sample(number, late=0):
    key = str(number % DAILY + 1)
    told = (moment(number) + timedelta(minutes=late)).strftime("%Y%m%d%H%M%S")
    return dict(zip(SAMPLE, (key, key, "dog", told, 0), strict=True))


def captures():
    for number in range(1, 2 * N + 1):
        yield {
            "id": number, "instrument": "an1", "sha256": f"{number:064x}", "source": "s",
            "name": "n", "size": 1, "state": "classified" if number % 2 else "decoded",
            "finished": 1, **stamp("received", (number + 1) // 2),
        }  # fmt: skip


def decodings():
    for number in range(1, N + 1):
        yield {
            "id": number, "capture_id": 2 * number - 1, "profile": "p", "profile_sha256": "x",
            "events": 9, "channels": "[]", "notes": "[]", "simulated": 0,
            **stamp("created", number),
        }  # fmt: skip


def runs():
    counts = dict.fromkeys(
        ("n_pure_rbc", "n_reticulocyte", "n_clumped_rbc", "n_platelet", "n_other"), 1
    )
    for number in range(1, N + 1):
        yield {
            "id": number, "capture_id": 2 * number - 1, "number": 1, "decoding_id": number,
            "profile": "p", "profile_sha256": "x", "model": "m", "model_sha256": "y", "events": 5,
            **sample(number), **counts, "status": "ok", "elapsed_s": 0.1,
            **stamp("created", number), "digest": "d",
        }  # fmt: skip


def told():
    for number in range(1, N + 1):
        yield {
            "id": number, "capture_id": 2 * number, "number": 1, "position": 0, "kind": "sample",
            "amends": 0, "profile": "l", "profile_sha256": "z", **sample(number, late=2),
            "messages": "[]", "notes": "[]", **stamp("created", number),
            "content": f"c{number}", "digest": "d",
        }  # fmt: skip


def values():
    for number in range(1, N + 1):
        yield {
            "report_id": number, "position": 0, "name": "RBC", "code": "RBC", "value": 6.5,
            "unit": "10*6/uL", "text": "6.5", "written_unit": "", "flags": "[]",
        }  # fmt: skip


@pytest.fixture
def large(store, data_dir):
    store.close()
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        for table, rows in (
            ("captures", captures), ("decodings", decodings), ("runs", runs),
            ("reports", told), ("reported_values", values),
        ):  # fmt: skip
            insert(db, table, rows())
        db.commit()
    with closing(queries.connect(data_dir)) as db:
        yield db


@pytest.mark.campaign
def test_every_question_about_the_join_is_quick(large):
    def of_one():
        return [r["id"] for r in queries.run(large, "77777")["analyzer"]["reports"]]

    def of_a_page():
        return [r["run_id"] for r in reports.listing(large, limit=3)]

    asked = {
        "one run": (of_one, [77777], 0.5),
        "a page": (of_a_page, [N, N - 1, N - 2], 3.0),
        "all": (lambda: len(reports.match_runs(large)), N, 15.0),
        "without": (lambda: reports.unmatched_runs(large), set(), 15.0),
    }
    for name, (ask, expected, allowed) in asked.items():
        started = time.process_time()
        assert ask() == expected, name
        used = time.process_time() - started
        print(f"{name}: {used:.2f} s of CPU")  # noqa: T201 - the campaign's report
        assert used < allowed, name
