"""How many results a second the centre takes: real TLS, real boxes' documents, real PostgreSQL.

Each box has a certificate of its own, and a clinic. Their batches are packed
before the clock starts, because that is the boxes' work; sending them is measured, and the CPU of
the senders, of the server's processes and of PostgreSQL are told apart. Every document that was
acknowledged is counted in the database afterwards. Prints the table of ``docs/scale.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import secrets
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edge_daemon.canonical import canonical, digest
from edge_daemon.pipeline import process_files
from edge_daemon.simulator.cohort import sample
from edge_daemon.store import queries
from edge_daemon.sync import protocol
from edge_daemon.sync.http import Server
from edge_daemon.sync.protocol import Item
from tests.central.centre import Centre, Postgres, cpu_s, scratch_postgres

_BOUNDS: Final = ("low", "value", "high")

Request = tuple[dict[str, str], bytes]


@dataclass(frozen=True)
class Load:
    """What one round of load was, and what it took."""

    boxes: int
    batch: int
    workers: int
    results: int
    seconds: float
    server_cpu_s: float
    postgres_cpu_s: float
    boxes_cpu_s: float
    sent_bytes: int
    median_ms: float
    p99_ms: float
    load_average: float

    @property
    def per_s(self) -> float:
        return self.results / self.seconds

    @property
    def per_core(self) -> float:
        """Results for a second of CPU of the server and PostgreSQL together."""
        return self.results / (self.server_cpu_s + self.postgres_cpu_s)


def real_bodies(count: int) -> list[dict[str, Any]]:
    """Documents of runs that were simulated and analysed; they say that they are simulated."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(count):
            made = sample(number, events=4_000, seed=4)
            (folder / made.name).write_bytes(made.data)
        list(process_files(sorted(folder.glob("*.fcs")), data_dir=folder / "data"))
        with closing(queries.connect(folder / "data")) as db:
            return [json.loads(row[0]) for row in db.execute("SELECT body FROM outbox")]


def items(bodies: list[dict[str, Any]], chance: random.Random) -> Iterator[Item]:
    """Documents without end, no two alike, as rows of an outbox.

    Every number is another one, so that batches are no smaller than those of the field.
    """
    for seq in itertools.count(1):
        body = {**bodies[seq % len(bodies)], "capture": secrets.token_hex(32), "number": seq}
        told: list[dict[str, Any]] = body["measurements"]
        body["measurements"] = [
            {**one, **{name: one[name] * chance.uniform(0.8, 1.2) for name in _BOUNDS if one[name]}}
            for one in told
        ]
        key = digest(canonical(body))
        yield Item(seq, key, "run.simulated", 1, "2026-11-28T04:00:00.000000Z", "unknown", body)


def pack(bodies: list[dict[str, Any]], batches: int, batch: int) -> list[Request]:
    """What one box sends."""
    epoch, rows = str(uuid.uuid4()), items(bodies, random.Random())
    return [
        protocol.pack(
            epoch,
            [(one.seq, one.line()) for one in itertools.islice(rows, batch)],
            clock="synchronised",
        )
        for _ in range(batches)
    ]


class Sender(threading.Thread):
    """One box that sends what it has as fast as it is answered."""

    def __init__(self, server: Server, requests: list[Request], begin: threading.Event) -> None:
        super().__init__()
        self.server = server
        self.requests = requests
        self.begin = begin
        self.acknowledged = 0
        self.times: list[float] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        self.begin.wait()
        for headers, body in self.requests:
            began = time.perf_counter()
            answer = self.server.call("POST", protocol.INGEST, headers=headers, body=body)
            self.times.append(time.perf_counter() - began)
            if answer.status != 200:
                self.wrong.append(f"{answer.status} {answer.body[:100]!r}")
                continue
            told = json.loads(answer.body)["results"]
            self.acknowledged += sum(one["status"] == "stored" for one in told)


def measure(
    centre: Centre, postgres: Postgres, servers: list[Server], batches: int, batch: int
) -> Load:
    """Send from all boxes at once."""
    bodies = real_bodies(8)
    begin = threading.Event()
    senders = [Sender(server, pack(bodies, batches, batch), begin) for server in servers]
    for server in servers:  # connections stand before the clock starts, as in the field
        server.call("HEAD", f"/v1/raw/{'0' * 64}", headers={})
    for sender in senders:
        sender.start()
    before = int(centre.ask("SELECT count(*) FROM documents")[0][0])
    parts = (lambda: centre.processes, lambda: postgres.processes)
    load = os.getloadavg()[0]
    cpu = [cpu_s(part()) for part in parts]
    own, began = time.process_time(), time.perf_counter()
    begin.set()
    for sender in senders:
        sender.join()
    seconds, own = time.perf_counter() - began, time.process_time() - own
    cpu = [cpu_s(part()) - was for part, was in zip(parts, cpu, strict=True)]
    acknowledged = sum(sender.acknowledged for sender in senders)
    wrong = [told for sender in senders for told in sender.wrong]
    stored = int(centre.ask("SELECT count(*) FROM documents")[0][0]) - before
    if wrong or stored != acknowledged:
        raise SystemExit(f"{acknowledged} acknowledged, {stored} stored; {wrong[:3]}")
    times = sorted(took for sender in senders for took in sender.times)
    return Load(
        boxes=len(servers),
        batch=batch,
        workers=int(centre.options[1]),
        results=stored,
        seconds=seconds,
        server_cpu_s=cpu[0],
        postgres_cpu_s=cpu[1],
        boxes_cpu_s=own,
        sent_bytes=sum(len(body) for sender in senders for _, body in sender.requests),
        median_ms=1000 * times[len(times) // 2],
        p99_ms=1000 * times[int(0.99 * (len(times) - 1))],
        load_average=load,
    )


def show(load: Load) -> str:
    """Row of the table."""
    return (
        f"| {load.boxes} | {load.batch} | {load.results:,} | {load.seconds:.1f} s "
        f"| **{load.per_s:,.0f}/s** | {load.per_core:,.0f} | {load.server_cpu_s:.1f} s "
        f"| {load.postgres_cpu_s:.1f} s | {load.boxes_cpu_s:.1f} s "
        f"| {load.sent_bytes / load.results:,.0f} B | {load.median_ms:.0f} / {load.p99_ms:.0f} ms "
        f"| {load.load_average:.1f} |"
    )


HEAD = (
    "| Boxes | Batch | Results | Took | Stored | For a CPU second | Server | PostgreSQL | Boxes "
    "| Each | Answered in, median / 99 % | Load before |\n"
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=20)
    parser.add_argument("--batches", type=int, default=30, help="of each box")
    parser.add_argument("--batch", type=int, default=100, help="results in a batch")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with scratch_postgres("load") as (folder, postgres):
        options = ("--workers", str(asked.workers))
        with Centre(folder / "centre", postgres.make("load"), options) as centre:
            centre.start()
            centre.wait()
            servers = [
                Server(centre.url, fleet=centre.fleet, certificate=certificate)
                for certificate in centre.enrol(asked.boxes)
            ]
            found = [
                measure(centre, postgres, servers, asked.batches, asked.batch)
                for _ in range(asked.rounds)
            ]
    if asked.json:
        rows = [asdict(one) | {"per_s": one.per_s, "per_core": one.per_core} for one in found]
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    sys.stdout.write("\n".join([HEAD, *map(show, found)]) + "\n")


if __name__ == "__main__":
    main()
