"""The campaign: ``python -m tests.faults --full --out table.md``; see docs/faults.md."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.bench import Record, fork_servers, run
from tests.faults.rows import ROWS, Row, run_row

SEED = 20261128
HEAD = (
    "| Fault | Trials | Lost | Twice | Recovered in | Also | Seed |",
    "|---|---:|---:|---:|---:|---|---:|",
)


def main() -> int:
    options = _parse()
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    say(f"{len(rows)} rows, seed {options.seed}, {'full' if options.full else 'short'} size")
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=options.folder))
    with ThreadPoolExecutor(options.jobs) as pool:
        done = list(pool.map(lambda row: _one(row, folder / row.name, options), rows))
    table = "\n".join([*HEAD, *(text for text, _ in done), "", machine()])
    if options.out:
        options.out.write_text(table + "\n", encoding="utf-8")
    sys.stdout.write(table + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(sound for _, sound in done) else 1


def _one(row: Row, folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    """Run one row; its line of the table, and whether it is as it must be."""
    if reason := row.missing():
        say(f"{row.name}: cannot be run here, {reason}")
        return f"| {row.fault} | – | – | – | – | not run: {reason} | – |", True
    began = time.monotonic()
    with fork_servers() as zygotes:
        record = run_row(
            row,
            folder,
            options.seed,
            full=options.full,
            zygotes=zygotes,
            say=lambda words: say(f"  {row.name}: {words}"),
        )
    text = line(row, record)
    say(f"{'ok' if record.sound else 'FAILED'} {text} ({time.monotonic() - began:.0f} s)")
    for problem in record.problems[:20]:
        say(f"    {problem[:400]}")
    shutil.rmtree(folder, ignore_errors=True)
    return text, record.sound


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the counts of the campaign")
    parser.add_argument("--only", action="append", choices=[row.name for row in ROWS])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, help="write the table here")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="rows at a time")
    parser.add_argument("--folder", type=Path, help="work here; a disk that is not a tmpfs")
    return parser.parse_args()


def line(row: Row, record: Record) -> str:
    """Row of the table."""
    recovered = f"{record.recovered_s:.1f} s" if record.recovered_s else "–"
    counts = f"{record.trials:,} | {record.lost} | {record.duplicated}"
    result = "" if record.sound else "**FAILED** "
    return f"| {row.fault} | {counts} | {recovered} | {result}{record.measure} | {record.seed} |"


def machine() -> str:
    """Kind of machine, without what names this one."""
    kernel = ".".join(platform.release().split(".")[:2])
    where = run("findmnt", "-no", "FSTYPE", "-T", tempfile.gettempdir()).stdout.strip()
    return (
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Linux {kernel}, "
        f"Python {platform.python_version()}, files on {where}."
    )


def say(words: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {words}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
