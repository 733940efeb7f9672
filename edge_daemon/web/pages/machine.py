"""``/healthz`` and ``/metrics``: for programs that watch the box; no sign-in, no patient's data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from edge_daemon import __version__
from edge_daemon.disk import read_disk
from edge_daemon.store import queries
from edge_daemon.web import metrics
from edge_daemon.web.pages.device import told

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.site import Site

_WELL: Final = frozenset({"ok", "recovered", "degraded"})
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


def healthz(request: Request) -> Response:
    """Say the state of the box in one word; 503 while results are late, missing or at risk."""
    health = told(request.state.site).get("health") or {}
    state = health.get("state", "unknown")
    return JSONResponse({"state": state}, status_code=200 if state in _WELL else 503)


def numbers(request: Request) -> Response:
    """Write the metrics, where they are to be seen."""
    site: Site = request.state.site
    if not site.metrics:
        raise HTTPException(404)
    with site.reading() as db:
        store = queries.status(db)
    text = metrics.exposition(
        told(site),
        store,
        _machine(site.data_dir),
        box=site.box,
        version=__version__,
        now=site.clock.monotonic(),
    )
    return PlainTextResponse(text, media_type=_TEXT)


def _machine(data_dir: Path) -> dict[str, float]:
    """Ask the kernel about this process and the disk."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    spent = os.times()
    found = {
        "process_resident_memory_bytes": float(pages * os.sysconf("SC_PAGE_SIZE")),
        "process_cpu_seconds_total": spent.user + spent.system,
        "process_open_fds": float(len(os.listdir("/proc/self/fd"))),  # noqa: PTH208 - names are enough
    }
    disk = read_disk(data_dir)
    return found if disk.reason else {**found, "edge_daemon_disk_free_bytes": disk.free_mb << 20}


ROUTES: Final = [Route("/healthz", healthz), Route("/metrics", numbers)]
"""Of this page."""
