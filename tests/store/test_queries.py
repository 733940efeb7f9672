from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from edge_daemon.errors import EXIT_NOT_FOUND, EdgeError, Fatal, Quarantine, Retryable
from edge_daemon.records import Flag
from edge_daemon.store import layout, queries
from edge_daemon.store.writer import Store

CLUMPS = Flag("clumps", "review", "4 %", "look at a smear")
FEW = Flag("few_cells", "invalid", "12 events", "run it again")
NOTE = Flag("note", "info", "for information")


@pytest.fixture
def db(store, data_dir):
    with closing(queries.connect(data_dir)) as reader:
        yield reader


@pytest.fixture
def cohort(analyse, clock):
    """Run ids 1-5, of one day each; the clock goes back before the last."""
    clock.wall = "2026-11-20T08:00:00.000000Z"
    analyse(1, sample_id="A-1", patient_id="P-1", patient_name="Bella", species="dog")
    clock.wall = "2026-11-21T08:00:00.000000Z"
    analyse(2, CLUMPS, sample_id="A-2", patient_id="P-2", patient_name="Tom", species="cat")
    clock.wall = "2026-11-22T08:00:00.000000Z"
    analyse(3, FEW, CLUMPS, sample_id="A-3", patient_id="P-1", species="dog", simulated=True)
    clock.wall = "2026-11-23T08:00:00.000000Z"
    analyse(4, NOTE, sample_id="A-1", patient_id="P-1", species="dog")
    clock.wall = "2020-01-01T00:00:00.000000Z"
    analyse(5, sample_id="5000", species="horse")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"limit": 2}, [5, 4]),
        ({"limit": 2, "before": 4}, [3, 2]),
        ({"before": 1}, []),
        ({"since": "2026-11-21"}, [4, 3, 2]),
        ({"until": "2026-11-21"}, [5, 1]),
        ({"since": "2026-11-21", "until": "2026-11-22T08:00:00.000001Z"}, [3, 2]),
        ({"sample": "a-1"}, [4, 1]),
        ({"patient": "p-1"}, [4, 3, 1]),
        ({"patient": "bella"}, [1]),
        ({"species": "dog", "limit": 2}, [4, 3]),
        ({"flag": "clumps"}, [3, 2]),
        ({"flag": "clumps", "before": 3}, [2]),
        ({"flag": "unheard_of"}, []),
        ({"status": "invalid"}, [3]),
        ({"status": "review"}, [2]),
        ({"status": "ok", "species": "dog"}, [4, 1]),
    ],
)
def test_filters(cohort, db, filters, expected):
    assert [row["id"] for row in queries.results(db, **filters)] == expected


def test_a_row_carries_what_a_list_shows(cohort, db):
    row = queries.results(db, sample="A-3")[0]
    assert [flag["code"] for flag in row["flags"]] == ["few_cells", "clumps"]
    assert [item["code"] for item in row["measurements"]] == ["RBC", "RETIC%", "HGB"]
    assert row["simulated"] is True
    assert row["counts"]["pure_rbc"] == 800
    assert (row["instrument"], row["created_clock"]) == ("advia-1", "unsynchronised")


def test_only_the_newest_run_of_a_capture_unless_all(store, make, analyse, db):
    analyse(1)
    analyse(2)
    store.requeue(1)
    store.record_decoded(1, make.decoded())
    store.record_run(1, make.decoded(), make.classified())
    assert [row["id"] for row in queries.results(db)] == [3, 2]
    assert [row["id"] for row in queries.results(db, all_runs=True)] == [3, 2, 1]


PLANS = [
    ({}, "SEARCH r USING INTEGER PRIMARY KEY (rowid<?)"),
    ({"all_runs": True}, "SEARCH r USING INTEGER PRIMARY KEY (rowid<?)"),
    ({"sample": "A-1"}, "SEARCH r USING INDEX runs_by_sample_id"),
    ({"patient": "P-1"}, "SEARCH r USING INDEX runs_by_patient_id"),
    ({"species": "dog"}, "SEARCH r USING INDEX runs_by_species"),
    ({"status": "review"}, "SEARCH r USING INDEX runs_by_status"),
    ({"flag": "clumps"}, "SEARCH flags USING COVERING INDEX flags_by_code"),
    ({"since": "2026", "until": "2027"}, "SEARCH r USING"),
]


@pytest.mark.parametrize(("filters", "step"), PLANS)
def test_a_page_never_walks_the_whole_table(cohort, db, filters, step):
    asked = []
    db.set_trace_callback(asked.append)
    queries.results(db, **filters)
    db.set_trace_callback(None)
    plan = [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert any(line.startswith(step) for line in plan), plan
    assert not [line for line in plan if line.startswith("SCAN")], plan
    if filters.keys() <= {"sample", "species", "status", "all_runs"}:
        assert not [line for line in plan if "TEMP B-TREE" in line], plan


def test_a_digest_is_looked_up_by_index(cohort, make, db):
    asked = []
    db.set_trace_callback(asked.append)
    assert len(queries.captures(db, sha256=make.capture(3).sha256)) == 1
    db.set_trace_callback(None)
    plan = [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
    assert any("USING INDEX sqlite_autoindex_captures_1 (sha256=?" in line for line in plan), plan


def test_a_key_is_a_run_or_a_sample(cohort, db):
    assert queries.run(db, "2")["id"] == 2
    assert queries.run(db, "A-1")["id"] == 4
    assert queries.run(db, "5000")["id"] == 5
    assert queries.run(db, "run:5000") is None
    assert queries.run(db, "sample:2") is None
    assert queries.run(db, "nobody") is None
    assert queries.run(db, "9" * 30) is None
    assert queries.run(db, "²") is None


def test_a_number_that_means_two_results_is_not_guessed(cohort, analyse, db):
    analyse(6, sample_id="2")
    with pytest.raises(EdgeError, match="2 is the number of a run") as caught:
        queries.run(db, "2")
    assert "sample:2" in caught.value.action
    assert queries.run(db, "sample:2")["id"] == 6
    assert queries.run(db, "run:2")["sample_id"] == "A-2"


def test_the_detail_shows_every_sighting(store, make, analyse, db):
    analyse(1)
    store.accept(make.capture(1, name="copy of it.fcs"))
    assert [row["name"] for row in queries.run(db, "1")["sightings"]] == ["copy of it.fcs"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE measurements SET value = value + 1e-9 WHERE code = 'RBC'",
        "UPDATE measurements SET flags = '{broken'",
        "UPDATE runs SET breed = CAST(x'ff' AS TEXT)",
        "DELETE FROM flags",
        "UPDATE runs SET n_platelet = 151",
        "UPDATE runs SET patient_name = 'Rex'",
        "UPDATE decodings SET notes = '[]'",
    ],
)
def test_a_changed_result_is_not_intact(store, analyse, data_dir, change):
    analyse(1, CLUMPS, patient_name="Bella")
    store.close()
    with closing(sqlite3.connect(layout.database_path(data_dir))) as raw:
        raw.execute(change)
        raw.commit()
    with closing(queries.connect(data_dir)) as db:
        assert queries.run(db, "1")["intact"] is False


def test_captures_and_status(store, make, analyse, db):
    assert queries.status(db)["newest_capture"] is None
    analyse(1)
    store.accept(make.capture(2))
    store.accept(make.capture(3))
    store.quarantine(3, Quarantine("truncated", "ends at byte 12", action="export it again"))
    assert [row["id"] for row in queries.captures(db, limit=2)] == [3, 2]
    assert [row["id"] for row in queries.captures(db, before=3, state="received")] == [2]
    [taken] = queries.captures(db, sha256=make.capture(1).sha256)
    assert (taken["run_id"], taken["profile"], taken["events"]) == (1, "acme_one/1.0", 1000)
    assert [row["id"] for row in queries.quarantined(db)] == [3]
    summary = queries.status(db)
    assert summary["states"] == {"received": 1, "decoded": 0, "classified": 1, "quarantined": 1}
    assert (summary["pending"], summary["runs"], summary["outbox_waiting"]) == (1, 1, 1)
    assert summary["newest_capture"]["id"] == 3
    assert summary["schema"] == layout.REVISION
    assert summary["database_bytes"] > 0


def test_export_goes_through_every_page(monkeypatch, cohort, db):
    monkeypatch.setattr(queries, "_PAGE", 2)
    assert [row["id"] for row in queries.export(db)] == [5, 4, 3, 2, 1]
    assert [row["id"] for row in queries.export(db, limit=3)] == [5, 4, 3]
    assert [row["id"] for row in queries.export(db, species="dog")] == [4, 3, 1]
    assert [row["id"] for row in queries.export(db, before=3)] == [2, 1]


def test_a_flat_export_has_one_level(cohort, db):
    flat = list(queries.export(db, flat=True))
    assert not [value for row in flat for value in row.values() if isinstance(value, dict | list)]
    assert flat[2]["flags"] == "few_cells clumps"
    assert (flat[0]["RBC"], flat[0]["RBC_low"], flat[0]["RBC_unit"]) == (6.6251, 6.4, "10*6/uL")
    assert (flat[0]["n_platelet"], flat[0]["HGB_method"]) == (150, "calculated")


def test_a_reader_cannot_write(cohort, db):
    with pytest.raises(sqlite3.OperationalError, match=r"readonly|read-only"):
        db.execute("DELETE FROM runs")


@pytest.mark.parametrize("made", ["nothing", "directory", "empty file"])
def test_no_store_there(data_dir, made):
    if made != "nothing":
        data_dir.mkdir()
    if made == "empty file":
        layout.database_path(data_dir).touch()
    with pytest.raises(Fatal, match="no store here") as caught:
        queries.connect(data_dir)
    assert caught.value.exit_code == EXIT_NOT_FOUND
    assert caught.value.action


def test_what_is_no_database(data_dir):
    data_dir.mkdir()
    layout.database_path(data_dir).write_bytes(b"rubbish " * 1000)
    with pytest.raises(Retryable, match="cannot be read"):
        queries.connect(data_dir)


@pytest.fixture
def as_guest():
    """Act as a user who owns nothing; gives a folder that this user may enter."""
    if os.geteuid() != 0:
        pytest.skip("system: only root can act as another user")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)

    @contextlib.contextmanager
    def act():
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    yield folder, act
    shutil.rmtree(folder)


@pytest.mark.parametrize("service", ["running", "stopped", "killed"])
def test_someone_who_may_only_read_can_ask(as_guest, clock, make, service):
    folder, act = as_guest
    store = Store.open(folder / "data", clock)
    (folder / "data").chmod(0o755)
    store.accept(make.capture(1))
    if service == "killed":  # what a kill leaves: the database and its log
        shutil.copytree(folder / "data", folder / "left")
        (folder / "left").chmod(0o755)
    if service != "running":
        store.close()
    data_dir = folder / ("left" if service == "killed" else "data")
    with act(), closing(queries.connect(data_dir)) as db:
        assert len(queries.captures(db)) == 1
        with pytest.raises(sqlite3.OperationalError):
            db.execute("DELETE FROM captures")
    store.close()


def test_someone_who_may_not_read_is_told(as_guest, clock):
    folder, act = as_guest
    Store.open(folder / "data", clock).close()
    (folder / "data").chmod(0o700)
    with act(), pytest.raises(Retryable, match="Permission denied") as caught:
        queries.connect(folder / "data")
    assert "may read" in caught.value.action
    with act(), pytest.raises(Retryable, match="Permission denied"):
        Store.open(folder / "data", clock)
    with act(), pytest.raises(Retryable, match="Permission denied"):
        Store.open(folder / "data" / "inner", clock)


def test_a_path_with_odd_characters(tmp_path, clock, make):
    data_dir = tmp_path / "a?mode=rw#b%20 ü"
    with Store.open(data_dir, clock) as store:
        store.accept(make.capture(1))
    with closing(queries.connect(data_dir)) as db:
        assert len(queries.captures(db)) == 1


def test_asking_imports_nothing_heavy():
    script = (
        "import sys, edge_daemon.store.queries\n"
        "heavy = {'sqlalchemy', 'alembic', 'numpy', 'pydantic', 'structlog', 'click', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
