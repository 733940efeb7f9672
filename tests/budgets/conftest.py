"""The real service on its own data folder, looked at from outside through /proc."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_daemon.store import layout

PATIENCE_S = 120.0


class Service:
    """A running service with two workers, and a folder that it watches."""

    def __init__(self, folder: Path) -> None:
        self.data, self.export = folder / "data", folder / "export"
        self.export.mkdir()
        config = folder / "edge.toml"
        config.write_text(
            f'[box]\ndata_dir = "{self.data}"\n'
            f'[[source]]\nname = "an1"\npath = "{self.export}"\nsettle_s = 0.2\nrescan_s = 0.5\n'
            '[web]\nlisten = "127.0.0.1:0"\n[workers]\ncount = 2\n[log]\nlevel = "error"\n'
        )
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify"))
        self._notified.settimeout(PATIENCE_S)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edge_daemon.cli", "run", "-c", str(config)],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            stdout=subprocess.DEVNULL,
        )
        self.pid = self._process.pid
        self.message("READY=1")

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.05)

    @staticmethod
    def memory(pid: int, kind: str = "Rss") -> float:
        """Resident (``Rss``) or proportional (``Pss``: shared pages by parts) memory, MB."""
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1024
        raise AssertionError

    def together(self) -> float:
        """Memory of service and workers, shared pages once, MB."""
        return sum(self.memory(pid, "Pss") for pid in (self.pid, *self.workers()))

    def message(self, wanted: str) -> None:
        """Wait for a message to the supervisor."""
        while wanted not in self._notified.recv(4096).decode():
            assert self._process.poll() is None

    def close(self) -> None:
        """Stop it."""
        self._notified.close()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def export_file(self, name: str, data: bytes) -> None:
        """Put a file into the watched folder, as an analyzer does."""
        part = self.export / f".{name}"
        part.write_bytes(data)
        part.rename(self.export / name)

    def runs(self) -> int:
        """Committed results."""
        database = f"file:{layout.database_path(self.data)}?mode=ro"
        with closing(sqlite3.connect(database, uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = []
        for place in Path("/proc").iterdir():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except (OSError, ValueError):
                continue
            if int(fields[1]) == self.pid:
                children.append(int(place.name))
        return children

    def written(self) -> int:
        """Bytes that the service has handed to the kernel for writing."""
        for line in Path(f"/proc/{self.pid}/io").read_text().splitlines():
            if line.startswith("wchar:"):
                return int(line.split()[1])
        raise AssertionError

    def turns(self) -> int:
        """How often the main thread has waited: it looks at the box's health each time."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                return int(line.split()[1])
        raise AssertionError


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("box"))
    yield running
    running.close()
