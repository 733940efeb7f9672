"""The real service on a folder, a line and the page, and waiting for conditions."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.store import queries


def wait(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


def free_port() -> int:
    """Choose a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@dataclass
class Box:
    """A box on one folder, one line on the network, and the page."""

    folder: Path
    line: int = field(default_factory=free_port)
    page: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        for name in ("export", "home"):
            (self.folder / name).mkdir()
        (self.folder / "config.toml").write_text(
            f'[box]\ndata_dir = "{self.data}"\n'
            f'[[source]]\nname = "an1"\npath = "{self.export}"\nsettle_s = 0.05\nrescan_s = 0.5\n'
            f'[[source]]\nname = "an2"\nkind = "tcp"\nframing = "mllp"\n'
            f'listen = "127.0.0.1:{self.line}"\n'
            "[workers]\ncount = 2\n[limits]\nmin_free_mb = 1\n"
            f'[web]\nlisten = "127.0.0.1:{self.page}"\n'
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, *before: str, **env: str) -> None:
        """Start it, under another program if one is given, in a home of its own."""
        here = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "edge_daemon.cli", "run",
                 "-c", str(self.folder / "config.toml")],
                stderr=log, env={**here, "HOME": str(self.home), **env},
            )  # fmt: skip
        wait(lambda: "service_ready" in self.log())

    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def pid(self) -> int:
        return int((self.data / "lock").read_text())

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def ended(self) -> int:
        """Count captures whose analysis is over."""
        try:
            with contextlib.closing(queries.connect(self.data)) as db:
                query = "SELECT count(*) FROM captures WHERE finished = 1"
                return int(db.execute(query).fetchone()[0])
        except EdgeError:
            return 0

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            self.process.wait(60)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    with contextlib.suppress(ProcessLookupError, ValueError):
        made.stop()
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
