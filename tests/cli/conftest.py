"""Fixtures of the command line tests."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_daemon.cli import cli


@dataclass
class Outcome:
    """What one invocation left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def invoke(monkeypatch):
    """Run a command in this process; streams are pipes."""
    for variable in ("EDGE_DAEMON_DATA", "EDGE_DAEMON_CONFIG", "EDGE_DAEMON_DEBUG"):
        monkeypatch.delenv(variable, raising=False)

    def run(*args, env=None):
        result = CliRunner().invoke(cli, [str(a) for a in args], env=env, prog_name="edge-daemon")
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def spawn(tmp_path):
    """Run a command in a process of its own, as a shell would."""

    def run(*args, env=None, cwd=None, timeout=120):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_DAEMON_")}
        done = subprocess.run(
            [sys.executable, "-m", "edge_daemon.cli", *map(str, args)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
            cwd=cwd or tmp_path,
            env={**clean, "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), **(env or {})},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


REPOSITORY = Path(__file__).resolve().parents[2]
