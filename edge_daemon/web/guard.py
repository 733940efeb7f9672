"""What stands before every page: who may ask, from where, and what the browser may do with it.

One middleware, so that no page can forget a check. The page runs in a clinic's own network,
where any web site a person visits can make their browser ask this box (DNS rebinding,
cross-site requests): the host name, the origin and a token of each form are checked for that.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from edge_daemon.errors import EdgeError
from edge_daemon.signin import forms
from edge_daemon.signin.forms import SAFE, from_here
from edge_daemon.signin.headers import mark
from edge_daemon.signin.tokens import new_token

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from edge_daemon.web.passwords import Role
    from edge_daemon.web.site import Site

COOKIE: Final = "edge_session"
_WITHOUT_SIGN_IN: Final = ("/sign-in", "/static/", "/healthz", "/metrics")
"""The last two hold nothing of a patient; where other computers reach the page, the second is off
unless `web.metrics` is set."""
_FOR_READERS: Final = frozenset({"/sign-in", "/sign-out", "/settings"})
"""Where somebody who may only read can send a form to."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks.

    Attributes
    ----------
    token
        Secret of this browser, in its cookie.
    known
        Whether it sent one.
    role
        What it may do; None for somebody who has to sign in first.
    name
        As given at sign-in; empty on a box without passwords.
    signed_in
        Whether there is a session to end.
    """

    token: str
    known: bool
    role: Role | None
    name: str
    signed_in: bool


class Guard:
    """Checks every request and marks every answer.

    Parameters
    ----------
    app
        The pages.
    site
        Of this box.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        try:
            visitor = self._visitor(request)
        except EdgeError as error:
            text = f"{error.message}\n{error.action}\n"
            await PlainTextResponse(text, status_code=503)(scope, receive, send)
            return
        request.state.visitor = visitor
        request.state.site = self._site
        refused = self._refuse(request, visitor)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), visitor, request.url.path)
            await send(message)

        await (refused or self._app)(scope, receive, marked)

    def _visitor(self, request: Request) -> Visitor:
        token = request.cookies.get(COOKIE, "")
        session = self._site.sessions.find(token) if token else None
        fresh = token or new_token()
        if session is not None:
            return Visitor(fresh, bool(token), session.role, session.name, signed_in=True)
        # A box without a password is asked from itself alone: `server` listens nowhere else.
        role: Role | None = None if self._site.passwords.hashes() else "technician"
        return Visitor(fresh, bool(token), role, "", signed_in=False)

    def _refuse(self, request: Request, visitor: Visitor) -> Response | None:
        if not _is_ours(request.headers.get("host", ""), self._site.hosts):
            return PlainTextResponse(
                "This box is not known by that name. Open it by its address, or add the name to "
                "web.hosts in its configuration.\n",
                status_code=421,
            )
        path = request.url.path
        if request.method not in SAFE and not from_here(request):
            return PlainTextResponse("This form came from another site.\n", status_code=403)
        if visitor.role is None and not path.startswith(_WITHOUT_SIGN_IN):
            return forms.to_sign_in(request) or PlainTextResponse(
                "Sign in first.\n", status_code=401
            )
        if request.method not in SAFE and path not in _FOR_READERS and visitor.role != "technician":
            return PlainTextResponse(
                "You may look at results but not change them; sign in as a technician.\n",
                status_code=403,
            )
        return None

    def _mark(self, headers: MutableHeaders, visitor: Visitor, path: str) -> None:
        fresh = cookie(visitor.token, secure=self._site.secure)
        mark(headers, path, "" if visitor.known else fresh)


def cookie(token: str, *, secure: bool) -> str:
    """Write the cookie that tells one browser from another."""
    return forms.cookie(COOKIE, token, secure=secure)


def form_token(site: Site, visitor: Visitor) -> str:
    """Make the token of one form."""
    return forms.form_token(site.secret, visitor.token)


async def posted(request: Request) -> dict[str, str]:
    """Read a form that this site made for this browser; of fields of one name the last counts.

    Raises
    ------
    HTTPException
        413: too large; 400: not a form; 403: its token is missing, old or of another browser.
    """
    return await forms.posted(request, request.state.site.secret, request.state.visitor.token)


def _is_ours(host: str, names: frozenset[str]) -> bool:
    """Tell whether a browser that asks for this host can mean this box.

    A page that lets its own name point here (DNS rebinding) is known by that name; a bare
    address cannot be rebound.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower().rstrip(".") in names
    return True
