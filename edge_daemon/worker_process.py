"""What runs inside a worker: limit and confine itself, then answer one task after the other."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import traceback
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.answers import Crashed, Done, Failed, Ready, unicode, write, write_step
from edge_daemon.errors import EdgeError
from edge_daemon.sandbox import confine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from edge_daemon.records import Step
    from edge_daemon.tasks import Task, WorkerLimits

    Analysis = Callable[[Task], Iterator[Step]]

_PR_SET_PDEATHSIG: Final = 1
_EX_SOFTWARE: Final = 70


def main() -> None:
    """Serve tasks from the descriptor named in ``argv[1]`` until the service closes it."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _die_with(parent)
    connection: Connection = Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        plan, limits, entry, readable = connection.recv()
        _limit(limits)
        # Before numpy starts threads, and before anything is read that somebody else wrote.
        confine([*plan.profile_dirs, *plan.model_dirs, *readable])
        module, _, name = entry.partition(":")
        analysis = getattr(import_module(module), name)(plan)
        rejected = tuple((unicode(a), unicode(b)) for a, b in getattr(analysis, "rejected", ()))
        connection.send_bytes(write(Ready(rejected=rejected)))
        while True:
            _serve(connection, analysis, connection.recv(), limits.cpu_s)


def _die_with(parent: int) -> None:
    """End when the service does, even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the service
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(0)


def _limit(limits: WorkerLimits) -> None:
    memory = limits.memory_mb << 20
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # if memory runs out, a worker goes before the service
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _serve(connection: Connection, analysis: Analysis, task: Task, cpu_s: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
    try:
        for step in analysis(task):
            connection.send_bytes(write_step(step))
    except EdgeError as error:
        connection.send_bytes(write(Failed.of(error)))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except BaseException as error:  # noqa: BLE001 - the border of the process: reported, then it ends
        _crash(connection, error)
    else:
        connection.send_bytes(write(Done()))


def _crash(connection: Connection, error: BaseException) -> NoReturn:
    """Report a defect or want of memory and end: nothing here is in a known state any more."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in last)
    with contextlib.suppress(OSError):
        connection.send_bytes(write(Crashed(detail=f"{type(error).__name__}{where}")))
    os._exit(_EX_SOFTWARE)
