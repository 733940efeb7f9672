"""Passwords as argon2 hashes."""

from __future__ import annotations

import functools
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from edge_daemon.errors import EdgeError

SHORTEST: Final = 8
LONGEST: Final = 200

# 19 MiB and two passes (OWASP's minimum): a box with 512 MB must survive people signing in.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def hashed(password: str) -> str:
    """Hash a new password.

    Raises
    ------
    EdgeError
        It is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise EdgeError(
            f"the password has {len(password)} characters, expected {SHORTEST} to {LONGEST}",
            action="choose another; a few random words are easy to type and hard to guess",
        )
    return _HASHER.hash(password)


def verify(stored: str | None, password: str) -> bool:
    """Tell whether a password is the one of a hash; without a hash it takes as long to say no."""
    try:
        _HASHER.verify(_nobody() if stored is None else stored, password[: LONGEST + 1])
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


@functools.cache
def _nobody() -> str:
    return _HASHER.hash("nobody has this password")
