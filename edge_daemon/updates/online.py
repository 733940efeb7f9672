"""The place on the network that this box takes updates from."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge_daemon.errors import EXIT_NOT_FOUND, Fatal
from edge_daemon.sync.identity import Identity, load
from edge_daemon.sync.policy import TroubleError
from edge_daemon.updates.errors import UpdateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tuf.ngclient import FetcherInterface

    from edge_daemon.config import Settings
    from edge_daemon.sync.http import Server
    from edge_daemon.updates.kinds import Item


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository is served.

    Attributes
    ----------
    url
        ``https://host[:port]``.
    prefix
        Path below it, without a slash at its end.
    identity
        Who this box shows itself as; None: nobody, and the system's trusted certificates count.
    """

    url: str
    prefix: str
    identity: Identity | None


def place_of(settings: Settings | None, data_dir: Path) -> Place:
    """Decide where to look: `updates.url`, else the central server of an enrolled box.

    Raises
    ------
    Fatal
        There is neither.
    """
    if settings is not None and settings.updates.url is not None:
        parts = urlsplit(settings.updates.url)
        return Place(f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/"), None)
    identity = load(data_dir)
    if identity is None:
        raise Fatal(
            "there is no place to look for updates: the box is not enrolled",
            action="Enrol it (sync.md), set `updates.url`, or use `edge-daemon update import`.",
            exit_code=EXIT_NOT_FOUND,
        )
    return Place(identity.server, "/v1/updates", identity)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the fleet lets this box take now.

    The central server can withhold with it, and have versions given back that it offered; what a
    version is, only the signatures say.

    Attributes
    ----------
    ring
        Of this box.
    may_take
        Items whose rollout has reached its ring.
    give_back
        Items that the fleet took back, with the reason.
    """

    ring: int
    may_take: frozenset[str]
    give_back: Mapping[str, str]

    def objection(self, item: Item) -> str:
        """Why an item is not to be taken yet; empty if it may be."""
        if item.id in self.may_take:
            return ""
        return f"its rollout has not reached ring {self.ring}, in which this box is"


@dataclass(frozen=True, slots=True)
class Offered:
    """A connection to a place: its files, and the fleet's plan where the place is the centre."""

    fetcher: FetcherInterface
    plan: Plan | None


@contextmanager
def repository_of(place: Place, settings: Settings | None, data_dir: Path) -> Iterator[Offered]:
    """Open the connection to a place, and ask the centre for its plan.

    Raises
    ------
    UpdateError
        The centre does not say what this box may take.
    """
    from edge_daemon.sync.http import Server  # noqa: PLC0415 - a box without a server needs none
    from edge_daemon.updates.fetching import HttpFetcher  # noqa: PLC0415
    from edge_daemon.updates.folder import UpdateFolder  # noqa: PLC0415

    who = place.identity
    server = Server(
        place.url,
        fleet=None if who is None else who.fleet,
        certificate=None if who is None else who.certificate,
        proxy=None if settings is None else settings.sync.proxy,
    )
    with closing(server):
        plan = None if who is None else _plan_of(server)
        yield Offered(HttpFetcher(server, place.prefix, UpdateFolder(data_dir).incoming), plan)


def _plan_of(server: Server) -> Plan:
    try:
        answer = server.call("GET", "/v1/updates/plan", headers={})
    except TroubleError as error:
        raise UpdateError("unreachable", f"the centre cannot be asked: {error.message}") from error
    if answer.status != 200:
        raise UpdateError("unreachable", f"the centre answered {answer.status}")
    try:
        told = json.loads(answer.body)
        given = {str(item): str(why) for item, why in told["give_back"].items()}
        return Plan(int(told["ring"]), frozenset(map(str, told["may_take"])), given)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UpdateError("unreachable", "the answer is not of a central server") from error
