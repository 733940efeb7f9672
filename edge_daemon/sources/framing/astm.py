"""The receiver of ASTM E1381 (CLSI LIS01-A2): frames with acknowledgement, for E1394 records.

Clauses in the comments are those of E1381-02. Every frame is answered when it ends, and a message
is delivered with the frame that completes it: the one that ends in ETX after a terminator record
(``L``, E1394). A transfer that ends before that is delivered as incomplete, whatever ended it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.sources.framing.base import Deliver, Discard, Heard, Reply
from edge_daemon.sources.framing.options import check_between
from edge_daemon.sources.framing.waste import Waste

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.sources.framing.base import Action, Trouble

_STX: Final = 0x02
_ETX: Final = 0x03
_EOT: Final = 0x04
_ENQ: Final = 0x05
_LF: Final = 0x0A
_ACK: Final = Reply(b"\x06")
_NAK: Final = Reply(b"\x15")

_MEANT = re.compile(rb"[\x02\x04\x05]")
_MEANT_NEUTRAL = re.compile(rb"[\x04\x05]")
_FRAME_END = re.compile(rb"[\x02\x03\x0a\x17]")
_SPOILT_END = re.compile(rb"[\x02\x0a]")
_RESTRICTED = re.compile(rb"[\x01-\x06\x0a\x10-\x17]")  # 6.6
_HEX: Final = b"0123456789ABCDEF"

TRANSFER_S: Final = 30.0
"""6.5.2: without a frame or EOT for so long the receiver takes the line as neutral again."""
PAUSE_S: Final = 5.0
"""A frame that stops for so long lost its end. The sender gives the answer 15 s (6.5.2), so a
refusal now still saves the transfer."""
ENQUIRY_S: Final = 1.0
"""Behind ENQ in the middle of a transfer the line is quiet; behind a damaged STX it is not."""
MAX_MESSAGE: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class AstmOptions:
    """What a sender may do that the standard does not allow, and sizes.

    Attributes
    ----------
    without_session
        Frames may come without ENQ before and EOT after; numbers start at 1 with each message.
    without_line_feed
        A frame may end with CR alone.
    without_carriage_return
        A frame may end with its checksum.
    max_text
        Characters of text in one frame; the standard allows 240 (6.3.1).
    max_message
        Bytes of one message.
    """

    without_session: bool = False
    without_line_feed: bool = False
    without_carriage_return: bool = False
    max_text: int = 240
    max_message: int = 16 << 20

    def __post_init__(self) -> None:
        check_between("max_message", self.max_message, 1, MAX_MESSAGE)
        check_between("max_text", self.max_text, 1, self.max_message)


class AstmFramer:
    """One line from an analyzer that sends and a host that only answers.

    The message delivered is the text of all frames in their order, each record ended by one CR:
    the same bytes whatever frames it was cut into.

    Parameters
    ----------
    options
        Leniencies and sizes.
    """

    def __init__(self, options: AstmOptions | None = None) -> None:
        self._options = options or AstmOptions()
        self._tail = (_HEX, _HEX, b"\r", b"\n")[: self._tail_size()]
        self._actions: list[Action] = []
        self._waste = Waste()
        self._buffer = bytearray()
        self._position = 0  # everything before is dealt with
        self._state: Callable[[], bool] = self._between
        self._searched = 0  # bytes of the open frame that hold no end
        self._spoilt = 0  # bytes of the spoilt frame that were dropped
        self._trouble: Trouble = "frame"
        self._before = 0  # the last byte that was dropped
        self._now = 0.0  # of the latest bytes
        self._since = 0.0  # of the latest frame or answer
        self._reset(session=False)

    def _tail_size(self) -> int:
        if self._options.without_carriage_return:
            return 2
        return 3 if self._options.without_line_feed else 4

    def _reset(self, *, session: bool) -> None:
        self._session = session
        self._expected = 1
        self._last = b""  # the frame accepted last, to know it when it is sent again
        self._boundary = True  # the frame accepted last ended in ETX
        self._pending = bytearray()

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which `tick` has something to do, or None."""
        times = [self._waste.deadline]
        if self._state != self._between:
            times.append(self._now + self._patience())
        elif self._session or self._pending:
            times.append(self._since + TRANSFER_S)
        return min((time for time in times if time is not None), default=None)

    def feed(self, data: bytes, now: float) -> list[Action]:
        """Take bytes that arrived; see `Framer.feed`."""
        self._tick(now)
        self._now = now
        self._buffer += data
        while self._state():
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
        if self._state != self._between:
            self._say(Discard("silence", self._drop_frame()))
        self._interrupt()
        self._waste.flush(self._actions)
        return [action for action in self._told() if not isinstance(action, Reply)]

    def _told(self) -> list[Action]:
        told, self._actions = self._actions, []
        return told

    def _say(self, *actions: Action) -> None:
        self._waste.flush(self._actions)
        self._actions += actions

    def _tick(self, now: float) -> None:
        if self._state != self._between:
            if now >= self._now + self._patience():
                self._pause(now)
        elif (self._session or self._pending) and now >= self._since + TRANSFER_S:
            self._interrupt()
            self._reset(session=False)
        self._waste.tick(now, self._actions)

    # Between frames

    def _between(self) -> bool:
        listening = self._session or self._options.without_session
        meant = _MEANT if listening else _MEANT_NEUTRAL
        found = meant.search(self._buffer, self._position)
        end = found.start() if found else len(self._buffer)
        passed = self._buffer[self._position : end]
        # 6.5.1: what stands between frames is ignored; line ends are not even worth telling.
        silent = passed.count(b"\r") + passed.count(b"\n")
        self._waste.add(len(passed) - silent, self._now, self._actions)
        self._position = end
        if found is None:
            return False
        code = self._buffer[end]
        if code == _STX:
            self._searched = 1
            self._state = self._frame
            return True
        self._position += 1
        if code == _EOT:
            self._end_of_transmission()
        elif listening:
            self._doubt()
        else:
            self._enquiry()
        return True

    def _doubt(self) -> None:
        """Take ENQ where a frame may begin for a damaged STX until silence or STX follows.

        Answered at once, it would acknowledge the frame whose first byte it was.
        """
        self._spoilt = 1
        self._before = _ENQ
        self._trouble = "frame"
        self._state = self._spoilt_frame

    def _doubtful(self) -> bool:
        return (self._state == self._spoilt_frame) and self._spoilt == 1 and self._before == _ENQ

    def _enquiry(self) -> None:
        """6.2: ready at once. In the middle of a transfer, the sender starts again."""
        self._interrupt()
        self._say(Heard(), _ACK)
        self._reset(session=True)
        self._since = self._now

    def _end_of_transmission(self) -> None:
        self._interrupt()
        self._say(Heard())
        self._reset(session=False)

    def _interrupt(self) -> None:
        if self._pending:
            self._say(Deliver(bytes(self._pending), complete=False))
            self._pending = bytearray()

    # Inside a frame: STX, number, text, ETB or ETX, two digits, CR, LF

    def _frame(self) -> bool:
        buffer, start = self._buffer, self._position
        found = _FRAME_END.search(buffer, start + self._searched)
        end = found.start() if found else len(buffer)
        if end - start - 2 > self._options.max_text:
            return self._spoil("too_large")
        self._searched = end - start
        if found is None:
            return False
        if buffer[end] in {_STX, _LF}:
            return self._spoil("frame")
        after = end + 1 + len(self._tail)
        tail = buffer[end + 1 : after]
        if any(code not in allowed for code, allowed in zip(tail, self._tail, strict=False)):
            return self._spoil("frame")
        if len(tail) < len(self._tail):
            return False
        self._position = after
        self._state = self._between
        self._since = self._now
        self._judge(bytes(buffer[start + 1 : end + 1]), int(tail[:2], 16), after - start)
        return True

    def _judge(self, frame: bytes, checksum: int, size: int) -> None:
        text = frame[1:-1]
        if sum(frame) & 0xFF != checksum:  # 6.3.3
            self._refuse("checksum", size)
        elif not b"0" <= frame[:1] <= b"7" or _RESTRICTED.search(text):
            self._refuse("frame", size)
        elif frame == self._last:
            self._say(Discard("repeated", size), _ACK)
        elif not self._follows(frame):
            self._refuse("frame", size)
        elif len(self._pending) + len(text) >= self._options.max_message:
            self._refuse("too_large", size)
        else:
            self._accept(frame, text)

    def _follows(self, frame: bytes) -> bool:
        """Say whether this is the next number (6.3.2), or begins a message nothing announced."""
        follows = frame[0] == ord("0") + self._expected
        begins = not self._session and frame.startswith(b"1H") and bool(self._pending)
        if begins and (self._boundary or not follows):
            self._interrupt()
            self._reset(session=False)
            return True
        return follows

    def _accept(self, frame: bytes, text: bytes) -> None:
        self._last = frame
        self._expected = (self._expected + 1) % 8
        self._boundary = frame[-1] == _ETX
        self._pending += text
        if self._boundary:
            if not self._pending.endswith(b"\r"):
                self._pending += b"\r"
            before = self._pending.rfind(b"\r", 0, -1)
            if self._pending.startswith(b"L", before + 1):
                self._say(Deliver(bytes(self._pending)))
                self._pending = bytearray()
                if not self._session:
                    self._expected = 1
        self._say(_ACK)

    def _refuse(self, trouble: Trouble, size: int) -> None:
        """6.5.1: the sender repeats the frame, six times at most, then ends with EOT."""
        self._say(Discard(trouble, size), _NAK)

    # Inside a frame that is spoilt: to its end, so that the answer falls where it is waited for

    def _spoil(self, trouble: Trouble) -> bool:
        self._trouble = trouble
        self._before = _STX
        self._position += 1
        self._spoilt = 1
        self._state = self._spoilt_frame
        return True

    def _spoilt_frame(self) -> bool:
        found = _SPOILT_END.search(self._buffer, self._position)
        end = found.start() if found else len(self._buffer)
        if end > self._position:
            self._before = self._buffer[end - 1]
        self._spoilt += end - self._position
        self._position = end
        if found is None:
            return False
        if self._buffer[end] == _LF:
            self._position += 1
            self._state = self._between
            self._since = self._now
            self._refuse(self._trouble, self._spoilt + 1)
            return True
        # A sender that begins another frame waits for no answer to this one.
        enquired = self._before == _ENQ
        if self._spoilt > enquired:
            self._say(Discard(self._trouble, self._spoilt - enquired))
        if enquired:
            self._enquiry()
        self._searched = 1
        self._state = self._frame
        return True

    def _patience(self) -> float:
        return ENQUIRY_S if self._doubtful() else PAUSE_S

    def _pause(self, now: float) -> None:
        """Refuse a frame that stopped.

        ENQ and EOT inside a frame are damage, whatever follows: answered like an enquiry, the
        damaged last byte of a frame would acknowledge it. A sender that did begin anew takes the
        refusal for "busy" and asks again (6.2).
        """
        enquired = self._doubtful()
        size = self._drop_frame()
        self._since = self._now = now
        if enquired:
            self._enquiry()
        else:
            self._refuse("silence", size)

    def _drop_frame(self) -> int:
        size = len(self._buffer) - self._position
        if self._state == self._spoilt_frame:
            size += self._spoilt
        self._buffer.clear()
        self._position = 0
        self._state = self._between
        return size
