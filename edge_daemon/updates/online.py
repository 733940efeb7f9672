"""The place on the network that this box takes updates from."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge_daemon.errors import EXIT_NOT_FOUND, Fatal
from edge_daemon.sync.identity import Identity, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuf.ngclient import FetcherInterface

    from edge_daemon.config import Settings


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


@contextmanager
def repository_of(
    place: Place, settings: Settings | None, data_dir: Path
) -> Iterator[FetcherInterface]:
    """Open the connection to a place; nothing is sent before it is asked for something."""
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
        yield HttpFetcher(server, place.prefix, UpdateFolder(data_dir).incoming)
