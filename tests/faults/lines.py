"""Simulated analyzers on the lines of a box, and what was acknowledged to them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Self

from edge_daemon.simulator.analyzer import Analyzer
from edge_daemon.simulator.transports import LineDownError, PtyLine, TcpLine
from edge_daemon.simulator.wire import PACKET_FRAMING
from tests.faults.audit import Verdict
from tests.faults.bench import Box, FaultError, wait
from tests.faults.captures import capture, digest

_FRAMING = {"framing": "packet", "framing_options": dict(PACKET_FRAMING)}


class Senders:
    """One analyzer on a serial line, one on the network; each sends until it is told it arrived."""

    def __init__(self, box: Box, numbers: Iterator[int]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        self._box = box
        self._numbers = numbers
        self._lines = {
            "s1": PtyLine(box.folder / "port"),
            "t1": TcpLine(("127.0.0.1", port)),
        }
        self.waiting: dict[str, list[bytes]] = {name: [] for name in self._lines}
        self.sent: dict[str, str] = {}  # digest: line
        self._threads: list[threading.Thread] = []
        box.configure(
            more=(
                {"name": "s1", "kind": "serial", "port": str(box.folder / "port"), **_FRAMING},
                {"name": "t1", "kind": "tcp", "listen": f"127.0.0.1:{port}", **_FRAMING},
            )
        )
        with contextlib.suppress(LineDownError):
            self._lines["s1"].plug(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._box.kill()
        self.settle()
        for line in self._lines.values():
            line.unplug()

    def send(self, count: int) -> None:
        """Begin to send so many new messages on each line, after those still waiting."""
        for name, waiting in self.waiting.items():
            waiting += [capture(next(self._numbers)) for _ in range(count)]
            thread = threading.Thread(target=self._send, args=(name,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _send(self, name: str) -> None:
        line = self._lines[name]
        waiting = self.waiting[name]
        box, pid = self._box, self._box.pid
        while waiting and box.pid == pid:
            analyzer = Analyzer(line, "packet", patience_s=1.0, pause=lambda _: None)
            try:
                wait(lambda: box.said("source_watching", source=name), 20.0, "it listens")
                if analyzer.send(waiting[0]):
                    key = digest(waiting.pop(0))
                    box.line_acks.add(key)
                    box.fed[key] = name
                    self.sent[key] = name
            except (LineDownError, FaultError):
                if not box.running:
                    break
        if isinstance(line, TcpLine):
            line.unplug()

    def settle(self) -> None:
        """Wait until nobody sends; messages without an answer stay waiting."""
        for thread in self._threads:
            thread.join(60.0)
            if thread.is_alive():
                raise FaultError("an analyzer never stopped sending")
        self._threads.clear()

    def forget(self, told: set[str]) -> None:
        """Take no notice of what was acknowledged besides: the fault had begun by then."""
        for key in self._box.line_acks - told:
            del self.sent[key], self._box.fed[key]
        self._box.line_acks = told

    def deliver_all(self) -> None:
        """Send again what got no answer, until it does."""
        self._box.start()
        self.send(0)
        self.settle()
        if left := sum(map(len, self.waiting.values())):
            raise FaultError(f"{left} messages were never acknowledged")

    def audit(self) -> Verdict:
        """Every acknowledged message is one capture of its line."""
        found: dict[str, list[str]] = {}
        for sha256, source in self._box.ask("SELECT sha256, source FROM captures"):
            found.setdefault(sha256, []).append(source)
        verdict = Verdict()
        for key, name in self.sent.items():
            if key not in found:
                verdict.lost.append(f"message {key[:12]} on {name}")
            elif len(found[key]) > 1:
                verdict.duplicated.append(f"message {key[:12]} on {found[key]}")
        return verdict
