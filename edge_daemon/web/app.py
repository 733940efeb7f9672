"""The site: routes of all pages, error pages, static files, and the guard before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from edge_daemon.errors import EXIT_NOT_FOUND, EdgeError, Fatal, Retryable
from edge_daemon.signin.static import Static
from edge_daemon.web import render
from edge_daemon.web.guard import Guard
from edge_daemon.web.pages import routes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.site import Site

_TITLES: Final = {
    400: "Not understood",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible",
    413: "Too large",
}


def make_app(site: Site) -> Guard:
    """Make the ASGI application of one box; the guard stands before everything, errors too."""
    pages = Starlette(
        routes=[*routes(), Mount("/static", Static(render.STATIC))],
        middleware=[Middleware(GZipMiddleware, minimum_size=600)],
        exception_handlers={
            HTTPException: _refused,
            EdgeError: _edge_error,
            Exception: _defect,
        },
    )
    return Guard(pages, site)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = _TITLES.get(error.status_code, "Not possible")
    message = error.detail if error.status_code != 404 else "There is no such page."
    return _error(request, title, message, "", error.status_code)


def _edge_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EdgeError)
    if isinstance(error, Fatal) and error.exit_code == EXIT_NOT_FOUND:
        return _error(request, "Not found", error.message, error.action, 404)
    if isinstance(error, Retryable):
        return _error(request, "Not now", error.message, error.action, 503)
    return _error(request, "Not possible", error.message, error.action, 400)


def _defect(request: Request, _: Exception) -> Response:
    message = "This is a defect of the page, not of the result."
    action = "Try again; if it comes back, send a support bundle."
    return _error(request, "This page failed", message, action, 500)


def _error(request: Request, title: str, message: str, action: str, status: int) -> Response:
    said = {"title": title, "message": message, "action": action}
    return render.page(request, "error.html", said, status=status)
