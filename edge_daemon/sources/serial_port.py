"""An analyzer on a serial line: open, serve, and open again when the cable is back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_daemon.sources.connection import LostError
from edge_daemon.sources.line import LineSource
from edge_daemon.sources.ports import LineSettings, lasting_name, open_port

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.clock import Clock
    from edge_daemon.sources.intake import LineHandlers, LineSpec


@dataclass(frozen=True, slots=True)
class SerialSpec:
    """Which port, and how characters stand on it; see docs/configuration.md."""

    line: LineSpec
    port: Path
    settings: LineSettings


class SerialSource(LineSource):
    """Listens to one serial port in a thread of its own.

    Parameters
    ----------
    spec
        What to listen to.
    handlers
        Where captures and events go.
    clock
        Monotonic time, and wall time for names.
    """

    def __init__(self, spec: SerialSpec, handlers: LineHandlers, clock: Clock) -> None:
        super().__init__(spec.line, handlers, clock)
        self._port = spec.port
        self._settings = spec.settings

    def describe(self) -> dict[str, object]:
        """Add the port, and the name that would last where the configured one does not."""
        found = super().describe() | {"kind": "serial", "port": str(self._port)}
        if lasting := lasting_name(self._port):
            found["warning"] = (
                f"{self._port} may be another device after a restart; configure {lasting}"
            )
        return found

    def work(self) -> None:
        """Open the port, serve it, and begin again when it is lost."""
        while not self._stop.is_set():
            self._intake.beat()
            try:
                connection = open_port(self._port, self._settings, self._stop)
                self._intake.set_state("listening")
                self.serve(connection, 0)
            except LostError as error:
                self._intake.set_state("degraded", error)
            self._stop.wait(self.spec.retry_s)
