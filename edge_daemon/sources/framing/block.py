"""Blocks of text between control characters, with a sum: SOH head STX text ETX check EOT.

The head is left out by many senders, and some check bytes are written as two hexadecimal digits.
Text never holds SOH, STX or ETX, so wherever one stands out of place the block is damaged.
"""

from __future__ import annotations

import functools
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.sources.framing.base import Deliver, Discard, Reply
from edge_daemon.sources.framing.options import check_between
from edge_daemon.sources.framing.waste import Waste

if TYPE_CHECKING:
    from edge_daemon.sources.framing.base import Action, Trouble

_SOH: Final = 0x01
_STX: Final = 0x02
_ETX: Final = 0x03
MAX_MESSAGE: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """How a block looks.

    Attributes
    ----------
    head
        Blocks begin with SOH and a head before STX; else with STX.
    check
        ``sum`` modulo 256, or ``xor``.
    digits
        The check byte is written as two hexadecimal digits.
    covers_start, covers_etx
        Whether the first control character, and ETX, are summed with what is between.
    trailer
        Bytes after the check byte.
    acknowledge, refuse
        What is answered to a good and to a damaged block; empty for a line without answers.
    max_message
        Bytes of one block.
    silence_s
        A block that stops for so long is given up.
    """

    head: bool = True
    check: Literal["sum", "xor"] = "sum"
    digits: bool = False
    covers_start: bool = True
    covers_etx: bool = True
    trailer: bytes = b"\x04"
    acknowledge: bytes = b""
    refuse: bytes = b""
    max_message: int = 1 << 20
    silence_s: float = 5.0

    def __post_init__(self) -> None:
        check_between("max_message", self.max_message, 1, MAX_MESSAGE)
        check_between("silence_s", self.silence_s, 0.1, 3600.0)
        check_between("length of trailer", len(self.trailer), 0, 8)


class BlockFramer:
    """One direction of a line that carries blocks.

    The message delivered is what stood between the first control character and ETX; behind a
    head that is not empty, STX stays in it as the border between head and text.

    Parameters
    ----------
    options
        How a block looks, its answers, sizes and times.
    """

    def __init__(self, options: BlockOptions | None = None) -> None:
        self._options = options or BlockOptions()
        self._start = _SOH if self._options.head else _STX
        self._end = re.compile(b"[%c\x03]" % self._start)
        self._actions: list[Action] = []
        self._waste = Waste()
        self._buffer = bytearray()
        self._position = 0  # everything before is dealt with
        self._inside = False  # the byte at position began a block
        self._searched = 0  # bytes of the open block that hold no end
        self._dropped = 0  # bytes of a block over the limit that were dropped
        self._now = 0.0

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which `tick` has something to do, or None."""
        if self._inside:
            return self._now + self._options.silence_s
        return self._waste.deadline

    def feed(self, data: bytes, now: float) -> list[Action]:
        """Take bytes that arrived; see `Framer.feed`."""
        self._tick(now)
        self._now = now
        self._buffer += data
        while self._in_block() if self._inside else self._between():
            pass
        del self._buffer[: self._position]
        self._position = 0
        return self._told()

    def tick(self, now: float) -> list[Action]:
        """Act on time that passed without bytes; see `Framer.tick`."""
        self._tick(now)
        return self._told()

    def close(self) -> list[Action]:
        """Tell what remains when the connection ended."""
        if self._inside:
            self._give_up()
        self._waste.flush(self._actions)
        return [action for action in self._told() if not isinstance(action, Reply)]

    def _told(self) -> list[Action]:
        told, self._actions = self._actions, []
        return told

    def _say(self, *actions: Action) -> None:
        self._waste.flush(self._actions)
        self._actions += actions

    def _tick(self, now: float) -> None:
        if self._inside and now >= self._now + self._options.silence_s:
            self._give_up()
        self._waste.tick(now, self._actions)

    def _give_up(self) -> None:
        size = self._dropped + len(self._buffer)
        self._buffer.clear()
        self._inside = False
        self._refuse("silence", size)

    def _refuse(self, trouble: Trouble, size: int) -> None:
        self._say(Discard(trouble, size))
        if self._options.refuse:
            self._say(Reply(self._options.refuse))

    def _between(self) -> bool:
        start = self._buffer.find(self._start, self._position)
        end = len(self._buffer) if start < 0 else start
        passed = self._buffer[self._position : end]
        # Line ends between blocks are a common habit and not worth telling.
        silent = passed.count(b"\r") + passed.count(b"\n")
        self._waste.add(len(passed) - silent, self._now, self._actions)
        self._position = end
        self._inside = start >= 0
        self._searched = 1
        self._dropped = 0
        return self._inside

    def _in_block(self) -> bool:
        found = self._end.search(self._buffer, self._position + self._searched)
        end = found.start() if found else len(self._buffer)
        if self._dropped or end - self._position - 1 > self._options.max_message:
            self._dropped += end - self._position
            self._position = end
        self._searched = end - self._position
        if found is None:
            return False
        if self._buffer[end] == self._start:
            # A sender that begins another block waits for no answer to this one.
            trouble: Trouble = "too_large" if self._dropped else "frame"
            self._say(Discard(trouble, self._dropped + self._searched))
            self._position = end
            self._searched = 1
            self._dropped = 0
            return True
        return self._close_block(end)

    def _close_block(self, etx: int) -> bool:
        options = self._options
        check = etx + 1
        trailer = check + (2 if options.digits else 1)
        after = trailer + len(options.trailer)
        if len(self._buffer) < after:
            return False
        block = bytes(self._buffer[self._position : etx + 1])
        size = self._dropped + after - self._position
        sent = bytes(self._buffer[check:trailer])
        if self._dropped:
            trouble: Trouble | None = "too_large"
        elif self._expected(block) != (sent.upper() if options.digits else sent):
            trouble = "checksum"
        elif self._buffer[trailer:after] != options.trailer or not self._well_formed(block):
            trouble = "frame"
        else:
            trouble = None
        if trouble is None:
            self._say(Deliver(block[1:-1].removeprefix(b"\x02")))
            if options.acknowledge:
                self._say(Reply(options.acknowledge))
        elif (restart := self._buffer.find(self._start, check, after)) >= 0:
            # What should be the end of this block is the beginning of another.
            self._say(Discard(trouble, self._dropped + restart - self._position))
            after = restart
        else:
            self._refuse(trouble, size)
        self._position = after
        self._inside = False
        return True

    def _expected(self, block: bytes) -> bytes:
        options = self._options
        covered = block[0 if options.covers_start else 1 : None if options.covers_etx else -1]
        if options.check == "sum":
            value = sum(covered) & 0xFF
        else:
            value = functools.reduce(operator.xor, covered, 0)
        return b"%02X" % value if options.digits else bytes([value])

    def _well_formed(self, block: bytes) -> bool:
        return block.count(_STX) == 1 and block.count(_ETX) == 1
