"""Landlock: a process gives up every path but those it names (Linux 5.13 and later).

What is handled and not granted is denied, to root too. Each version of the interface handles
more; the kernel is asked which it has. Numbers are those of ``linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import os
import stat
from typing import TYPE_CHECKING, Final

from edge_daemon.sandbox.kernel import LIBC, checked

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# The same numbers on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_READ_FILE: Final = 1 << 2
_READ_FOLDER: Final = 1 << 3
# Rights over files that a version of the interface brought: bits up to this one.
_FS_BITS: Final = ((1, 13), (2, 14), (3, 15), (5, 16))
_TCP: Final = (4, 0b11)  # bind, connect
_SCOPES: Final = (6, 0b11)  # abstract sockets, signals to processes outside


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("tcp", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """Version of the interface that the kernel has; 0 where it has none or denies it."""
    return max(int(LIBC.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)), 0)


def restrict_to(readable: Iterable[Path]) -> None:
    """Let this thread, and all it starts, read below these paths and do nothing else with files.

    Parameters
    ----------
    readable
        Files and folders; those that are not there or are closed to this user are left out.

    Raises
    ------
    OSError
        The kernel refused.
    """
    version = abi()
    handled = _Ruleset(
        files=(1 << max(bits for since, bits in _FS_BITS if since <= version)) - 1,
        tcp=_TCP[1] if version >= _TCP[0] else 0,
        scopes=_SCOPES[1] if version >= _SCOPES[0] else 0,
    )
    # An older kernel refuses fields it does not know, unless they are zero.
    ruleset = checked(
        LIBC.syscall(_CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0),
        "Landlock ruleset",
    )
    try:
        for path in readable:
            _allow(ruleset, path)
        checked(LIBC.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock restriction")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        folder = stat.S_ISDIR(os.fstat(parent).st_mode)
        rights = _READ_FILE | _READ_FOLDER if folder else _READ_FILE
        rule = _Beneath(allowed=rights, parent=parent)
        checked(
            LIBC.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0),
            f"Landlock rule for {path}",
        )
    finally:
        os.close(parent)
