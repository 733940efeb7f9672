"""``/sign-in`` and ``/sign-out``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.routing import Route

from edge_daemon.log import Event
from edge_daemon.signin.forms import local_path
from edge_daemon.signin.tokens import new_token
from edge_daemon.web import render
from edge_daemon.web.guard import cookie, posted
from edge_daemon.wording import counted

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from edge_daemon.web.site import Site

LONGEST_NAME: Final = 60


def page(request: Request) -> Response:
    """Ask who it is."""
    target = local_path(request.query_params.get("next", "/"))
    return _form(request, target, "")


async def sign_in(request: Request) -> Response:
    """Open a session for a right password."""
    fields = await posted(request)
    site: Site = request.state.site
    target = local_path(fields.get("next", "/"))
    name = " ".join(fields.get("name", "").split())[:LONGEST_NAME]
    if not name:
        return _form(request, target, "Enter your name or initials: corrections carry them.")
    peer = request.client.host if request.client else ""
    wait = site.throttle.wait_s(peer)
    if wait > 0:
        said = f"Too many wrong passwords. Try again in {counted(round(wait + 0.5), 'second')}."
        return _form(request, target, said, name=name, status=429)
    role = await run_in_threadpool(site.passwords.role_of, fields.get("password", ""))
    if role is None:
        site.throttle.failed(peer)
        site.emit(Event.WEB_REFUSED, peer=peer, wait_s=round(site.throttle.wait_s(peer)))
        return _form(request, target, "This password is wrong.", name=name, status=403)
    site.throttle.passed(peer)
    site.emit(Event.WEB_SIGNED_IN, peer=peer, role=role)
    # Another token than before signing in: one that somebody planted is worth nothing.
    return _with_cookie(site, target, site.sessions.open(role, name))


async def sign_out(request: Request) -> Response:
    """End the session."""
    await posted(request)
    site: Site = request.state.site
    site.sessions.close(request.state.visitor.token)
    return _with_cookie(site, "/sign-in", new_token())


def _with_cookie(site: Site, target: str, token: str) -> Response:
    response = RedirectResponse(target, status_code=303)
    response.headers.append("Set-Cookie", cookie(token, secure=site.secure))
    return response


def _form(
    request: Request, target: str, problem: str, *, name: str = "", status: int = 200
) -> Response:
    said = {"target": target, "problem": problem, "name": name, "longest": LONGEST_NAME}
    return render.page(request, "sign_in.html", said, status=status)


ROUTES: Final = [
    Route("/sign-in", page, methods=["GET"]),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
]
"""Of this page."""
