"""How often somebody may try a password: kept in memory, gone with the service."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_FREE_TRIES: Final = 5
_FIRST_WAIT_S: Final = 10.0
_LONGEST_WAIT_S: Final = 900.0
_FORGIVEN_S: Final = 3600.0
_MOST_ADDRESSES: Final = 1000


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
