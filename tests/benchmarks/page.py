"""How long the page takes, with a hundred thousand runs, and while results come in.

One simulated run is analysed for real and multiplied in the database by SQL; then the real server
is asked over real sockets. Prints the table of README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import hashlib
import http.client
import json
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from edge_daemon.clock import SystemClock
from edge_daemon.config import Settings
from edge_daemon.log import EventLog
from edge_daemon.pipeline import process_files
from edge_daemon.simulator.cohort import sample
from edge_daemon.store import layout
from edge_daemon.store.writer import Store
from edge_daemon.web.server import WebServer

SPECIES = ("dog", "cat", "horse")
PATHS = {
    "list": "/",
    "list, deep in the past": "/?before={middle}",
    "search: patient's name": "/?q=name+77",
    "search: patient's id": "/?q=P-4321",
    "search: inside a name": "/?q=77",
    "search: species": "/?q=horse",
    "search: headline Review": "/?q=review",
    "search: headline OK": "/?q=ok",
    "search: flag": "/?q=platelets_count_limited",
    "search: a day, a species, a headline": "/?q=2024-03-05+cat+review",
    "search: nothing found": "/?q=nobody",
    "result": "/results/{last}",
    "result of a patient with 60 visits": "/results/{visits}",
    "set aside": "/set-aside",
    "quality": "/quality",
    "guide": "/guide/flags",
    "device": "/device",
    "live": "/live.json",
}
OVERRIDES: dict[str, dict[str, str]] = {
    "captures": {"id": "n", "sha256": "printf('%064x', n)", "received_wall": "{wall}"},
    "decodings": {"id": "n", "capture_id": "n"},
    "runs": {
        "id": "n",
        "capture_id": "n",
        "decoding_id": "n",
        "sample_id": "'S-' || n",
        "sample_key": "'s-' || n",
        "patient_id": "'P-' || (CASE WHEN n % 100 = 0 THEN 0 ELSE n % 20000 END)",
        "patient_name": "'Name ' || (n % 997)",
        "species": "(CASE n % 3 WHEN 0 THEN 'dog' WHEN 1 THEN 'cat' ELSE 'horse' END)",
        "created_wall": "{wall}",
    },
    "measurements": {"run_id": "n"},
    "flags": {"run_id": "n"},
    "pictures": {"run_id": "n"},
    "outbox": {"seq": "n", "run_id": "n"},
}
WALL = "strftime('%Y-%m-%dT%H:%M:%S.000000Z', '2024-01-01', '+' || (n * 13) || ' minutes')"


def multiply(data_dir: Path, count: int) -> None:
    """Make `count` runs out of the first one."""
    with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
        db.execute("PRAGMA synchronous=OFF")
        for table, overrides in OVERRIDES.items():
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            values = [overrides.get(name, f"t.{name}").replace("{wall}", WALL) for name in names]
            key = {"captures": "id", "runs": "id", "decodings": "id"}.get(table, "run_id")
            db.execute(
                f"WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c WHERE n < {count})"
                f" INSERT INTO {table} ({', '.join(names)})"
                f" SELECT {', '.join(values)} FROM c, {table} AS t WHERE t.{key} = 1"
            )
        db.commit()


def make_clinic(folder: Path, count: int) -> Path:
    """Analyse one run and multiply it."""
    made = sample(3, events=20_000, seed=4, species=("dog",))
    (folder / made.name).write_bytes(made.data)
    list(process_files([folder / made.name], data_dir=folder / "data"))
    multiply(folder / "data", count)
    return folder / "data"


def ask(url: str, path: str) -> tuple[int, float, bytes]:
    """Ask once; seconds from the request to the last byte."""
    host = url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.connect()
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - begun
    if answer.headers.get("Content-Encoding") != "gzip":
        body = gzip.compress(body)
    connection.close()
    return answer.status, took, body


def measure(url: str, count: int, rounds: int) -> list[dict[str, Any]]:
    """Time every path."""
    rows = []
    keys = {"middle": count // 2, "last": count - 1, "visits": count // 100 * 100}
    for name, path in PATHS.items():
        asked = [ask(url, path.format(**keys)) for _ in range(rounds + 1)][1:]
        times = sorted(took for _, took, _ in asked)
        rows.append(
            {
                "page": name,
                "status": asked[0][0],
                "best_ms": 1000 * times[0],
                "median_ms": 1000 * statistics.median(times),
                "gzip_bytes": len(asked[0][2]),
            }
        )
    return rows


def together(url: str, store: Store, seconds: float) -> dict[str, Any]:
    """Read with four readers while results come in as fast as they can be written."""
    stop = threading.Event()
    times: list[float] = []
    bad: list[int] = []
    written = 0

    def read(path: str) -> None:
        while not stop.is_set():
            status, took, _ = ask(url, path)
            times.append(took)
            if status != 200:
                bad.append(status)

    readers = [
        threading.Thread(target=read, args=(p,)) for p in ("/", "/", "/results/2", "/?q=cat")
    ]
    for reader in readers:
        reader.start()
    end = time.monotonic() + seconds
    capture = store.read_capture(1)
    while time.monotonic() < end:
        data = capture.data + str(time.monotonic_ns()).encode()
        digest = hashlib.sha256(data).hexdigest()
        store.accept(dataclasses.replace(capture, data=data, sha256=digest))
        written += 1
    stop.set()
    for reader in readers:
        reader.join()
    times.sort()
    return {
        "seconds": seconds,
        "captures_written": written,
        "pages": len(times),
        "not_200": len(bad),
        "median_ms": 1000 * statistics.median(times),
        "p99_ms": 1000 * times[int(0.99 * (len(times) - 1))],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=20.0, help="of reading while writing")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data_dir = make_clinic(Path(folder), wanted.runs)
        settings = Settings.model_validate(
            {
                "box": {"data_dir": str(data_dir)},
                "source": [{"name": "an1", "path": folder}],
                "web": {"listen": "127.0.0.1:0"},
            },
            context={"base": Path(folder)},
        )
        with Store.open(data_dir, SystemClock()) as store:
            server = WebServer(settings, store, SystemClock(), EventLog("error"))
            server.start()
            try:
                assert server.url is not None
                found = {
                    "runs": wanted.runs,
                    "pages": measure(server.url, wanted.runs, wanted.rounds),
                    "together": together(server.url, store, wanted.seconds),
                }
            finally:
                server.stop()
    if wanted.json:
        json.dump(found, sys.stdout, indent=1)
        return
    for row in found["pages"]:
        sys.stdout.write(
            f"{row['page']:<38}{row['best_ms']:7.1f} ms {row['median_ms']:7.1f} ms"
            f"{row['gzip_bytes'] / 1000:8.1f} kB\n"
        )
    sys.stdout.write(f"{ {k: round(v, 1) for k, v in found['together'].items()} }\n")


if __name__ == "__main__":
    main()
