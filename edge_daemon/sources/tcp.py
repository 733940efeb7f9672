"""Analyzers on the network: connections that are waited for, or one that is made."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

from edge_daemon.sources.connection import Connection, LostError
from edge_daemon.sources.line import LineSource

if TYPE_CHECKING:
    from edge_daemon.clock import Clock
    from edge_daemon.sources.intake import LineHandlers, LineSpec

Network = IPv4Network | IPv6Network

_CONNECT_S: Final = 10.0
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0
_BACKLOG: Final = 8
# A dead peer is noticed after 60 + 3 × 10 s, well before its place is needed again.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


@dataclass(frozen=True, slots=True)
class TcpSpec:
    """Where to listen or connect; see docs/configuration.md.

    Attributes
    ----------
    address
        Host and port: bound to when listening, else connected to. Port 0 binds to a free one.
    listening
        Whether the analyzer connects to the box.
    allow
        Networks that may connect.
    connections
        Most connections served at a time.
    """

    line: LineSpec
    address: tuple[str, int]
    listening: bool
    allow: tuple[Network, ...] = ()
    connections: int = 4


class TcpSource(LineSource):
    """Serves analyzers on the network, each connection in a thread of its own.

    Parameters
    ----------
    spec
        Where to listen or connect.
    handlers
        Where captures and events go.
    clock
        Monotonic time, and wall time for names.

    Attributes
    ----------
    bound
        Address that is listened on, once it is.
    """

    def __init__(self, spec: TcpSpec, handlers: LineHandlers, clock: Clock) -> None:
        super().__init__(spec.line, handlers, clock)
        self.bound: tuple[str, int] | None = None
        self._tcp = spec
        self._threads: dict[int, threading.Thread] = {}
        self._refused = 0

    def describe(self) -> dict[str, object]:
        """Add the address, and the connections of the moment."""
        host, port = self.bound or self._tcp.address
        return super().describe() | {
            "kind": "tcp",
            "address": f"{host}:{port}",
            "connections": len(self._living()),
            "refused": self._refused,
        }

    def work(self) -> None:
        """Listen, or connect; begin again when it is lost."""
        delay = _FIRST_RETRY_S
        while not self._stop.is_set():
            self._intake.beat()
            try:
                if self._tcp.listening:
                    self._listen()
                else:
                    self._connect()
                    delay = _FIRST_RETRY_S
            except LostError as error:
                if self.state == "connected":
                    delay = _FIRST_RETRY_S
                self._intake.set_state("degraded", error)
            if not self._pause(delay):
                delay = min(delay * 2, _LAST_RETRY_S)
        for thread in self._living().values():
            thread.join()

    def _pause(self, seconds: float) -> bool:
        """Wait in turns, so that the watchdog sees them; tell whether the source stops."""
        while seconds > 0 and not self._stop.wait(min(seconds, self.spec.turn_s)):
            self._intake.beat()
            seconds -= self.spec.turn_s
        return self._stop.is_set()

    def _connect(self) -> None:
        try:
            made = socket.create_connection(self._tcp.address, _CONNECT_S)
        except OSError as error:
            raise LostError(
                f"{_shown(self._tcp.address)} does not answer: {error.strerror or error}",
                action="check that the analyzer is on, its network settings, and `connect`",
            ) from error
        self._intake.set_state("connected")
        self._serve_socket(made, 0)

    def _listen(self) -> None:
        with self._bind() as listener:
            self.bound = listener.getsockname()[:2]
            self._intake.set_state("listening")
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            poll.register(self._stop.fileno(), select.POLLIN)
            while not self._stop.is_set():
                poll.poll(self.spec.turn_s * 1000)
                self._intake.beat()
                self._accept(listener)

    def _bind(self) -> socket.socket:
        host, port = self._tcp.address
        try:
            listener = socket.create_server(
                (host, port),
                family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise LostError(
                f"{_shown(self._tcp.address)} cannot be listened on: {error.strerror or error}",
                action="check `listen`: the address must be one of this box's, the port unused",
            ) from error
        listener.settimeout(0)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        try:
            made, peer = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            raise LostError(f"no connection can be taken: {error.strerror}") from error
        self._admit(made, peer)

    def _admit(self, made: socket.socket, peer: tuple[str, int]) -> None:
        """Serve a connection, or close it at once."""
        number = next((n for n in range(self._tcp.connections) if n not in self._living()), None)
        if number is None or not self._allowed(peer[0]):
            self._refused += 1
            self._handlers.on_peer(self.spec.name, peer[0])
            made.close()
            return
        thread = threading.Thread(
            target=self._guarded,
            args=(lambda: self._serve_peer(made, number),),
            name=f"source-{self.spec.name}-{number}",
            daemon=True,
        )
        self._threads[number] = thread
        thread.start()

    def _living(self) -> dict[int, threading.Thread]:
        return {n: thread for n, thread in self._threads.copy().items() if thread.is_alive()}

    def _allowed(self, peer: str) -> bool:
        address = ip_address(peer.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._tcp.allow)

    def _serve_peer(self, made: socket.socket, number: int) -> None:
        with contextlib.suppress(LostError):  # an analyzer may hang up whenever it likes
            self._serve_socket(made, number)

    def _serve_socket(self, made: socket.socket, number: int) -> None:
        made.settimeout(0)
        for option in _KEEPALIVE:
            with contextlib.suppress(OSError):
                made.setsockopt(*option)
        self.serve(Connection(made.fileno(), made.close, self._stop), number)


def _shown(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
