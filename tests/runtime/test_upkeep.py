"""Upkeep with a clock and jobs of real stores; the thread itself in the service's own test."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from edge_daemon import upkeep as module
from edge_daemon.ballast import BALLAST_MB, Ballast
from edge_daemon.clock import Stamp, elapsed_s
from edge_daemon.errors import Fatal
from edge_daemon.health import DiskGuard
from edge_daemon.log import EventLog
from edge_daemon.records import CELL_CLASSES, Classified, Decoded, Flag, RawCapture, SampleInfo
from edge_daemon.store import layout, statistics
from edge_daemon.store.backup import list_backups, open_copied
from edge_daemon.store.outbox import Settled
from edge_daemon.store.reader import connect
from edge_daemon.store.replace import repair
from edge_daemon.store.retention import Rule
from edge_daemon.store.sending import settle
from edge_daemon.store.writer import Store
from edge_daemon.upkeep import DAY, HOUR, Upkeep, is_due

YEARS = 3652 * DAY


class Clock:
    """Moves when told; the wall clock also by itself, as one that jumps."""

    def __init__(self) -> None:
        self.now = 2 * HOUR
        self.boot = "boot-1"
        self.state = "synchronised"
        self.off_s = 0.0

    def monotonic(self) -> float:
        return self.now

    def stamp(self) -> Stamp:
        wall = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.now + self.off_s)
        text = wall.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return Stamp(text, self.state, self.boot, self.now)

    def restart_box(self) -> None:
        self.off_s += self.now
        self.now = 60.0
        self.boot += "'"


class Box:
    """A store with its upkeep, turned by hand."""

    def __init__(self, folder, rule=None):
        self.clock = Clock()
        self.data = folder / "data"
        self.stream = io.StringIO()
        self.rule = rule or Rule(None, 2, require_sync=True)
        self.open()
        self.number = 0

    def open(self, **options):
        log = EventLog("debug", self.stream)
        self.store = Store.open(self.data, self.clock, **options)
        self.ballast = Ballast(self.data)
        self.disk = DiskGuard(self.data, 1, log, self.ballast)
        self.upkeep = Upkeep(
            self.store,
            self.data,
            self.rule,
            disk=self.disk,
            ballast=self.ballast,
            clock=self.clock,
            log=log,
        )
        with closing(connect(self.data)) as db:
            self.upkeep._records = statistics.upkeep(db)

    def turn(self, seconds=0.0):
        self.clock.now += seconds
        self.upkeep._turn()

    def restart(self, **options):
        self.store.close()
        self.open(**options)

    def add(self, *flags, instrument="a", data=None, simulated=False):
        self.number += 1
        data = data or b"capture %d " % self.number * 100
        sha256 = hashlib.sha256(data).hexdigest()
        taken = self.store.accept(RawCapture(instrument, "s", f"{self.number}", sha256, data))
        step = Decoded("p/1", "a" * 64, 5, ("LA.H",), SampleInfo("s", simulated=simulated))
        self.store.record_decoded(taken.capture_id, step)
        counts = dict.fromkeys(CELL_CLASSES, 1)
        self.store.record_run(taken.capture_id, step, Classified("m", "b" * 64, counts, (), flags))
        return taken.capture_id

    def sync(self):
        with closing(connect(self.data)) as db:
            rows = db.execute("SELECT seq, digest FROM outbox").fetchall()
        settle(self.store, [Settled(row["seq"], row["digest"], "stored") for row in rows])

    def path(self, capture_id):
        with closing(connect(self.data)) as db:
            query = "SELECT sha256 FROM captures WHERE id = ?"
            sha256 = db.execute(query, [capture_id]).fetchone()["sha256"]
        return self.data / layout.ARCHIVE_NAME / sha256[:2] / f"{sha256}.raw"

    def events(self):
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def done(self, job):
        return sum(e["event"] == "upkeep_done" and e["job"] == job for e in self.events())

    def records(self):
        with closing(connect(self.data)) as db:
            return statistics.upkeep(db)


@pytest.fixture
def box(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    made = Box(tmp_path)
    yield made
    made.store.close()


S = Stamp("2026-11-22T10:00:00.000000Z", "synchronised", "b1", 5000.0)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({"monotonic_s": 5100.0}, 100.0),
        ({"monotonic_s": 5100.0, "wall": "2036-01-01T00:00:00.000000Z"}, 100.0),
        ({"monotonic_s": 5100.0, "wall": "2016-01-01T00:00:00.000000Z"}, 100.0),
        ({"boot_id": "b2", "wall": "2026-11-22T10:00:30.000000Z"}, 30.0),
        ({"boot_id": "b2", "wall": "2016-11-22T10:00:30.000000Z"}, None),
        ({"boot_id": "b2", "state": "unsynchronised"}, None),
        ({"boot_id": "b2", "state": "unknown"}, None),
    ],
)
def test_time_between_stamps_is_what_a_trusted_clock_says(later, expected):
    assert elapsed_s(S, dataclasses.replace(S, **later)) == expected


def test_what_no_clock_dates_is_due_once_the_box_is_up_for_an_hour():
    fresh = dataclasses.replace(S, boot_id="b2", state="unknown", monotonic_s=60.0)
    assert not is_due(S, fresh, DAY)
    assert not is_due(None, fresh, DAY)
    settled = dataclasses.replace(fresh, monotonic_s=3600.0)
    assert is_due(S, settled, DAY)
    assert is_due(None, settled, DAY)


def test_a_day_brings_one_backup_and_one_check_and_a_week_the_full_check(box):
    for day in range(15):
        box.add()
        for _ in range(24):
            box.turn(HOUR)
        assert box.done("backup") == day + 1 == box.done("quick_check")
    assert box.done("integrity_check") == 3
    assert [path.name for path in list_backups(box.data)] == [
        f"backup-{n:06d}.db" for n in (15, 14, 13)
    ]
    found = box.records()
    assert found["backup"]["found"]["file"] == "backup-000015.db"
    assert found["quick_check"]["found"] == {"sound": True}
    assert found["backup"]["problem"] is None


@pytest.mark.parametrize("jump", [YEARS, -YEARS], ids=["+10 years", "-10 years"])
@pytest.mark.parametrize("restart", [False, True], ids=["running", "over a restart"])
@pytest.mark.parametrize("state", ["synchronised", "unsynchronised"])
def test_a_jump_of_the_clock_neither_floods_nor_stops_nor_purges(
    tmp_path, monkeypatch, jump, restart, state
):
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    box = Box(tmp_path, Rule(1, 30, require_sync=False))
    for _ in range(5):
        box.add()
        box.turn(DAY)
    assert box.done("backup") == 5
    box.clock.off_s += jump
    box.clock.state = state
    if restart:
        box.clock.restart_box()
        box.restart()
    for _ in range(240):
        box.turn(360.0)  # one day
    assert 6 <= box.done("backup") <= 7
    for _ in range(4):
        box.turn(DAY)
    assert 10 <= box.done("backup") <= 11
    assert all(box.path(n).is_file() for n in range(1, 6))
    box.store.close()


def test_a_restart_of_the_service_alone_repeats_nothing(box):
    box.add()
    box.turn()
    for _ in range(10):
        box.restart()
        box.turn(60.0)
    assert box.done("backup") == box.done("quick_check") == 1


def test_a_job_that_fails_is_tried_again_ever_later_and_says_why(box, monkeypatch):
    box.add()
    usage = shutil.disk_usage(box.data)
    full = [True]
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: usage._replace(free=0) if full[0] else usage
    )
    for _ in range(60):
        box.turn(60.0)
    failed = [e for e in box.events() if e["event"] == "upkeep_failed"]
    assert 2 <= len(failed) <= 3
    (finding,) = box.upkeep.findings()
    assert (finding.code, finding.subject) == ("upkeep_failing", "backup")
    assert "0 MB are free" in finding.values["reason"]
    assert box.records()["backup"]["problem"] == finding.values["reason"]
    assert box.done("quick_check") == 1  # others go on
    full[0] = False
    box.turn(6 * HOUR)
    assert box.done("backup") == 1
    assert box.upkeep.findings() == []


def test_damage_found_while_running_ends_the_service_and_the_next_start_mends_it(box):
    for _ in range(30):
        box.add()
    box.turn()
    box.add()
    database = layout.database_path(box.data)
    with closing(connect(box.data)) as db:
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'measurements'")
        offset = (page.fetchone()[0] - 1) * 4096
    box.restart()
    with database.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 4096)
    with pytest.raises(Fatal, match="damaged"):
        box.turn(DAY)
    assert (box.data / layout.DAMAGED_NAME).exists()
    assert any(e["event"] == "store_damaged" for e in box.events())
    box.restart(prepare=repair)
    assert box.store.recovery.backup == "backup-000001.db"
    assert box.store.recovery.taken == 1
    assert [f.code for f in box.upkeep.findings()] == ["database_replaced"]


FLIPS = [
    ("UPDATE runs SET n_platelet = 2 WHERE id = 2", 2),
    ("UPDATE outbox SET body = replace(body, ':1', ':2') WHERE seq = 3", 3),
    ("UPDATE runs SET sample_id = 't' WHERE id = 1", 1),
    ("DELETE FROM runs WHERE id = 4", 4),
]


@pytest.mark.parametrize(("flip", "seq"), FLIPS)
def test_a_changed_value_is_found_and_shown_until_it_is_mended(box, flip, seq):
    import sqlite3

    for _ in range(5):
        box.add()
    box.turn()
    assert box.upkeep.findings() == []
    with closing(sqlite3.connect(layout.database_path(box.data))) as db:
        db.execute(flip)
        db.commit()
    box.turn(DAY)
    (finding,) = box.upkeep.findings()
    assert (finding.code, finding.values) == ("result_damaged", {"number": 1, "first": seq})
    assert [e["seq"] for e in box.events() if e["event"] == "result_damaged"] == [seq]


def test_a_damaged_or_missing_archive_file_is_found_and_mended_by_the_same_bytes(box):
    keys = [box.add() for _ in range(4)]
    file = box.path(keys[1])
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"x")
    box.path(keys[3]).unlink()
    box.turn()
    (finding,) = box.upkeep.findings()
    assert (finding.code, finding.values) == ("archive_damaged", {"number": 2, "first": keys[1]})
    box.store.accept(RawCapture("a", "s", "2", file.stem, data))
    box.turn(DAY)
    (finding,) = box.upkeep.findings()
    assert finding.values == {"number": 1, "first": keys[3]}


def test_a_round_is_made_in_turns_and_goes_on_after_a_restart(box, monkeypatch):
    for _ in range(7):
        box.add()
    monkeypatch.setattr(module.verify.verify_results, "__defaults__", (2,))
    box.path(1).write_bytes(b"x")
    monkeypatch.setattr(
        module.verify.verify_archive, "__kwdefaults__", {"keep_on": lambda: True, "most": 2500}
    )
    box.turn()
    assert box.records()["results"]["found"]["last"] == 2
    box.turn(130.0)
    box.turn(HOUR)
    assert box.records()["results"]["found"]["last"] == 6
    box.restart()
    box.turn(130.0)
    found = box.records()
    assert found["results"]["found"] == {"last": 0, "looked_at": 7, "new": [], "damaged": []}
    assert found["archive"]["found"]["damaged"] == [1]
    assert found["archive"]["found"]["last"] == 0
    box.turn(HOUR)  # a round a day
    assert box.records()["results"] == found["results"]


def archive(box):
    return [n for n in range(1, box.number + 1) if box.path(n).is_file()]


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Make a box with a budget of 3,000 bytes."""
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    made = []

    def make(**changes):
        rule = dataclasses.replace(Rule(3000, 2, require_sync=True), **changes)
        made.append(Box(tmp_path, rule))
        return made[-1]

    yield make
    for box in made:
        box.store.close()


def test_the_oldest_safe_captures_go_and_their_results_stay(keep):
    box = keep()
    for _ in range(6):
        box.add()
    box.sync()
    for _ in range(3):
        box.turn(DAY)
    assert archive(box) == [4, 5, 6]
    with closing(connect(box.data)) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone()[0] == 6
        assert statistics.archive_bytes(db) == 3000
    found = box.records()["retention"]["found"]
    assert (found["bytes"], found["max_bytes"], found["deleted"]) == (3000, 3000, 3)
    deleted = [e["captures"] for e in box.events() if e["event"] == "raw_deleted"]
    assert sum(deleted) == 3
    with closing(open_copied(list_backups(box.data)[0], live=False)) as db:  # or it asks for them
        query = "SELECT count(*) FROM captures WHERE raw_deleted_wall IS NOT NULL"
        assert db.execute(query).fetchone()[0] == 3


def test_a_replay_of_what_was_deleted_says_so_and_the_file_brings_it_back(keep):
    from edge_daemon.errors import EdgeError

    box = keep()
    for _ in range(6):
        box.add()
    box.sync()
    for _ in range(4):
        box.turn(DAY)
    for refused in (box.store.requeue, box.store.read_capture):
        with pytest.raises(EdgeError, match="deleted on 2026-11-2") as caught:
            refused(1)
        assert "process FILE --replay" in caught.value.action
    data = b"capture 1 " * 100
    capture = RawCapture("a", "s", "1", hashlib.sha256(data).hexdigest(), data)
    assert box.store.accept(capture).new is False
    assert 1 not in archive(box)  # a folder that still has the file does not fill the disk
    box.restart()
    assert box.store.accept(capture).new is False
    assert 1 not in archive(box)
    box.store.accept(capture, restore=True)
    assert 1 in archive(box)
    box.store.requeue(1)
    assert box.store.read_capture(1).data == data


@pytest.mark.parametrize(
    "why",
    ["not synced", "dead letter", "flagged", "in quarantine", "waits", "shared", "no backup",
     "too young", "clock", "no budget"],
)  # fmt: skip
def test_what_is_not_safe_is_kept(keep, why, monkeypatch):
    changes = {"max_bytes": None} if why == "no budget" else {"max_bytes": 1}
    if why == "too young":
        changes["min_days"] = 30
    box = keep(**changes)
    first = box.add(*([Flag("clumps", "review", "m", "a")] if why == "flagged" else []))
    if why == "shared":
        data = box.path(first).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        box.store.accept(RawCapture("b", "s", "1", sha256, data))
    if why == "in quarantine":
        from edge_daemon.errors import Quarantine

        box.store.requeue(first)
        box.store.quarantine(first, Quarantine("malformed", "m"))
    if why != "not synced":
        box.sync()
    if why == "dead letter":
        with closing(connect(box.data)) as db:
            digest = db.execute("SELECT digest FROM outbox").fetchone()["digest"]
        box.store.transact(lambda db: db.execute("UPDATE outbox SET state = 'dead'") and digest)
    if why == "waits":
        box.store.requeue(first)
    if why == "clock":
        box.clock.state = "unknown"
    if why == "no backup":
        usage = shutil.disk_usage(box.data)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    for _ in range(6):
        box.turn(DAY)
    assert archive(box) == [1]


def test_without_a_central_server_the_configuration_says_so(keep):
    box = keep(require_sync=False, max_bytes=1)
    for _ in range(3):
        box.add()
    for _ in range(4):
        box.turn(DAY)
    assert archive(box) == []


def test_what_came_after_the_oldest_backup_is_kept(keep):
    box = keep(max_bytes=1, require_sync=False)
    for _ in range(8):
        box.add()
        box.turn(DAY)
    held = len(archive(box))
    assert 2 <= held <= 4
    shutil.copytree(box.data, box.data.with_name("copy"))
    box.store.close()
    layout.database_path(box.data).write_bytes(b"")
    for newest in list_backups(box.data)[:2]:
        newest.write_bytes(b"")
    box.restart(prepare=repair)
    with closing(connect(box.data)) as db:
        runs = db.execute("SELECT count(DISTINCT capture_id) FROM runs").fetchone()[0]
    assert runs + len(box.store.pending()) == 8  # the oldest backup and the archive have them all


def test_an_archive_that_cannot_shrink_is_said(keep):
    box = keep(max_bytes=1000)
    for _ in range(3):
        box.add()
    for _ in range(3):
        box.turn(DAY)
    (finding,) = box.upkeep.findings()
    assert finding.code == "archive_over_budget"


def test_files_that_a_crash_left_behind_are_removed(keep):
    box = keep()
    for _ in range(6):
        box.add()
    box.sync()
    for _ in range(4):
        box.turn(DAY)
    path = box.path(1)
    path.write_bytes(b"left behind")
    box.turn(DAY)
    assert not path.exists()


def test_the_ballast_is_made_given_up_and_made_again(box, monkeypatch):
    box.turn()
    file = box.data / "ballast"
    assert file.stat().st_size == BALLAST_MB << 20
    assert file.stat().st_blocks * 512 >= BALLAST_MB << 20
    free = [5]
    monkeypatch.setattr(box.disk, "free_mb", lambda: free[0] + 32 * (not file.exists()))
    from edge_daemon.errors import Retryable

    box.disk._min_free_mb = 200
    with pytest.raises(Retryable, match="37 MB free, 232 MB are needed"):
        box.disk.check()
    assert not file.exists()
    free[0] = 180  # with the ballast's room: 212, more than intake's least, less than both
    with pytest.raises(Retryable, match="212 MB free, 232"):
        box.disk.check()
    box.turn()
    assert not file.exists()
    free[0] = 205
    box.disk.check()
    box.turn()
    assert file.exists()
    box.disk.check()
    assert box.disk._missing_mb == 0
    assert [e["event"] for e in box.events() if "ballast" in e["event"]] == [
        "ballast_made", "ballast_given_up", "ballast_made",
    ]  # fmt: skip


def test_a_job_that_hangs_holds_nobody_up_and_is_said(box, monkeypatch):
    from edge_daemon.health import Loop, all_moving

    monkeypatch.setattr(module, "_FIRST_S", 0.0)
    inside, go = threading.Event(), threading.Event()

    def hang(*_args, **_options):
        inside.set()
        go.wait(60)

    monkeypatch.setattr(module, "check", hang)
    box.add()
    box.upkeep.start()
    assert inside.wait(30)
    box.upkeep.check()
    assert box.add() == 2
    box.clock.now += 700.0
    loop = Loop("upkeep", box.upkeep.progressed_at, 600.0, vital=False)
    assert all_moving([loop], box.clock.now, box.upkeep._log)
    assert [e["loop"] for e in box.events() if e["event"] == "stalled_loop"] == ["upkeep"]
    go.set()
    box.upkeep.stop()


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"done": 3}', '{"done": {"wall": "x"}}', '{"done": null, "found": null}',
     '{"done": {"wall": "x", "state": "synchronised", "boot_id": "b", "monotonic_s": "y"}}'],
)  # fmt: skip
def test_a_record_that_was_damaged_counts_as_never_done(box, text):
    from edge_daemon.store.sending import remember

    box.add()
    for name in ("backup", "quick_check", "results"):
        remember(box.store, f"upkeep.{name}", text)
    remember(box.store, "days", text)
    box.restart()
    box.turn()
    assert box.done("backup") == box.done("quick_check") == box.done("retention") == 1
    assert box.upkeep.findings() == []


def test_the_thread_ends_quickly_and_tells_why_it_ended(box, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_S", 0.0)
    box.add()
    turned = threading.Event()
    monkeypatch.setattr(box.upkeep, "_turn", turned.set)
    box.upkeep.start()
    assert turned.wait(30)
    box.upkeep.check()
    box.upkeep.stop()
    assert not box.upkeep._thread.is_alive()
