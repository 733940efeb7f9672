"""One worker process as the service sees it: started, spoken to, and ended."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.records import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_daemon.tasks import Plan, Task, WorkerLimits

_CHILD: Final = "import edge_daemon.worker_process as w; w.main()"
_START_S: Final = 120.0  # importing from a worn SD card
_MAX_MESSAGE: Final = 4 << 20
_GROWTH_FACTOR: Final = 2  # a worker holding half its allowance between tasks is replaced


class WorkerLostError(Exception):
    """The worker ended, hung, or sent what no worker sends."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class _Unpickler(pickle.Unpickler):
    """Loads records and our own errors, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "edge_daemon.records" or (module, name) == ("edge_daemon.errors", "_rebuild"):
            return getattr(import_module(module), name)
        if module.startswith("edge_daemon."):
            found = getattr(import_module(module), name, None)
            if isinstance(found, type) and issubclass(found, EdgeError):
                return found
        raise pickle.UnpicklingError(f"a worker may not send {module}.{name}")


class Worker:
    """One process; made, used and ended by the same thread (the kernel ties it to that one)."""

    def __init__(self, plan: Plan, limits: WorkerLimits, entry: str) -> None:
        self._limits = limits
        self._tasks = 0
        self.ready = False
        self.rejected: tuple[tuple[str, str], ...] = ()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-X", "faulthandler", "-c", _CHILD,
                 str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        self._connection: Connection = Connection(ours.detach())
        self._greeting = (plan, limits, entry)

    def wait_ready(self) -> None:
        """Wait until it has imported and loaded what it needs.

        Raises
        ------
        Retryable
            It could not; the capture that waits for it is not to blame.
        """
        if self.ready:
            return
        try:
            self._connection.send(self._greeting)
            kind, content = self._receive(time.monotonic() + _START_S)
        except (WorkerLostError, OSError) as error:
            kind, content = "lost", error
        self.ready = kind == "ready"
        if isinstance(content, tuple):
            self.rejected = content
        if not self.ready:
            raise Retryable(
                f"no worker process could be started: {content}",
                action="see the lines before this one in the journal; it is tried again",
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def worn(self) -> bool:
        """Whether it should be replaced before the next task."""
        allowed = self._limits.memory_mb << 20
        return self._tasks >= self._limits.tasks or rss_bytes(self.pid) > allowed // _GROWTH_FACTOR

    def steps(self, task: Task) -> Iterator[Step]:
        """Yield what the worker finds; raise what it raises.

        Raises
        ------
        EdgeError
            What the analysis raised.
        WorkerLostError
            The process is of no more use.
        """
        self._tasks += 1
        deadline = time.monotonic() + self._limits.wall_s
        try:
            self._connection.send(task)
        except OSError as error:
            raise self._ended() from error
        while True:
            kind, content = self._receive(deadline)
            if kind == "step" and isinstance(content, Step):
                yield content
            elif kind == "error" and isinstance(content, EdgeError):
                raise content
            elif kind == "done":
                return
            else:
                raise WorkerLostError("worker_died", f"failed inside: {content!s:.200}")

    def _receive(self, deadline: float) -> tuple[str, object]:
        try:
            if not self._connection.poll(max(deadline - time.monotonic(), 0.0)):
                raise WorkerLostError(
                    "worker_timeout", f"took longer than {self._limits.wall_s:g} s"
                )
            data = self._connection.recv_bytes(_MAX_MESSAGE)
            kind, content = _Unpickler(io.BytesIO(data)).load()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        except (pickle.UnpicklingError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise WorkerLostError("worker_died", f"sent what no worker sends: {error}") from error
        return kind, content

    def _ended(self) -> WorkerLostError:
        """Say why the process is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        if code == -signal.SIGXCPU:
            return WorkerLostError(
                "worker_timeout", f"took more than {self._limits.cpu_s} s of CPU time"
            )
        if code is not None and code < 0:
            return WorkerLostError("worker_died", f"ended by {signal.Signals(-code).name}")
        return WorkerLostError("worker_died", f"ended with exit status {code}")

    def kill(self) -> None:
        """Kill it; the thread that drives it notices and reaps it."""
        self._process.kill()

    def end(self) -> None:
        """Kill it and reap it."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
