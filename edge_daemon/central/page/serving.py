"""The page and the API put together, with the thread that keeps results searchable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount

from edge_daemon.central.fleet.indexing import IndexingThread
from edge_daemon.central.page import api, render
from edge_daemon.central.page.asking import AskingError
from edge_daemon.central.page.guard import API, Guard
from edge_daemon.central.page.pages import ROUTES
from edge_daemon.central.page.site import Site
from edge_daemon.central.reading import Reader
from edge_daemon.central.users import Users
from edge_daemon.signin.static import Static

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.log import EventLog

_TITLES: Final = {403: "Not allowed", 404: "Not found", 405: "Not possible", 413: "Too large"}


class FleetPage:
    """What people and programs see of a centre.

    Parameters
    ----------
    url
        Of the database, for questions.
    engine
        Of the server, for sign-ins and what follows the documents.
    secret
        For form tokens.
    log
        Told when what was stored cannot be made searchable.

    Attributes
    ----------
    app
        The ASGI application.
    site
        What its pages share.
    """

    def __init__(self, url: str, engine: Engine, secret: str, log: EventLog, **more: Any) -> None:
        self.site = Site(Reader(url), Users(engine), secret, **more)
        self.app = make_page(self.site)
        self._indexing = IndexingThread(engine, log)

    def start(self) -> None:
        """Begin to follow the documents."""
        self._indexing.start()

    def stop(self) -> None:
        """End what was begun, and close the connections."""
        self._indexing.stop()
        self.site.reader.close()


def make_page(site: Site) -> Guard:
    """Make the application; the guard stands before everything, errors too."""
    pages = Starlette(
        routes=[*ROUTES, *api.ROUTES, Mount("/static", Static(render.STATIC))],
        middleware=[Middleware(GZipMiddleware, minimum_size=600)],
        exception_handlers={
            HTTPException: _refused,
            AskingError: _misasked,
            DBAPIError: _away,
            PoolTimeout: _away,
            Exception: _defect,
        },
    )
    return Guard(pages, site)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = _TITLES.get(error.status_code, "Not possible")
    message = error.detail if error.status_code != 404 else "There is nothing here."
    headers = dict(error.headers or {})
    return _error(request, error.status_code, "http", title, message, headers)


def _misasked(request: Request, error: Exception) -> Response:
    assert isinstance(error, AskingError)
    return _error(request, 422, "parameter", "Not understood", f"{error.name}: {error.message}")


def _away(request: Request, _: Exception) -> Response:
    message = "The database does not answer, or took too long. Ask again, or for less at once."
    return _error(request, 503, "database", "Not now", message, {"Retry-After": "10"})


def _defect(request: Request, _: Exception) -> Response:
    message = "This is a defect of the page. Try again; if it comes back, tell whoever runs it."
    return _error(request, 500, "defect", "This page failed", message)


def _error(
    request: Request,
    status: int,
    code: str,
    title: str,
    message: str,
    headers: dict[str, str] | None = None,
) -> Response:
    if request.url.path.startswith(API):
        said = {"code": code, "message": message}
        return JSONResponse(said, status_code=status, headers=headers)
    said = {"title": title, "message": message}
    return render.page(request, "error.html", said, status=status, headers=headers)
