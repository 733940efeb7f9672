"""A simulated analyzer on a real line: sends messages as the standards say, faults included."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.simulator import wire
from edge_daemon.simulator.faults import misread
from edge_daemon.simulator.transports import LineDownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_daemon.simulator.faults import Fault
    from edge_daemon.simulator.transports import Line

FramingName = Literal["astm", "mllp", "packet", "block"]

_TRIES: Final = 6  # E1381, 6.5.1: of one frame, and here of a whole message too
_LONG_S: Final = 40.0  # longer than every framing waits
_REST_S: Final = 10.0  # E1381, 6.5.2: before a transfer is begun again
_PIECE: Final = 32  # bytes between two pauses at the speed of a line
_ACK, _NAK = b"\x06", b"\x15"
_MLLP_END: Final = b"\x1c\r"


@dataclass(frozen=True, slots=True)
class Unit:
    """What is sent in one piece, and whether the box answers it."""

    data: bytes
    answered: bool


@dataclass(frozen=True, slots=True)
class Speech:
    """A message as its framing says it.

    Attributes
    ----------
    units
        In their order; each is sent once the one before is acknowledged.
    closing
        Ends the transfer; never answered.
    """

    units: tuple[Unit, ...]
    closing: bytes = b""


def speak(
    framing: FramingName, message: bytes, *, sequence: int = 0, payload_size: int = 1024
) -> Speech:
    """Frame a message; `sequence` and `payload_size` are of `wire.packet_run`."""
    if framing == "astm":
        frames = [Unit(frame, answered=True) for frame in wire.astm_frames(message)]
        return Speech((Unit(wire.ENQ, answered=True), *frames), wire.EOT)
    if framing == "mllp":
        return Speech((Unit(wire.mllp_block(message), answered=True),))
    if framing == "block":
        return Speech((Unit(wire.block(b"", message), answered=False),))
    packets = wire.packet_run(message, sequence=sequence, payload_size=payload_size)
    return Speech(tuple(Unit(packet, answered=True) for packet in packets))


def judge(framing: FramingName, answer: bytes) -> bool | None:
    """Tell whether an answer is positive; None while it is not complete."""
    if framing == "mllp":
        if not answer.endswith(_MLLP_END):
            return None
        return b"MSA|AA" in answer or b"MSA|CA" in answer
    if _NAK in answer:
        return False
    return True if _ACK in answer else None


class Analyzer:
    """Sends messages over a line, one after the other.

    Parameters
    ----------
    line
        Already plugged in, or plugged in by the first message.
    framing
        How messages are framed.
    seed
        Decides where in a message a fault strikes.
    baud
        Speed of the line; None sends as fast as the line takes it.
    patience_s
        Wait for an answer; E1381, 6.5.2.
    pause
        Lets time pass; tests pass their own.
    payload_size
        Bytes of a message in one packet; the box syncs its journal before it answers each.

    Attributes
    ----------
    acknowledged
        Units that the box acknowledged, of every message.
    """

    def __init__(
        self,
        line: Line,
        framing: FramingName,
        *,
        seed: int = 0,
        baud: int | None = None,
        patience_s: float = 15.0,
        pause: Callable[[float], None] = time.sleep,
        payload_size: int = 1024,
    ) -> None:
        self.acknowledged = 0
        self._line = line
        self._framing: FramingName = framing
        self._rng = random.Random(seed)  # noqa: S311 - where faults strike, no secret
        self._baud = baud
        self._patience_s = patience_s
        self._pause = pause
        self._payload_size = payload_size
        self._sequence = 0

    def send(self, message: bytes, fault: Fault | None = None) -> bool:
        """Send a message until it is acknowledged to its end, six times at most.

        Parameters
        ----------
        message
            What the framing carries.
        fault
            Happens to the first try.

        Returns
        -------
        bool
            Whether the box acknowledged every part of it.
        """
        self._line.plug(self._patience_s)
        speech = speak(
            self._framing, message, sequence=self._sequence, payload_size=self._payload_size
        )
        self._sequence += len(speech.units)
        if fault in {"garbage", "wrong_baud"}:
            self._disturb(speech, fault)
            fault = None
        if fault == "resend" and not self._insist(speech, None):
            return False
        return self._insist(speech, None if fault == "resend" else fault)

    def _disturb(self, speech: Speech, fault: Fault) -> None:
        if fault == "garbage":
            self._write(self._rng.randbytes(self._rng.randrange(1, 400)))
        else:
            sent = b"".join(unit.data for unit in speech.units)
            self._write(misread(sent + speech.closing))
        self._rest(_LONG_S)

    def _insist(self, speech: Speech, fault: Fault | None) -> bool:
        for _ in range(_TRIES):
            try:
                if self._transfer(speech, fault):
                    return True
                self._rest(_REST_S)
            except LineDownError:
                self._line.unplug()
                self._pause(_REST_S)
                self._line.plug(self._patience_s)
                self._rest(_REST_S)
            fault = None
        return False

    def _transfer(self, speech: Speech, fault: Fault | None) -> bool:
        struck = self._strike(speech, fault)
        for index, unit in enumerate(speech.units):
            if index == struck and fault in {"unplug", "half_frame", "silence"}:
                self._break_off(unit, fault)
                self._write(speech.closing)
                return False
            if not self._say(unit, fault if index == struck else None):
                self._write(speech.closing)
                return False
        self._write(speech.closing)
        return True

    def _strike(self, speech: Speech, fault: Fault | None) -> int:
        """Choose the unit that a fault happens to; -1 for none."""
        if fault is None:
            return -1
        # A lone control character holds no checksum.
        least = 2 if fault == "wrong_checksum" else 1
        return self._rng.choice(
            [n for n, unit in enumerate(speech.units) if len(unit.data) >= least]
        )

    def _break_off(self, unit: Unit, fault: Fault | None) -> None:
        if fault != "silence":
            self._write(unit.data[: len(unit.data) // 2])
        if fault == "unplug":
            raise LineDownError("the cable was pulled")
        self._rest(_LONG_S)

    def _say(self, unit: Unit, fault: Fault | None) -> bool:
        """Send one unit until it is acknowledged, six times at most."""
        for _ in range(_TRIES):
            # MLLP has no checksum: a changed byte would be another message.
            damaged = fault == "wrong_checksum" and unit.answered and self._framing != "mllp"
            self._write(_damage(unit.data) if damaged else unit.data)
            if not unit.answered:
                return True
            answer = self._answer()
            if fault == "lost_ack":
                answer = False if answer is not None else None
            fault = None
            if answer:
                self.acknowledged += 1
                return True
            if answer is None:
                return False
        return False

    def _answer(self) -> bool | None:
        answer = b""
        while (verdict := judge(self._framing, answer)) is None:
            more = self._line.read(self._patience_s)
            if not more:
                return None
            answer += more
        return verdict

    def _write(self, data: bytes) -> None:
        if self._baud is None:
            self._line.write(data)
            return
        for begin in range(0, len(data), _PIECE):
            piece = data[begin : begin + _PIECE]
            self._line.write(piece)
            time.sleep(len(piece) * 10 / self._baud)  # start bit, eight bits, stop bit

    def _rest(self, seconds: float) -> None:
        """Let time pass, then forget answers that nobody waits for any more."""
        self._pause(seconds)
        while self._line.read(0.0):
            pass


def _damage(data: bytes) -> bytes:
    """Change one bit in the middle, where no control character of a frame stands."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 0x08]) + data[place + 1 :]
