"""``/``: the newest results, live, and the search."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.routing import Route

from edge_daemon.store import queries, searching
from edge_daemon.web import render
from edge_daemon.web.asking import understand
from edge_daemon.web.pages.live import newest

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.asking import Asked

PAGE_SIZE: Final = 40
SHOWN: Final = ("RBC", "HCT", "RETIC", "PLT")
"""Measurands that stand in the list."""


def page(request: Request) -> Response:
    """Show the newest results, or those that a search finds."""
    return render.page(request, "listing.html", _content(request))


def rows(request: Request) -> Response:
    """Show only the list, for a page that is open and heard of something new."""
    return render.page(request, "listing_rows.html", _content(request))


def _content(request: Request) -> dict[str, Any]:
    text = request.query_params.get("q", "")[:200]
    before = number(request.query_params.get("before"))
    with request.state.site.reading() as db:
        flags = searching.flag_codes(db)
        asked = understand(text, flags, datetime.now().astimezone())
        found, inside = _found(db, asked, before)
        results = queries.results(db, ids=found[:PAGE_SIZE], limit=PAGE_SIZE, all_runs=True)
        heard = newest(db, request.state.site)
    older = None
    if len(found) > PAGE_SIZE:
        older = "/?" + urlencode({**({"q": text} if text else {}), "before": found[PAGE_SIZE - 1]})
    return {
        "query": text,
        "asked": asked,
        "inside": inside,
        "results": results,
        "units": _units(results),
        "shown": SHOWN,
        "flags": flags,
        "older": older,
        "paged": before is not None,
        "heard": heard,
        "rows_url": "/rows?" + urlencode({"q": text}),
    }


def _found(db: sqlite3.Connection, asked: Asked, before: int | None) -> tuple[list[int], bool]:
    """Find one page's runs and one more; look inside names only where no name begins so."""
    found = searching.find(db, asked.wanted, limit=PAGE_SIZE + 1, before=before)
    if found or asked.wanted.text is None:
        return found, False
    found = searching.find(db, asked.wanted, limit=PAGE_SIZE + 1, before=before, inside=True)
    return found, bool(found)


def _units(results: list[dict[str, Any]]) -> dict[str, str]:
    """Find the unit of each measurand that is shown."""
    return {m["code"]: m["unit"] for r in results for m in r["measurements"] if m["code"] in SHOWN}


def number(text: str | None) -> int | None:
    """Read a key from an address; anything else is None."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


ROUTES: Final = [Route("/", page, name="list"), Route("/rows", rows)]
"""Of this page."""
