"""A minimal Debian with the product installed, booted with its own systemd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_daemon.resources import systemd_dir

UNIT = "edge-daemon.service"
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
DATA = "/var/lib/edge-daemon"


def wait(condition: Callable[[], object], seconds: float = 120.0) -> float:
    """Wait for a condition; return how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "the condition never came true"
        time.sleep(0.1)
    return time.monotonic() - started


class Box:
    """A booted container; its changes are gone with it."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "boot.log").open("wb")
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", str(folder / "root"), "--boot", "--volatile=overlay",
             "--register=no", "--keep-unit", "--private-network", "--kill-signal=SIGRTMIN+3",
             # The container has a filter of its own, of which the unit knows nothing.
             f"--system-call-filter={LANDLOCK}"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._leader = 0

    def boot(self) -> None:
        """Wait until its systemd answers."""
        wait(self._started)
        wait(lambda: self.run("systemctl", "is-system-running") in ("running", "degraded"))

    def _started(self) -> bool:
        assert self._nspawn.poll() is None, "the container ended"
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text()
        for pid in children.split():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                self._leader = int(pid)
        return bool(self._leader)

    def run(self, *command: str, stdin: bytes = b"") -> str:
        """Run a command inside; return what it wrote on stdout."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", *command],
            input=stdin,
            capture_output=True,
            check=False,
        )
        return done.stdout.decode().strip()

    def show(self, name: str) -> str:
        """One property of the unit."""
        return self.run("systemctl", "show", UNIT, "--value", "-p", name)

    @property
    def pid(self) -> int:
        """Main process, as numbered inside."""
        return int(self.show("MainPID"))

    def active(self) -> bool:
        return self.show("ActiveState") == "active"

    def edge(self, *arguments: str) -> str:
        """Call the product's command inside."""
        return self.run("/opt/edge-daemon/bin/edge-daemon", *arguments)

    def results(self) -> int:
        """Results in the store, as its own command says."""
        said = self.edge("status", "--json", "--data-dir", DATA)
        return json.loads(said)["runs"] if said else 0

    def drop(self, name: str, data: bytes) -> None:
        """Put a file into the analyzer's export folder."""
        self.write(f"/srv/analyzer/{name}", data)

    def write(self, path: str, data: bytes) -> None:
        """Write a file inside."""
        Path(f"/proc/{self._leader}/root{path}").write_bytes(data)

    def text(self, path: str) -> str:
        return self.run("cat", path)

    def end(self) -> None:
        """Power it off."""
        self._nspawn.terminate()
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._log.close()


@pytest.fixture(scope="session")
def booted() -> Iterator[Box]:
    folder = os.environ.get("EDGE_BOOT")
    if not folder:
        pytest.skip("system: EDGE_BOOT names no box; make one with `bash .ci/boot DIR`")
    for tool in ("systemd-nspawn", "nsenter"):
        if shutil.which(tool) is None:
            pytest.skip(f"system: {tool} is not installed")
    if os.geteuid() != 0:
        pytest.skip("only root can boot a container")
    root = Path(folder) / "root"
    shutil.copy(systemd_dir() / UNIT, root / "etc/systemd/system" / UNIT)
    made = Box(Path(folder))
    try:
        made.boot()
        yield made
    finally:
        made.end()


@pytest.fixture
def box(booted: Box) -> Box:
    """The booted box with the service running."""
    booted.run("systemctl", "start", UNIT)
    wait(booted.active)
    return booted
