"""What writers, people, mounts and kernels do to an export folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.faults.audit import unfinished
from tests.faults.bench import FAST, Box, Record, Trial, run, wait
from tests.faults.captures import capture, digest
from tests.faults.disks import tmpfs

_SIGHTED = (
    "SELECT count(*) FROM sightings JOIN captures ON captures.id = capture_id WHERE sha256 = ?"
)


_CLASSIFIED = "SELECT count(*) FROM captures WHERE state = 'classified'"


def unfinished_files(trial: Trial) -> Record:
    """Half-written, growing and given-up files: nothing is taken early, nothing waits for ever."""
    record = trial.record("unfinished-files")
    early = 0
    with trial.box(source={**FAST, "stall_s": 3.0}) as box:
        box.start()
        for _ in range(trial.size(3, 20)):
            growing, given_up = (capture(next(trial.numbers)) for _ in range(2))
            cut = trial.rng.randrange(1, len(growing) - 1)
            steps = sorted(trial.rng.sample(range(1, len(growing)), 4))
            slow = box.export / f"{digest(growing)[:20]}.fcs"
            dead = box.export / f"{digest(given_up)[:20]}.fcs"
            dead.write_bytes(given_up[:cut])
            for begin, end in zip([0, *steps], [*steps, len(growing)], strict=True):
                with slow.open("ab") as file:
                    file.write(growing[begin:end])
                time.sleep(0.15)  # longer than it takes to settle
                early += end < len(growing) and box.state_of(digest(growing[:end])) is not None
            box.fed[digest(growing)] = slow.name
            part = digest(given_up[:cut])
            early += box.state_of(part) not in {None, "quarantined"}
            box.until(
                lambda part=part: box.state_of(part) == "quarantined", 300.0, "it is given up"
            )
            dead.write_bytes(given_up)  # exported again under the same name
            box.fed[digest(given_up)] = dead.name
            record.trials += 2
        box.conclude(record, trial.numbers)
    record.measure = f"{early} taken early; given up with their bytes, taken when whole"
    if early:
        record.problems.append(f"{early} files were taken before their end")
    return record


def duplicates(trial: Trial) -> Record:
    """Copied, renamed, touched, linked, moved in and written again, with restarts between."""
    record = trial.record("duplicates")
    elsewhere = trial.folder / "elsewhere"
    elsewhere.mkdir(parents=True)
    with trial.box() as box:
        box.start()
        for number in range(trial.size(3, 30)):
            key = box.feed(capture(next(trial.numbers)))
            file = box.export / box.fed[key]
            box.until(lambda key=key: box.has_result(key), 300.0, "it has a result")
            shutil.copyfile(file, box.export / f"copy-{file.name}")
            os.link(file, box.export / f"link-{file.name}")
            (elsewhere / file.name).write_bytes(file.read_bytes())
            (elsewhere / file.name).rename(box.export / f"moved-{file.name}")
            os.utime(file)
            file.rename(box.export / f"renamed-{file.name}")
            file.write_bytes(
                capture(0) if number % 2 else file.with_name(f"copy-{file.name}").read_bytes()
            )
            if number % 10 == 9:
                box.restart()
            box.until(lambda key=key: box.ask(_SIGHTED, key)[0][0] >= 4, 300.0, "it is sighted")
            record.trials += 6
        if trial.size(3, 30) > 1:
            box.fed[digest(capture(0))] = "the one written over others"
        box.conclude(record, trial.numbers)
        rows, distinct = box.ask("SELECT count(*), count(DISTINCT sha256) FROM captures")[0]
        if not rows == distinct == len(box.fed):
            record.problems.append(f"{rows} captures, {distinct} digests, {len(box.fed)} given")
    record.measure = "one capture each, further names as sightings"
    return record


def hostile_names(trial: Trial) -> Record:
    """Links, FIFOs, sockets, devices, folders and names that are no text."""
    record = trial.record("hostile-names")
    secret = trial.folder / "secret.fcs"
    trial.folder.mkdir(parents=True, exist_ok=True)
    with trial.box() as box:
        secret.write_bytes(capture(next(trial.numbers)))
        box.start()
        for number in range(trial.size(1, 20)):
            _hostile(box.export, secret, number)
            name = b"odd-%d\xff\n\x1b[2J;'\"$(x).fcs" % number
            data = capture(next(trial.numbers))
            with open(os.fsencode(box.export) + b"/" + name, "wb") as file:  # noqa: PTH123
                file.write(data)
            box.fed[digest(data)] = repr(name)
            box.serves_again(trial.numbers)
            record.trials += 7
        refused = "SELECT count(*) FROM refusals"
        wanted = 5 * trial.size(1, 20)
        box.until(lambda: box.ask(refused)[0][0] >= wanted, 300.0, "each is refused with a reason")
        if box.state_of(digest(secret.read_bytes())):
            record.problems.append("a file outside the folder was read")
        box.conclude(record, trial.numbers)
    record.measure = "refused unread, with a reason"
    return record


def _hostile(folder: Path, secret: Path, number: int) -> None:
    (folder / f"link{number}.fcs").symlink_to(secret)
    (folder / f"dangling{number}.fcs").symlink_to(folder / "nothing")
    os.mkfifo(folder / f"fifo{number}.fcs")
    (folder / f"folder{number}.fcs").mkdir()
    (folder / f"up{number}").symlink_to(folder.parent)
    os.mknod(folder / f"device{number}.fcs", 0o20644, os.makedev(1, 5))
    handle = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{handle}/sock{number}.fcs")  # paths of sockets are short
    os.close(handle)


def overflow(trial: Trial) -> Record:
    """The queue of change events overflows while the service stands still."""
    record = trial.record("event-overflow")
    with trial.box(source={"settle_s": 0.05, "rescan_s": 5.0}) as box:
        box.start()
        box.serves_again(trial.numbers)
        for _ in range(trial.size(1, 5)):
            box.signal(signal.SIGSTOP)
            limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
            for name in range(limit // 3):  # made, opened, closed, deleted
                path = box.export / f"{name}.noise"
                path.write_bytes(b"")
                path.unlink()
            keys = box.feed_many(trial.numbers, trial.size(20, 200))
            box.signal(signal.SIGCONT)
            box.until(lambda keys=keys: not unfinished(box.data, keys), 900.0, "all are found")
            record.trials += len(keys)
        box.conclude(record, trial.numbers)
    record.measure = "every file found by the rescan"
    return record


def burst(trial: Trial) -> Record:
    """Many files at once; then a start with all of them in the folder."""
    record = trial.record("burst")
    count = trial.size(60, 20_000)
    with trial.box(source={}, workers={"count": 2}) as box:
        box.start()
        box.serves_again(trial.numbers)
        began = time.monotonic()
        box.feed_many(trial.numbers, count)
        for done in range(min(2000, count), count + 1, 2000):
            box.until(
                lambda done=done: box.ask(_CLASSIFIED)[0][0] > done,
                3600.0,
                "the burst is worked off",
                every=0.5,
            )
            trial.say(f"{done} of {count} files")
        took = time.monotonic() - began
        peak = _peak_mb(box.pid)
        record.trials += count
        box.kill()
        box.start()
        key = box.feed(capture(next(trial.numbers)))
        accepted = box.until(lambda: box.state_of(key), 600.0, "a fresh capture is accepted")
        box.conclude(record, trial.numbers, 900.0)
    record.recovered(accepted)
    record.measure = f"{count / took:.0f} results a second, service at most {peak} MB"
    return record


def _peak_mb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) >> 10
    return 0


def folder_lost(trial: Trial) -> Record:
    """Unmounted, mounted again, removed and made anew."""
    record = trial.record("folder-lost")
    alarms = []
    source = {} if trial.full else FAST
    with trial.box(source=source) as box, tmpfs(box.export, 50):
        box.start()
        box.serves_again(trial.numbers)
        for _ in range(trial.size(1, 4)):
            before = box.said("source_degraded")
            unmount_lazily(box.export)
            alarms.append(
                box.until(lambda n=before: box.said("source_degraded") > n, 300.0, "an alarm")
            )
            run("mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", box.export)
            record.recovered(box.serves_again(trial.numbers))
            record.trials += 1
    with trial.box("removed", source=source) as box:
        box.start()
        box.serves_again(trial.numbers)
        for _ in range(trial.size(1, 4)):
            before = box.said("source_degraded")
            shutil.rmtree(box.export)
            alarms.append(
                box.until(lambda n=before: box.said("source_degraded") > n, 300.0, "an alarm")
            )
            box.export.mkdir()
            record.recovered(box.serves_again(trial.numbers))
            record.trials += 1
        box.conclude(record, trial.numbers)
    record.measure = f"alarm within {max(alarms):.0f} s"
    if max(alarms) > 60.0:
        record.problems.append(f"the alarm came after {max(alarms):.0f} s")
    return record


def unmount_lazily(point: Path) -> None:
    run("umount", "-l", point)


def blocked_share(trial: Trial) -> Record:
    """A share that answers nothing, then errors, then comes back; other sources go on."""
    record = trial.record("blocked-share")
    behind = trial.folder / "behind"
    share = trial.folder / "share"
    for folder in (behind, share):
        folder.mkdir(parents=True)
    slowest = 0.0
    second = {"name": "share", "path": str(share), "poll": True, "settle_s": 0.05, "rescan_s": 0.5}
    with trial.box(more=(second,)) as box:
        mounted = _bindfs(behind, share)
        try:
            box.start()
            for _ in range(trial.size(1, 5)):
                _through_share(trial, box, behind)
                mounted.send_signal(signal.SIGSTOP)
                for _ in range(3):
                    slowest = max(slowest, box.answers(trial.numbers))
                waiting = _put(box, behind, capture(next(trial.numbers)))
                mounted.send_signal(signal.SIGCONT)
                record.recovered(
                    box.until(lambda k=waiting: box.has_result(k), 300.0, "it is back")
                )
                mounted.kill()  # every access to the share is an error now
                mounted.wait()
                slowest = max(slowest, box.answers(trial.numbers))
                run("umount", "-l", share)
                mounted = _bindfs(behind, share)
                began = time.monotonic()
                _through_share(trial, box, behind)
                record.recovered(time.monotonic() - began)
                record.trials += 2
            box.conclude(record, trial.numbers)
        finally:
            mounted.kill()
            mounted.wait()
            run("umount", "-l", share, check=False)
    record.measure = f"others had their result within {slowest:.1f} s"
    return record


def _bindfs(behind: Path, share: Path) -> subprocess.Popen[bytes]:
    mounted = subprocess.Popen(
        ["bindfs", "-f", behind, share], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait(share.is_mount, 20.0, "the share is mounted")
    return mounted


def _put(box: Box, behind: Path, data: bytes) -> str:
    key = digest(data)
    (behind / f"{key[:20]}.fcs").write_bytes(data)
    box.fed[key] = "share"
    return key


def _through_share(trial: Trial, box: Box, behind: Path) -> None:
    key = _put(box, behind, capture(next(trial.numbers)))
    box.until(lambda: box.has_result(key), 300.0, "what lies on the share has a result")
