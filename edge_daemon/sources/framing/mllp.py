"""HL7 over MLLP: VT, message, FS, CR, and one ACK a message after it is committed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.sources.framing.base import Deliver, Discard, Heard, Reply
from edge_daemon.sources.framing.hl7_answer import HEAD_BYTES, answer, reject_oversize
from edge_daemon.sources.framing.options import check_between
from edge_daemon.sources.framing.waste import Waste

if TYPE_CHECKING:
    from edge_daemon.sources.framing.base import Action, Trouble

_VT: Final = 0x0B
_CR: Final = 0x0D
_FS: Final = 0x1C
_BLOCK_END = re.compile(rb"[\x0b\x1c]")
MAX_MESSAGE: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class MllpOptions:
    """What a sender may do that MLLP does not allow, sizes and times.

    Attributes
    ----------
    without_carriage_return
        A block may end with FS alone.
    max_message
        Bytes of one message.
    silence_s
        A block that stops for so long is given up.
    """

    without_carriage_return: bool = False
    max_message: int = 16 << 20
    silence_s: float = 30.0

    def __post_init__(self) -> None:
        check_between("max_message", self.max_message, 1, MAX_MESSAGE)
        check_between("silence_s", self.silence_s, 0.1, 3600.0)


class MllpFramer:
    """One MLLP connection of a receiver that answers in original mode.

    The message delivered is what stood between VT and FS, byte for byte. A block that breaks off
    was never acknowledged, so the sender sends it again, and it is discarded.

    Parameters
    ----------
    options
        Leniencies, sizes and times.
    """

    def __init__(self, options: MllpOptions | None = None) -> None:
        self._options = options or MllpOptions()
        self._actions: list[Action] = []
        self._waste = Waste()
        self._buffer = bytearray()
        self._position = 0  # everything before is dealt with
        self._inside = False  # position stands behind a VT
        self._searched = 0  # bytes of the open block that hold no end
        self._head = b""  # the beginning of a block over the limit, whose bytes are dropped
        self._dropped = 0  # bytes of it that were
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
        return self._told()

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
        size = 1 + self._dropped + len(self._buffer)
        self._buffer.clear()
        self._inside = False
        self._say(Discard("silence", size))

    def _between(self) -> bool:
        start = self._buffer.find(_VT, self._position)
        end = len(self._buffer) if start < 0 else start
        passed = self._buffer[self._position : end]
        # Line ends between blocks are a common habit and not worth telling.
        silent = passed.count(b"\r") + passed.count(b"\n")
        self._waste.add(len(passed) - silent, self._now, self._actions)
        self._position = end
        if start < 0:
            return False
        self._open()
        return True

    def _open(self) -> None:
        self._position += 1
        self._inside = True
        self._searched = 0
        self._head = b""
        self._dropped = 0

    def _in_block(self) -> bool:
        found = _BLOCK_END.search(self._buffer, self._position + self._searched)
        end = found.start() if found else len(self._buffer)
        if self._dropped or end - self._position > self._options.max_message:
            self._head = self._head or self._first_bytes()
            self._dropped += end - self._position
            self._position = end
        self._searched = end - self._position
        if found is None:
            return False
        size = 1 + self._dropped + self._searched
        if self._buffer[end] == _VT:
            self._say(Discard("too_large" if self._dropped else "frame", size))
            self._position = end
            self._open()
            return True
        return self._end(end, size)

    def _first_bytes(self) -> bytes:
        size = min(HEAD_BYTES, self._options.max_message)
        return bytes(self._buffer[self._position : self._position + size])

    def _end(self, end: int, size: int) -> bool:
        """Deal with FS at `end`; `size` bytes of the block stand before it."""
        after = end + 1
        if not self._options.without_carriage_return:
            if after == len(self._buffer):
                return False
            if self._buffer[after] != _CR:
                self._finish(after, Discard(self._named("frame"), size + 1))
                return True
            after += 1
        if self._dropped:
            reply = _block(reject_oversize(self._head))
            self._finish(after, Discard("too_large", size + after - end), Reply(reply))
            return True
        message = bytes(self._buffer[self._position : end])
        self._finish(after, *_settle(message))
        return True

    def _named(self, trouble: Trouble) -> Trouble:
        return "too_large" if self._dropped else trouble

    def _finish(self, position: int, *actions: Action) -> None:
        self._position = position
        self._inside = False
        self._say(*actions)


def _settle(message: bytes) -> list[Action]:
    decided = answer(message)
    actions: list[Action] = [Deliver(message) if decided.keep else Heard()]
    if decided.reply:
        actions.append(Reply(_block(decided.reply)))
    return actions


def _block(message: bytes) -> bytes:
    return b"\x0b" + message + b"\x1c\r"
