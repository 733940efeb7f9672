"""Who is signed in, and how often somebody may try: kept in memory, gone with the service."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.web.passwords import Role

IDLE_S: Final = 12 * 3600.0
"""A session that nobody used for a working day is over."""

_MOST_SESSIONS: Final = 1000
_FREE_TRIES: Final = 5
_FIRST_WAIT_S: Final = 10.0
_LONGEST_WAIT_S: Final = 900.0
_FORGIVEN_S: Final = 3600.0
_MOST_ADDRESSES: Final = 1000


@dataclass(slots=True)
class Session:
    """One browser that is signed in.

    Attributes
    ----------
    role
        What it may do.
    name
        Who said they were signing in; stands in the audit trail.
    generation
        The password it was opened with, see `Passwords.generation`.
    used_at
        Monotonic time of its last request.
    """

    role: Role
    name: str
    generation: str
    used_at: float


class Sessions:
    """All browsers that are signed in; thread-safe.

    Parameters
    ----------
    now
        Monotonic clock.
    generation
        Names the present password of a role, or None where it has none.
    """

    def __init__(self, now: Callable[[], float], generation: Callable[[Role], str | None]) -> None:
        self._now = now
        self._generation = generation
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self, role: Role, name: str) -> str:
        """Begin a session and return its secret token."""
        token = new_token()
        session = Session(role, name, self._generation(role) or "", self._now())
        with self._lock:
            self._sessions[_key(token)] = session
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return token

    def find(self, token: str) -> Session | None:
        """Find the session of a token; one that is over, or whose password changed, is gone."""
        key, now = _key(token), self._now()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if now - session.used_at > IDLE_S:
                del self._sessions[key]
                return None
            session.used_at = now
            self._sessions.move_to_end(key)
        if self._generation(session.role) != session.generation:
            self.close(token)
            return None
        return session

    def close(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_key(token), None)


def new_token() -> str:
    """Make a secret that cannot be guessed."""
    return secrets.token_urlsafe(32)


def _key(token: str) -> str:
    """Look tokens up by digest, so that the time a look-up takes says nothing about them."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class Throttle:
    """Makes guessing slow: after a few failures each further one doubles the wait.

    Parameters
    ----------
    now
        Monotonic clock.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Tell how long this address must still wait before its next try, s."""
        with self._lock:
            failures, last = self._failures.get(address, (0, 0.0))
        if failures < _FREE_TRIES:
            return 0.0
        # The exponent is bounded: thousands of failures must not overflow a float.
        doubled = _FIRST_WAIT_S * 2.0 ** min(failures - _FREE_TRIES, 20)
        return max(0.0, last + min(doubled, _LONGEST_WAIT_S) - self._now())

    def failed(self, address: str) -> None:
        """Note a wrong password."""
        now = self._now()
        with self._lock:
            failures, last = self._failures.pop(address, (0, now))
            self._failures[address] = (1 if now - last > _FORGIVEN_S else failures + 1, now)
            while len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)

    def passed(self, address: str) -> None:
        """Note a right password: earlier failures were typing errors."""
        with self._lock:
            self._failures.pop(address, None)
