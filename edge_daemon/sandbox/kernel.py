"""Calling the kernel where Python has no function for it."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38

LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def checked(result: int, what: str) -> int:
    """Return a result that is no failure.

    Raises
    ------
    OSError
        It is negative; `what` says what was tried.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    """Call prctl(2).

    Raises
    ------
    OSError
        It failed.
    """
    return checked(LIBC.prctl(option, first, second, 0, 0), f"prctl {option}")


def no_new_privileges() -> None:
    """Let nothing that this process starts gain rights; the kernel asks for it first."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
