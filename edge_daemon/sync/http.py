"""HTTPS to the central server: one connection, client certificate, bounded answers."""

from __future__ import annotations

import io
import re
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError

from edge_daemon import __version__
from edge_daemon.errors import EXIT_BAD_CONFIG, Fatal
from edge_daemon.sync.policy import TroubleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

CONNECT_S: Final = 10.0
READ_S: Final = 20.0
_MAX_ANSWER: Final = 1 << 20
_PIECE: Final = 64 << 10
_BEGINS = re.compile(r"bytes (\d{1,15})-")


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of HTTP; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is read piece by piece.

    Attributes
    ----------
    begins_at
        Offset of the first byte in the whole file.
    pieces
        The body; reading it raises `TroubleError` where it breaks off.
    """

    status: int
    begins_at: int
    pieces: Iterator[bytes]


class Server:
    """The central server, as one box calls it.

    Parameters
    ----------
    url
        ``https://host[:port]``, nothing else: there is no way to send in the clear.
    fleet
        Certificates that the server's must be signed by; None: those the system trusts.
    certificate
        The box's certificate and key in one file; None before it is enrolled.
    proxy
        ``http://host:port`` of a proxy, through which TLS goes unopened; None for none.

    Attributes
    ----------
    progress
        Called whenever a piece has been sent or received: a slow line is no hung one.

    Raises
    ------
    Fatal
        The address is not of HTTPS, or the fleet's certificate is none.
    """

    def __init__(
        self,
        url: str,
        *,
        fleet: Path | None,
        certificate: Path | None,
        proxy: str | None = None,
    ) -> None:
        self.progress: Callable[[], object] = lambda: None
        self.url = _checked(url)
        try:
            context = ssl.create_default_context(cafile=None if fleet is None else str(fleet))
        except OSError as error:
            raise Fatal(
                f"{fleet}: this is no certificate of a fleet: {error.strerror}",
                action="ask the server's operator for its `fleet.pem`",
                exit_code=EXIT_BAD_CONFIG,
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(str(certificate))
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        self._pool: urllib3.PoolManager = (
            urllib3.PoolManager(num_pools=1, maxsize=1, ssl_context=context, timeout=timeout)
            if proxy is None
            else urllib3.ProxyManager(
                proxy, num_pools=1, maxsize=1, ssl_context=context, timeout=timeout
            )
        )

    def call(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes = b""
    ) -> Answered:
        """Make one call, without following or repeating anything.

        Raises
        ------
        TroubleError
            There was no whole answer; ``hold`` where the server's certificate is not to be
            trusted, ``retry`` otherwise.
        """
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                body=_Sent(body, self.progress) if body else None,
                headers={
                    "User-Agent": f"edge-daemon/{__version__}",
                    "Content-Length": str(len(body)),
                    **headers,
                },
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                told = self._read(answer)
                return Answered(
                    answer.status, {k.lower(): v for k, v in answer.headers.items()}, told
                )
            finally:
                answer.close()
                answer.release_conn()
        except (HTTPError, OSError) as error:
            self._pool.clear()
            raise _trouble(error) from error

    @contextmanager
    def stream(self, path: str, *, offset: int = 0) -> Iterator[Stream]:
        """Get a file from an offset on, without following anything; the caller bounds its size.

        Raises
        ------
        TroubleError
            As `call`.
        """
        headers = {"User-Agent": f"edge-daemon/{__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            answer = self._pool.request(
                "GET",
                self.url + path,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            self._pool.clear()
            raise _trouble(error) from error
        try:
            told = _BEGINS.match(answer.headers.get("Content-Range", ""))
            begins_at = int(told[1]) if answer.status == 206 and told else 0
            yield Stream(answer.status, begins_at, self._pieces(answer))
        finally:
            answer.close()
            answer.release_conn()

    def _pieces(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            # As they come: who sends slowly must not hold a reader that waits for a whole piece.
            while piece := answer.read1(_PIECE, decode_content=False):
                self.progress()
                yield piece
        except (HTTPError, OSError) as error:
            self._pool.clear()
            raise _trouble(error) from error

    def _read(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        parts, size = [], 0
        while piece := answer.read(_PIECE, decode_content=False):
            self.progress()
            size += len(piece)
            if size > _MAX_ANSWER:
                raise TroubleError("retry", "answer_too_large", "the answer does not end")
            parts.append(piece)
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()


class _Sent(io.BytesIO):
    """A body that says when a piece of it is taken to be sent."""

    def __init__(self, body: bytes, progress: Callable[[], object]) -> None:
        super().__init__(body)
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        """Hand out the next piece."""
        self._progress()
        return super().read(size)


def _checked(url: str) -> str:
    try:
        parsed = urllib3.util.parse_url(url.rstrip("/"))
    except LocationParseError as error:
        raise _wrong(url) from error
    if parsed.scheme != "https" or not parsed.host or parsed.path or parsed.query or parsed.auth:
        raise _wrong(url)
    return parsed.url


def _wrong(url: str) -> Fatal:
    return Fatal(
        f"{url!r} is no address of a central server",
        action="give it as https://host or https://host:port",
        exit_code=EXIT_BAD_CONFIG,
    )


def _trouble(error: Exception) -> TroubleError:
    """Tell a server that must not be trusted from one that cannot be reached."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TroubleError(
                "hold", "server_not_trusted", f"the server is not trusted: {cause.verify_message}"
            )
        if isinstance(cause, ssl.SSLError) and "CERTIFICATE" in (cause.reason or ""):
            told = f"the server does not take this box's certificate: {cause.reason}"
            return TroubleError("hold", "box_not_trusted", told)
        inner = cause.reason if isinstance(cause, MaxRetryError) else None
        cause = inner if isinstance(inner, BaseException) else cause.__cause__ or cause.__context__
    return TroubleError("retry", "unreachable", f"no whole answer: {type(error).__name__}")
