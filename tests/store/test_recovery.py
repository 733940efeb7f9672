"""Databases that were damaged, emptied, deleted or cut short come back, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest

from edge_daemon.errors import EdgeError, Fatal, Quarantine
from edge_daemon.store import layout, queries
from edge_daemon.store.backup import back_up
from edge_daemon.store.replace import decide, repair
from edge_daemon.store.writer import Store

BACKED_UP, ALL = 8, 14


def truncate(database):
    os.truncate(database, database.stat().st_size // 2)


def overwrite_pages(database):
    with database.open("r+b") as file:
        for page in range(2, database.stat().st_size // 4096, 3):
            file.seek(page * 4096)
            file.write(os.urandom(4096))


def zero_header(database):
    with database.open("r+b") as file:
        file.write(bytes(100))


def empty(database):
    os.truncate(database, 0)


def delete(database):
    database.unlink()


DAMAGE = [truncate, overwrite_pages, zero_header, empty, delete]


@pytest.fixture
def box(store, analyse, make, data_dir):
    """A closed data directory: results, a refused capture, a backup in the middle of it."""
    for number in range(ALL):
        analyse(number, instrument="advia-2" if number % 3 else "advia-1")
        if number == BACKED_UP - 1:
            back_up(data_dir)
    store.accept(make.capture(b"half a message"), reason=Quarantine("truncated", "cut"))
    store.close()
    return data_dir


def facts(data_dir):
    """What a person or the centre must find again, and the epoch."""
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        captures = db.execute(
            "SELECT id, instrument, sha256, source, name, received_wall, received_monotonic_s,"
            " reason_code FROM captures ORDER BY id"
        ).fetchall()
        sent = {row[0] for row in db.execute("SELECT digest FROM outbox")}
        epoch = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
    return captures, sent, epoch


def analyse_pending(store, make):
    for item in store.pending():
        assert store.read_capture(item.capture_id).sha256 == item.sha256
        store.record_decoded(item.capture_id, make.decoded())
        store.record_run(item.capture_id, make.decoded(), make.classified())


@pytest.mark.parametrize("backups", [True, False], ids=["backup", "archive only"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_database_comes_back_with_every_capture(box, clock, make, damage, backups):
    captures, sent, epoch = facts(box)
    if not backups:
        shutil.rmtree(box / layout.BACKUPS_NAME)
    damage(layout.database_path(box))
    database = layout.database_path(box)
    broken = database.read_bytes() if database.exists() else None
    told = []
    with Store.open(box, clock, prepare=lambda folder: repair(folder, told.append)) as store:
        found = store.recovery
        assert len(store.pending()) == ALL - (BACKED_UP if backups else 0)
        analyse_pending(store, make)
        assert store.accept(make.capture(99)).capture_id == ALL + 2  # no number comes twice
    assert told == [found.why]
    assert found.backup == ("backup-000001.db" if backups else None)
    assert found.taken == ALL + 1 - (BACKED_UP if backups else 0)
    assert (found.unattributed, found.missing) == (0, 0)
    again, resent, new_epoch = facts(box)
    assert again[:-1] == captures
    assert resent == sent  # the centre knows every one of them by its digest
    assert new_epoch == found.epoch != epoch
    aside = box / layout.SET_ASIDE_NAME / "0001" / layout.DATABASE_NAME
    assert (aside.read_bytes() if aside.exists() else None) == broken
    with Store.open(box, clock, prepare=repair) as store:
        assert store.recovery is None
    assert facts(box)[2] == new_epoch


def test_every_set_aside_database_has_a_folder_of_its_own(box, clock):
    for time in range(1, 4):
        zero_header(layout.database_path(box))
        Store.open(box, clock, prepare=repair).close()
        assert len(list((box / layout.SET_ASIDE_NAME).iterdir())) == time
    assert len(list((box / layout.SET_ASIDE_NAME).glob("*/edge.sqlite3"))) == 3


KILLED = """
    import hashlib, os, signal, sys
    from pathlib import Path
    from edge_daemon.clock import SystemClock
    from edge_daemon.records import RawCapture
    from edge_daemon.store.writer import Store
    store = Store.open(Path(sys.argv[1]), SystemClock())
    for number in range(5):
        data = b"late %d" % number
        sha256 = hashlib.sha256(data).hexdigest()
        print(store.accept(RawCapture("advia-1", "s", "n", sha256, data)).capture_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("ends", [("-wal",), ("-wal", "-shm"), ("-shm",)], ids=" ".join)
def test_a_deleted_log_after_a_crash_loses_no_capture(box, clock, ends):
    epoch = facts(box)[2]
    script = [sys.executable, "-c", textwrap.dedent(KILLED), box]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(n) for n in range(ALL + 2, ALL + 7)], done.stderr
    for end in ends:
        layout.database_path(box).with_name(layout.DATABASE_NAME + end).unlink()
    with Store.open(box, clock) as store:
        lost = store.recovery
        assert len(store.pending()) == 5
    captures, _, new_epoch = facts(box)
    assert [row[0] for row in captures] == list(range(1, ALL + 7))
    if "-wal" in ends:  # numbers of the lost rows may have been sent: they must not come again
        assert lost.taken == 5
        assert lost.epoch == new_epoch != epoch
    else:
        assert lost is None
        assert epoch == new_epoch


def test_a_restart_after_a_plain_crash_recovers_nothing(box, clock):
    epoch = facts(box)[2]
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), box], check=False)
    with Store.open(box, clock, prepare=repair) as store:
        assert store.recovery is None
    assert facts(box)[2] == epoch


def test_bytes_without_an_origin_are_kept_under_a_name_that_says_so(box, clock):
    (box / layout.ORIGINS_NAME).unlink()
    shutil.rmtree(box / layout.BACKUPS_NAME)
    back = box / layout.BACKUPS_NAME / "backup-000001.db"
    back.parent.mkdir()
    back.write_bytes(b"not readable any more")
    zero_header(layout.database_path(box))
    with Store.open(box, clock, prepare=repair) as store:
        found = store.recovery
        pending = store.pending()
    assert (found.taken, found.unattributed, found.backup) == (ALL + 1, ALL + 1, None)
    assert {item.instrument for item in pending} == {"recovered"}


def test_bytes_that_are_gone_too_are_counted(box, clock):
    lost = facts(box)[0][ALL - 1][2]
    (box / layout.ARCHIVE_NAME / lost[:2] / f"{lost}.raw").unlink()
    zero_header(layout.database_path(box))
    with Store.open(box, clock, prepare=repair) as store:
        assert store.recovery.missing == 1
    with Store.open(box, clock, prepare=repair) as store:
        assert store.recovery is None
    with closing(queries.connect(box)) as db:
        assert len(queries.captures(db)) == ALL


def test_a_store_opened_by_hand_does_not_replace_anything(box, clock):
    delete(layout.database_path(box))
    with pytest.raises(Fatal, match="missing") as caught:
        Store.open(box, clock)
    assert "restore" in caught.value.action
    assert not layout.database_path(box).exists()


def test_a_file_that_is_no_backup_changes_nothing(box, clock, tmp_path):
    letter = tmp_path / "letter.db"
    letter.write_text("Dear editor " * 500)
    before = facts(box)
    with pytest.raises(EdgeError, match="cannot be restored"):
        Store.open(box, clock, prepare=lambda folder: decide(folder, letter, "by hand"))
    assert facts(box) == before
    assert not list(box.glob("restoring*"))


def test_another_programs_database_is_not_set_aside(box, clock):
    database = layout.database_path(box)
    database.unlink()
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE TABLE moz_places (id INTEGER PRIMARY KEY)")
    with pytest.raises(Fatal, match="not one of edge_daemon"):
        Store.open(box, clock, prepare=repair)
    assert not (box / layout.SET_ASIDE_NAME).exists()


def test_a_failing_disk_is_not_taken_for_a_damaged_database(box, clock, monkeypatch):
    from edge_daemon.errors import Retryable
    from edge_daemon.store import soundness

    def failing(*_args, **_options):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    monkeypatch.setattr(soundness, "read_revision", failing)
    with pytest.raises(Retryable, match="disk reports an error"):
        Store.open(box, clock, prepare=repair)
    assert not (box / layout.SET_ASIDE_NAME).exists()


def test_a_mark_on_a_sound_database_is_taken_away(box, clock):
    mark = box / layout.DAMAGED_NAME
    mark.write_text("seen while the share was away\n")
    with Store.open(box, clock, prepare=repair) as store:
        assert store.recovery is None
    assert not mark.exists()


# Fork once per step; each child is killed just before its n-th one. Steps are SQL statements
# and what changes or syncs files.
SWEEP = """
    import builtins, os, shutil, signal, sqlite3, sys
    from pathlib import Path
    from edge_daemon.clock import SystemClock
    from edge_daemon.store.backup import back_up
    from edge_daemon.store.deleting import mark_deleted, remove_deleted
    from edge_daemon.store.replace import decide, finish, repair
    from edge_daemon.store.writer import Store

    before, action, work = sys.argv[1:]
    CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.truncate", "open"}

    def act(folder):
        if action == "back up":
            back_up(folder)
        elif action == "delete":
            with Store.open(folder, SystemClock()) as store:
                remove_deleted(store, mark_deleted(store, [2, 5], "2026-11-22"))
        elif action == "repair":
            Store.open(folder, SystemClock(), prepare=repair).close()
        else:
            chosen = folder / "backups" / "backup-000001.db"
            by_hand = lambda d: decide(d, chosen, "by hand")
            Store.open(folder, SystemClock(), prepare=by_hand).close()

    for n in range(1, 2000):
        target = Path(work) / str(n)
        shutil.copytree(before, target)
        child = os.fork()
        if not child:
            left = [n]
            def step(*_):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            def before_call(call):
                return lambda *a, **k: (step(), call(*a, **k))[1]
            sys.addaudithook(lambda event, _: step() if event in CHANGES else None)
            os.fsync, os.fdatasync = before_call(os.fsync), before_call(os.fdatasync)
            os.write = before_call(os.write)
            real = sqlite3.connect
            def traced(*a, **k):
                db = real(*a, **k)
                db.set_trace_callback(step)
                return db
            sqlite3.connect = traced
            act(target)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(n, "whole" if status == 0 else "killed", flush=True)
        if status == 0:
            break
"""


def sweep(before, action, work):
    work.mkdir()
    script = [sys.executable, "-c", textwrap.dedent(SWEEP), before, action, work]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    outcomes = [line.split() for line in done.stdout.splitlines()]
    assert outcomes, done.stderr
    assert outcomes[-1][1] == "whole", done.stderr
    assert all(outcome == "killed" for _, outcome in outcomes[:-1])
    return [work / number for number, _ in outcomes]


@pytest.mark.parametrize("damage", [zero_header, delete, None])
def test_killed_before_any_step_of_a_recovery_the_next_start_loses_nothing(
    box, clock, tmp_path, damage
):
    captures, _, _ = facts(box)
    database = layout.database_path(box)
    if damage is not None:
        damage(database)
    broken = database.read_bytes() if database.exists() else None
    action = "repair" if damage else "restore"
    targets = sweep(box, action, tmp_path / "work")
    assert len(targets) > 60
    for target in targets:
        with Store.open(target, clock, prepare=repair) as store:
            waiting = len(store.pending())
        assert facts(target)[0] == captures
        aside = list((target / layout.SET_ASIDE_NAME).glob("*/edge.sqlite3"))
        if damage is not None:
            assert waiting == ALL - BACKED_UP
            assert [path.read_bytes() for path in aside] == ([broken] if broken else [])
        else:  # a restore that was not decided yet left everything as it was
            assert waiting == (ALL - BACKED_UP if aside else 0)
        assert not list(target.glob("restoring*"))


def test_killed_before_any_step_of_a_backup_those_there_are_good(box, tmp_path, clock):
    from edge_daemon.store.backup import fault, list_backups

    targets = sweep(box, "back up", tmp_path / "work")
    assert len(targets) > 10
    for target in targets:
        kept = list_backups(target)
        assert kept
        assert [fault(path) for path in kept] == [None] * len(kept)
        assert back_up(target)[0].name == "backup-000002.db"
        assert not list(target.glob("backups/*.partial*"))
        with Store.open(target, clock) as store:
            assert store.recovery is None


def test_killed_before_any_step_of_a_deletion_no_row_misses_its_file(box, tmp_path, clock):
    targets = sweep(box, "delete", tmp_path / "work")
    assert len(targets) > 10
    seen = set()
    for target in targets:
        with Store.open(target, clock) as store:
            assert store.recovery is None
        with closing(queries.connect(target)) as db:
            rows = queries.captures(db)
        for row in rows:
            file = target / layout.ARCHIVE_NAME / row["sha256"][:2] / f"{row['sha256']}.raw"
            assert row["raw_deleted_wall"] is not None or file.is_file()
        seen.add(tuple(sorted(row["id"] for row in rows if row["raw_deleted_wall"])))
    assert seen == {(), (2, 5)}
