"""``/device``: how the box does, in words a technician understands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from edge_daemon import __version__
from edge_daemon.health import STATUS_NAME
from edge_daemon.store import queries
from edge_daemon.web import render
from edge_daemon.web.pages.live import newest

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.site import Site

_WORKS: Final = frozenset({"watching", "scanning", "listening", "connected"})
_STATES: Final = {
    "watching": "Waits for the next file of the analyzer.",
    "scanning": "Looks for files of the analyzer every few seconds.",
    "listening": "Waits for the analyzer to speak.",
    "connected": "The analyzer is connected.",
    "starting": "Is being set up.",
    "degraded": "Cannot see the analyzer now. It goes on by itself when it is back.",
    "paused": "Cannot store anything now. Nothing is lost: the analyzer keeps its files.",
}


def page(request: Request) -> Response:
    """Show the sources, what waits and what was set aside."""
    site: Site = request.state.site
    with site.reading() as db:
        store = queries.status(db)
        heard = newest(db, site)
    said = {
        "store": store,
        "heard": heard,
        "service": service_status(site),
        "version": __version__,
        "states": _STATES,
        "works": _WORKS,
    }
    return render.page(request, "device.html", said)


def service_status(site: Site) -> dict[str, Any]:
    """Read what the service says of itself; empty where it says nothing."""
    try:
        found = json.loads((site.data_dir / STATUS_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


ROUTES: Final = [Route("/device", page)]
"""Of this page."""
