"""One of our own commands in a process of its own, for its JSON.

What a page shows may take seconds and a memory that must not be the service's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EXIT_OK, EXIT_WARNINGS, EdgeError, Retryable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SIGN: Final = "edge-daemon: "


def ask(
    arguments: Sequence[str],
    *,
    timeout_s: float,
    what: str,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a command at low priority and read what it prints.

    Parameters
    ----------
    arguments
        Of ``edge-daemon``; the command prints one JSON object.
    timeout_s
        How long it may take.
    what
        What it computes, for messages: ``the explanation of run 5``.
    env
        Its environment; this process's unless given.

    Raises
    ------
    EdgeError
        The command's own, message and action.
    Retryable
        It took too long.
    """
    nice = shutil.which("nice")
    command = [nice, "-n", "10"] if nice is not None else []
    command += [sys.executable, "-m", "edge_daemon.cli", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and code
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=env,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Retryable(
            f"{what} took more than {timeout_s:g} s",
            action="try again when the box has less to do",
        ) from error
    if done.returncode in (EXIT_OK, EXIT_WARNINGS):
        found: dict[str, Any] = json.loads(done.stdout)
        return found
    message, _, action = done.stderr.strip().rpartition("\n→ ")
    message = (message or done.stderr).strip().rpartition(_SIGN)[2]
    raise EdgeError(
        message or f"{what} cannot be had",
        action=action or f"run `edge-daemon {arguments[0]}` on the box and report what it says",
    )
