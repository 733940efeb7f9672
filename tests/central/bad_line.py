"""A line between one box and the centre that does what bad lines, proxies and portals do.

It ends TLS as the centre would and speaks to the real one with the box's own certificate, so
that a whole request can be repeated, answered by somebody else, or answered and the answer lost.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import ssl
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

FAULTS = (
    "reset", "delay", "error", "error_after", "lost", "truncated", "portal", "twice", "at_once",
)  # fmt: skip
"""What happens to a request: the connection is reset before it; it comes late; status 500 before
or after the centre has it; the answer is lost, or cut in half; a portal's page; the request comes
twice, one after the other or at once."""
PORTAL = b"<html>Welcome to the clinic's guest network</html>"
_HOP = {"connection", "transfer-encoding", "content-length", "host"}


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class BadLine:
    """Listens on loopback until it is closed.

    Attributes
    ----------
    centre
        Host and port of the real one.
    folder
        Of the centre: its certificate is shown here.
    certificate
        Of the box; used as soon as it is there.
    share
        Of requests that get a fault.
    requests, faults
        How many came, and what happened to them.
    """

    centre: tuple[str, int]
    folder: Path
    certificate: Path
    rng: random.Random
    share: float = 0.0
    requests: int = 0
    answered: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        self._context.load_verify_locations(self.folder / "fleet.pem")
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Every request of one connection; a broken one ends it."""
        connection.settimeout(60.0)
        with (
            contextlib.suppress(OSError, ValueError),
            connection,
            self._context.wrap_socket(connection, server_side=True) as tls,
            tls.makefile("rb") as reader,
        ):
            while (request := _read(reader)) is not None and self._treat(tls, *request):
                pass

    def _treat(self, tls: ssl.SSLSocket, line: str, headers: list, body: bytes) -> bool:
        """Do to one request what chance says; whether the connection lives on."""
        with self._lock:
            self.requests += 1
            fault = self.rng.choice(FAULTS) if self.rng.random() < self.share else ""
            late = self.rng.uniform(0.1, 1.0)
            self.faults[fault] += bool(fault)
        if fault == "reset":
            return _reset(tls)
        if fault == "delay":
            threading.Event().wait(late)
        if fault in {"error", "portal"}:
            kind = "application/json" if fault == "error" else "text/html"
            text = b'{"code":"x","message":"x"}' if fault == "error" else PORTAL
            return _write(
                tls, Answer(500 if fault == "error" else 200, [("content-type", kind)], text)
            )
        answer = self._forward(fault, line, headers, body)
        if answer is None or fault == "lost":
            return False
        if fault == "error_after":
            return _write(tls, Answer(502, [("content-type", "text/html")], b"<html>"))
        self.answered += 1
        return _write(tls, answer, cut=fault == "truncated")

    def _forward(self, fault: str, line: str, headers: list, body: bytes) -> Answer | None:
        if fault == "at_once":
            other = threading.Thread(target=self._ask, args=(line, headers, body))
            other.start()
            answer = self._ask(line, headers, body)
            other.join()
            return answer
        if fault == "twice":
            self._ask(line, headers, body)
        return self._ask(line, headers, body)

    def _ask(self, line: str, headers: list, body: bytes) -> Answer | None:
        """Ask the real centre; None while there is none."""
        method, path, _ = line.split(" ")
        context = ssl.create_default_context(cafile=str(self.folder / "fleet.pem"))
        if self.certificate.exists():
            context.load_cert_chain(str(self.certificate))
        upstream = http.client.HTTPSConnection(*self.centre, timeout=30, context=context)
        try:
            upstream.request(method, path, body, dict(headers))
            answer = upstream.getresponse()
            told = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP]
            return Answer(answer.status, told, answer.read())
        except (OSError, http.client.HTTPException):
            return None
        finally:
            upstream.close()


def _read(reader) -> tuple[str, list[tuple[str, str]], bytes] | None:
    line = reader.readline().decode("ascii").strip()
    if not line:
        return None
    headers = []
    while text := reader.readline().decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers.append((name.strip(), value.strip()))
    length = next((int(v) for k, v in headers if k.lower() == "content-length"), 0)
    kept = [(k, v) for k, v in headers if k.lower() not in _HOP]
    return line, kept, reader.read(length)


def _write(tls: ssl.SSLSocket, answer: Answer, *, cut: bool = False) -> bool:
    """Write an answer, or the first half of it under its whole length."""
    head = f"HTTP/1.1 {answer.status} X\r\ncontent-length: {len(answer.body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    tls.sendall(head.encode("latin-1") + b"\r\n" + answer.body[: len(answer.body) // (1 + cut)])
    return not cut


def _reset(tls: ssl.SSLSocket) -> bool:
    """End the connection as a firewall does."""
    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        socket.socket(fileno=tls.detach()).close()
    return False
