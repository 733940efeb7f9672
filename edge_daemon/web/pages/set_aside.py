"""``/set-aside``: what could not be used, why, and what to do; nothing of it is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from edge_daemon.store import queries
from edge_daemon.web import render
from edge_daemon.web.pages.listing import number

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_PAGE_SIZE: Final = 40


def page(request: Request) -> Response:
    """Show captures in quarantine and files that were refused."""
    before = number(request.query_params.get("before"))
    with request.state.site.reading() as db:
        found = queries.quarantined(db, limit=_PAGE_SIZE + 1, before=before)
        refused = queries.refused(db, limit=_PAGE_SIZE) if before is None else []
    older = found[_PAGE_SIZE - 1]["id"] if len(found) > _PAGE_SIZE else None
    said = {"captures": found[:_PAGE_SIZE], "refused": refused, "older": older}
    return render.page(request, "set_aside.html", said)


ROUTES: Final = [Route("/set-aside", page)]
"""Of this page."""
