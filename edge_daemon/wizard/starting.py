"""Hand a configuration to systemd: open what the unit needs, enable it, start it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_daemon.resources import systemd_dir

if TYPE_CHECKING:
    from collections.abc import Iterable

UNIT: Final = "edge-daemon.service"
DROP_INS: Final = Path("/etc/systemd/system") / f"{UNIT}.d"
_START_S: Final = 150.0


def hindrance() -> str:
    """Say why the service cannot be started from here; empty where it can."""
    if not Path("/run/systemd/system").is_dir():
        return "this system does not run systemd"
    if not _said("systemctl", "cat", UNIT):
        return "the unit is not installed"
    if os.geteuid() != 0:
        return "only root can start it"
    return ""


def needed(kinds: Iterable[str], *, page: bool) -> list[str]:
    """Name the drop-ins that the unit needs for these kinds of sources, and for the page."""
    lines = any(kind != "folder" for kind in kinds)
    return ["lines.conf"] * lines + ["web.conf"] * page


def start(drop_ins: Iterable[str]) -> str:
    """Install drop-ins, enable and start the unit; return why it did not start, or nothing.

    One that runs already is started again.
    """
    for name in drop_ins:
        DROP_INS.mkdir(parents=True, exist_ok=True)
        target = DROP_INS / name
        if not target.exists():  # a site may have narrowed its own
            shutil.copyfile(systemd_dir() / "edge-daemon.service.d" / name, target)
    for words in (("daemon-reload",), ("enable", "--quiet", UNIT), ("restart", UNIT)):
        done = subprocess.run(  # noqa: S603 - our own words
            ["systemctl", *words],  # noqa: S607 - the same on every machine
            capture_output=True, text=True, timeout=_START_S, check=False,
        )  # fmt: skip
        if done.returncode:
            return (done.stderr.strip() or f"systemctl {words[0]} failed").splitlines()[0]
    return ""


def _said(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
