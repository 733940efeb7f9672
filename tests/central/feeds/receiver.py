"""A receiver of HL7 over MLLP, as practice software is one, on a real socket."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable
from contextlib import contextmanager

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

Answer = Callable[[str, str], bytes | None]


def acknowledge(code: str = "AA", error: str = "") -> Answer:
    """Answer every message with a code."""

    def answer(_text: str, control_id: str) -> bytes:
        lines = ["MSH|^~\\&|LIS|||||||ACK|1|P|2.5.1", f"MSA|{code}|{control_id}"]
        lines += [f"ERR|||{error}"] if error else []
        return b"\x0b" + "\r".join(lines).encode() + b"\r\x1c\r"

    return answer


class Receiver(socketserver.ThreadingTCPServer):
    """Keeps what it was sent; `answer` may be changed at any time, None hangs up."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answer: Answer | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer or acknowledge()
        self.seen: list[str] = []
        self.texts: dict[str, str] = {}
        self.arrived = threading.Condition()
        self._tls = tls
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self):
        line, address = super().get_request()
        return (self._tls.wrap_socket(line, server_side=True) if self._tls else line), address

    def handle_error(self, request, client_address):
        """Say nothing of a client that goes away: it was killed."""

    @property
    def url(self) -> str:
        return f"{'mllps' if self._tls else 'mllp'}://127.0.0.1:{self.server_address[1]}"

    def take(self, text: str) -> bytes | None:
        control_id = text.split("\r", maxsplit=1)[0].split("|")[9]
        answer = self.answer(text, control_id)
        with self.arrived:
            self.seen.append(control_id)
            self.texts.setdefault(control_id, text)
            assert self.texts[control_id] == text  # a repeat is the same to the byte
            self.arrived.notify_all()
        return answer


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        data = b""
        while piece := self.request.recv(65536):
            data += piece
            while b"\x1c\r" in data:
                frame, _, data = data.partition(b"\x1c\r")
                answer = self.server.take(frame.removeprefix(b"\x0b").decode("utf-8"))
                if answer is None:
                    return
                self.request.sendall(answer)


@contextmanager
def receiving(answer: Answer | None = None, tls: ssl.SSLContext | None = None):
    """Run a receiver in a thread."""
    server = Receiver(answer, tls)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def checked(text: str) -> str:
    """Parse a message; return its status of the request (OBR-25)."""
    message = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    assert message.validate()
    return next(s for s in text.split("\r") if s.startswith("OBR|")).split("|")[25]
