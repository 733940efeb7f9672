"""What every page and every call of the API shares."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_daemon.central.limits import Limiter
from edge_daemon.signin.throttle import Throttle

if TYPE_CHECKING:
    from edge_daemon.central.reading import Reader
    from edge_daemon.central.users import Users


@dataclass(frozen=True)
class Site:
    """The fleet's page.

    Attributes
    ----------
    reader
        Answers every question; nothing else reads a clinic's rows.
    users
        Who may ask.
    secret
        For form tokens; the same in all processes of a server.
    name
        Of the fleet, on every page.
    secure
        Whether the page is served over TLS.
    throttle
        How often an address may still try a password, in this process.
    calls
        How often somebody may ask.
    """

    reader: Reader
    users: Users
    secret: str
    name: str = "Fleet"
    secure: bool = True
    throttle: Throttle = field(default_factory=lambda: Throttle(time.monotonic))
    calls: Limiter = field(default_factory=lambda: Limiter(10.0, 60.0))
