"""How fast captures are decoded, pictures drawn and byte streams framed, on one core.

``python tests/benchmarks/throughput.py [--events N] [--rounds N] [--json]`` prints one row for
each part. Inputs are generated, the same every time; a figure is the best of the
rounds, in CPU time of all threads together, because the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from edge_daemon.classify.bundle import BundleShelf
from edge_daemon.classify.pictures import draw
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import decode
from edge_daemon.decode.codecs import CODECS
from edge_daemon.decode.kit import read_sample
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.profile import load_profile
from edge_daemon.decode.report import read_reports
from edge_daemon.exchange.fcs_writer import FcsColumn, write_fcs
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.simulator import wire
from edge_daemon.simulator.cohort import sample
from edge_daemon.simulator.pulse_writer import write_pulses
from edge_daemon.sources.framing.base import Deliver
from edge_daemon.sources.framing.registry import make_framer

COLUMNS = 13
CHUNK = 4096
"""Bytes that a line hands over at a time."""
LIMITS = Limits(max_bytes=1 << 30, max_expansion=1 << 30)


@dataclass(frozen=True)
class Case:
    """One thing that is measured.

    Attributes
    ----------
    part
        Row of the table.
    size
        Bytes of the input.
    unit
        What `run` counts.
    run
        Does the work and returns how many it did.
    """

    part: str
    size: int
    unit: str
    run: Callable[[], int]


@dataclass(frozen=True)
class Result:
    """One row."""

    part: str
    megabytes: float
    items: int
    unit: str
    cpu_s: float
    megabytes_per_s: float
    items_per_s: float


def heights(events: int) -> np.ndarray:
    """Counts of a 16-bit converter, each column with its own size."""
    rng = np.random.default_rng(1)
    centre = np.geomspace(300.0, 20_000.0, COLUMNS)
    drawn = centre * np.exp(0.3 * rng.standard_normal((events, COLUMNS)))
    return np.clip(np.rint(drawn), 0, 65_535).astype(np.uint16)


def codec(name: str, **settings):
    return CODECS[name].model_validate_json(json.dumps({"name": name, **settings}))


def reading(part: str, reader, data: bytes) -> Case:
    return Case(
        f"decode {part}",
        len(data),
        "events",
        lambda: len(reader.read(data, dataset=1, limits=LIMITS).values),
    )


def fcs(events: int) -> Case:
    columns = [FcsColumn(f"C{i}", "", 16, 1 << 16) for i in range(COLUMNS)]
    data = write_fcs(columns, heights(events), {}, byte_order="big")
    return reading("fcs (13 × 16 bit)", codec("fcs"), data)


def table(events: int) -> Case:
    rows = "\n".join(",".join(map(str, row)) for row in heights(events).tolist())
    data = f"{','.join(f'C{i}' for i in range(COLUMNS))}\n{rows}\n".encode()
    return reading("table (13 whole numbers)", codec("table", integer_bits=16), data)


def decimals(events: int) -> Case:
    values = heights(events) / 7.0
    rows = "\n".join(",".join(f"{v:.4f}" for v in row) for row in values.tolist())
    data = f"{','.join(f'C{i}' for i in range(COLUMNS))}\n{rows}\n".encode()
    return reading("table (13 decimals)", codec("table"), data)


def records(events: int) -> Case:
    body = b"BENCH".ljust(16, b"\0") + heights(events).astype(">u2").tobytes()
    described = codec(
        "records",
        byte_order="big",
        header={"size": 16, "magic": b"BENCH".hex()},
        record={
            "size": 2 * COLUMNS,
            "field": [
                {"name": f"C{i}", "offset": 2 * i, "type": "u16"} for i in range(COLUMNS)
            ],
        },
        trailer={"size": 4},
        crc={
            "width": 32, "poly": 0x04C11DB7, "init": 0xFFFFFFFF, "refin": True, "refout": True,
            "xorout": 0xFFFFFFFF,
        },
    )  # fmt: skip
    data = body + zlib.crc32(body).to_bytes(4, "big")
    return reading("records (13 × 16 bit, CRC)", described, data)


def pulses(events: int) -> Case:
    """Four detectors × 32 samples of 14 bits, decoded and measured."""
    rng = np.random.default_rng(2)
    shape = np.exp(-0.5 * ((np.arange(32) - 14.0) / 2.3) ** 2)
    size = np.exp(rng.normal([6.0, 6.5, 7.0, 5.0], 0.4, (events, 4)))
    wave = 400.0 + size[..., None] * shape + rng.normal(0.0, 4.0, (events, 4, 32))
    counts = np.clip(wave, 0, 16_383).astype(np.uint16)
    data = write_pulses(counts, np.arange(events, dtype=np.uint32), {"FIRMWARE": "1.0"})
    described = load_profile(profiles_dir() / "sim_pulse4" / "1.0.toml").codec
    return reading("pulses (4 × 32 samples, CRC)", described, data)


def canonical(events: int) -> Case:
    """Everything between bytes and classification."""
    capture = sample(0, firmware="1.0", events=min(events, 20_000), seed=1, species=("dog",))
    profile = load_profile(profiles_dir() / "sim_optical4" / "1.0.toml")
    return Case(
        "fcs to canonical signals",
        len(capture.data),
        "events",
        lambda: decode(capture.data, profile, limits=LIMITS).events,
    )


def pictures(events: int) -> Case:
    """Scattergrams and histograms of a run that is called and counted."""
    capture = sample(0, firmware="1.0", events=min(events, 50_000), seed=1, species=("dog",))
    profile = load_profile(profiles_dir() / "sim_optical4" / "1.0.toml")
    batch = decode(capture.data, profile, limits=LIMITS)
    bundle = BundleShelf.load((models_dir(),)).for_profile(profile.id, "dog")
    calls = Classifier(bundle).classify(batch)
    found = quantify(batch, calls, bundle)

    def run() -> int:
        drawn = draw(batch, calls, found.red_cells, found.platelets, profile.scales)
        return batch.events if drawn.encode() else 0

    return Case("draw pictures", len(capture.data), "events", run)


def reports(profile_id: str, count: int) -> Case:
    path = profiles_dir() / f"{profile_id}.toml"
    profile, data = load_profile(path), read_sample(path).data
    return Case(
        f"report {profile_id}",
        count * len(data),
        "messages",
        lambda: sum(len(read_reports(data, profile)) > 0 for _ in range(count)),
    )


def framing(name: str, options, stream: bytes) -> Case:
    def run() -> int:
        framer, delivered = make_framer(name, options), 0
        for begin in range(0, len(stream), CHUNK):
            for action in framer.feed(stream[begin : begin + CHUNK], begin * 1e-6):
                delivered += isinstance(action, Deliver)
        return delivered

    return Case(f"framing {name}", len(stream), "messages", run)


def framings(messages: int) -> Iterator[Case]:
    """Each framing, over messages of 100 kB."""
    noise = random.Random(1).randbytes(100_000)
    text = b"".join(b"R|%d|^^^RBC^1|7.04|10*6/uL||N||F\r" % n for n in range(2_800))
    one = wire.ENQ + b"".join(wire.astm_frames(text)) + wire.EOT
    yield framing("astm", {}, one * messages)
    yield framing("mllp", {}, wire.mllp_block(text) * messages)
    yield framing("block", {}, wire.block(b"", text) * messages)
    runs = (wire.packet_run(noise, sequence=98 * n, payload_size=1024) for n in range(messages))
    packets = b"".join(packet for run in runs for packet in run)
    yield framing("packet", wire.PACKET_FRAMING, packets)


def cases(events: int) -> Iterator[Case]:
    """Everything that is measured; messages are a thousandth of the events, and one at least."""
    for make in (fcs, canonical, table, decimals, records, pulses, pictures):
        yield make(events)
    few = max(1, events // 1000)
    yield reports("sysmex_xn550/00-24", few)
    yield reports("urit_5160/hl7-2.3.1", few)
    yield from framings(few)


def measure(case: Case, rounds: int) -> Result:
    best, items = float("inf"), 0
    for _ in range(rounds):
        begin = time.process_time()
        items = case.run()
        best = min(best, time.process_time() - begin)
    best = max(best, 1e-9)  # a tiny input may take less than the clock's step
    size = case.size / 1e6
    return Result(case.part, size, items, case.unit, best, size / best, items / best)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000, help="in each capture")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts")
    parser.add_argument("--json", action="store_true", help="one JSON array")
    asked = parser.parse_args()
    results = [measure(case, asked.rounds) for case in cases(asked.events)]
    write = sys.stdout.write
    if asked.json:
        write(json.dumps([asdict(result) for result in results]) + "\n")
        return
    write(f"{'part':34}{'input':>9}{'CPU':>9}{'rate':>12}{'rate':>20}\n")
    for r in results:
        write(
            f"{r.part:34}{r.megabytes:>6.1f} MB{r.cpu_s:>7.3f} s{r.megabytes_per_s:>7.1f} MB/s"
            f"{r.items_per_s:>11,.0f} {r.unit}/s\n"
        )


if __name__ == "__main__":
    main()
