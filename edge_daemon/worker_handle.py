"""One worker process as the service sees it: started, spoken to, and ended."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.answers import MAX_BYTES, AnswerError, Crashed, Done, Order, Ready, read
from edge_daemon.errors import Retryable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_daemon.answers import Answer
    from edge_daemon.records import Step
    from edge_daemon.tasks import Plan, Task, WorkerLimits

_CHILD: Final = "import edge_daemon.worker_process as w; w.main()"
_START_S: Final = 120.0  # importing from a worn SD card
_CHUNK: Final = 1 << 16
_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}
"""Left to itself glibc moves both up to what the largest run needed and keeps that much (30 MB of
200,000 cells). So the few largest arrays are given back when they are done with."""
_GROWTH_FACTOR: Final = 2  # a worker holding half its allowance between tasks is replaced


class WorkerLostError(Exception):
    """The worker ended, hung, or sent what no worker sends."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Worker:
    """One process; made, used and ended by the same thread (the kernel ties it to that one).

    Parameters
    ----------
    plan, limits, entry, readable
        As for `workers.Pool`.

    Attributes
    ----------
    plan
        What it was started with.

    Raises
    ------
    Retryable
        The machine has no room for another process now.
    """

    def __init__(
        self, plan: Plan, limits: WorkerLimits, entry: str, readable: Sequence[Path] = ()
    ) -> None:
        self.plan = plan
        self._limits = limits
        self._tasks = 0
        self.ready = False
        self.rejected: tuple[tuple[str, str], ...] = ()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                    [sys.executable, "-X", "faulthandler", "-c", _CHILD,
                     str(theirs.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                    env=os.environ | _MEMORY,
                )  # fmt: skip
            except OSError as error:  # no memory, or too many processes
                ours.close()
                raise _unstarted(error) from error
        self._socket = ours
        self._greeting = (plan, limits, entry, tuple(readable))

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
            deadline = time.monotonic() + _START_S
            self._send(self._greeting, deadline)
            answer = self._receive(deadline)
        except (WorkerLostError, OSError) as error:
            raise _unstarted(error) from error
        self.ready = isinstance(answer, Ready)
        if isinstance(answer, Ready):
            self.rejected = answer.rejected
        if not self.ready:
            raise _unstarted(answer)

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
        self._send(task, deadline)
        order = Order()
        while True:
            answer = self._receive(deadline)
            if isinstance(answer, Done):
                return
            if isinstance(answer, Crashed):
                raise WorkerLostError("worker_died", f"failed inside: {answer.detail:.200}")
            try:
                step = order.take(answer)
            except AnswerError as error:
                raise _lied(error) from error
            before = time.monotonic()
            yield step
            deadline += time.monotonic() - before  # ours, not the worker's

    def _send(self, content: object, deadline: float) -> None:
        """Send as `multiprocessing.connection` does, which the other end uses."""
        data = pickle.dumps(content)
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            self._socket.sendall(struct.pack("!i", len(data)) + data)
        except OSError as error:
            raise self._ended() from error

    def _receive(self, deadline: float) -> Answer:
        try:
            (size,) = struct.unpack("!i", self._exactly(4, deadline))
            data = self._exactly(size, deadline) if 0 < size <= MAX_BYTES else b""
        except TimeoutError as error:
            detail = f"took longer than {self._limits.wall_s:g} s"
            raise WorkerLostError("worker_timeout", detail) from error
        except OSError as error:
            raise self._ended() from error
        try:
            return read(data)
        except AnswerError as error:
            raise _lied(error) from error

    def _exactly(self, size: int, deadline: float) -> bytes:
        """Receive so many bytes; half a message buys no time."""
        data = bytearray()
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            part = self._socket.recv(min(size - len(data), _CHUNK))
            if not part:
                raise ConnectionResetError
            data += part
        return bytes(data)

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
            return WorkerLostError("worker_died", f"ended by {_signal_name(-code)}")
        return WorkerLostError("worker_died", f"ended with exit status {code}")

    def kill(self) -> None:
        """Kill it; the thread that drives it notices and reaps it."""
        self._process.kill()

    def end(self) -> None:
        """Kill it and reap it."""
        self._process.kill()
        self._process.wait()
        self._socket.close()


def _unstarted(why: object) -> Retryable:
    return Retryable(
        f"no worker process could be started: {why}",
        action="see the lines before this one in the journal; it is tried again",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal between the first and the last
        return f"signal {number}"


def _lied(error: AnswerError) -> WorkerLostError:
    return WorkerLostError("worker_died", f"answered what no analysis does: {error}")


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
