"""The harness: the real service, what it acknowledged, a fault, and what is left afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from edge_daemon.errors import EdgeError
from edge_daemon.store import queries
from tests.faults.audit import Acks, Verdict, audit, unfinished
from tests.faults.captures import capture, digest
from tests.faults.zygote import Zygote

RESTART_S = 2.0
"""As in the unit: `RestartSec`."""
FAST = {"settle_s": 0.05, "rescan_s": 0.5}
"""A folder that is looked at often; rows about pass marks use the defaults instead."""


class FaultError(AssertionError):
    """The service did not come back, or a row could not bring its fault about."""


@dataclass
class Record:
    """One line of the table."""

    row: str
    trials: int = 0
    lost: int = 0
    duplicated: int = 0
    recovered_s: float = 0.0
    measure: str = ""
    seed: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count what an audit found."""
        self.lost += len(verdict.lost)
        self.duplicated += len(verdict.duplicated)
        self.problems += [*verdict.lost, *verdict.duplicated, *verdict.problems]

    def recovered(self, seconds: float) -> None:
        """Keep the longest recovery."""
        self.recovered_s = max(self.recovered_s, seconds)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.duplicated or self.problems) and self.trials > 0


class Box:
    """One box: data folder, export folder, configuration, log, and the service on them."""

    def __init__(self, folder: Path, zygote: Zygote, **settings: Any) -> None:
        self.folder = folder
        self.zygote = zygote
        self.data = Path(settings.pop("data", folder / "data"))
        self.export = Path(settings.pop("export", folder / "export"))
        self.log = folder / "log.jsonl"
        self.config = folder / "config.toml"
        self.pid = 0
        self.started_at = 0.0
        self.code: int | None = None
        self.build = ""
        self.env: dict[str, str] = {}
        self.fed: dict[str, str] = {}  # digest: file name
        self.line_acks: set[str] = set()
        self._seen = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []
        self._reading = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self.export.mkdir(parents=True, exist_ok=True)
        self.configure(**settings)

    def configure(
        self,
        *,
        source: dict[str, Any] | None = None,
        more: tuple[dict[str, Any], ...] = (),
        workers: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
    ) -> None:
        first = {"name": "an1", "path": str(self.export), **(FAST if source is None else source)}
        document = {
            "box": {"data_dir": str(self.data)},
            "source": [first, *more],
            "workers": {"count": 1, **(workers or {})},
            "limits": {"min_free_mb": 1, **(limits or {})},
            "log": {"level": "debug"},
        }
        self.config.write_text(tomlkit.dumps(document))

    # -- the process -------------------------------------------------------------------------

    def start(self, **how: Any) -> None:
        how.setdefault("build", self.build)
        how.setdefault("env", self.env)
        self.code = None
        self.started_at = time.monotonic()
        self.pid = self.zygote.start(self.config, self.log, **how)

    @property
    def running(self) -> bool:
        if self.pid and self.code is None:
            self.code = self.zygote.poll(self.pid)
        return bool(self.pid) and self.code is None

    def signal(self, number: int) -> None:
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait_end()

    def stop(self) -> None:
        """SIGTERM; it must end in order."""
        self.signal(signal.SIGTERM)
        self.wait_end(30.0)
        if self.code != 0:
            raise FaultError(f"an orderly stop ended with {self.code}: {self.tail()}")

    def wait_end(self, seconds: float = 60.0) -> None:
        wait(lambda: not self.running, seconds, "the service ended")

    def restart(self, **how: Any) -> None:
        self.kill()
        self.start(**how)

    # -- what it said ------------------------------------------------------------------------

    def read_log(self) -> list[dict[str, Any]]:
        """Events so far, of every life."""
        with self._reading:
            if self.log.exists():
                with self.log.open("rb") as log:
                    log.seek(self._seen)
                    new = log.read()
                self._seen += len(new)
                *lines, self._rest = (self._rest + new).split(b"\n")
                for line in lines:
                    with contextlib.suppress(ValueError):  # words for people
                        self.events.append(json.loads(line))
            return self.events[:]

    def forget(self, events: int) -> None:
        """Take no notice of what was said after so many events: the fault had begun by then."""
        self.read_log()
        with self._reading:
            del self.events[events:]

    def said(self, event: str, **fields: Any) -> int:
        """How often it said this."""
        return sum(
            one.get("event") == event and all(one.get(k) == v for k, v in fields.items())
            for one in self.read_log()
        )

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else "no log"

    @property
    def acks(self) -> Acks:
        """Everything acknowledged up to now: by the log, and on the lines."""
        acks = Acks(set(self.line_acks), {})
        for event in self.read_log():
            acks.note(event)
        return acks

    # -- what it is given and what it has ----------------------------------------------------

    def feed(self, data: bytes, name: str | None = None) -> str:
        """Write one capture as analyzers do it; its digest."""
        key = digest(data)
        self.fed[key] = name = name or f"{key[:20]}.fcs"
        (self.export / name).write_bytes(data)
        return key

    def feed_many(self, numbers: Iterator[int], count: int) -> list[str]:
        return [self.feed(capture(next(numbers))) for _ in range(count)]

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows from a read-only connection; none before there is a database."""
        try:
            with contextlib.closing(queries.connect(self.data)) as db:
                return [tuple(row) for row in db.execute(query, values)]
        except EdgeError:
            return []

    def state_of(self, key: str) -> str | None:
        found = self.ask("SELECT state FROM captures WHERE sha256 = ?", key)
        return found[0][0] if found else None

    def has_result(self, key: str) -> bool:
        return self.state_of(key) == "classified"

    def audit(self) -> Verdict:
        return audit(self.data, self.acks)

    # -- supervision -------------------------------------------------------------------------

    def until(
        self, condition: Callable[[], object], seconds: float, what: str, every: float = 0.01
    ) -> float:
        """Wait as the service manager would: a service that ended is started again.

        Returns
        -------
        float
            Seconds waited.
        """
        began = time.monotonic()
        ended_at: float | None = None
        while not condition():
            now = time.monotonic()
            if now - began > seconds:
                raise FaultError(f"not within {seconds:g} s: {what}; {self.tail()}")
            if self.running:
                ended_at = None
            elif ended_at is None:
                ended_at = now
            elif now - ended_at >= RESTART_S:
                self.start()
            time.sleep(every)
        return time.monotonic() - began

    def serves_again(self, numbers: Iterator[int], seconds: float = 300.0) -> float:
        """Feed a fresh capture; the seconds until it is durable. It must get its result, too."""
        key = self.feed(capture(next(numbers)))
        taken = self.until(lambda: self.state_of(key), seconds, "a fresh capture is taken")
        self.until(lambda: self.has_result(key), seconds, "a fresh capture has a result")
        return taken

    def answers(self, numbers: Iterator[int], seconds: float = 300.0) -> float:
        """Feed a fresh capture; the seconds until it has its result."""
        key = self.feed(capture(next(numbers)))
        return self.until(lambda: self.has_result(key), seconds, "a fresh capture has a result")

    def finish(self, seconds: float = 600.0) -> None:
        """Wait until everything that was fed has its result."""
        self.until(
            lambda: not unfinished(self.data, self.fed),
            seconds,
            "everything fed has its result",
            every=0.01 + len(self.fed) / 10_000,
        )

    def conclude(self, record: Record, numbers: Iterator[int], seconds: float = 600.0) -> None:
        """After the faults: serving again, everything finished, nothing lost or twice."""
        if not self.running:
            self.start()
        record.recovered(self.serves_again(numbers, seconds))
        self.finish(seconds)
        self.stop()
        record.add(self.audit())


def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise FaultError(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)


@contextlib.contextmanager
def fork_servers() -> Iterator[dict[str, Zygote]]:
    """Zygotes by their environment, for as many trials as share them."""
    started: dict[str, Zygote] = {}
    try:
        yield started
    finally:
        for zygote in started.values():
            zygote.close()


@dataclass
class Trial:
    """What a row gets: a folder, chance, and how much to do."""

    folder: Path
    seed: int
    full: bool
    zygotes: dict[str, Zygote]
    say: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        start = self.rng.randrange(900_000_000)
        self.numbers = iter(range(start, start + 10_000_000))

    def size(self, short: int, full: int) -> int:
        return full if self.full else short

    def zygote(self, **env: str) -> Zygote:
        key = json.dumps(env, sort_keys=True)
        if key not in self.zygotes:
            self.zygotes[key] = Zygote(**env)
        return self.zygotes[key]

    def record(self, row: str) -> Record:
        return Record(row, seed=self.seed)

    @contextlib.contextmanager
    def box(self, name: str = "box", **settings: Any) -> Iterator[Box]:
        zygote = settings.pop("zygote", None) or self.zygote()
        made = Box(self.folder / name, zygote, **settings)
        try:
            yield made
        finally:
            made.kill()


def run(*command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), check=check, capture_output=True, text=True)
