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
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.site import Site

_STATES: Final = {
    "ok": ("ok", "The box works", "Every result is taken in, analysed and kept."),
    "recovered": ("ok", "The box works again", "What was the matter is over; it stands below."),
    "degraded": (
        "review",
        "The box works; something wants attention",
        "Results still come. Tell whoever looks after the box.",
    ),
    "failing": (
        "invalid",
        "Something does not work",
        "Results may be late or missing until it is mended. What has come is kept.",
    ),
}
_UNKNOWN: Final = (
    "invalid",
    "The service does not say how it does",
    "Wait a minute; if this stays, restart the box.",
)
_WORKS: Final = frozenset({"watching", "scanning", "listening", "connected", "starting"})
_SOURCES: Final = {
    "watching": "Waits for the next file of the analyzer.",
    "scanning": "Looks for files of the analyzer every few seconds.",
    "listening": "Waits for the analyzer to speak.",
    "connected": "The analyzer is connected.",
    "starting": "Is being set up.",
    "degraded": "Cannot see the analyzer now; it goes on by itself when it is back.",
    "paused": "Cannot store anything now; the analyzer keeps its results until it can.",
}
_SEVERITIES: Final = {
    "error": ("invalid", "Does not work"),
    "warning": ("review", "Wants attention"),
    "notice": ("info", "Good to know"),
}


def page(request: Request) -> Response:
    """Show the state of the box, its sources, what waits and what was set aside."""
    site: Site = request.state.site
    with site.reading() as db:
        store = queries.status(db)
        heard = newest(db, site)
    service = told(site)
    health = service.get("health") or {}
    said = {
        "state": _STATES.get(health.get("state", ""), _UNKNOWN),
        "conditions": health.get("conditions", []),
        "ended": health.get("ended", []),
        "severities": _SEVERITIES,
        "sources": [_source(source, site) for source in service.get("sources", [])],
        "store": store,
        "heard": heard,
        "version": __version__,
    }
    return render.page(request, "device.html", said)


def told(site: Site) -> dict[str, Any]:
    """Read what the service says of itself; empty where it says nothing."""
    try:
        found = json.loads((site.data_dir / STATUS_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _source(source: Mapping[str, Any], site: Site) -> dict[str, Any]:
    heard = source.get("heard_at")
    return {
        "name": source["name"],
        "works": source["state"] in _WORKS,
        "words": _SOURCES.get(source["state"], source["state"]),
        "reason": source.get("reason") or "",
        "heard_s": None if heard is None else max(0.0, site.clock.monotonic() - heard),
    }


ROUTES: Final = [Route("/device", page)]
"""Of this page."""
