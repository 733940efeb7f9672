"""What goes wrong between an analyzer and a box, as a script that a seed decides."""

from __future__ import annotations

import random
from typing import Final, Literal, get_args

Fault = Literal[
    "unplug",  # the cable is pulled in the middle of a message, and put back
    "garbage",  # bytes that nobody sent, before a message
    "half_frame",  # the analyzer stops in the middle of a frame, and begins again
    "wrong_checksum",  # a byte of a frame is changed on the way
    "resend",  # a whole message is sent twice
    "lost_ack",  # an acknowledgement does not arrive, and its frame is sent again
    "silence",  # the analyzer stops between two frames, and begins again
    "wrong_baud",  # a message is sent at another speed, then again at the right one
]

FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)


def fault_script(
    seed: int, messages: int, *, kinds: tuple[Fault, ...] = FAULTS, share: float = 0.5
) -> list[Fault | None]:
    """Decide which fault, if any, happens to each message.

    Every kind comes up before any comes up again, so that a short script holds them all.

    Parameters
    ----------
    seed
        The same seed gives the same script.
    messages
        Length of the script.
    kinds
        Faults to choose from.
    share
        Of the messages that one happens to.
    """
    rng = random.Random(seed)  # noqa: S311 - a script, no secret
    script: list[Fault | None] = []
    left: list[Fault] = []
    for _ in range(messages):
        if not kinds or rng.random() >= share:
            script.append(None)
            continue
        if not left:
            left = list(kinds)
            rng.shuffle(left)
        script.append(left.pop())
    return script


def misread(data: bytes, *, bits: int = 8) -> bytes:
    """Return what a receiver makes of bytes that are sent at twice its speed.

    A character stands on the line as a start bit (0), its bits from the lowest, and a stop bit
    (1); the receiver sees every other of them.
    """
    line: list[int] = []
    for byte in data:
        line += [0, *((byte >> position) & 1 for position in range(bits)), 1]
    line = line[::2]
    read = bytearray()
    position = 0
    while position + bits < len(line):
        if line[position]:
            position += 1
            continue
        read.append(sum(line[position + 1 + n] << n for n in range(bits)))
        position += bits + 2
    return bytes(read)
