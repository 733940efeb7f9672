"""A day of 10,000 clinics, the storm after an outage of the centre, and what they cost a server.

When boxes come is simulated, with the client's own rules for waiting (`edge_daemon.sync.policy`);
then the busiest seconds are played to a real server: every arrival is another box with its own
certificate, its own TLS connection and a real document. Prints the tables of ``docs/scale.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edge_daemon.clock import Stamp
from edge_daemon.sync import protocol
from edge_daemon.sync.http import Server
from edge_daemon.sync.policy import Patience, TroubleError
from tests.benchmarks.central import Request, pack, real_bodies
from tests.central.centre import Centre, Postgres, cpu_s, scratch_postgres

SEED: Final = 20261128
DAY: Final = (0.2, 0.1, 0.1, 0.1, 0.1, 0.2, 0.6, 2.5, 7, 10, 11, 10, 8, 7, 8, 9, 9, 7, 4, 2, 1.2,
              0.8, 0.6, 0.4)  # fmt: skip
"""Share of a day's results in each of its hours: consulting hours of practices in one time zone,
with few at night. Assumed; a chain over several zones is flatter."""
SLOWEST: Final = 20.0
"""Arrivals a second that are played at least: those of a small fleet would take hours."""
_TROUBLE: Final = TroubleError("retry", "unreachable", "no whole answer")


@dataclass(frozen=True)
class Storm:
    """What comes when the centre is back after an outage."""

    outage_s: float
    boxes: int
    waiting: int
    peak_per_s: int
    first_minute_per_s: float
    half_back_s: float
    all_back_s: float


def rate_at(hour: float, clinics: int, each: int) -> float:
    """Results a second of the whole fleet at an hour of the day."""
    return clinics * each * DAY[int(hour) % 24] / sum(DAY) / 3600


def busiest_second(clinics: int, each: int, rng: random.Random) -> int:
    """Most results in one second of the day's busiest hour."""
    hour = max(range(24), key=DAY.__getitem__)
    rate = rate_at(hour, clinics, each)
    return max(_poisson(rate, rng) for _ in range(3600))


def storm(clinics: int, each: int, outage_s: float, rng: random.Random) -> Storm:
    """Simulate an outage that ends in the busiest hour, box by box."""
    hour = max(range(24), key=DAY.__getitem__)
    rate = rate_at(hour, clinics, each) / clinics
    firsts, waiting = [], 0
    for _ in range(clinics):
        tried_s, count = rng.expovariate(rate), 0
        if tried_s >= outage_s:
            continue  # it has nothing to send, and has not noticed
        count = 1 + _poisson(rate * (outage_s - tried_s), rng)
        waiting += count
        firsts.append(_first_try_after(outage_s, tried_s, rng))
    seconds = Counter(int(at) for at in firsts)
    firsts.sort()
    return Storm(
        outage_s=outage_s,
        boxes=len(firsts),
        waiting=waiting,
        peak_per_s=max(seconds.values()),
        first_minute_per_s=sum(at < 60 for at in firsts) / 60,
        half_back_s=firsts[len(firsts) // 2],
        all_back_s=firsts[-1],
    )


def _first_try_after(outage_s: float, now_s: float, rng: random.Random) -> float:
    """Seconds after the end of the outage at which a box that failed at `now_s` is back."""
    patience = Patience()
    while now_s < outage_s:
        patience = patience.after(_TROUBLE, Stamp("", "synchronised", "boot", now_s), rng)
        now_s = patience.due_s
    return now_s - outage_s


def _poisson(mean: float, rng: random.Random) -> int:
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count, product = 0, rng.random()
    while product > math.exp(-mean):
        count, product = count + 1, product * rng.random()
    return count


@dataclass(frozen=True)
class Played:
    """What a real server did with arrivals at a rate."""

    asked_per_s: float
    arrivals: int
    results: int
    seconds: float
    server_cpu_ms: float
    postgres_cpu_ms: float
    boxes_cpu_ms: float
    median_ms: float
    p99_ms: float
    tried_again: int
    load_average: float

    @property
    def per_core(self) -> float:
        """Arrivals for a second of CPU of the server and PostgreSQL together."""
        return 1000 / (self.server_cpu_ms + self.postgres_cpu_ms)


def play(
    centre: Centre,
    postgres: Postgres,
    certificates: list[Path],
    requests: list[Request],
    rate: float,
    rng: random.Random,
) -> Played:
    """Let boxes arrive at random, so many a second on average, each with one request."""
    boxes = rng.sample(certificates, len(requests))
    at, due = 0.0, []
    for _ in requests:
        at += rng.expovariate(rate)
        due.append(at)
    parts = (lambda: centre.processes, lambda: postgres.processes)
    load, cpu, own = os.getloadavg()[0], [cpu_s(part()) for part in parts], time.process_time()
    began = time.perf_counter()

    def arrive(number: int) -> tuple[float, int, int]:
        time.sleep(max(0.0, began + due[number] - time.perf_counter()))
        return _send(centre, boxes[number], requests[number])

    with ThreadPoolExecutor(96) as pool:
        told = list(pool.map(arrive, range(len(requests))))
    seconds, own = time.perf_counter() - began, time.process_time() - own
    cpu = [cpu_s(part()) - was for part, was in zip(parts, cpu, strict=True)]
    times = sorted(took for took, _, _ in told)
    return Played(
        asked_per_s=rate,
        arrivals=len(requests),
        results=sum(stored for _, stored, _ in told),
        seconds=seconds,
        server_cpu_ms=1000 * cpu[0] / len(requests),
        postgres_cpu_ms=1000 * cpu[1] / len(requests),
        boxes_cpu_ms=1000 * own / len(requests),
        median_ms=1000 * times[len(times) // 2],
        p99_ms=1000 * times[int(0.99 * (len(times) - 1))],
        tried_again=sum(again for _, _, again in told),
        load_average=load,
    )


def _send(centre: Centre, certificate: Path, request: Request) -> tuple[float, int, int]:
    """One box: seconds from the greeting to the answer, results stored, and tries that failed."""
    headers, body = request
    began, failed = time.perf_counter(), 0
    while True:
        server = Server(centre.url, fleet=centre.fleet, certificate=certificate)
        try:
            answer = server.call("POST", protocol.INGEST, headers=headers, body=body)
            if answer.status == 200:
                stored = sum(r["status"] == "stored" for r in json.loads(answer.body)["results"])
                return time.perf_counter() - began, stored, failed
        except TroubleError:
            pass
        finally:
            server.close()
        failed += 1
        if failed > 20:
            raise SystemExit("the server does not answer")
        time.sleep(random.uniform(0.0, 2.0))  # as a box after its first try


def main() -> None:
    """Simulate, play, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clinics", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=100, help="results of a clinic and day")
    parser.add_argument("--arrivals", type=int, default=600, help="played to a real server")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rng = random.Random(SEED)
    clinics, each = asked.clinics, asked.each
    peak = rate_at(max(range(24), key=DAY.__getitem__), clinics, each)
    found: dict[str, Any] = {
        "mean_per_s": clinics * each / 86_400,
        "peak_hour_per_s": peak,
        "busiest_second": busiest_second(clinics, each, rng),
        "storms": [storm(clinics, each, minutes * 60, rng) for minutes in (1, 10, 60, 480)],
    }
    storms: list[Storm] = found["storms"]
    plays = [(max(peak, SLOWEST), 1, asked.arrivals)]
    for one in (max(storms, key=lambda one: one.peak_per_s), storms[-1]):
        backlog = min(protocol.MAX_ITEMS, round(one.waiting / one.boxes))
        plays.append(
            (max(one.peak_per_s, SLOWEST), backlog, max(1, asked.arrivals // min(backlog, 3)))
        )
    with scratch_postgres("fleet") as (folder, postgres):
        options = ("--workers", str(asked.workers))
        with Centre(folder / "centre", postgres.make("fleet"), options) as centre:
            certificates = centre.enrol(clinics)
            centre.start()
            centre.wait()
            bodies = real_bodies(8)
            found["played"] = [
                play(centre, postgres, certificates, _one_each(bodies, arrivals, batch), rate, rng)
                for rate, batch, arrivals in plays
            ]
    _tell(found, as_json=asked.json)


def _one_each(bodies: list[dict[str, Any]], count: int, batch: int) -> list[Request]:
    return [pack(bodies, 1, batch)[0] for _ in range(count)]


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        plain = found | {
            name: [asdict(one) for one in found[name]] for name in ("storms", "played")
        }
        sys.stdout.write(json.dumps(plain) + "\n")
        return
    write = sys.stdout.write
    write(
        f"mean {found['mean_per_s']:.1f}/s, busiest hour {found['peak_hour_per_s']:.1f}/s, "
        f"busiest second {found['busiest_second']}\n\n"
        "| Outage | Boxes that wait | Results | Boxes in the first minute | In the worst second "
        "| Half are back after | All |\n|---:|---:|---:|---:|---:|---:|---:|\n"
    )
    for one in found["storms"]:
        write(
            f"| {one.outage_s / 60:.0f} min | {one.boxes:,} | {one.waiting:,} "
            f"| {one.first_minute_per_s:.0f}/s | {one.peak_per_s} | {one.half_back_s:.0f} s "
            f"| {one.all_back_s:.0f} s |\n"
        )
    write(
        "\n| Boxes a second | Arrivals | Results | Took | Server | PostgreSQL | Boxes "
        "| For a CPU second | Answered in, median / 99 % | Tried again | Load before |\n"
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )
    for one in found["played"]:
        write(
            f"| {one.asked_per_s:.0f} | {one.arrivals:,} | {one.results:,} | {one.seconds:.0f} s "
            f"| {one.server_cpu_ms:.1f} ms | {one.postgres_cpu_ms:.1f} ms "
            f"| {one.boxes_cpu_ms:.1f} ms | {one.per_core:.0f} "
            f"| {one.median_ms:.0f} / {one.p99_ms:.0f} ms | {one.tried_again} "
            f"| {one.load_average:.1f} |\n"
        )


if __name__ == "__main__":
    main()
