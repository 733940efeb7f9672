"""Waiting for conditions, small real captures, and the service as a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_daemon.simulator.cohort import simulate

_SERVE = """
import sys
from pathlib import Path
from edge_daemon.clock import SystemClock
from edge_daemon.config import load_config
from edge_daemon.errors import EdgeError
from edge_daemon.service import run_service
try:
    sys.exit(run_service(load_config(Path(sys.argv[1])), SystemClock()))
except EdgeError as error:
    print(error, file=sys.stderr)
    sys.exit(getattr(error, "exit_code", 75))
"""


def _wait(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Wait for a condition; fail after a deadline that only a defect reaches."""
    return _wait


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 12 small simulated captures."""
    out = tmp_path_factory.mktemp("cohort")
    simulate(out, samples=12, events=600, seed=5, firmware="1.0")
    return out


class ServiceProcess:
    """``run_service`` in a process of its own, on one folder."""

    def __init__(self, folder: Path) -> None:
        self.export = folder / "export"
        self.data = folder / "data"
        self.log = folder / "log.jsonl"
        self.config = folder / "config.toml"
        self.export.mkdir()
        self.config.write_text(
            f'[box]\ndata_dir = "{self.data}"\n'
            f'[[source]]\nname = "an1"\npath = "{self.export}"\nsettle_s = 0.1\nrescan_s = 0.5\n'
            "[workers]\ncount = 2\n"
            "[limits]\nmin_free_mb = 1\n"
            '[web]\nlisten = "127.0.0.1:0"\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(self.config)],
                stderr=log,
                env={**os.environ, **env},
            )
        return self.process

    def logged(self, event: str) -> int:
        return self.log.read_text().count(f'"event": "{event}"') if self.log.exists() else 0

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    made = ServiceProcess(tmp_path)
    yield made
    made.end()


@pytest.fixture
def spawn_command() -> Callable[..., str]:
    """Run a command as a shell would and return what it wrote; it must succeed."""

    def run(*args: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "edge_daemon.cli", *map(str, args)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
