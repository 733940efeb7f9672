"""The server process: TLS that verifies boxes, the database and the raw store put together."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import hmac
import os
import resource
import signal
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from sqlalchemy.exc import ArgumentError, OperationalError
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors.multiprocess import Multiprocess

from edge_daemon.central import serving_updates
from edge_daemon.central.alarms import Alarms, watch_handshakes
from edge_daemon.central.app import CERTIFICATE, Centre, make_app
from edge_daemon.central.authority import Authority
from edge_daemon.central.limits import Limiter
from edge_daemon.central.page.serving import FleetPage
from edge_daemon.central.raw_store import Arrivals, FolderStore, S3Store
from edge_daemon.central.rollouts import Rollouts
from edge_daemon.central.store import CentralStore
from edge_daemon.errors import EXIT_FAILED, EXIT_RETRY_LATER, EXIT_USAGE, Fatal
from edge_daemon.log import EventLog

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.central.raw_store import RawStore

S3_KEY: Final = "EDGE_S3_ACCESS_KEY"
S3_SECRET: Final = "EDGE_S3_SECRET_KEY"  # noqa: S105 - the name of the variable
DATABASE: Final = "central.sqlite3"
"""File in the server's folder, where no other database is named."""
_MAX_RAW: Final = 64 << 20
_CLAIMS_PER_S: Final = 0.2
_CLAIMS: Final = 10.0
"""Tries at a claim code that one address has, of all workers together."""
_IDLE_S: Final = 20
"""A quiet connection is ended: a box sends every few minutes, and comes again."""
_CONNECTIONS: Final = 4000
"""Of one worker, each of 0.3 MB; more are told to come again (503)."""
_HUNG_S: Final = 60
"""A worker that has not answered for so long is ended, and another one started."""
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs and keeps its things.

    Attributes
    ----------
    folder
        Of the authority, of what is arriving, and of what has no other place.
    host, port
        Address to listen on; port 0 takes a free one.
    database
        URL of SQLAlchemy; None: SQLite in the folder.
    s3
        ``host:port/bucket`` of an S3 service, ``http://`` before it where it has no TLS; None:
        raw captures lie in the folder. The keys come from the environment.
    calls_per_s
        Calls that one box may make on average.
    workers
        Processes that answer.
    """

    folder: Path
    host: str
    port: int
    database: str | None = None
    s3: str | None = None
    calls_per_s: float = 20.0
    workers: int = 1

    @property
    def url(self) -> str:
        """Of the database."""
        return self.database or f"sqlite:///{self.folder / DATABASE}"

    def open_store(self) -> CentralStore:
        """Open the database and make what is not there yet.

        Raises
        ------
        Fatal
            The address is of no database that is known, or the database cannot be reached.
        """
        try:
            store = CentralStore(self.url)
        except (ArgumentError, ImportError) as error:
            raise Fatal(
                "the address of the database is none that is known",
                action="write it as postgresql+psycopg://user@host/name",
                exit_code=EXIT_USAGE,
            ) from error
        try:
            store.create()
        except OperationalError as error:
            store.close()
            raise Fatal(
                f"the database cannot be reached: {str(error.orig).splitlines()[0]}",
                action="start it, or give its right address with --database",
                exit_code=EXIT_RETRY_LATER,
            ) from error
        return store

    def open_raw(self) -> RawStore:
        """Open the raw store.

        Raises
        ------
        Fatal
            The keys of the S3 service are not in the environment.
        """
        if self.s3 is None:
            return FolderStore(self.folder / "raw")
        from minio import Minio  # noqa: PLC0415 - only where it is used

        try:
            access, secret = os.environ[S3_KEY], os.environ[S3_SECRET]
        except KeyError as error:
            raise Fatal(
                f"{error.args[0]} is not set",
                action=f"set {S3_KEY} and {S3_SECRET} in the environment of the server",
            ) from error
        address = self.s3.removeprefix("http://").removeprefix("https://")
        host, _, bucket = address.partition("/")
        secure = not self.s3.startswith("http://")
        return S3Store(Minio(host, access, secret, secure=secure), bucket)


class _Verified(H11Protocol):
    """Keeps, with each connection, which certificate TLS has verified on it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the certificate before the first request."""
        super().connection_made(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls else None
        sha256 = hashlib.sha256(shown).hexdigest() if shown else ""
        self.app_state = {**self.app_state, CERTIFICATE: sha256}


def make_server(place: Place) -> uvicorn.Server:
    """Put a server of one process together; `run` or `serve` of what is returned starts it.

    Raises
    ------
    Fatal
        The folder holds no authority or no certificate of the server.
    """
    return uvicorn.Server(_config(place, _make_app(place)))


def run(place: Place, say: Callable[[str], object]) -> None:
    """Serve until a signal ends it.

    With several workers this process only watches over them: it starts one again that has ended
    or hangs, and ends all when it is told to.

    Parameters
    ----------
    place
        Where.
    say
        Told the address once it is listened on.

    Raises
    ------
    Fatal
        As `make_server`, the database cannot be used, or the address cannot be listened on.
    """
    _allow_connections()
    # Whatever is wrong is said once, here, and not by every worker again and again.
    server = make_server(place)
    try:
        server.config.load()
    except OSError as error:
        raise Fatal(
            f"{place.folder}: server.pem and server.key cannot be used: {error.strerror}",
            action="put the certificate and its own key there, readable by this user, or make "
            "both with `edge-daemon central certify`",
        ) from error
    with _listen(place, server.config.backlog) as listening:
        say(f"listening on https://{place.host}:{place.port}")
        if place.workers == 1:
            server.run([listening])
            return
        config = _config(place, partial(_worker_app, place, os.getpid()), workers=place.workers)
        Multiprocess(config, [listening]).run()


def _listen(place: Place, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        return socket.create_server((place.host, place.port), family=family, backlog=backlog)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise Fatal(
            f"{place.host}:{place.port}: cannot be listened on: {error.strerror}",
            action="stop the other program, or choose another port with --listen"
            if taken
            else "choose an address of this machine, and a port this user may open, with --listen",
            exit_code=EXIT_RETRY_LATER if taken else EXIT_FAILED,
        ) from error


def _make_app(place: Place) -> Starlette:
    authority = Authority.load(place.folder)
    for name in ("server.pem", "server.key"):
        if not (place.folder / name).is_file():
            raise Fatal(
                f"{place.folder / name}: there is none",
                action="make one with `edge-daemon central init`",
            )
    store, log = place.open_store(), EventLog()
    return make_app(
        Centre(
            store=store,
            page=FleetPage(place.url, store.engine, page_secret(place.folder), log),
            authority=authority,
            alarms=Alarms(store.engine, log),
            arrivals=Arrivals(place.folder / "arriving", place.open_raw(), _MAX_RAW),
            calls=Limiter(place.calls_per_s, 10 * place.calls_per_s),
            claims=Limiter(_CLAIMS_PER_S / place.workers, max(1.0, _CLAIMS / place.workers)),
            updates=place.folder / serving_updates.FOLDER,
            rollouts=Rollouts(store.engine),
        )
    )


def page_secret(folder: Path) -> str:
    """Make the secret of the page's forms, the same in every process, of what is secret anyway."""
    key = (folder / "fleet.key").read_bytes()
    return hmac.digest(key, b"forms of the fleet's page", "sha256").hex()


def _worker_app(place: Place, parent: int) -> Starlette:
    """Make the application in a worker, which must not outlive the process that watches it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)
    return _make_app(place)


class _Config(uvicorn.Config):
    """Tells of handshakes that fail, too: whoever is refused there never becomes a request."""

    def load(self) -> None:
        """Load TLS and the application, and connect them."""
        super().load()
        assert self.ssl is not None
        watch_handshakes(self.ssl, self.loaded_app.state.alarms)


def _config(place: Place, app: Any, **more: Any) -> uvicorn.Config:
    return _Config(
        app,
        factory=not isinstance(app, Starlette),
        host=place.host,
        port=place.port,
        http=_Verified,
        ssl_certfile=place.folder / "server.pem",
        ssl_keyfile=place.folder / "server.key",
        ssl_ca_certs=str(place.folder / "fleet.pem"),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_S,
        # A box that has lost its line does not say that it goes.
        timeout_graceful_shutdown=5,
        limit_concurrency=_CONNECTIONS,
        # A worker that is being started on a busy machine does not answer for a while either.
        timeout_worker_healthcheck=_HUNG_S,
        # Nothing that this protocol does not use; TLS ends here, so no proxy names the caller.
        proxy_headers=False,
        ws="none",
        lifespan="on",
        date_header=False,
        **more,
    )


def _allow_connections() -> None:
    """Let this process and its workers hold as many connections as the system allows them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * _CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
