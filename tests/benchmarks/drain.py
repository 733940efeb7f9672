"""How fast a box sends what waited for 28 days, and what the technician's page notices of it.

The real service sends 2,800 real documents to a real server with PostgreSQL; over loopback, or
with ``--kbit N`` into a network namespace whose line takes no more (needs root).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from edge_daemon.pipeline import process_files
from edge_daemon.simulator.cohort import sample
from edge_daemon.store import layout, queries
from edge_daemon.sync import identity
from tests.benchmarks.central import items, real_bodies
from tests.benchmarks.page import ask, multiply
from tests.central.centre import Centre, cpu_s, free_port, scratch_postgres
from tests.faults.bench import Box, run
from tests.faults.zygote import Zygote

RESULTS = 2_800
PAGES = ("/", "/results/7")


@dataclass(frozen=True)
class Drained:
    """What it took; times of the page in milliseconds, from request to last byte.

    The service's CPU for each page is told, too: before, and meanwhile with that of sending.
    """

    results: int
    kbit_s: int | None
    seconds: float
    service_cpu_s: float
    page_cpu_before_ms: float
    page_cpu_during_ms: float
    page_before_ms: float
    page_during_ms: float
    page_before_p90_ms: float
    page_during_p90_ms: float
    pages_during: int
    load_average: float


@contextlib.contextmanager
def narrow_line(kbit_s: int | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A line of this rate into a namespace of its own: the address there, and how to run there."""
    if kbit_s is None:
        yield "127.0.0.1", ()
        return
    name = f"edge{os.getpid()}"
    inside, outside = f"i{os.getpid()}", f"o{os.getpid()}"
    network = f"10.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        run("ip", "addr", "add", f"{network}.1/24", "dev", outside)
        run("ip", "link", "set", outside, "up")
        there = ("ip", "netns", "exec", name)
        run(*there, "ip", "addr", "add", f"{network}.2/24", "dev", inside)
        run(*there, "ip", "link", "set", inside, "up")
        run(*there, "ip", "link", "set", "lo", "up")
        rate = ("root", "tbf", "rate", f"{kbit_s}kbit", "burst", "16kb", "latency", "100ms")
        run("tc", "qdisc", "add", "dev", outside, *rate)
        run(*there, "tc", "qdisc", "add", "dev", inside, *rate)
        yield f"{network}.2", there
    finally:
        run("ip", "netns", "del", name, check=False)
        run("ip", "link", "del", outside, check=False)


def fill(data: Path, folder: Path, count: int) -> None:
    """Make a box that has analysed so much and sent nothing: real documents, no two alike."""
    made = sample(3, events=4_000, seed=4, species=("dog",))
    (folder / made.name).write_bytes(made.data)
    list(process_files([folder / made.name], data_dir=data))
    multiply(data, count)
    rows = items(real_bodies(8), random.Random(7))
    with closing(sqlite3.connect(layout.database_path(data))) as db:
        for seq in range(1, count + 1):
            one = next(rows)
            db.execute(
                "UPDATE outbox SET body = ?, digest = ?, state = 'waiting' WHERE seq = ?",
                (one.text, one.digest, seq),
            )
        db.commit()


class Reader(threading.Thread):
    """A technician who opens one page after the other."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.times: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            for path in PAGES:
                status, took, _ = ask(self.url, path)
                assert status == 200, (path, status)
                self.times.append(1000 * took)
            self.over.wait(0.05)

    def read(self, until: Any) -> list[float]:
        """Read until something is true."""
        self.start()
        while not until():
            time.sleep(0.01)
        self.over.set()
        self.join()
        return sorted(self.times)


def missing() -> str | None:
    """What a narrow line needs that this machine has not."""
    name = f"edge{os.getpid()}"
    try:
        run("tc", "-V")
        run("ip", "netns", "add", name)
    except FileNotFoundError:
        return "the programs ip and tc of iproute2 are not installed"
    except subprocess.CalledProcessError:
        return "network namespaces need root on a machine that allows them"
    run("ip", "netns", "del", name)
    return None


def drain(
    folder: Path, database: str, *, count: int, kbit_s: int | None, before_s: float = 8.0
) -> Drained:
    """Fill a box, let it run without a centre, then with one."""
    port = free_port()
    zygote = Zygote()
    with narrow_line(kbit_s) as (host, there), contextlib.ExitStack() as stack:
        stack.callback(zygote.close)
        centre = stack.enter_context(
            Centre(folder / "centre", database, hosts=(host,), prefix=there)
        )
        box = Box(folder / "box", zygote)
        stack.callback(box.kill)
        more = f'\n[sync]\nsimulated = true\nraw = "none"\n[web]\nlisten = "127.0.0.1:{port}"\n'
        box.config.write_text(box.config.read_text().replace('"debug"', '"info"') + more)
        fill(box.data, folder, count)
        box.start()
        page = f"http://127.0.0.1:{port}"
        box.until(lambda: box.said("web_serving"), 60.0, "the page is served")
        end, idle = time.monotonic() + before_s, _cpu_s(box)
        before = Reader(page).read(lambda: time.monotonic() > end)
        idle = _cpu_s(box) - idle
        box.stop()
        centre.start()
        centre.wait()
        code = centre.store.make_claim(centre.store.add_clinic("clinic"), "box")
        identity.enrol(box.data, centre.url, code, fleet=centre.fleet)
        box.start()
        box.until(lambda: box.said("web_serving") > 1, 60.0, "the page is served", every=0.002)
        began, load, busy = time.monotonic(), os.getloadavg()[0], _cpu_s(box)
        during = Reader(page).read(lambda: not _waiting(box.data))
        seconds = time.monotonic() - began
        busy = _cpu_s(box) - busy
        arrived = centre.ask("SELECT count(*), count(DISTINCT digest) FROM documents")
        box.stop()
    if arrived != [(count, count)]:
        raise SystemExit(f"{arrived} arrived of {count}")
    return Drained(
        results=count,
        kbit_s=kbit_s,
        seconds=seconds,
        service_cpu_s=busy,
        page_cpu_before_ms=1000 * idle / len(before),
        page_cpu_during_ms=1000 * busy / len(during),
        page_before_ms=statistics.median(before),
        page_during_ms=statistics.median(during),
        page_before_p90_ms=before[int(0.9 * (len(before) - 1))],
        page_during_p90_ms=during[int(0.9 * (len(during) - 1))],
        pages_during=len(during),
        load_average=load,
    )


def _cpu_s(box: Box) -> float:
    return cpu_s([psutil.Process(box.pid)])


def _waiting(data: Path) -> int:
    with closing(queries.connect(data)) as db:
        return int(db.execute("SELECT count(*) FROM outbox WHERE state = 'waiting'").fetchone()[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=int, default=RESULTS)
    parser.add_argument("--kbit", type=int, help="rate of the line; loopback unless given")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with scratch_postgres("drain") as (_, postgres), tempfile.TemporaryDirectory() as place:
        found = drain(Path(place), postgres.make("drain"), count=asked.results, kbit_s=asked.kbit)
    if asked.json:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        return
    line = f"{found.kbit_s} kbit/s" if found.kbit_s else "loopback"
    sys.stdout.write(
        "| Line | Results | Took | Service's CPU | CPU of a page before, meanwhile "
        "| Page before, median / 90 % | Page meanwhile | Load before |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n"
        f"| {line} | {found.results:,} | {found.seconds:.1f} s | {found.service_cpu_s:.1f} s "
        f"| {found.page_cpu_before_ms:.0f}, {found.page_cpu_during_ms:.0f} ms "
        f"| {found.page_before_ms:.0f} / {found.page_before_p90_ms:.0f} ms "
        f"| {found.page_during_ms:.0f} / {found.page_during_p90_ms:.0f} ms "
        f"({found.pages_during}) | {found.load_average:.1f} |\n"
    )


if __name__ == "__main__":
    main()
