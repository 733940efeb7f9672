"""HL7 messages to a receiver over MLLP: one at a time, each until its acknowledgement."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self
from urllib.parse import urlsplit

from edge_daemon.errors import EdgeError, Fatal

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

CONNECT_S: Final = 10.0
ANSWER_S: Final = 30.0
_START: Final = b"\x0b"
_END: Final = b"\x1c\r"
_MOST: Final = 64 << 10
_TAKEN: Final = frozenset({"AA", "CA"})
_REFUSED: Final = frozenset({"AE", "AR", "CE", "CR"})


class TroubleError(EdgeError):
    """A message was not taken; `code` is ``AE``, ``AR``, … or what went wrong on the line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Receiver(Protocol):
    """Takes messages; used as a context."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def send(self, message: bytes, control_id: str) -> None:
        """Deliver one message; return once the receiver has it.

        Raises
        ------
        TroubleError
            It was not taken, or nobody knows whether it was.
        """
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a receiver listens.

    Attributes
    ----------
    tls
        ``mllps://``: encrypted, the receiver's certificate checked. ``mllp://`` sends in the clear.
    """

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``mllp://host:port`` or ``mllps://host:port``.

        Raises
        ------
        Fatal
            It is neither.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in ("mllp", "mllps") or not host or not port:
            raise Fatal(
                f"{text!r} is no address of a receiver",
                action="write mllps://host:port, mllp://host:port, or a folder",
            )
        return cls(host, port, parts.scheme == "mllps")


class Mllp:
    """One connection to a receiver, opened with the first message and kept.

    Parameters
    ----------
    address
        Of the receiver.
    ca
        Certificates that the receiver's must be signed by; None: those the system trusts.
    answer_s
        How long an acknowledgement may take.
    """

    def __init__(
        self, address: Address, *, ca: Path | None = None, answer_s: float = ANSWER_S
    ) -> None:
        self._address = address
        self._answer_s = answer_s
        self._ca = ca
        self._line: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        line, self._line = self._line, None
        if line is not None:
            with contextlib.suppress(OSError):
                line.close()

    def send(self, message: bytes, control_id: str) -> None:
        """Send a message and read what the receiver says to it.

        Raises
        ------
        TroubleError
            It was refused, or no acknowledgement of it came.
        """
        try:
            line = self._connected()
            line.sendall(_START + message + _END)
            answer = _read(line)
        except TimeoutError as error:
            self.close()
            raise TroubleError("no_answer", f"no answer within {self._answer_s:.0f} s") from error
        except ssl.SSLError as error:
            self.close()
            raise TroubleError("not_trusted", f"TLS with the receiver failed: {error}") from error
        except OSError as error:
            self.close()
            reason = error.strerror or str(error)
            raise TroubleError("unreachable", f"the line to the receiver: {reason}") from error
        try:
            judge(answer, control_id)
        except TroubleError as trouble:
            if trouble.code not in _REFUSED:
                self.close()  # whatever it says next may be about this message
            raise

    def _connected(self) -> socket.socket:
        if self._line is None:
            tls = self._trust() if self._address.tls else None
            address = (self._address.host, self._address.port)
            line = socket.create_connection(address, timeout=CONNECT_S)
            try:
                if tls is not None:
                    line = tls.wrap_socket(line, server_hostname=self._address.host)
                line.settimeout(self._answer_s)
            except BaseException:
                line.close()
                raise
            self._line = line
        return self._line

    def _trust(self) -> ssl.SSLContext:
        try:
            tls = ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
        except OSError as error:  # whoever set the feed up could read it; this user may not
            raise TroubleError("ca", f"{self._ca}: {error.strerror or error}") from error
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        return tls


def _read(line: socket.socket) -> bytes:
    """Read one frame."""
    answer = b""
    while not answer.endswith(_END):
        piece = line.recv(4096)
        if not piece:
            raise ConnectionResetError(None, "closed before an answer came")
        answer += piece
        if len(answer) > _MOST:
            raise ConnectionResetError(None, "the answer does not end")
    return answer


def judge(answer: bytes, control_id: str) -> None:
    """Return if an answer says that the message was taken.

    Raises
    ------
    TroubleError
        It refuses the message, is about another, or is no acknowledgement.
    """
    begin = answer.find(_START)
    text = answer[begin + 1 : -len(_END)].decode("utf-8", "replace")
    segments = [line.split("|") for line in text.replace("\n", "\r").split("\r") if line]
    told = next((s for s in segments if s[0] == "MSA"), None)
    if begin < 0 or told is None or len(told) < 3:
        raise TroubleError("no_acknowledgement", "the answer is no HL7 acknowledgement")
    code, about = told[1].strip(), told[2].strip()
    if about != control_id:
        raise TroubleError("other_message", f"the answer is about message {about[:40]!r}")
    if code in _TAKEN:
        return
    if code not in _REFUSED:
        raise TroubleError("no_acknowledgement", f"the answer says {code[:10]!r}")
    raise TroubleError(code, _why(told, segments) or "the receiver gives no reason")


def _why(told: list[str], segments: list[list[str]]) -> str:
    """Gather what the receiver says: MSA-3 and the ERR segments."""
    said = [told[3]] if len(told) > 3 else []
    for segment in segments:
        if segment[0] == "ERR":
            said += [field.replace("^", " ") for field in segment[1:]]
    return "; ".join(text.strip() for text in said if text.strip())[:500]
