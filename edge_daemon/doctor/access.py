"""Whether the service's own user may use a file: asked as that user, not guessed from bits."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.doctor.read_system import UNIT, run

if TYPE_CHECKING:
    from pathlib import Path

SERVICE_USER: Final = "edge-daemon"
_MODES: Final = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}


@dataclass(frozen=True, slots=True)
class Account:
    """Who is asked about; `uid` is None for whoever runs this program."""

    name: str
    uid: int | None = None
    gid: int = 0
    groups: tuple[int, ...] = ()


def service_account() -> Account:
    """Find the service's user; only root can ask as another one."""
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        entry = None
    if entry is None or os.geteuid() != 0:
        return Account(_own_name())
    groups = {*os.getgrouplist(SERVICE_USER, entry.pw_gid), *_groups_of_the_unit()}
    return Account(SERVICE_USER, entry.pw_uid, entry.pw_gid, tuple(sorted(groups)))


def _groups_of_the_unit() -> list[int]:
    """List those that systemd adds to its user's: a drop-in for serial ports does."""
    told = run("systemctl", "show", UNIT, "--property", "SupplementaryGroups", "--value")
    groups = []
    for name in (told or "").split():
        with contextlib.suppress(KeyError):
            groups.append(grp.getgrnam(name).gr_gid)
    return groups


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def may(account: Account, path: Path, how: str) -> bool:
    """Tell whether an account may use a path; `how` is some of ``rwx``."""
    if account.uid is None:
        return os.access(path, sum(_MODES[letter] for letter in how))
    return all(_asked_as(account, path, letter) for letter in how)


def _asked_as(account: Account, path: Path, letter: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - coreutils' test, which that user can start
            ["test", f"-{letter}", str(path)],  # noqa: S607 - the same on every machine
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
            cwd="/",
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0
