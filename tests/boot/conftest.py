"""A minimal Debian booted with its own systemd, and the product's packages to install in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_daemon.simulator.cohort import sample

UNIT = "edge-daemon.service"
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
CLOCK = "adjtimex clock_adjtime"
DATA = "/var/lib/edge-daemon"
CONFIG = "/etc/edge-daemon/config.toml"
SETTINGS = """
[[source]]
name = "analyzer-1"
path = "/srv/analyzer"
settle_s = 0.2
rescan_s = 5.0
[workers]
count = 2
"""
# Nothing of the machine outside: no search path of Python, no settings of pip.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


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
             f"--bind-ro={folder}/packages:/packages",
             # The container has a filter of its own, of which the unit knows nothing.
             f"--system-call-filter={LANDLOCK} {CLOCK}"],
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

    def call(self, *command: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run a command inside; return its exit code, stdout and stderr."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", *command],
            input=stdin,
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stdout.decode().strip(), done.stderr.decode().strip()

    def run(self, *command: str, stdin: bytes = b"") -> str:
        """Run a command inside; return what it wrote on stdout."""
        return self.call(*command, stdin=stdin)[1]

    def install(self, which: str) -> tuple[int, str]:
        """Install one of the packages; return dpkg's exit code and all that was said."""
        code, out, err = self.call("sh", "-c", f"dpkg -i /packages/{which}/edge-daemon_*.deb")
        return code, f"{out}\n{err}"

    def configure(self) -> None:
        """Write the configuration of a folder that is looked through often."""
        self.write(CONFIG, SETTINGS.encode())

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
def place() -> Path:
    """Folder of the box."""
    folder = os.environ.get("EDGE_BOOT")
    if not folder:
        pytest.skip("system: EDGE_BOOT names no box; make one with `bash .ci/boot DIR`")
    for tool in ("systemd-nspawn", "nsenter"):
        if shutil.which(tool) is None:
            pytest.skip(f"system: {tool} is not installed")
    if os.geteuid() != 0:
        pytest.skip("only root can boot a container")
    return Path(folder)


@contextlib.contextmanager
def running(place: Path) -> Iterator[Box]:
    """Boot the box; what changes in it is gone with it."""
    made = Box(place)
    try:
        made.boot()
        yield made
    finally:
        made.end()


@pytest.fixture
def bare(place: Path) -> Iterator[Box]:
    """A booted box in which nothing of ours is installed."""
    with running(place) as made:
        yield made


@pytest.fixture(scope="module")
def booted(place: Path) -> Iterator[Box]:
    """A booted box with the package installed and configured."""
    with running(place) as made:
        code, said = made.install("now")
        assert code == 0, said
        made.configure()
        yield made


@pytest.fixture
def box(booted: Box) -> Box:
    """The booted box with the service running."""
    booted.run("systemctl", "start", UNIT)
    wait(booted.active)
    return booted


def take(box: Box, index: int) -> float:
    """Let the service take a capture; return how long the result took."""
    before = box.results()
    taken = sample(index, events=2000, seed=os.getpid(), firmware="1.0")
    box.drop(f"{index}.fcs", taken.data)
    return wait(lambda: box.results() == before + 1)
