"""The few words systemd wants to hear from a ``Type=notify`` service."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Sends states to the service manager; does nothing where there is none.

    Parameters
    ----------
    env
        Environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC``, ``WATCHDOG_PID``.
    """

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        address = env.get("NOTIFY_SOCKET", "")
        # A leading '@' stands for the abstract namespace's NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog(env)

    def send(self, *assignments: str) -> None:
        """Send e.g. ``READY=1``; a manager that does not listen is no error of ours."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
                peer.connect(self._address)
                peer.send("\n".join(assignments).encode("utf-8"))
        except OSError:
            return


def _watchdog(env: Mapping[str, str]) -> float | None:
    """Seconds within which the manager wants a sign of life; None for never."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = env.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() and int(text) > 0 else None
