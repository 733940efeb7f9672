"""The two simulated analyzers of the demo: one exports files, one speaks on a serial line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon import errors

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.simulator.analyzer import Analyzer
    from edge_daemon.simulator.transports import PtyLine

ANIMALS: Final = ("dog", "cat", "horse")
EXPORT: Final = "export"
PORT: Final = "serial-port"
SERIAL_SOURCE: Final = "simulated-serial"
SOURCES: Final = f"""\
[[source]]
name = "simulated-folder"
path = "{EXPORT}"
settle_s = 0.2
rescan_s = 2

[[source]]
name = "{SERIAL_SOURCE}"
kind = "serial"
port = "{PORT}"
profile = "sim_pulse4/1.0"
"""
"""What a box needs to know of them."""

_SEED: Final = 1
_PAYLOAD: Final = 32_768
_OPENED_S: Final = 0.5


@dataclass
class FolderAnalyzer:
    """An analyzer with scatter, extinction and RNA dye that exports FCS files.

    Parameters
    ----------
    clinic
        Folder of the demo.
    events
        Cells in each run.
    """

    clinic: Path
    events: int

    def run(self) -> bool:
        """Measure the next animal and export its file, complete at once."""
        from edge_daemon.simulator.cohort import sample

        export = self.clinic / EXPORT
        index = 2 * sum(1 for _ in export.glob("*.fcs"))
        acquired = sample(index, events=self.events, seed=_SEED, species=(_animal(index),))
        part = export / f".{acquired.name}.part"
        part.write_bytes(acquired.data)
        part.replace(export / acquired.name)
        return True


class SerialAnalyzer:
    """An analyzer that digitises pulses and sends each run as packets, on a pseudo-terminal.

    Parameters
    ----------
    clinic
        Folder of the demo; the port appears in it.
    events
        Cells in each run.
    sent
        Runs that the box has from it already.
    """

    def __init__(self, clinic: Path, events: int, sent: int) -> None:
        from edge_daemon.simulator.transports import PtyLine

        self._line: PtyLine = PtyLine(clinic / PORT)
        self._events = events
        self._sent = sent
        self._speaker: Analyzer | None = None

    def run(self) -> bool:
        """Measure the next animal and send it until the box has acknowledged all of it.

        Returns
        -------
        bool
            False, and nothing is measured, while the box has not opened the port.

        Raises
        ------
        Retryable
            The box does not answer.
        """
        from edge_daemon.simulator.analyzer import Analyzer
        from edge_daemon.simulator.cohort import sample
        from edge_daemon.simulator.transports import LineDownError

        try:
            self._line.plug(_OPENED_S)
        except LineDownError:
            return False
        index = 2 * self._sent + 1
        acquired = sample(
            index, instrument="sim_pulse4", events=self._events, seed=_SEED,
            species=(_animal(index),),
        )  # fmt: skip
        speaker = self._speaker or Analyzer(self._line, "packet", payload_size=_PAYLOAD)
        self._speaker = speaker
        try:
            done = speaker.send(acquired.data)
        except LineDownError:
            done = False
        if not done:
            raise errors.Retryable(
                "the service did not acknowledge a run on its serial line",
                action="Run the demo again; service.log in its folder says more.",
            )
        self._sent += 1
        return True

    def close(self) -> None:
        """Take the port away."""
        self._line.close()


def _animal(index: int) -> str:
    return ANIMALS[index % len(ANIMALS)]
