"""``/live``: tells open pages of something new; server-sent events, or a poll where they fail."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from edge_daemon.clock import boot_id
from edge_daemon.errors import EdgeError
from edge_daemon.store import searching

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.site import Site

_LOOK_S: Final = 1.0
_ALIVE_S: Final = 20.0
_MOST_STREAMS: Final = 100
_streams = threading.BoundedSemaphore(_MOST_STREAMS)


def newest(db: sqlite3.Connection, site: Site | None = None) -> dict[str, Any]:
    """Say what is newest and how long ago an analyzer was last heard.

    Returns
    -------
    dict
        ``run``, ``capture`` (ids, 0 for none), ``heard_s`` (s, or None: never, or the clock does
        not say).
    """
    found = searching.newest(db)
    found["heard_s"] = _age_s(found.pop("heard"), site)
    return found


def _age_s(heard: dict[str, Any] | None, site: Site | None) -> float | None:
    """Age of a stamp: by the monotonic clock within one boot, else by two trusted wall times."""
    if heard is None:
        return None
    if heard["boot"] == boot_id() and site is not None:
        return max(0.0, site.clock.monotonic() - float(heard["monotonic_s"]))
    try:
        age = (datetime.now(UTC) - datetime.fromisoformat(heard["wall"])).total_seconds()
    except ValueError:
        return None
    return age if age >= 0 else None


def poll(request: Request) -> Response:
    """Answer once."""
    site: Site = request.state.site
    return JSONResponse(_look(site))


def _look(site: Site) -> dict[str, Any]:
    with site.reading() as db:
        return newest(db, site)


async def stream(request: Request) -> Response:
    """Answer for as long as the page stays open: one event for everything new."""
    if not _streams.acquire(blocking=False):
        return JSONResponse({"error": "too many open pages; poll instead"}, status_code=503)
    return StreamingResponse(
        _events(request.state.site, request),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _events(site: Site, request: Request) -> AsyncIterator[str]:
    last: tuple[int, int] | None = None
    silent = 0.0
    try:
        while not site.stopping.is_set() and not await request.is_disconnected():
            try:
                found = await run_in_threadpool(_look, site)
            except EdgeError:  # busy, or the disk is away: the page keeps what it shows
                found = None
            if found is not None and (found["run"], found["capture"]) != last:
                last = found["run"], found["capture"]
                silent = 0.0
                yield f"data: {json.dumps(found)}\n\n"
            elif silent >= _ALIVE_S:
                silent = 0.0
                yield ": still here\n\n"
            await anyio.sleep(_LOOK_S)
            silent += _LOOK_S
    finally:
        _streams.release()


ROUTES: Final = [Route("/live", stream), Route("/live.json", poll)]
"""Of this page."""
