"""What a framing tells the link that feeds it.

A framer owns no port and no clock. The link hands it the bytes that arrived and the time, and
carries out the actions it returns, strictly in their order: everything fed so far is on disk
before a `Reply` is written, and a message is committed before the `Reply` that follows its
`Deliver`. So an acknowledgement never promises what a power cut could take back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Trouble = Literal[
    "noise",  # bytes outside any frame
    "checksum",  # a frame whose sum or CRC does not fit
    "frame",  # a frame that breaks its own grammar, or of the wrong number
    "too_large",  # a message over the limit
    "silence",  # the sender stopped in the middle
    "repeated",  # a frame sent again after a lost acknowledgement; harmless
]


@dataclass(frozen=True, slots=True)
class Reply:
    """Write these bytes, once all that was fed is durable and all before is done."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """One message, without its framing; on return it must be committed.

    Attributes
    ----------
    message
        The payload, the same for the same content whatever the frames it came in.
    complete
        False where the sender stopped for good after frames of it had been acknowledged: the
        bytes are kept, and never read as a whole message.
    """

    message: bytes
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Discard:
    """Bytes that are no part of any message.

    Attributes
    ----------
    trouble
        Why.
    size
        How many bytes.
    """

    trouble: Trouble
    size: int


@dataclass(frozen=True, slots=True)
class Heard:
    """The analyzer is alive and said nothing to keep, e.g. an enquiry or a heartbeat."""


Action = Reply | Deliver | Discard | Heard


class Framer(Protocol):
    """One direction of one connection; a new connection gets a new framer."""

    def feed(self, data: bytes, now: float) -> list[Action]:
        """Take bytes that arrived.

        Parameters
        ----------
        data
            Any split of the stream; the actions over all calls do not depend on the split.
        now
            Monotonic time, s.
        """
        ...

    def tick(self, now: float) -> list[Action]:
        """Act on time that passed without bytes."""
        ...

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which `tick` has something to do, or None."""
        ...

    def close(self) -> list[Action]:
        """Tell what remains when the connection ended; never a `Reply`."""
        ...
