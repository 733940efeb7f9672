"""A disk that fails, fills, and becomes read-only under the running service."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.faults.bench import FAST, Box, FaultError, Record, Trial, run
from tests.faults.captures import capture
from tests.faults.disks import ext4, tmpfs
from tests.faults.tracing import traced

SYNCS = ("fdatasync:error=EIO", "fsync:error=EIO")
WRITES = (
    "pwrite64:error=ENOSPC",
    "pwrite64:error=EIO",
    "rename:error=EROFS",
    "fsync:error=ENOSPC",
    "ftruncate:error=EIO",
    "fdatasync:error=EIO",
)


def failing_sync(trial: Trial) -> Record:
    """A sync reports EIO and does nothing; later the power is cut. No answer may rest on it."""
    record = trial.record("failing-sync")
    injected = 0
    for number in range(trial.size(3, 24)):
        name = f"box{number}"
        with ext4(trial.folder / name) as disk, trial.box(name, data=disk.point / "data") as box:
            fault = trial.rng.choice(SYNCS)
            when = trial.rng.randint(3, 14)
            injected += _with_errors(trial, box, f"{fault}:when={when}..{when + number % 3}")
            disk.cut()
            box.kill()
            disk.replug()
            record.add(box.audit())
            record.trials += 1
            box.conclude(record, trial.numbers)
    record.measure = f"{injected} syncs failed, each life ended by a power cut"
    return _require(record, injected)


def failing_write(trial: Trial) -> Record:
    """Writes, syncs and renames report ENOSPC, EIO or EROFS, once or a few times."""
    record = trial.record("failing-write")
    injected = 0
    for number in range(trial.size(len(WRITES), 36)):
        with trial.box(f"box{number}") as box:
            fault = WRITES[number % len(WRITES)]
            when = trial.rng.randint(2, 40 if fault.startswith("pwrite64") else 8)
            injected += _with_errors(trial, box, f"{fault}:when={when}..{when + number % 4}")
            box.kill()
            record.add(box.audit())
            record.trials += 1
            box.conclude(record, trial.numbers)
    record.measure = f"{injected} calls failed with ENOSPC, EIO or EROFS"
    return _require(record, injected)


def _with_errors(trial: Trial, box: Box, inject: str) -> int:
    """One life with failing calls, started again if it ends; how many failed."""
    call = inject.partition(":")[0]
    box.feed_many(trial.numbers, 6)
    with traced(box, "-e", f"trace={call}", "-e", f"inject={inject}") as trace:
        deadline = time.monotonic() + 8.0
        while box.running and time.monotonic() < deadline:
            if all(key in box.acks.captures for key in box.fed):
                break
            time.sleep(0.01)
    return trace.read_text(errors="replace").count("(INJECTED)")


def _require(record: Record, injected: int) -> Record:
    if not injected:
        raise FaultError("no call failed: nothing was tried")
    return record


def disk_full(trial: Trial) -> Record:
    """Less free space than intake needs, and none at all; then it is freed."""
    record = trial.record("disk-full")
    source = {} if trial.full else FAST
    for number, keep_free in enumerate((150, 0) * trial.size(1, 2)):
        name = f"box{number}"
        limits = {"min_free_mb": 200 if keep_free else 1}
        with (
            tmpfs(trial.folder / name / "disk", 300) as disk,
            trial.box(name, data=disk / "data", source=source, limits=limits) as box,
        ):
            box.start()
            box.serves_again(trial.numbers)
            filler = _fill(disk, keep_free)
            key = box.feed(capture(next(trial.numbers)))
            box.until(lambda box=box: box.said("source_paused"), 300.0, "intake pauses")
            if not box.ask("SELECT count(*) FROM runs"):
                record.problems.append("queries do not work while the disk is full")
            if box.state_of(key) is not None:
                record.problems.append("a capture was taken on a full disk")
            if not (box.export / box.fed[key]).is_file():
                record.problems.append("a source file was touched")
            filler.unlink()
            record.recovered(_resumes(box, key))
            box.finish()
            box.stop()
            record.add(box.audit())
            record.trials += 1
    record.measure = "source files untouched; queries answered meanwhile"
    return record


def _fill(disk: Path, keep_free: int) -> Path:
    filler = disk / "filler"
    with filler.open("wb") as file:
        status = os.statvfs(disk)
        free = status.f_bavail * status.f_frsize
        os.posix_fallocate(file.fileno(), 0, free - (keep_free << 20))
        if not keep_free:  # the last blocks too
            while True:
                try:
                    file.seek(0, os.SEEK_END)
                    os.write(file.fileno(), bytes(4096))
                except OSError:
                    break
    return filler


def _resumes(box: Box, key: str) -> float:
    return box.until(
        lambda: box.state_of(key) is not None, 300.0, "a waiting capture is taken by itself"
    )


def read_only(trial: Trial) -> Record:
    """The file system finds itself damaged and turns read-only; later the disk is well again."""
    record = trial.record("read-only")
    for number in range(trial.size(1, 6)):
        name = f"box{number}"
        with ext4(trial.folder / name) as disk, trial.box(name, data=disk.point / "data") as box:
            box.start()
            box.serves_again(trial.numbers)
            disk.break_down()
            key = box.feed(capture(next(trial.numbers)))
            box.until(
                lambda box=box: box.said("source_paused") or not box.running, 300.0, "it notices"
            )
            if not box.ask("SELECT count(*) FROM runs"):
                record.problems.append("queries do not work on a read-only disk")
            if key in box.acks.captures:
                record.problems.append("a capture was acknowledged on a read-only disk")
            # A disk can only be repaired while nobody uses it: the service is restarted by that.
            box.kill()
            disk.replug(repair=True)
            began = time.monotonic()
            box.start()
            _resumes(box, key)
            record.recovered(time.monotonic() - began)
            record.add(box.audit())
            record.trials += 1
            box.conclude(record, trial.numbers)
    record.measure = "queries answered meanwhile"
    return record


def read_only_at_start(trial: Trial) -> Record:
    """Started on a read-only mount: it tries again until the mount can be written."""
    record = trial.record("read-only-start")
    for number in range(trial.size(1, 4)):
        with trial.box(f"box{number}") as box:
            box.start()
            box.serves_again(trial.numbers)
            box.kill()
            run("mount", "--bind", box.data, box.data)
            run("mount", "-o", "remount,bind,ro", box.data)
            try:
                key = box.feed(capture(next(trial.numbers)))
                box.start()
                box.until(lambda box=box: box.said("service_failed"), 300.0, "it says why it ends")
                if not box.ask("SELECT count(*) FROM runs"):
                    record.problems.append("queries do not work on a read-only mount")
                run("mount", "-o", "remount,bind,rw", box.data)
                record.recovered(_resumes(box, key))
                record.trials += 1
                box.conclude(record, trial.numbers)
            finally:
                box.kill()
                run("umount", "-l", box.data)
    record.measure = "queries answered meanwhile"
    return record
