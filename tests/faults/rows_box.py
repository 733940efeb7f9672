"""What happens to the box as a whole: its clock, memory, loops and releases."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from edge_daemon.store import layout
from tests.faults import builds
from tests.faults.audit import audit
from tests.faults.bench import Box, FaultError, Record, Trial, wait
from tests.faults.captures import capture
from tests.faults.disks import library

YEARS = 10
JUMPS = (f"-{YEARS}y", "+0", f"+{YEARS}y", f"-{YEARS}y", f"+{YEARS}y", "+0")


def clock_jumps(trial: Trial) -> Record:
    """The wall clock jumps ten years back and forth while captures come."""
    record = trial.record("clock-jumps")
    trial.folder.mkdir(parents=True, exist_ok=True)
    offset = trial.folder / "offset"
    offset.write_text("+0\n")
    zygote = trial.zygote(
        LD_PRELOAD=str(library("libfaketimeMT")),
        FAKETIME_TIMESTAMP_FILE=str(offset),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        NO_FAKE_STAT="1",
    )
    with trial.box(zygote=zygote) as box:
        box.start()
        for jump in JUMPS * trial.size(1, 5):
            keys = [box.feed(capture(next(trial.numbers)))]
            offset.write_text(f"{jump}\n")
            keys.append(box.feed(capture(next(trial.numbers))))
            record.recovered(
                box.until(lambda keys=keys: all(map(box.state_of, keys)), 300.0, "they are taken")
            )
            box.until(lambda keys=keys: all(map(box.has_result, keys)), 300.0, "results come")
            record.trials += 1
            if record.trials % 4 == 0:
                box.restart()
        years = {row[0][:4] for row in box.ask("SELECT received_wall FROM captures")}
        kept = box.ask("SELECT count(*) FROM captures")[0][0]
        if len(years) < 3:
            raise FaultError(f"the clock did not jump: only {years} were seen")
        if kept != len(box.fed):
            record.problems.append(f"{kept} captures of {len(box.fed)} are left")
        box.conclude(record, trial.numbers)
        order = box.ask("SELECT received_monotonic_s FROM captures ORDER BY id")
        if order != sorted(order):
            record.problems.append("the sequence is not that of arrival")
    record.measure = f"stamps in {', '.join(sorted(years))}; nothing purged, order kept"
    return record


def poison(trial: Trial) -> Record:
    """Captures whose analysis devours memory, spins, hangs or crashes, with others behind them."""
    record = trial.record("poison")
    kinds = ("memory", "spin", "hang", "crash") if trial.full else ("memory", "crash")
    slowest = 0.0
    with trial.box(workers={"count": 2}) as box:
        box.env = {
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parent / "poison"), os.environ.get("PYTHONPATH", "")]
            )
        }
        box.start()
        box.serves_again(trial.numbers)
        pid = box.pid
        for kind in kinds * trial.size(1, 2):
            key = box.feed(capture(next(trial.numbers)), f"{kind}-{next(trial.numbers)}.fcs")
            box.until(lambda key=key: box.state_of(key) is not None, 300.0, "poison is taken")
            slowest = max(slowest, box.answers(trial.numbers))
            box.until(
                lambda key=key: box.state_of(key) == "quarantined", 300.0, "poison is quarantined"
            )
            record.recovered(box.serves_again(trial.numbers))
            del box.fed[key]
            record.trials += 1
        if box.pid != pid or not box.running:
            record.problems.append("the service itself ended")
        box.conclude(record, trial.numbers)
    record.measure = f"{', '.join(kinds)}; the next one waited {slowest:.1f} s at most"
    if slowest > 35.0:
        record.problems.append(f"a capture waited {slowest:.0f} s for poison before it")
    return record


def hung_loop(trial: Trial) -> Record:
    """Each loop in turn hangs for ever: systemd hears nothing more and starts the service again."""
    record = trial.record("hung-loop")
    beat = 60.0 if trial.full else 0.9
    silences: dict[str, float] = {}
    problems: list[str] = []
    zygote = trial.zygote()

    def one(loop: str) -> None:
        try:
            network = {"name": "t1", "kind": "tcp", "listen": "127.0.0.1:0", "framing": "mllp"}
            with trial.box(f"box-{loop}", zygote=zygote, more=(network,)) as box:
                silences[loop] = _silence(box, loop, beat, trial)
                box.kill()
                box.env, box.build = {}, ""
                box.start()
                record.recovered(silences[loop] + beat + box.serves_again(trial.numbers))
                record.add(box.audit())
        except FaultError as error:
            problems.append(f"{loop}: {error}")

    threads = [threading.Thread(target=one, args=(loop,)) for loop in builds.HANGS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record.trials = len(silences)
    record.problems += problems
    longest = max(silences.values(), default=0.0)
    record.measure = f"{', '.join(silences)}; killed at most {longest + beat:.0f} s after it hung"
    if trial.full and longest + beat > 90.0:
        record.problems.append(f"a hung loop is killed only after {longest + beat:.0f} s")
    return record


def _silence(box: Box, loop: str, beat: float, trial: Trial) -> float:
    """Seconds from the moment a loop hangs to the last beat that systemd hears."""
    marker = box.folder / "hang"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(box.folder / "notify"))
        manager.settimeout(max(beat, 20.0))
        box.env = {
            "NOTIFY_SOCKET": str(box.folder / "notify"),
            "WATCHDOG_USEC": str(int(beat * 1e6)),
            "EDGE_HANG_MARKER": str(marker),
            "EDGE_HANG_STALL_S": "" if trial.full else "2.0",
        }
        box.build = f"hang_{loop}"
        box.start()
        box.serves_again(trial.numbers)
        marker.write_text("now")
        began = last = time.monotonic()
        while time.monotonic() - last < beat:
            manager.settimeout(max(beat - (time.monotonic() - last), 0.01))
            with contextlib.suppress(TimeoutError):
                if manager.recv(100) == b"WATCHDOG=1":
                    last = time.monotonic()
            if last - began > 300.0:
                raise FaultError("it went on telling systemd that all is well")
    return last - began


def interrupted_upgrade(trial: Trial) -> Record:
    """Killed before every statement of an upgrade; then the older release on the newer schema."""
    record = trial.record("upgrade")
    with trial.box("before") as box:
        box.start()
        box.feed_many(trial.numbers, trial.size(3, 20))
        box.finish()
        box.stop()
        before = _rows(box.data)
        acks = box.acks
    statement = 0
    code = -9
    while code == -9:
        statement += 1
        with _copy(trial, box, f"at{statement}") as copy:
            copy.start(build="next_release", env={"EDGE_KILL_AT": str(statement)})
            wait(
                lambda copy=copy: not copy.running or copy.said("service_ready"), 300.0, "it starts"
            )
            code = copy.code
            if code not in {None, -9}:
                raise FaultError(f"the upgrade ended with {code}: {copy.tail()}")
            copy.kill()
            if _rows(copy.data) != before:
                record.problems.append(f"rows differ after statement {statement}")
            revision = _revision(copy.data)
            if revision not in {layout.REVISION, builds.NEXT_REVISION}:
                record.problems.append(f"schema {revision} after statement {statement}")
            if trial.full or statement % 4 == 0 or code is None:
                _go_on(trial, record, copy)
            record.trials += 1
    with _copy(trial, box, "newer") as copy:
        _downgrade(record, copy, before)
    record.add(audit(box.data, acks))
    record.measure = f"{statement - 1} statements; the older release leaves the newer schema alone"
    return record


def _go_on(trial: Trial, record: Record, copy: Box) -> None:
    copy.start(build="next_release")
    ready = copy.said("service_ready")
    wait(lambda: copy.said("service_ready") > ready, 300.0, "the next start succeeds")
    record.recovered(time.monotonic() - copy.started_at)
    key = copy.feed(capture(next(trial.numbers)))
    wait(lambda: _state(copy.data, key) == "classified", 300.0, "a fresh capture has a result")
    copy.stop()
    if _revision(copy.data) != builds.NEXT_REVISION:
        record.problems.append("the upgrade was not finished by the next start")


def _downgrade(record: Record, copy: Box, before: list[tuple[object, ...]]) -> None:
    copy.start(build="next_release")
    wait(lambda: copy.said("service_ready"), 300.0, "it upgrades")
    copy.stop()
    if _revision(copy.data) != builds.NEXT_REVISION:
        raise FaultError("the newer release did not upgrade")
    newer = layout.database_path(copy.data).read_bytes()
    copy.start()
    copy.wait_end()
    record.trials += 1
    if not copy.code or layout.database_path(copy.data).read_bytes() != newer:
        record.problems.append("the older release touched a newer database")
    if "is newer than" not in copy.log.read_text():
        record.problems.append("the older release does not say why it ends")
    if _rows(copy.data) != before:
        record.problems.append("rows differ after the downgrade")


@contextlib.contextmanager
def _copy(trial: Trial, box: Box, name: str) -> Iterator[Box]:
    with trial.box(name) as copy:
        # The ballast would be 32 MB of zeros to write; a start makes it of nothing.
        shutil.copytree(box.data, copy.data, ignore=shutil.ignore_patterns("ballast"))
        yield copy
    shutil.rmtree(copy.folder)


def _rows(data: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(layout.database_path(data))) as db:
        if db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise FaultError("the database is damaged")
        return [
            *db.execute("SELECT id, sha256, state, name FROM captures ORDER BY id"),
            *db.execute("SELECT id, capture_id, digest FROM runs ORDER BY id"),
            *db.execute("SELECT seq, run_id, digest, body FROM outbox ORDER BY seq"),
        ]


def _revision(data: Path) -> str:
    with contextlib.closing(sqlite3.connect(layout.database_path(data))) as db:
        return str(db.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _state(data: Path, key: str) -> str | None:
    with contextlib.closing(sqlite3.connect(layout.database_path(data))) as db:
        found = db.execute("SELECT state FROM captures WHERE sha256 = ?", (key,)).fetchone()
    return found and found[0]
