"""Binary packets: found by their sync bytes, cut by length or delimiter, proven by a CRC.

Garbage costs only itself. Wherever sync bytes stand a packet may begin; if what follows is none,
the search goes on at the very next byte, so a good packet is found even inside a false one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_daemon.sources.framing.base import Reply
from edge_daemon.sources.framing.packet_run import PacketRun
from edge_daemon.sources.framing.waste import Waste

if TYPE_CHECKING:
    from edge_daemon.sources.framing.base import Action, Trouble
    from edge_daemon.sources.framing.packet_options import PacketOptions


class PacketFramer:
    """One direction of a binary link.

    Parameters
    ----------
    options
        The layout of a packet, its answers, sizes and times.
    """

    def __init__(self, options: PacketOptions) -> None:
        self._options = options
        self._run = PacketRun(options)
        self._waste = Waste()
        self._actions: list[Action] = []
        self._buffer = bytearray()
        self._position = 0  # everything before is dealt with
        self._searched = 0  # bytes of the candidate at position that hold no delimiter
        self._open = False  # a candidate at position waits for more bytes
        self._base = 0  # bytes of the stream before the buffer
        self._step_at = 0  # where in the stream the sender would begin its next packet
        self._now = 0.0
        # Where the flag that ends a packet may also begin the next one.
        self._flag = options.sync if options.sync == options.end else b""

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which `tick` has something to do, or None."""
        times = [self._waste.deadline, self._run.deadline]
        if self._open:
            times.append(self._now + self._options.gap_s)
        return min((time for time in times if time is not None), default=None)

    def feed(self, data: bytes, now: float) -> list[Action]:
        """Take bytes that arrived; see `Framer.feed`."""
        self._tick(now)
        self._now = now
        self._buffer += data
        while self._next():
            pass
        self._compact()
        return self._told()

    def tick(self, now: float) -> list[Action]:
        """Act on time that passed without bytes; see `Framer.tick`."""
        self._tick(now)
        return self._told()

    def close(self) -> list[Action]:
        """Tell what remains when the connection ended."""
        self._give_up_open()
        self._waste.flush(self._actions)
        self._actions += self._run.interrupt()
        return [action for action in self._told() if not isinstance(action, Reply)]

    def _told(self) -> list[Action]:
        told, self._actions = self._actions, []
        return told

    def _compact(self) -> None:
        del self._buffer[: self._position]
        self._base += self._position
        self._position = 0

    def _tick(self, now: float) -> None:
        if now >= self._now + self._options.gap_s:
            self._give_up_open()
        self._waste.tick(now, self._actions)
        self._actions += self._run.tick(now)

    def _give_up_open(self) -> None:
        """Every candidate that waits has waited in vain; whole packets may stand behind it."""
        while self._open:
            self._skip("silence")
            while self._next():
                pass
        self._compact()  # behind a pause the sender begins anew
        self._step_at = self._base

    def _next(self) -> bool:
        """Deal with the next packet or stretch of garbage; False when bytes are missing."""
        sync = self._options.sync
        start = self._buffer.find(sync, self._position)
        if start < 0:
            partial = self._partial_sync()
            self._open = partial > 0
            self._pass_over(len(self._buffer) - partial)
            return False
        self._pass_over(start)
        if self._flag and self._buffer.startswith(self._flag * 2, start):
            return self._pass_flag()
        end = self._end_of_packet() if self._options.length else self._end_of_delimited()
        self._open = end == 0 and self._buffer[start:] != self._flag
        if end == 0:
            return False
        if end < 0:
            self._skip("noise")
            return True
        self._judge(bytes(self._buffer[self._position : end]))
        return True

    def _pass_flag(self) -> bool:
        """Two flags with nothing between: the end of one packet, or a line that idles."""
        if self._step_at == self._base + self._position:
            self._step_at += len(self._flag)
        self._position += len(self._flag)
        self._searched = 0
        return True

    def _partial_sync(self) -> int:
        """Count the bytes at the end of the buffer that may be the beginning of a sync."""
        sync = self._options.sync
        room = len(self._buffer) - self._position
        sizes = range(min(len(sync) - 1, room), 0, -1)
        return next((size for size in sizes if self._buffer.endswith(sync[:size])), 0)

    def _pass_over(self, end: int, trouble: Trouble = "noise") -> None:
        self._waste.add(end - self._position, self._now, self._actions, trouble)
        if end > self._position:
            self._searched = 0
        self._position = end

    def _skip(self, trouble: Trouble) -> None:
        """Go on at the byte after the one at which no packet begins."""
        self._open = False
        self._pass_over(self._position + 1, trouble)

    def _end_of_packet(self) -> int:
        """Where the candidate ends: 0 if that is not known yet, -1 if it is no packet."""
        options = self._options
        header = self._buffer[self._position : self._position + options.header]
        if len(header) < options.header:
            return 0
        size = options.packet_size(header)
        if not options.header + options.crc_size <= size <= options.max_packet:
            return -1
        if options.kinds and not options.kinds.knows(header):
            return -1
        end = self._position + size
        return end if end <= len(self._buffer) else 0

    def _end_of_delimited(self) -> int:
        """Find the delimiter; the answer is that of `_end_of_packet`."""
        options = self._options
        begin = self._position + len(options.sync)
        found = self._buffer.find(options.end, max(begin, self._position + self._searched))
        end = len(self._buffer) if found < 0 else found + len(options.end)
        if end - self._position > options.max_packet:
            return -1
        self._searched = max(0, end - self._position - len(options.end) + 1)
        return 0 if found < 0 else end

    def _judge(self, raw: bytes) -> None:
        options = self._options
        packet = options.unescaped(raw)
        start = self._base + self._position
        if packet is None or not options.proves(packet):
            # Only where the sender begins a packet is it waiting for an answer; one to a false
            # packet inside garbage would be taken for the answer to a good one.
            if options.refuse and start == self._step_at:
                self._waste.flush(self._actions)
                self._actions.append(Reply(options.refuse))
                self._step_at = start + len(raw)
            self._skip("checksum")
            return
        self._waste.flush(self._actions)
        self._actions += self._run.take(packet, len(raw), self._now)
        self._position += len(raw) - len(self._flag)
        self._step_at = self._base + self._position
        self._searched = 0
