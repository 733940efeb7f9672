"""Feeds a target a chunk of damaged inputs and counts what comes out.

Input ``index`` of chunk ``number`` depends on the seed alone: the same seed gives the same bytes,
so a chunk can be run again, and a campaign resumed. Within a chunk, inputs that led to an outcome
not seen before are damaged further.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(REPOSITORY), str(Path(__file__).parent)]

from fuzz_mutate import mutate  # noqa: E402 - the path was not there before

from edge_daemon.errors import EdgeError, Quarantine  # noqa: E402

INPUT_CPU_S: Final = 5.0
"""CPU time one input may take; the service gives a capture of any size 30 s."""
MEMORY: Final = 256 << 20
"""Bytes that decoding an input of at most 256 KiB may allocate."""
_POOL: Final = 400
_MESSAGE: Final = 20_000  # characters; what a listing of forty mistakes may take


class InputTimeoutError(BaseException):
    """An input took more than its time."""


class EscapeError(BaseException):
    """Code under test opened, changed or started what it has no business with."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes
    ----------
    name
        In the table.
    seeds
        Makes the good inputs.
    readers
        What reads such an input, by name; each may raise errors of ours and return anything.
    words
        What the format has a meaning for.
    seal
        Makes sums and digests right again; used for two inputs of three.
    also
        Errors of ours that are no `EdgeError`, because they never leave the module.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    readers: dict[str, Callable[[bytes], object]]
    words: Sequence[bytes] = ()
    seal: Callable[[bytes], bytes] | None = None
    also: tuple[type[Exception], ...] = ()


@dataclasses.dataclass
class Finding:
    """One input that did what none may do."""

    kind: str
    reader: str
    detail: str
    data: bytes


@dataclasses.dataclass
class Chunk:
    """What a chunk of inputs led to."""

    target: str
    number: int
    seed: int
    inputs: int = 0
    read: int = 0
    errors: dict[str, int] = dataclasses.field(default_factory=dict)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    rss_mb: float = 0.0
    cpu_s: float = 0.0

    def as_json(self) -> str:
        """Write it as one line."""
        told = dataclasses.asdict(self)
        for finding in told["findings"]:
            finding["data"] = finding["data"].hex()
        return json.dumps(told)


def run_chunk(target: Target, number: int, seed: int, inputs: int) -> Chunk:
    """Run one chunk in this process."""
    chance = random.Random(f"{target.name}/{seed}/{number}")
    good = list(target.seeds())
    pool, seen = list(good), set[tuple[str, ...]]()
    chunk = Chunk(target.name, number, seed)
    began = time.process_time()
    for _ in range(inputs):
        begin = chance.choice(good if chance.random() < 0.5 else pool)
        data = mutate(begin, chance, good, target.words)
        sealed = data if target.seal is None or chance.random() < 1 / 3 else target.seal(data)
        outcome = try_input(target, sealed, chunk)
        chunk.inputs += 1
        chunk.read += any(what == "read" for what in outcome)
        if outcome not in seen:
            seen.add(outcome)
            if len(pool) < _POOL:
                pool.append(data)
    chunk.cpu_s = time.process_time() - began
    chunk.rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return chunk


def try_input(target: Target, data: bytes, chunk: Chunk) -> tuple[str, ...]:
    """Give one input to every reader; return what each of them answered, in short."""
    outcome = []
    for name, reader in target.readers.items():
        try:
            with _watched():
                reader(data)
        except (EdgeError, *target.also) as error:
            if len(str(error)) > _MESSAGE:
                chunk.findings.append(Finding("message", name, str(error)[:300], data))
            told = f"{type(error).__name__} {error.code}" if isinstance(error, Quarantine) else None
            told = told or type(error).__name__
            chunk.errors[told] = chunk.errors.get(told, 0) + 1
            outcome.append(re.sub(r"[\d'\"].*", "", str(error))[:80])
        except (Exception, InputTimeoutError, EscapeError) as error:  # noqa: BLE001 - what is sought
            chunk.findings.append(_finding(error, name, data))
            outcome.append(type(error).__name__)
        else:
            outcome.append("read")
    return tuple(outcome)


def _finding(error: BaseException, reader: str, data: bytes) -> Finding:
    kinds = {InputTimeoutError: "time-out", MemoryError: "memory", EscapeError: "escape"}
    last = traceback.extract_tb(error.__traceback__)
    where = next((f for f in reversed(last) if "edge_daemon" in f.filename), last[-1])
    place = f"{Path(where.filename).name}:{where.lineno}"
    detail = f"{type(error).__name__} at {place}: {error!s:.200}"
    return Finding(kinds.get(type(error), "uncaught"), reader, detail, data)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Bound time, and tell when code reaches for a path."""
    signal.setitimer(signal.ITIMER_PROF, INPUT_CPU_S)
    WATCH.active = True
    try:
        yield
    finally:
        WATCH.active = False
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(*_: object) -> None:
    raise InputTimeoutError


class _Watch:
    """Python's own audit of files, processes and sockets."""

    FORBIDDEN: Final = (
        "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill",
        "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod",
        "os.chown", "os.truncate", "os.setxattr", "shutil.", "ctypes.dlopen", "pickle.find_class",
    )  # fmt: skip

    def __init__(self) -> None:
        self.active = False
        self.scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_fast()))
        roots = {sys.prefix, sys.base_prefix, str(REPOSITORY), *filter(None, sys.path)}
        self._readable = (*roots, "/usr/lib", "/usr/share/zoneinfo", "/proc/cpuinfo")

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Judge one event."""
        if not self.active:
            return
        if event.startswith(self.FORBIDDEN):
            raise EscapeError(f"{event} {arguments!s:.200}")
        if event not in {"open", "os.listdir", "os.scandir"} or isinstance(arguments[0], int):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        writes = event == "open" and bool(set(str(arguments[1])) & set("wax+"))
        allowed = (str(self.scratch),) if writes else (str(self.scratch), *self._readable)
        if not path.startswith(allowed):
            raise EscapeError(f"{event} {path!r:.200}")


def _fast() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


WATCH = _Watch()


def reproduce(target: Target, data: bytes) -> list[Finding]:
    """Give a target one input and return what was found."""
    chunk = Chunk(target.name, 0, 0)
    install()
    try_input(target, data, chunk)
    return chunk.findings


_installed = False


def install() -> None:
    """Put the watch over this process."""
    global _installed  # noqa: PLW0603 - an audit hook cannot be taken out again
    if not _installed:
        signal.signal(signal.SIGPROF, _too_long)
        sys.addaudithook(WATCH)
        _installed = True


def limit_memory() -> None:
    """Let this process allocate `MEMORY` more than it has now."""
    now = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + MEMORY, hard))


def digest(data: bytes) -> str:
    """Short name of an input."""
    return hashlib.sha256(data).hexdigest()[:12]
