"""What every page of one box's site shares."""

from __future__ import annotations

import contextlib
import functools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_daemon.explainer import Explainer
from edge_daemon.follower import Follower
from edge_daemon.signin.throttle import Throttle
from edge_daemon.signin.tokens import new_token
from edge_daemon.store import queries
from edge_daemon.web.interpreting import Shelf
from edge_daemon.web.passwords import Passwords
from edge_daemon.web.sessions import Sessions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.log import Event
    from edge_daemon.store.writer import Store


def _nothing() -> None:
    """Wake nobody."""


@dataclass(frozen=True)
class Site:
    """One box's page.

    Attributes
    ----------
    data_dir
        Where the database lies.
    box
        Name of the box.
    store
        The service's writer, for corrections and notes.
    clock
        Time for sessions and stamps.
    log
        Writes one event, with its fields.
    secure
        Whether the page is served over TLS.
    wake
        Tells the service that there may be something to analyse.
    config
        Configuration file, for programs that the page starts; None for the usual one.
    shelf
        The site's reference intervals and rules.
    hosts
        Names, beside addresses, that a browser may call this box by.
    stopping
        Set when the service ends: open event streams then end too.
    secret
        Of this process, for form tokens.
    metrics
        Whether ``/metrics`` is served.
    doubt
        What every page says on top, in words, with what to do; None where all is as it should be.
    """

    data_dir: Path
    box: str
    store: Store
    clock: Clock
    log: Callable[..., None]
    secure: bool = False
    hosts: frozenset[str] = frozenset({"localhost"})
    wake: Callable[[], None] = _nothing
    config: Path | None = None
    shelf: Shelf = field(default_factory=Shelf)
    stopping: threading.Event = field(default_factory=threading.Event)
    secret: str = field(default_factory=new_token)
    metrics: bool = False
    doubt: Mapping[str, str] | None = None

    @functools.cached_property
    def passwords(self) -> Passwords:
        """Of this box."""
        return Passwords(self.data_dir)

    @functools.cached_property
    def sessions(self) -> Sessions:
        """Browsers that are signed in."""
        return Sessions(self.clock.monotonic, self.passwords.generation)

    @functools.cached_property
    def throttle(self) -> Throttle:
        """How often an address may still try a password."""
        return Throttle(self.clock.monotonic)

    @functools.cached_property
    def explainer(self) -> Explainer:
        """Explains runs in a process of its own."""
        return Explainer(self.data_dir, self.config)

    @functools.cached_property
    def follower(self) -> Follower:
        """Compares all results in a process of its own."""
        return Follower(self.data_dir, self.clock.monotonic)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open the database for one request: it can neither write nor wait for the writer."""
        with contextlib.closing(queries.connect(self.data_dir)) as db:
            yield db

    def emit(self, event: Event, **fields: object) -> None:
        """Write one event to the log."""
        self.log(event, **fields)
