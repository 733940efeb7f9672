"""Starts services quickly: a process that has imported everything forks one for each life.

What runs in the child is the real service on a real data folder, in a process of its own; only
the second that Python takes to import it is not spent again. A library that must be loaded with
the program (a lying fsync, another clock) goes into the environment of the whole zygote.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1


class Zygote:
    """The fork server, as the harness sees it."""

    def __init__(self, **env: str) -> None:
        inherited = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", **env}
        known = inherited.get("PYTHONPATH")
        inherited["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *([known] if known else [])])
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=REPOSITORY,
            env=inherited,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(self, config: Path, log: Path, **how: Any) -> int:
        """Fork a service; its process id.

        `how` may hold `build` (names in `builds`), `env` and `gate` (a FIFO: the child waits
        until somebody opens it for writing).
        """
        return self._ask(start={"config": str(config), "log": str(log), **how})

    def poll(self, pid: int) -> int | None:
        """Exit code of a service that ended, None while it runs; negative for a signal."""
        return self._ask(poll=pid)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, **request: Any) -> Any:
        with self._asking:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the zygote ended")
        return json.loads(answer)


def main() -> None:
    import serial  # noqa: F401 - imported once for all
    import watchdog.observers  # noqa: F401

    from tests.faults import builds  # noqa: F401 - with the service, and Alembic: half a second

    ended: dict[int, int] = {}
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer = _fork(request["start"]) if "start" in request else _poll(request["poll"], ended)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _poll(pid: int, ended: dict[int, int]) -> int | None:
    if pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended.get(pid)


def _fork(how: dict[str, Any]) -> int:
    parent = os.getpid()
    if pid := os.fork():
        return pid
    code = 70
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)
        code = _serve(how)
    finally:
        os._exit(code)


def _serve(how: dict[str, Any]) -> int:
    from edge_daemon.clock import SystemClock
    from edge_daemon.config import load_config
    from edge_daemon.errors import EdgeError
    from edge_daemon.service import run_service
    from tests.faults import builds

    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(how["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for target, source in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(source, target)
    os.closerange(3, 64)
    os.environ.update(how.get("env", {}))
    if gate := how.get("gate"):
        os.close(os.open(gate, os.O_RDONLY))
    for build in how.get("build", "").split():
        getattr(builds, build)()
    try:
        return run_service(load_config(Path(how["config"])), SystemClock())
    except EdgeError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return getattr(error, "exit_code", 75)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise


if __name__ == "__main__":
    main()
