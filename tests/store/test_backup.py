from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from edge_daemon.errors import Retryable
from edge_daemon.store import backup, layout
from edge_daemon.store.backup import (
    DamagedError,
    back_up,
    copy_database,
    fault,
    list_backups,
    newest_good,
)
from edge_daemon.store.deleting import mark_deleted
from edge_daemon.store.lots import Lot, LotTarget


def runs(database):
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return db.execute("SELECT count(*) FROM runs").fetchone()[0]


def damage(file):
    with file.open("r+b") as stream:
        stream.seek(4096 * 3)
        stream.write(b"\xff" * 4096)


def test_a_backup_beside_the_writer_is_whole_and_needs_no_other_file(analyse, data_dir, tmp_path):
    analyse(1)
    file, made = back_up(data_dir)
    assert (file.name, made) == ("backup-000001.db", True)
    moved = tmp_path / "stick"
    moved.mkdir()
    shutil.copy(file, moved)
    moved.chmod(0o500)
    assert runs(moved / file.name) == 1
    assert [path.name for path in moved.iterdir()] == [file.name]
    assert fault(moved / file.name) is None


def test_the_newest_three_are_kept_and_nothing_new_makes_no_new_one(analyse, data_dir):
    for number in range(5):
        analyse(number)
        assert back_up(data_dir)[1]
    assert back_up(data_dir) == (data_dir / "backups" / "backup-000005.db", False)
    kept = list_backups(data_dir)
    assert [path.name for path in kept] == [f"backup-00000{n}.db" for n in (5, 4, 3)]
    assert [runs(path) for path in kept] == [5, 4, 3]
    assert {path.name for path in (data_dir / "backups").iterdir()} == {p.name for p in kept}


def test_a_lot_of_control_material_and_deleted_bytes_are_worth_a_backup(store, analyse, data_dir):
    """Neither makes another row that the newest backup was compared by."""
    analyse(1)
    back_up(data_dir)
    store.add_lot(Lot("7", "normal", "Blood", {"RBC": LotTarget(5.0, 0.1)}), by="Ann")
    assert back_up(data_dir)[1]
    mark_deleted(store, [1], "2026-11-22T10:00:00Z")
    assert back_up(data_dir)[1]
    assert not back_up(data_dir)[1]


def test_writing_goes_on_while_a_copy_is_made(analyse, data_dir, monkeypatch):
    """One page a step: the copy is far from done when the writer has committed."""
    monkeypatch.setattr(backup, "_STEP", 1)
    for number in range(5):
        analyse(number)
    steps = iter(range(10**9))

    def keep_on():
        if (step := next(steps)) < 5:
            analyse(100 + step)
        return True

    file, _ = back_up(data_dir, keep_on=keep_on)
    assert next(steps) > 20
    assert runs(file) == 5  # the snapshot it began with
    assert back_up(data_dir)[1]
    assert runs(list_backups(data_dir)[0]) == 10


def test_a_copy_gives_way_to_a_log_that_grows(analyse, data_dir, monkeypatch):
    analyse(1)
    monkeypatch.setattr(backup, "MAX_LOG", 0)
    with pytest.raises(Retryable, match="writes too much"):
        back_up(data_dir)
    assert list((data_dir / "backups").iterdir()) == []


def test_a_copy_ends_when_the_service_stops(analyse, data_dir):
    analyse(1)
    with pytest.raises(Retryable, match="given up"):
        back_up(data_dir, keep_on=lambda: False)
    assert list((data_dir / "backups").iterdir()) == []


def test_a_second_backup_at_the_same_time_is_told_to_wait(analyse, data_dir):
    analyse(1)
    inside, go = threading.Event(), threading.Event()

    def keep_on():
        inside.set()
        return go.wait(30)

    first = threading.Thread(target=back_up, args=(data_dir,), kwargs={"keep_on": keep_on})
    first.start()
    assert inside.wait(30)
    with pytest.raises(Retryable, match="another backup"):
        back_up(data_dir)
    go.set()
    first.join()
    assert len(list_backups(data_dir)) == 1


def test_a_full_disk_is_said_with_figures(analyse, data_dir, monkeypatch):
    analyse(1)
    usage = shutil.disk_usage(data_dir)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5000))
    with pytest.raises(Retryable, match="0 MB are free"):
        back_up(data_dir)


def test_a_damaged_database_makes_no_backup(store, analyse, data_dir):
    for number in range(30):
        analyse(number)
    store.close()
    damage(layout.database_path(data_dir))
    with pytest.raises(DamagedError):
        copy_database(layout.database_path(data_dir), data_dir / "copy.db")
    assert not (data_dir / "copy.db").exists()
    assert not list(data_dir.glob("*.partial*"))


def test_a_bad_backup_is_passed_over(store, analyse, data_dir):
    for number in range(30):
        analyse(number)
        if number in {10, 20}:
            back_up(data_dir)
    newest, older = list_backups(data_dir)
    assert newest_good(data_dir) == newest
    damage(newest)
    assert fault(newest)
    assert newest_good(data_dir) == older
    older.write_bytes(b"")
    assert newest_good(data_dir) is None


def test_what_cannot_be_restored_says_why(tmp_path, store, data_dir):
    file = tmp_path / "x.db"
    file.write_text("a letter " * 1000)
    assert "not a database" in fault(file)
    file.unlink()
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE moz_places (id)")
    assert "not one of edge_daemon" in fault(file)
    newer, _ = back_up(data_dir)
    with closing(sqlite3.connect(newer)) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.commit()
    assert "newer" in fault(newer)
