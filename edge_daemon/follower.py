"""Agreement and moving averages for the page: the command `agreement` in a process of its own.

They are worked out from every result there is, which takes seconds in a grown database: only when
somebody looks, once for what is stored, and never while a page waits.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import own_command
from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TIMEOUT_S: Final = 600.0
_REST: Final = 20
"""Times as long as the last one took, until newer results are worth another."""
_LEAST_REST_S: Final = 30.0
KEPT_BATCHES: Final = 60
"""Newest averages of each stream that are kept: a chart shows no more."""
KEPT_PAIRS: Final = 200
"""Newest pairs of each measure that are kept, for the same reason."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What is known now.

    Attributes
    ----------
    document
        What ``edge-daemon agreement --json`` last printed; None before the first time.
    working
        Whether newer ones are being worked out.
    problem
        Why the last try failed; empty if it did not.
    """

    document: dict[str, Any] | None
    working: bool
    problem: str


class Follower:
    """Keeps the last answer of one data folder. Thread-safe.

    Parameters
    ----------
    data_dir
        The data folder.
    monotonic
        Seconds of a clock that never goes back.
    """

    def __init__(self, data_dir: Path, monotonic: Callable[[], float]) -> None:
        self._arguments = ["agreement", "--json", "--points", str(KEPT_PAIRS)]
        self._arguments += ["--data-dir", str(data_dir)]
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._document: dict[str, Any] | None = None
        self._problem = ""
        self._of: object = None
        self._rest_until = 0.0

    def look(self, state: object) -> Followed:
        """Say what is known, and begin to find out more if there may be more.

        Parameters
        ----------
        state
            What the database holds, in any form: another one is a reason to work again.
        """
        with self._lock:
            working = self._thread is not None
            if not working and state != self._of and self._monotonic() >= self._rest_until:
                working = True
                self._thread = threading.Thread(
                    target=self._work, args=(state,), name="agreement", daemon=True
                )
                self._thread.start()
            return Followed(self._document, working, self._problem)

    def _work(self, state: object) -> None:
        begun = self._monotonic()
        document, problem = None, ""
        try:
            document = own_command.ask(
                self._arguments, timeout_s=_TIMEOUT_S, what="the comparison of all results"
            )
            _shorten(document)
        except EdgeError as error:
            problem = f"{error.message}. {error.action}"
        except (OSError, ValueError):
            problem = "the comparison gave no answer. Try again when the box has less to do"
        took = self._monotonic() - begun
        with self._lock:
            if document is not None:
                self._document, self._of = document, state
            self._problem = problem
            self._rest_until = self._monotonic() + max(_LEAST_REST_S, _REST * took)
            self._thread = None


def _shorten(document: dict[str, Any]) -> None:
    """Keep of each stream how many batches there were, and the newest of them."""
    for followed in document["streams"]:
        for side in ("ours", "analyzer"):
            stream = followed[side]
            if stream is not None:
                stream["batches"] = len(stream["averages"])
                for key in ("averages", "percent"):
                    stream[key] = stream[key][-KEPT_BATCHES:]
