"""What a capture may cost before anybody has looked inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_daemon.errors import Quarantine

FEWER_EVENTS: Final = "Export fewer events a file, or raise the limit in the configuration."


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that are checked before memory is allocated.

    Attributes
    ----------
    max_bytes
        Length of the capture, bytes.
    max_events
        Events in one data set.
    max_channels
        Columns of one event; a decode-only profile may raise it to 256.
    max_expansion
        Bytes of the decoded array.
    max_ratio
        Bytes of the decoded array for each byte of the capture.
    max_text
        Bytes of one TEXT segment, because many short keywords cost far more memory than bytes.
    """

    max_bytes: int = 64 * 2**20
    max_events: int = 1_000_000
    max_channels: int = 64
    max_expansion: int = 128 * 2**20
    max_ratio: int = 100
    max_text: int = 4 * 2**20

    def allowed(self, held: int) -> int:
        """Bytes that a capture of `held` bytes may decode to."""
        return min(self.max_expansion, self.max_ratio * held)

    def check_expansion(self, what: str, decoded: int, held: int) -> None:
        """Refuse an array before it is made.

        Parameters
        ----------
        what
            Its shape in words.
        decoded, held
            Bytes of the array and of the capture.

        Raises
        ------
        Quarantine
            ``too_large``.
        """
        if decoded > self.allowed(held):
            raise Quarantine(
                "too_large",
                f"{what} decode to {decoded} bytes, the limit for a capture of {held} bytes is "
                f"{self.allowed(held)}",
                action=FEWER_EVENTS,
            )


DEFAULT_LIMITS = Limits()
"""What a gateway of 2 GiB memory can afford for one capture."""
