"""Power cuts: a real file system that is shut down, and recorded calls replayed on a model disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.audit import Acks, audit
from tests.faults.bench import Box, FaultError, Record, Trial
from tests.faults.disks import Ext4, ext4, library
from tests.faults.lines import Senders
from tests.faults.model_disk import CALLS, replay, said
from tests.faults.tracing import traced

CUTS = 25
"""Cuts of one disk, before everything is finished and looked over."""


def power_cut(trial: Trial, build: str = "frequent_checkpoints") -> Record:
    """Ext4 on a loop device, shut down without flushing its journal."""
    record = trial.record("power-cut")
    _cut_until(trial, record, trial.size(16, 500), build=build)
    record.measure = "ext4, shut down without a flush of its journal"
    return record


def power_cut_on_lines(trial: Trial) -> Record:
    """The same while a serial line and the network bring messages: what they were told counts."""
    record = trial.record("power-cut-lines")
    told = 0
    while record.trials < trial.size(5, 100):
        name = f"box{record.trials}"
        with (
            ext4(trial.folder / name) as disk,
            trial.box(name, data=disk.point / "data") as box,
            Senders(box, trial.numbers) as senders,
        ):
            for _ in range(min(CUTS, trial.size(5, 100) - record.trials)):
                _cut_lines(trial, box, disk, senders)
                record.add(box.audit())
                record.trials += 1
            senders.deliver_all()
            box.conclude(record, trial.numbers)
            record.add(senders.audit())
            told += len(senders.sent)
        trial.say(f"{record.trials} power cuts")
    record.measure = f"{told} messages acknowledged on a serial line and the network"
    return record


def _cut_lines(trial: Trial, box: Box, disk: Ext4, senders: Senders) -> None:
    wanted = len(box.line_acks) + trial.rng.randint(0, 4)
    box.start(build="frequent_checkpoints unhurried_workers")
    senders.send(2)
    deadline = time.monotonic() + 6.0
    while len(box.line_acks) < wanted and time.monotonic() < deadline and box.running:
        time.sleep(0.002)
    time.sleep(trial.rng.random() * 0.05)
    before, told = len(box.read_log()), set(box.line_acks)
    disk.cut()
    box.kill()
    senders.settle()
    box.forget(before)
    senders.forget(told)
    disk.replug()


def lying_disk(trial: Trial) -> Record:
    """The same cuts while no fsync does anything: answers must be found lost."""
    record = trial.record("lying-disk")
    preload = str(library("libeatmydata"))
    _cut_until(trial, record, trial.size(30, 60), zygote=trial.zygote(LD_PRELOAD=preload))
    record.measure = f"no fsync: {record.lost} answers lost, as they must be"
    if not record.lost:
        raise FaultError("a disk that syncs nothing lost nothing: the power cuts prove nothing")
    record.lost = 0
    record.problems.clear()
    return record


def _cut_until(trial: Trial, record: Record, cuts: int, **box: str) -> None:
    """Cut so often, or until something is lost."""
    build = box.pop("build", "frequent_checkpoints")
    while record.trials < cuts and not record.lost:
        name = f"box{record.trials}"
        with (
            ext4(trial.folder / name) as disk,
            trial.box(name, data=disk.point / "data", **box) as made,
        ):
            for _ in range(min(CUTS, cuts - record.trials)):
                _cut_life(trial, made, disk, build)
                record.add(made.audit())
                record.trials += 1
                if record.lost:
                    return
            made.conclude(record, trial.numbers)
        trial.say(f"{record.trials} power cuts")


def _cut_life(trial: Trial, box: Box, disk: Ext4, build: str) -> None:
    patient = trial.rng.random() < 0.25  # until analyses are recorded
    fed = box.feed_many(trial.numbers, trial.rng.randint(2, 6))
    wanted = len(box.acks) + trial.rng.randint(0, len(fed))
    box.start(build=build if patient else f"{build} unhurried_workers")
    deadline = time.monotonic() + (10.0 if patient else 6.0)
    while time.monotonic() < deadline and box.running:
        if len(box.acks) >= wanted and not patient:
            break
        if patient and not box.ask("SELECT 1 FROM captures WHERE finished = 0"):
            break
        time.sleep(0.002)
    time.sleep(trial.rng.random() * 0.02)
    before = len(box.read_log())
    disk.cut()
    box.kill()
    # The cut takes some milliseconds. Only what was answered before it began counts.
    box.forget(before)
    disk.replug()


def crash_image(trial: Trial) -> Record:
    """Recorded calls, cut at every answer and elsewhere; the unsynced part torn and reordered."""
    record = trial.record("crash-image")
    wanted, recorded, restarted = trial.size(40, 1000), 0, 0
    while record.trials < wanted:
        folder = trial.folder / f"box{recorded}"
        trace = _record_calls(trial, folder.name, trial.size(6, 30))
        recorded += 1
        for image, acks in _images(trial, trace, folder, 0.02):
            record.add(audit(image, acks))
            record.trials += 1
            if record.trials % trial.size(20, 50) == 0:
                restarted += 1
                _restart(trial, record, image, acks)
            if record.trials >= wanted:
                break
        trial.say(f"{record.trials} crash images of {recorded} recordings")
    record.measure = f"{restarted} of them served again by the service"
    return record


def _record_calls(trial: Trial, name: str, captures: int) -> Path:
    (trial.folder / name / "disk").mkdir(parents=True)
    with trial.box(name, data=trial.folder / name / "disk" / "data") as box:
        box.feed_many(trial.numbers, captures)
        options = ("-y", "-xx", "-s", "200000", "-e", f"trace={CALLS}")
        with traced(box, *options, build="frequent_checkpoints") as trace:
            box.until(lambda: not _open(box), 180.0, "the recorded captures have results")
            box.stop()
        return trace


def _open(box: Box) -> bool:
    return box.said("capture_classified") < len(box.fed)


def _images(trial: Trial, trace: Path, folder: Path, chance: float) -> Iterator[tuple[Path, Acks]]:
    acks = Acks()
    for number, (disk, answer) in enumerate(replay(trace, folder / "disk", "2<")):
        if answer:
            if not acks.note(said(answer)):
                continue
        elif trial.rng.random() > chance:
            continue
        for kind, part in (("nothing", None), ("part", trial.rng)):
            target = folder / f"{number}-{kind}"
            target.mkdir()
            disk.image(target, part)
            yield target / "data", acks
            shutil.rmtree(target)


def _restart(trial: Trial, record: Record, image: Path, acks: Acks) -> None:
    """Let the real service go on from an image."""
    with trial.box(f"again{record.trials}", data=image) as box:
        box.start()
        record.recovered(box.serves_again(trial.numbers))
        box.until(
            lambda: not box.ask("SELECT 1 FROM captures WHERE finished = 0"),
            60.0,
            "all is finished",
        )
        box.stop()
        record.add(audit(image, acks))
        record.add(box.audit())
