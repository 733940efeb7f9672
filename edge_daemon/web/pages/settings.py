"""``/settings``: how this browser wants numbers written; nothing of it is stored on the box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import RedirectResponse
from starlette.routing import Route

from edge_daemon.web import render
from edge_daemon.web.guard import posted

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_FOR_A_YEAR: Final = 365 * 24 * 3600


def page(request: Request) -> Response:
    """Show what this browser has chosen."""
    saved = "saved" in request.query_params
    return render.page(request, "settings.html", {"saved": saved})


async def save(request: Request) -> Response:
    """Keep the choices in this browser's cookie."""
    fields = await posted(request)
    words = ["v1"]
    words += ["comma"] if fields.get("decimal") == "comma" else []
    words += ["si"] if fields.get("units") == "si" else []
    words += [] if fields.get("keys") == "on" else ["nokeys"]
    response = RedirectResponse("/settings?saved", status_code=303)
    response.set_cookie(
        render.PREFERENCES_COOKIE,
        ".".join(words),
        max_age=_FOR_A_YEAR,
        httponly=True,
        samesite="strict",
        secure=request.state.site.secure,
    )
    return response


ROUTES: Final = [
    Route("/settings", page, methods=["GET"]),
    Route("/settings", save, methods=["POST"]),
]
"""Of this page."""
