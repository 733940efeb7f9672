"""What stands before every page and call: who asks, whether they may, how often.

One middleware, so that no page can forget a check. Whose rows somebody sees is no matter of this:
every question is asked in their scope (`Reader.reading`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from edge_daemon.signin import forms
from edge_daemon.signin.forms import SAFE, from_here
from edge_daemon.signin.headers import mark
from edge_daemon.signin.tokens import new_token

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from edge_daemon.central.page.site import Site
    from edge_daemon.central.users import Person

COOKIE: Final = "edge_fleet"
API: Final = "/api/"
OPEN: Final = ("/sign-in", "/static/", "/api/v1/openapi.json")
"""What needs no sign-in."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks.

    Attributes
    ----------
    token
        Secret of this browser, in its cookie.
    known
        Whether it sent one.
    person
        Who it is; None for somebody who has to sign in first.
    """

    token: str
    known: bool
    person: Person | None


class Guard:
    """Checks every request and marks every answer.

    Parameters
    ----------
    app
        The pages and the API.
    site
        What they share.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        visitor = await run_in_threadpool(self._visitor, request)
        request.state.visitor = visitor
        request.state.site = self._site
        refused = self._refuse(request, visitor)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), visitor, request.url.path)
            await send(message)

        await (refused or self._app)(scope, receive, marked)

    def _visitor(self, request: Request) -> Visitor:
        users = self._site.users
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            # A program says who it is with each call, and is given no cookie.
            person = users.by_token(shown.strip()) if _is_api(request) else None
            return Visitor("", known=True, person=person)
        token = request.cookies.get(COOKIE, "")
        person = users.by_session(token) if token else None
        return Visitor(token or new_token(), known=bool(token), person=person)

    def _refuse(self, request: Request, visitor: Visitor) -> Response | None:
        path = request.url.path
        if path.startswith("/static/"):
            return None
        host = request.client.host if request.client else ""
        caller = host if visitor.person is None else f"user {visitor.person.id}"
        if wait_s := self._site.calls.wait_s(caller, time.monotonic()):
            after = {"Retry-After": str(int(wait_s) + 1)}
            return _plain(request, 429, "rate", "too many calls; wait a moment", after)
        if request.method not in SAFE and not from_here(request):
            return _plain(request, 403, "origin", "this form came from another site")
        if visitor.person is None and not path.startswith(OPEN):
            return _sign_in_first(request)
        return None

    def _mark(self, headers: MutableHeaders, visitor: Visitor, path: str) -> None:
        fresh = forms.cookie(COOKIE, visitor.token, secure=self._site.secure)
        mark(headers, path, "" if visitor.known else fresh)
        headers["Strict-Transport-Security"] = "max-age=31536000"


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(API)


def _plain(
    request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    if _is_api(request):
        said = {"code": code, "message": message}
        return JSONResponse(said, status_code=status, headers=headers)
    text = f"{message[:1].upper()}{message[1:]}.\n"
    return PlainTextResponse(text, status_code=status, headers=headers)


def _sign_in_first(request: Request) -> Response:
    if _is_api(request):
        return _plain(
            request, 401, "token", "a token, or a page that is signed in, is needed",
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    return forms.to_sign_in(request) or _plain(request, 401, "sign_in", "sign in first")
