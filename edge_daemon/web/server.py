"""Serves the page in a thread of the service, and never takes the service down with it."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import threading
from typing import TYPE_CHECKING, Final

from edge_daemon import errors
from edge_daemon.conditions import Finding
from edge_daemon.log import Event
from edge_daemon.source_settings import endpoint
from edge_daemon.updates.folder import reference_places
from edge_daemon.web import certificates
from edge_daemon.web.certificates import Certificate
from edge_daemon.web.interpreting import Shelf
from edge_daemon.web.passwords import Passwords
from edge_daemon.web.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import uvicorn

    from edge_daemon.clock import Clock
    from edge_daemon.config import Settings, Web
    from edge_daemon.log import EventLog
    from edge_daemon.store.writer import Store

_RETRY_S: Final = 30.0
_BACKLOG: Final = 128
_STOP_S: Final = 5.0


class WebServer:
    """The page of one box.

    Parameters
    ----------
    settings
        Of this box.
    store
        The service's writer.
    clock
        Time for sessions.
    log
        Told when the page becomes available or cannot be.
    config_file
        Where the settings were read from; programs that the page starts read it too.
    wake
        Called after a correction: there may be something to analyse.
    doubt
        What every page says on top while the service runs.

    Attributes
    ----------
    url
        Where the page is, or None while it is not.
    reason
        Why it is not; empty while it is.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        log: EventLog,
        config_file: Path | None = None,
        wake: Callable[[], None] | None = None,
        doubt: Finding | None = None,
    ) -> None:
        self._settings = settings
        self._config_file = config_file
        self._wake = wake or (lambda: None)
        self._doubt = doubt
        self._web: Web = settings.web
        self._store = store
        self._clock = clock
        self._log = log
        self._stopping = threading.Event()
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._socket: socket.socket | None = None
        self.url: str | None = None
        self.reason = ""

    def start(self) -> None:
        """Open the address, so that it is known at once, and serve from a thread."""
        with contextlib.suppress(errors.EdgeError):  # the thread says it, and tries again
            self._open()
        self._thread.start()

    def stop(self) -> None:
        """End open requests and event streams, then the thread."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_S)
        self._close()

    def _tables(self) -> tuple[Path, ...]:
        """Where intervals and rules lie now; an update may have brought others."""
        return reference_places(self._settings.box.data_dir, self._settings.reference.extra_dirs)

    def findings(self) -> list[Finding]:
        """Say why the page is not served, where it is not."""
        reason = self.reason
        return [Finding("page_unavailable", values={"reason": reason})] if reason else []

    def describe(self) -> dict[str, object]:
        """Say where the page is, for the status file."""
        return {"url": self.url, "reason": self.reason}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve()
            except errors.EdgeError as error:
                self._unavailable(error.message, type(error).__name__)
            except Exception as error:  # noqa: BLE001 - intake goes on, whatever the page does
                self._unavailable(f"the page ended: {error}", type(error).__name__)
            self._close()
            self._stopping.wait(_RETRY_S)

    def _unavailable(self, message: str, kind: str) -> None:
        self.reason = message
        self._log.on_change("web", message, Event.WEB_UNAVAILABLE, error_type=kind)

    def _serve(self) -> None:
        import uvicorn  # noqa: PLC0415 - costs 0.1 s that READY does not wait for

        from edge_daemon.web.app import make_app  # noqa: PLC0415

        if self._socket is None:
            self._open()
        assert self._socket is not None
        certificate = self._certificate()
        site = Site(
            data_dir=self._settings.box.data_dir,
            box=self._settings.box.name,
            store=self._store,
            clock=self._clock,
            log=self._log.emit,
            secure=certificate is not None,
            hosts=_names(self._web.hosts),
            wake=self._wake,
            config=self._config_file,
            shelf=Shelf(self._tables),
            stopping=self._stopping,
            metrics=self._web.metrics or is_loopback(endpoint(self._web.listen)[0]),
            doubt=self._doubt.describe() if self._doubt is not None else None,
        )
        _quieten(self._log.emit)
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(site),
                lifespan="off",
                ws="none",
                http="h11",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=256,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=2,
                ssl_certfile=certificate.certificate if certificate else None,
                ssl_keyfile=certificate.key if certificate else None,
            )
        )
        self._log.on_change("web", "serving", Event.WEB_SERVING, address=self._address())
        self.reason = ""
        if not self._stopping.is_set():
            self._server.run(sockets=[self._socket])

    def _open(self) -> None:
        """Listen on the configured address.

        Raises
        ------
        Retryable
            It cannot be had now, or is not to be served without a password.
        """
        host, port = endpoint(self._web.listen)
        self._must_be_guarded(host)
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            opened = socket.socket(family, kind, protocol)
            try:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind(address)
                opened.listen(_BACKLOG)
            except OSError:
                opened.close()
                raise
        except OSError as error:
            raise errors.Retryable(
                f"{self._web.listen}: the page cannot be served here: {error.strerror or error}",
                action="another program uses the port, or the unit may not open it: see web.md",
            ) from error
        self._socket = opened
        self.url = f"{'https' if self._encrypted else 'http'}://{self._address()}/"

    @property
    def _encrypted(self) -> bool:
        """Passwords and results never cross a network in the clear."""
        host, _ = endpoint(self._web.listen)
        return self._web.tls_cert is not None or not is_loopback(host)

    def _certificate(self) -> Certificate | None:
        """Take the given certificate, else the box's own, which is made when it is first needed."""
        if not self._encrypted:
            return None
        if self._web.tls_cert is not None and self._web.tls_key is not None:
            return Certificate(self._web.tls_cert, self._web.tls_key)
        data_dir = self._settings.box.data_dir
        found = certificates.own(data_dir)
        if found.certificate.is_file() and found.key.is_file():
            return found
        host, _ = endpoint(self._web.listen)
        return certificates.make(data_dir, (*self._web.hosts, *_specific(host)))

    def _must_be_guarded(self, host: str) -> None:
        if not is_loopback(host) and not Passwords(self._settings.box.data_dir).hashes():
            raise errors.Retryable(
                f"{self._web.listen}: other computers need a password for the page",
                action="set one with `edge-daemon web password technician`",
            )

    def _close(self) -> None:
        self.url = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _address(self) -> str:
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _specific(host: str) -> tuple[str, ...]:
    """Return the address unless it stands for all of them."""
    try:
        return () if ipaddress.ip_address(host).is_unspecified else (host,)
    except ValueError:
        return (host,)


def _names(configured: tuple[str, ...]) -> frozenset[str]:
    own = socket.gethostname().lower()
    return frozenset({"localhost", own, f"{own}.local", *(name.lower() for name in configured)})


class _ToEvents(logging.Handler):
    """Turns what the web server would write into our log's one event for it."""

    def __init__(self, emit: Callable[..., None]) -> None:
        super().__init__(logging.ERROR)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the kind of the error: a message may hold a name or an address."""
        kind = record.exc_info[0] if record.exc_info else None
        self._emit(Event.WEB_DEFECT, error_type=kind.__name__ if kind else record.levelname)


def _quieten(emit: Callable[..., None]) -> None:
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [_ToEvents(emit)]
        logger.propagate = False
