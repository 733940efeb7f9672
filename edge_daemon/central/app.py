"""The HTTP side of the protocol (docs/protocol.md): who calls, what comes, what is answered."""

from __future__ import annotations

import json
import re
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from edge_daemon.central import serving_updates
from edge_daemon.central.authority import BadRequestError, key_digest
from edge_daemon.central.raw_store import DigestError
from edge_daemon.central.store import RefusedError
from edge_daemon.clock import format_wall
from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.sync import protocol
from edge_daemon.sync.protocol import ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from edge_daemon.central.alarms import Alarms
    from edge_daemon.central.authority import Authority, Issued
    from edge_daemon.central.limits import Limiter
    from edge_daemon.central.page.serving import FleetPage
    from edge_daemon.central.raw_store import Arrivals
    from edge_daemon.central.rollouts import Rollouts
    from edge_daemon.central.store import CentralStore, Device

    Handler = Callable[[Request], Awaitable[Response]]

CERTIFICATE: Final = "peer_certificate_sha256"
"""Key of the connection's state under which the server keeps what TLS has verified."""

_DEVICE: Final = "device"
"""Key of a request's state under which its box stands once it is known."""

_MAX_REQUEST: Final = 64 << 10
_PART: Final = 256 << 10
_RANGE = re.compile(r"bytes (\d{1,12})-(\d{1,12})/(\d{1,12})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Centre:
    """What the calls work with."""

    store: CentralStore
    authority: Authority
    arrivals: Arrivals
    calls: Limiter
    claims: Limiter
    alarms: Alarms
    updates: Path
    rollouts: Rollouts
    page: FleetPage | None = None


def make_app(centre: Centre) -> Starlette:
    """Build the application; TLS is the server's (`serve`)."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if centre.page is not None:
            centre.page.start()
        yield
        if centre.page is not None:
            await run_in_threadpool(centre.page.stop)
        await run_in_threadpool(centre.store.close)

    rest = [] if centre.page is None else [Mount("/", centre.page.app)]
    app = Starlette(
        lifespan=lifespan,
        routes=[
            *(
                Route(path, _guarded(partial(handler, centre), centre), methods=[method])
                for path, method, handler in (
                    ("/v1/enrol", "POST", _enrol),
                    ("/v1/renew", "POST", _renew),
                    (protocol.INGEST, "POST", _ingest),
                    ("/v1/raw/{sha256}", "HEAD", _ask_raw),
                    ("/v1/raw/{sha256}", "PUT", _put_raw),
                    ("/v1/health", "POST", _health),
                    ("/v1/updates/plan", "GET", _plan),
                    ("/v1/updates/{path:path}", "GET", _update),
                )
            ),
            *rest,
        ],
    )
    app.state.alarms = centre.alarms
    # No pattern of a route matches an address with a line break.
    app.router.default = partial(_elsewhere, centre, app.router.not_found)
    app.router.redirect_slashes = False
    return app


async def _elsewhere(
    centre: Centre, nowhere: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer what no route took, in the form of its part of the server."""
    if scope["type"] == "http" and scope["path"].startswith("/v1/"):
        await _refuse(404, "path", "there is nothing here")(scope, receive, send)
        return
    await (nowhere if centre.page is None else centre.page.app)(scope, receive, send)


def _guarded(handler: Handler, centre: Centre) -> Handler:
    """Turn errors into their status, after limiting how often one caller may come."""

    @wraps(handler)
    async def guarded(request: Request) -> Response:
        caller = _shown(request) or _host(request)
        if wait_s := centre.calls.wait_s(caller, time.monotonic()):
            return _refuse(429, "rate", "too many calls", {"Retry-After": str(int(wait_s) + 1)})
        try:
            return await handler(request)
        except (ProtocolError, RefusedError) as error:
            await _alarm(centre, request, error)
            return _refuse(error.status, error.code, error.message)
        except BadRequestError as error:
            return _refuse(422, "request", error.message)
        except (OperationalError, InterfaceError):
            # Down or starting again: nothing was committed, so the box keeps what it sent.
            return _refuse(503, "database", "the database is away")

    return guarded


async def _alarm(centre: Centre, request: Request, error: ProtocolError | RefusedError) -> None:
    device: Device | None = getattr(request.state, _DEVICE, None)
    reason = "request"
    if isinstance(error, RefusedError):
        device = error.device
        reason = error.code if error.code != "certificate" or _shown(request) else "nobody"
    told = partial(
        centre.alarms.refused, reason, peer=_host(request), device=device, detail=error.code
    )
    await run_in_threadpool(told)


async def _enrol(centre: Centre, request: Request) -> Response:
    if wait_s := centre.claims.wait_s(_host(request), time.monotonic()):
        return _refuse(429, "rate", "too many tries", {"Retry-After": str(int(wait_s) + 1)})
    told = await _json(request, {"code": str, "request": str})
    key_sha256 = key_digest(told["request"])
    device = await run_in_threadpool(centre.store.claim, told["code"], key_sha256)
    issued = centre.authority.sign(told["request"], device.id)
    await run_in_threadpool(centre.store.enrol, device, issued)
    return _certificate(centre, device, issued)


async def _renew(centre: Centre, request: Request) -> Response:
    device = await _caller(centre, request)
    told = await _json(request, {"request": str})
    issued = centre.authority.sign(told["request"], device.id)
    shown = getattr(request.state, CERTIFICATE)
    await run_in_threadpool(centre.store.renew, device, shown, issued)
    return _certificate(centre, device, issued)


async def _ingest(centre: Centre, request: Request) -> Response:
    device = await _caller(centre, request)
    payload = await _body(request, protocol.MAX_BYTES)
    batch = protocol.unpack(request.headers, payload)
    answers, highest = await run_in_threadpool(centre.store.ingest, device, batch)
    for code in sorted({answer.code for answer in answers if answer.status == "rejected"}):
        await run_in_threadpool(partial(centre.alarms.refused, code, device=device))
    now = format_wall(datetime.now(UTC))
    reply = protocol.write_reply(batch.epoch, answers, acked_through=highest, server_time=now)
    return Response(reply, media_type=protocol.JSON)


async def _ask_raw(centre: Centre, request: Request) -> Response:
    device = await _caller(centre, request)
    sha256 = _named(request)
    if await run_in_threadpool(centre.store.has_raw, device, sha256):
        return Response(status_code=200)
    size = await run_in_threadpool(centre.arrivals.finish, device.id, sha256)
    if size is not None:
        await run_in_threadpool(centre.store.note_raw, device, sha256, size)
        return Response(status_code=200)
    offset = centre.arrivals.offset(device.id, sha256)
    return Response(status_code=404, headers={"Upload-Offset": str(offset)})


async def _put_raw(centre: Centre, request: Request) -> Response:
    device = await _caller(centre, request)
    sha256 = _named(request)
    part = await _body(request, _PART)
    found = _RANGE.fullmatch(request.headers.get("content-range", ""))
    first, last, total = map(int, found.groups()) if found else (0, 0, 0)
    if found is None or last - first + 1 != len(part) or last >= total:
        raise ProtocolError(400, "content_range", "Content-Range does not fit the part")
    try:
        whole = await run_in_threadpool(centre.arrivals.add, device.id, sha256, first, total, part)
    except Retryable as error:
        offset = centre.arrivals.offset(device.id, sha256)
        return _refuse(409, "offset", error.message, {"Upload-Offset": str(offset)})
    except DigestError as error:
        raise ProtocolError(422, "digest", error.message) from error
    except EdgeError as error:
        raise ProtocolError(422, "size", error.message) from error
    if whole:
        await run_in_threadpool(centre.store.note_raw, device, sha256, total)
    return Response(status_code=201 if whole else 200)


async def _health(centre: Centre, request: Request) -> Response:
    device = await _caller(centre, request)
    told = await _json(request, {})
    body = json.dumps(told, ensure_ascii=False)
    await run_in_threadpool(centre.store.note_health, device, body)
    return Response(status_code=204)


async def _plan(centre: Centre, request: Request) -> Response:
    device = await _caller(centre, request)
    return await serving_updates.plan(centre.rollouts, device)


async def _update(centre: Centre, request: Request) -> Response:
    await _caller(centre, request)
    return serving_updates.file(centre.updates, str(request.path_params["path"]))


async def _caller(centre: Centre, request: Request) -> Device:
    shown = _shown(request)
    if not shown:
        raise RefusedError(401, "certificate", "a certificate of this fleet is needed")
    clock = request.headers.get("edge-clock", "")[:20] or None
    device = await run_in_threadpool(centre.store.device, shown, clock)
    setattr(request.state, _DEVICE, device)
    return device


def _host(request: Request) -> str:
    return request.client.host if request.client else ""


def _shown(request: Request) -> str:
    """SHA-256 of the certificate that TLS has verified; empty without one."""
    return str(getattr(request.state, CERTIFICATE, ""))


async def _body(request: Request, limit: int) -> bytes:
    """Read a body, never more than `limit` bytes of it."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise ProtocolError(413, "bytes", f"more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def _json(request: Request, fields: dict[str, type]) -> dict[str, Any]:
    body = await _body(request, _MAX_REQUEST)
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(400, "json", f"not JSON: {error}") from error
    if not isinstance(told, dict) or not all(isinstance(told.get(k), t) for k, t in fields.items()):
        raise ProtocolError(400, "json", f"expected an object with {', '.join(fields) or 'fields'}")
    return told


def _named(request: Request) -> str:
    sha256 = str(request.path_params["sha256"])
    if not _SHA256.fullmatch(sha256):
        raise ProtocolError(400, "sha256", "the name is no SHA-256 in lower case")
    return sha256


def _certificate(centre: Centre, device: Device, issued: Issued) -> Response:
    return JSONResponse(
        {
            "device": device.id,
            "name": device.name,
            "certificate": issued.pem,
            "fleet": centre.authority.pem,
            "not_after": format_wall(issued.not_after),
            "renew_after": format_wall(issued.renew_after),
        },
        status_code=201,
    )


def _refuse(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse({"code": code, "message": message}, status_code=status, headers=headers)
