"""What a capture may cost before anybody has looked inside."""

from __future__ import annotations

from dataclasses import dataclass


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
    max_text
        Bytes of one TEXT segment, because many short keywords cost far more memory than bytes.
    """

    max_bytes: int = 64 * 2**20
    max_events: int = 1_000_000
    max_channels: int = 64
    max_expansion: int = 128 * 2**20
    max_text: int = 4 * 2**20


DEFAULT_LIMITS = Limits()
"""What a gateway of 2 GiB memory can afford for one capture."""
