"""From proven packets to messages: one each, or a run from a start packet to an end packet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_daemon.sources.framing.base import Deliver, Discard, Reply

if TYPE_CHECKING:
    from edge_daemon.sources.framing.base import Action, Trouble
    from edge_daemon.sources.framing.packet_options import Kinds, Number, PacketOptions


class PacketRun:
    """The message being collected.

    Parameters
    ----------
    options
        The layout of a packet and the codes of its kinds.
    """

    def __init__(self, options: PacketOptions) -> None:
        self._options = options
        self._last = b""  # the packet before, to know it when it is sent again
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = True
        self._since = 0.0

    @property
    def deadline(self) -> float | None:
        """Monotonic time at which the message is given up, or None."""
        return self._since + self._options.silence_s if self._parts else None

    def tick(self, now: float) -> list[Action]:
        """Give up a message whose packets stopped."""
        if self.deadline is not None and now >= self.deadline:
            self._last = b""  # sent again now, it begins the message again
            return self.interrupt()
        return []

    def interrupt(self) -> list[Action]:
        """End the message before its end packet."""
        if not self._parts:
            return []
        self._whole = False
        return [self._deliver()]

    def take(self, packet: bytes, size: int, now: float) -> list[Action]:
        """Take one proven packet.

        Parameters
        ----------
        packet
            Without delimiter and escapes.
        size
            Bytes it took in the stream.
        now
            Monotonic time, s.
        """
        options = self._options
        if options.sequence and packet == self._last:
            return [Discard("repeated", size), *self._answer(options.acknowledge)]
        before, self._last = self._last, packet
        if options.kinds is None or options.sequence is None:
            return [Deliver(options.payload(packet)), *self._answer(options.acknowledge)]
        self._since = now
        return self._join(packet, before, size, options.kinds, options.sequence)

    def _join(
        self, packet: bytes, before: bytes, size: int, kinds: Kinds, sequence: Number
    ) -> list[Action]:
        actions: list[Action] = []
        kind = packet[kinds.offset]
        if kind == kinds.start:
            actions += self.interrupt()
        elif not self._parts:
            return self._reject("frame", size)
        elif sequence.read(packet) != (sequence.read(before) + 1) % (1 << 8 * sequence.size):
            self._whole = False
        payload = self._options.payload(packet)
        if self._size + len(payload) > self._options.max_message:
            return [*actions, *self.interrupt(), *self._reject("too_large", size)]
        self._parts.append(payload)
        self._size += len(payload)
        if kind == kinds.end:
            actions.append(self._deliver())
        return [*actions, *self._answer(self._options.acknowledge)]

    def _deliver(self) -> Deliver:
        message = Deliver(b"".join(self._parts), complete=self._whole)
        self._parts = []
        self._size = 0
        self._whole = True
        return message

    def _reject(self, trouble: Trouble, size: int) -> list[Action]:
        self._last = b""  # sent again, it is refused again
        return [Discard(trouble, size), *self._answer(self._options.refuse)]

    @staticmethod
    def _answer(data: bytes) -> list[Action]:
        return [Reply(data)] if data else []
