"""SIGKILL, at any moment and before exact system calls."""

from __future__ import annotations

import threading
import time

from tests.faults.bench import Box, Record, Trial, wait
from tests.faults.lines import Senders
from tests.faults.tracing import traced

LIVES = 25
"""Lives of one data folder, before everything is finished and looked over."""
CALLS = {"pwrite64": 160, "fdatasync": 14, "fsync": 20, "rename": 6, "ftruncate": 4}
"""Calls that change the disk, and about how many of each a life makes."""


def kill_at_any_moment(trial: Trial) -> Record:
    """Folder, serial line and network at once; killed after a random number of answers."""
    record = trial.record("kill")
    done = 0
    while done < trial.size(8, 100):
        lives = min(LIVES, trial.size(8, 100) - done)
        with trial.box(f"box{done}") as box, Senders(box, trial.numbers) as senders:
            for _ in range(lives):
                box.start()
                box.feed_many(trial.numbers, 3)
                senders.send(2)
                wanted = len(box.acks) + trial.rng.randrange(16)
                deadline = time.monotonic() + 4.0
                while len(box.acks) < wanted and time.monotonic() < deadline and box.running:
                    time.sleep(0.002)
                threading.Event().wait(trial.rng.random() * 0.03)
                box.kill()
                senders.settle()
                record.add(box.audit())
                record.trials += 1
            done += lives
            senders.deliver_all()
            box.conclude(record, trial.numbers)
            record.add(senders.audit())
        trial.say(f"{done} kills")
    record.measure = "folder, serial line and network at once"
    return record


def kill_mid_write(trial: Trial, build: str = "frequent_checkpoints") -> Record:
    """Killed before the n-th write, sync, rename or truncation, n swept at random."""
    record = trial.record("kill-mid-write")
    limits = dict(CALLS)
    wanted, tried = trial.size(12, 1000), 0
    while record.trials < wanted and not record.lost:
        with trial.box(f"box{tried}") as box:
            box.build = build
            for _ in range(LIVES):
                tried += 1
                record.trials += _killed_life(trial, box, limits)
                record.add(box.audit())
                if record.trials >= wanted or record.lost:
                    break
            box.build = "frequent_checkpoints"
            box.conclude(record, trial.numbers)
        trial.say(f"{record.trials} kills that landed, of {tried} lives")
    record.measure = f"killed before {', '.join(CALLS)}"
    return record


def _killed_life(trial: Trial, box: Box, limits: dict[str, int]) -> bool:
    """Whether the kill landed before the life was over."""
    call = trial.rng.choice(tuple(limits))
    number = trial.rng.randint(1, limits[call])
    patient = trial.rng.random() < 0.2  # until the analyses are recorded
    fed = box.feed_many(trial.numbers, 4)
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    build = box.build if patient else f"{box.build} unhurried_workers"
    with traced(box, "-e", f"trace={call}", "-e", inject, build=build):
        deadline = time.monotonic() + (6.0 if patient else 2.0)
        while box.running and time.monotonic() < deadline:
            acks = box.acks
            if all(key in acks.captures for key in fed) and not patient:
                break
            if patient and all(map(box.has_result, fed)):
                break
            time.sleep(0.01)
        landed = not box.running and box.code == -9
    # A number that no life reaches is of no use.
    limits[call] = max(2, limits[call] - (not landed and not patient and number > 2))
    return landed


def one_of_twenty(trial: Trial) -> Record:
    """Twenty services at once on one data folder: exactly one stays, the others name it."""
    record = trial.record("twenty-at-once")
    slowest = 0.0
    for number in range(trial.size(1, 20)):
        with trial.box(f"box{number}") as box:
            began = time.monotonic()
            pids = [box.zygote.start(box.config, box.log) for _ in range(20)]
            codes: dict[int, int] = {}

            def ended(codes=codes, pids=pids, box=box) -> bool:
                for pid in pids:
                    if pid not in codes and (code := box.zygote.poll(pid)) is not None:
                        codes[pid] = code
                return len(codes) >= 19

            wait(ended, 300.0, "nineteen end")
            slowest = max(slowest, time.monotonic() - began)
            (stays,) = set(pids) - codes.keys()
            box.pid = stays
            if set(codes.values()) != {75}:
                record.problems.append(f"exit codes {sorted(codes.values())}")
            named = box.log.read_text().count(f"in use by process {stays}")
            if named != 19:
                record.problems.append(f"{named} of 19 named the one that stays")
            record.trials += 20
            record.recovered(box.serves_again(trial.numbers))
            box.stop()
            record.add(box.audit())
    record.measure = f"19 refused within {slowest:.1f} s of the first start"
    return record
