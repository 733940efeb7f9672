"""Who is signed in: kept in memory, gone with the service."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.signin.tokens import digest, new_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.web.passwords import Role

IDLE_S: Final = 12 * 3600.0
"""A session that nobody used for a working day is over."""

_MOST_SESSIONS: Final = 1000


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
            self._sessions[digest(token)] = session
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return token

    def find(self, token: str) -> Session | None:
        """Find the session of a token; one that is over, or whose password changed, is gone."""
        key, now = digest(token), self._now()
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
            self._sessions.pop(digest(token), None)
