"""The campaign of sync: ``python -m tests.central.campaign --full``; see docs/faults.md.

Real services with real outboxes send to a real server on a real PostgreSQL, while 40 of 100
requests go wrong and everything is killed again and again; then both ends are compared, digest
by digest.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from edge_daemon.canonical import digest
from edge_daemon.clock import SystemClock
from edge_daemon.records import (
    CELL_CLASSES,
    Classified,
    Decoded,
    Measurement,
    RawCapture,
    SampleInfo,
)
from edge_daemon.store import sending
from edge_daemon.store.writer import Store
from edge_daemon.sync import identity
from edge_daemon.sync.policy import PATIENCE
from tests.central.bad_line import BadLine
from tests.central.centre import Centre, Postgres, scratch_postgres
from tests.faults.bench import Box
from tests.faults.zygote import Zygote

SEED = 20261128
SHARE = 0.4
SYNC = '\n[sync]\nsimulated = true\nraw = "none"\n[web]\nenabled = false\n'


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes
    ----------
    boxes, lives
        Services at once, and kills of each.
    written, analysed
        Results for each life of a box: by its store, as at the end of an analysis, and by real
        analyses of captures while it sends.
    turns
        Kills of the server; of PostgreSQL too, every third time.
    """

    boxes: int
    lives: int
    written: int
    analysed: int
    turns: int
    workers: int

    @property
    def results(self) -> int:
        return self.boxes * self.lives * (self.written + self.analysed)


SHORT = Size(boxes=2, lives=2, written=11, analysed=1, turns=1, workers=1)
FULL = Size(boxes=5, lives=40, written=46, analysed=4, turns=30, workers=2)


@dataclass
class Verdict:
    """What both ends say of each other."""

    results: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.results > 0 and not (self.lost or self.twice or self.problems)


class Clinic:
    """A box, its bad line, and the lives of its service."""

    def __init__(self, folder: Path, zygote: Zygote, centre: Centre, seed: int) -> None:
        self.box = Box(folder, zygote)
        self.box.config.write_text(self.box.config.read_text() + SYNC)
        self.rng = random.Random(seed)
        self.numbers = itertools.count(self.rng.randrange(900_000_000))
        with closing(Store.open(self.box.data, SystemClock())):
            pass
        certificate = self.box.data / identity.FOLDER / "box.pem"
        self.line = BadLine(
            ("127.0.0.1", centre.port), centre.folder, certificate, random.Random(seed)
        )
        clinic = centre.store.add_clinic(str(folder))
        code = centre.store.make_claim(clinic, "box")
        self.who = identity.enrol(self.box.data, self.line.url, code, fleet=centre.fleet)
        self.kills = 0

    def write(self, count: int) -> None:
        """Write results as analyses do: each with its outbox row, in one transaction.

        The waiting time is forgotten, as by `edge-daemon sync now`: a box that has failed for ten
        minutes would wait for ten more, and nothing would be tried.
        """
        with closing(Store.open(self.box.data, SystemClock())) as store:
            sending.forget(store, PATIENCE)
            for number in itertools.islice(self.numbers, count):
                _write_result(store, number)

    def live(self, size: Size) -> None:
        """Live through its kills; each falls at a random step of an exchange."""
        for _ in range(size.lives):
            self.write(size.written)
            self.box.feed_many((n for n in self.numbers), size.analysed)
            self.box.start()
            steps = self._steps + self.rng.randint(1, 12)
            deadline = time.monotonic() + 8.0
            while self._steps < steps and time.monotonic() < deadline and self.box.running:
                time.sleep(0.002)
            threading.Event().wait(self.rng.random() * 0.02)
            self.box.kill()
            self.kills += 1

    @property
    def _steps(self) -> int:
        return self.line.requests + self.line.answered

    def finish(self, seconds: float) -> None:
        """Let everything be analysed and sent, over a line that still is bad."""
        if not self.box.running:
            self.box.start()
        self.box.finish(seconds)
        self.box.until(lambda: not self.waiting(), seconds, "nothing waits", every=0.1)
        self.box.stop()

    def waiting(self) -> int:
        return int(self.box.ask("SELECT count(*) FROM outbox WHERE state = 'waiting'")[0][0])

    def compare(self, centre: Centre, verdict: Verdict) -> None:
        """Compare the box's outbox with the centre's documents."""
        kept = self.box.ask("SELECT digest, state FROM outbox")
        there = centre.ask(
            "SELECT digest, body FROM documents WHERE device_id = :device", device=self.who.device
        )
        check(kept, there, verdict)
        found = self.box.audit()
        verdict.problems += [*found.lost, *found.duplicated, *found.problems]


def check(kept: list[tuple[str, str]], there: list[tuple[str, str]], verdict: Verdict) -> None:
    """Compare digests and states of a box with digests and bodies in the centre."""
    arrived = Counter(key for key, _ in there)
    verdict.results += len(kept)
    verdict.lost += [f"{state} {key[:12]}" for key, state in kept if not arrived[key]]
    verdict.twice += [f"{key[:12]} {n} times" for key, n in arrived.items() if n > 1]
    verdict.problems += [f"{key[:12]} is {s}" for key, s in kept if s != "stored"]
    strange = arrived.keys() - {key for key, _ in kept}
    verdict.problems += [f"{key[:12]} is no document of this box" for key in strange]
    verdict.problems += [
        f"{key[:12]} has another body" for key, body in there if digest(body) != key
    ]


def _write_result(store: Store, number: int) -> None:
    data = b"capture %d" % number
    capture_ = RawCapture("an1", "src", f"{number}.fcs", hashlib.sha256(data).hexdigest(), data)
    taken = store.accept(capture_)
    sample = SampleInfo(sample_id=f"S{number}", species="dog", simulated=True)
    decoded = Decoded("acme/1.0", "a" * 64, 9, ("LA.H",), sample)
    rbc = Measurement("RBC", 6.5 + number % 1000 / 1000, "10*6/uL", 6.4, 7.9, "counted")
    store.record_decoded(taken.capture_id, decoded)
    counts = dict.fromkeys(CELL_CLASSES, 1)
    classified = Classified("m@1", "b" * 64, counts, (rbc,), ())
    store.record_run(taken.capture_id, decoded, classified)


def kill_the_centre(
    centre: Centre, postgres: Postgres, size: Size, rng: random.Random, over: threading.Event
) -> tuple[int, int]:
    """Kill the server, and PostgreSQL under it, while the boxes send; how often each."""
    servers = databases = 0
    while servers < size.turns and not over.is_set():
        over.wait(rng.uniform(1.0, 2.0 if size is SHORT else 25.0))
        if servers % 3 == 0:  # first the ground, while the server stands on it
            postgres.kill()
            databases += 1
            over.wait(rng.uniform(0.0, 0.5))
            postgres.start()
            over.wait(rng.uniform(0.0, 2.0))
        centre.kill()
        servers += 1
        over.wait(rng.uniform(0.0, 1.0))
        centre.start()
        centre.wait()
    return servers, databases


def campaign(folder: Path, postgres: Postgres, size: Size, seed: int) -> tuple[Verdict, str]:
    """Run it; what both ends say, and its row of the table."""
    began = time.monotonic()
    verdict = Verdict()
    zygote = Zygote()
    options = ("--workers", str(size.workers))
    with Centre(folder / "centre", postgres.make("campaign"), options) as centre:
        centre.start()
        centre.wait()
        clinics = [Clinic(folder / f"box{n}", zygote, centre, seed + n) for n in range(size.boxes)]
        try:
            over = threading.Event()
            with ThreadPoolExecutor(size.boxes + 1) as pool:
                for clinic in clinics:
                    clinic.line.share = SHARE
                killer = pool.submit(
                    kill_the_centre, centre, postgres, size, random.Random(seed), over
                )
                for life in [pool.submit(clinic.live, size) for clinic in clinics]:
                    life.result()
                over.set()
                killed = killer.result()
                for end in [pool.submit(clinic.finish, 1800.0) for clinic in clinics]:
                    end.result()
            for clinic in clinics:
                clinic.compare(centre, verdict)
        finally:
            for clinic in clinics:
                clinic.line.close()
                clinic.box.kill()
            zygote.close()
    return verdict, _row(verdict, clinics, killed, seed, time.monotonic() - began)


HEAD = (
    "| Results | Requests | Faulted | Boxes killed | Server killed | PostgreSQL killed | Lost "
    "| Twice | Took | Seed |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def _row(
    verdict: Verdict, clinics: list[Clinic], killed: tuple[int, int], seed: int, took_s: float
) -> str:
    requests = sum(clinic.line.requests for clinic in clinics)
    faults = sum((clinic.line.faults for clinic in clinics), Counter())
    kinds = ", ".join(f"{name} {faults[name]}" for name in sorted(faults) if name)
    return (
        f"| {verdict.results:,} | {requests:,} | {faults.total():,} "
        f"({100 * faults.total() / requests:.0f} %) | {sum(c.kills for c in clinics)} "
        f"| {killed[0]} | {killed[1]} | {len(verdict.lost)} | {len(verdict.twice)} "
        f"| {took_s / 60:.0f} min | {seed} |\n\n{kinds}"
    )


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(prog="python -m tests.central.campaign", description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"{FULL.results:,} results")
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    size = FULL if asked.full else SHORT
    with scratch_postgres("campaign") as (folder, postgres):
        verdict, row = campaign(folder, postgres, size, asked.seed)
    sys.stdout.write(f"{HEAD}\n{row}\n{os.cpu_count()} cores\n")
    for problem in [*verdict.lost, *verdict.twice, *verdict.problems][:40]:
        sys.stdout.write(f"{problem}\n")
    return 0 if verdict.sound and verdict.results == size.results else 1


if __name__ == "__main__":
    sys.exit(main())
