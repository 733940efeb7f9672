"""The long fuzz campaign: every kind of input, in parallel, resumable, with a table at the end.

    python tests/fuzz/fuzz_campaign.py --out DIR [--inputs 1000000] [--seed 1] [--jobs N]

Each chunk of inputs is one line of ``DIR/chunks.jsonl``. What is there is not run again, so the
same command goes on where it was stopped; another seed gives other inputs. Inputs that did what
none may do lie in ``DIR/findings``. It ends with status 1 if there are any.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from fuzz_engine import digest
from fuzz_targets import SHARES, TARGETS

CHUNK: Final = 2000
CHUNK_S: Final = 1200.0
"""Wall time after which a chunk counts as hung; its slowest takes a minute."""
_SERVE: Final = Path(__file__).with_name("fuzz_serve.py")
_HERE: Final = str(Path(__file__).resolve().parents[2])


@dataclasses.dataclass(frozen=True, order=True)
class Job:
    """One chunk to run."""

    number: int
    target: str
    seed: int
    inputs: int

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells it from others."""
        return self.target, self.seed, self.number


class Server:
    """A process that runs chunks."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-X", "faulthandler", str(_SERVE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": _HERE, "ORT_DISABLE_TELEMETRY": "1"},
        )

    def run(self, job: Job) -> dict[str, Any]:
        """Run a chunk; a process that dies or hangs over it is a finding."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        alarm = threading.Timer(CHUNK_S, self.process.kill)
        alarm.start()
        try:
            self.process.stdin.write((json.dumps(dataclasses.asdict(job)) + "\n").encode())
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            alarm.cancel()
        return json.loads(line) if line else self._dead(job)

    def _dead(self, job: Job) -> dict[str, Any]:
        assert self.process.stderr is not None
        detail = f"status {self.process.wait()}: {self.process.stderr.read()[-600:].decode()}"
        finding = {"kind": "died", "reader": "", "detail": detail, "data": ""}
        return dataclasses.asdict(job) | {
            "inputs": 0, "read": 0, "errors": {}, "findings": [finding], "rss_mb": 0, "cpu_s": 0,
        }  # fmt: skip

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def plan(inputs: int, seed: int, only: Iterable[str] = ()) -> list[Job]:
    """Share inputs out; chunks of all targets take turns."""
    chosen = [target for target in TARGETS if not only or target.name in set(only)]
    whole = sum(SHARES.get(target.name, 1.0) for target in chosen)
    jobs = []
    for target in chosen:
        count = -(-round(inputs * SHARES.get(target.name, 1.0) / whole) // CHUNK)
        jobs += [Job(number, target.name, seed, CHUNK) for number in range(count)]
    return sorted(jobs)


def run(jobs: Iterable[Job], workers: int) -> Iterator[dict[str, Any]]:
    """Run jobs in parallel processes, and yield what each led to."""
    waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    for job in [*jobs, *[None] * workers]:
        waiting.put(job)

    def serve() -> None:
        server = Server()
        while (job := waiting.get()) is not None:
            found = server.run(job)
            done.put(found)
            if server.process.poll() is not None:
                server.end()
                server = Server()
        server.end()
        done.put(None)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for _ in threads:
        while (found := done.get()) is not None:
            yield found


def table(chunks: Iterable[dict[str, Any]]) -> str:
    """Sum chunks up, in Markdown."""
    rows: dict[str, dict[str, Any]] = {}
    for chunk in chunks:
        row = rows.setdefault(
            chunk["target"],
            {"inputs": 0, "read": 0, "errors": collections.Counter(), "cpu_s": 0.0, "rss_mb": 0.0,
             "kinds": collections.Counter()},
        )  # fmt: skip
        for key in ("inputs", "read", "cpu_s"):
            row[key] += chunk[key]
        row["rss_mb"] = max(row["rss_mb"], chunk["rss_mb"])
        row["errors"].update({k.removeprefix("Quarantine "): n for k, n in chunk["errors"].items()})
        row["kinds"].update(finding["kind"] for finding in chunk["findings"])
    heading = (
        "| Target | Inputs | Read | Refused, by reason | Uncaught | Time-outs | Memory | Escapes "
        "| Largest process, MB | Inputs/s |"
    )
    lines = [heading, "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|"]
    order = [target.name for target in TARGETS if target.name in rows]
    for name in order:
        row = rows[name]
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in row["errors"].most_common(5))
        kinds = row["kinds"]
        uncaught = kinds["uncaught"] + kinds["died"] + kinds["message"]
        lines.append(
            f"| {name} | {row['inputs']:,} | {row['read']:,} | {reasons} | {uncaught} | "
            f"{kinds['time-out']} | {kinds['memory']} | {kinds['escape']} | {row['rss_mb']:.0f} | "
            f"{row['inputs'] / max(row['cpu_s'], 1e-9):,.0f} |"
        )
    total = {key: sum(row[key] for row in rows.values()) for key in ("inputs", "read", "cpu_s")}
    kinds = sum((row["kinds"] for row in rows.values()), collections.Counter())
    uncaught = kinds["uncaught"] + kinds["died"] + kinds["message"]
    lines.append(
        f"| **all** | **{total['inputs']:,}** | {total['read']:,} | | **{uncaught}** | "
        f"**{kinds['time-out']}** | **{kinds['memory']}** | **{kinds['escape']}** | "
        f"{max((row['rss_mb'] for row in rows.values()), default=0):.0f} | "
        f"{total['inputs'] / max(total['cpu_s'], 1e-9):,.0f} |"
    )
    return "\n".join(lines)


def keep(out: Path, chunk: dict[str, Any]) -> None:
    """Write a chunk's line, and its findings as files."""
    for finding in chunk["findings"]:
        data = bytes.fromhex(finding["data"])
        stem = out / "findings" / f"{chunk['target'].replace(' ', '-')}-{digest(data)}"
        stem.parent.mkdir(exist_ok=True)
        stem.with_suffix(".bin").write_bytes(data)
        told = (
            f"{finding['kind']} {finding['reader']}: {finding['detail']}\nchunk {chunk['number']}\n"
        )
        stem.with_suffix(".txt").write_text(told)
        sys.stderr.write(f"{chunk['target']}: {told}")
    with (out / "chunks.jsonl").open("a") as lines:
        lines.write(json.dumps(chunk) + "\n")


def main() -> int:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for chunks and findings")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--target", action="append", default=[], help="only this one; may repeat")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    lines = asked.out / "chunks.jsonl"
    kept = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    kept = [chunk for chunk in kept if chunk["seed"] == asked.seed]
    there = {(chunk["target"], chunk["seed"], chunk["number"]) for chunk in kept}
    missing = [j for j in plan(asked.inputs, asked.seed, asked.target) if j.key not in there]
    for count, chunk in enumerate(run(missing, asked.jobs), 1):
        keep(asked.out, chunk)
        kept.append(chunk)
        sys.stderr.write(f"\r{count} of {len(missing)} chunks ")
    sys.stdout.write(f"\nseed {asked.seed}\n\n{table(kept)}\n")
    return 1 if any(chunk["findings"] for chunk in kept) else 0


if __name__ == "__main__":
    sys.exit(main())
