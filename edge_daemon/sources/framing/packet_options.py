"""The layout of a binary packet, as a profile describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.crc import CrcModel, crc
from edge_daemon.sources.framing.options import check_between

if TYPE_CHECKING:
    from collections.abc import Sequence

Order = Literal["little", "big"]
MAX_PACKET: Final = 1 << 20
MAX_MESSAGE: Final = 64 << 20
_NEEDS_ONE: Final = "expected exactly one of length and end"


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number in the header.

    Attributes
    ----------
    offset
        Of its first byte, counted from the first sync byte.
    size
        Bytes, 1 to 4.
    order
        Byte order.
    """

    offset: int
    size: int = 1
    order: Order = "little"

    def __post_init__(self) -> None:
        check_between("offset", self.offset, 0, 255)
        check_between("size", self.size, 1, 4)

    def read(self, packet: bytes | bytearray) -> int:
        """Take the number from a packet that holds it."""
        return int.from_bytes(packet[self.offset : self.offset + self.size], self.order)


@dataclass(frozen=True, slots=True)
class Length(Number):
    """The number that says how long the packet is.

    Attributes
    ----------
    counts
        ``payload``; ``packet``, with sync bytes and CRC; or ``rest``, all after the number.
    """

    counts: Literal["payload", "packet", "rest"] = "payload"


@dataclass(frozen=True, slots=True)
class Kinds:
    """The code in the header that tells the packets of one message apart.

    Attributes
    ----------
    offset
        Of the code's one byte.
    start, data, end
        Codes of the packet that begins a message, of those between, and of the last.
    """

    offset: int
    start: int
    data: int
    end: int

    def __post_init__(self) -> None:
        check_between("offset", self.offset, 0, 255)
        for name in ("start", "data", "end"):
            check_between(name, getattr(self, name), 0, 255)
        if len({self.start, self.data, self.end}) < 3:
            raise ValueError(
                f"start, data and end are {self.start}, {self.data} and {self.end}; "
                "expected three different codes"
            )

    def knows(self, header: Sequence[int]) -> bool:
        """Say whether the header carries one of the three codes."""
        return header[self.offset] in {self.start, self.data, self.end}


@dataclass(frozen=True, slots=True)
class Crc(CrcModel):
    """The check at the end of the packet.

    Attributes
    ----------
    order
        Byte order in which it is sent.
    start
        Offset of the first byte it covers; 0 is the first sync byte. It covers all from there
        to the end of the payload, as it was before escaping.
    """

    order: Order = "big"
    start: int = 0

    def __post_init__(self) -> None:
        CrcModel.__post_init__(self)
        check_between("start", self.start, 0, 255)


@dataclass(frozen=True, slots=True)
class PacketOptions:
    """A packet: sync, header, payload, CRC, and the delimiter if it has one.

    Attributes
    ----------
    sync
        Bytes every packet begins with.
    crc
        The check.
    header
        Bytes before the payload, with the sync bytes.
    length
        Number in the header that gives the length; none if the packet ends with a delimiter.
    end
        Delimiter; it never appears in what comes before.
    escape, escape_xor
        Byte that announces a changed byte, and what that byte was combined with; empty if the
        content is free of the delimiter by its nature.
    sequence
        Number that counts packets, and shows one sent again or missing.
    kinds
        Codes of the packets of one message; without them each packet is a message.
    acknowledge, refuse
        What is answered to a good and to a damaged packet; empty for a line without answers.
    max_packet, max_message
        Bytes of one packet and of one message.
    gap_s
        A packet that stops for so long is given up.
    silence_s
        So is a message between its packets.
    """

    sync: bytes
    crc: Crc
    header: int
    length: Length | None = None
    end: bytes = b""
    escape: bytes = b""
    escape_xor: int = 0x20
    sequence: Number | None = None
    kinds: Kinds | None = None
    acknowledge: bytes = b""
    refuse: bytes = b""
    max_packet: int = 65_536
    max_message: int = 16 << 20
    gap_s: float = 2.0
    silence_s: float = 30.0

    def __post_init__(self) -> None:
        check_between("length of sync", len(self.sync), 1, 16)
        check_between("header", self.header, len(self.sync), 256)
        check_between("max_packet", self.max_packet, 16, MAX_PACKET)
        check_between("max_message", self.max_message, 1, MAX_MESSAGE)
        check_between("gap_s", self.gap_s, 0.05, 3600.0)
        check_between("silence_s", self.silence_s, 0.1, 3600.0)
        self._check_header()
        self._check_delimiter()
        if self.kinds and not self.sequence:
            raise ValueError(
                "kinds without sequence; expected both, or a missing packet would not be noticed"
            )

    def _check_header(self) -> None:
        sized = {"length": self.length, "sequence": self.sequence}
        ends = {name: number.offset + number.size for name, number in sized.items() if number}
        if self.kinds:
            ends["kinds"] = self.kinds.offset + 1
        for name, end in ends.items():
            if end > self.header:
                raise ValueError(
                    f"{name} ends at byte {end}; expected it inside the header of {self.header}"
                )
        if self.crc.start > self.header:
            raise ValueError(
                f"crc.start is {self.crc.start}; expected it inside the header of {self.header}"
            )

    def _check_delimiter(self) -> None:
        if (self.length is None) == (not self.end):
            given = "neither" if self.length is None else "both"
            raise ValueError(f"length and end: {given} given; {_NEEDS_ONE}")
        if not self.escape:
            return
        check_between("length of escape", len(self.escape), 1, 1)
        check_between("escape_xor", self.escape_xor, 1, 255)
        special = {self.escape[0], *self.end}
        if len(self.end) != 1 or len(special) != 2:
            raise ValueError(
                f"escape with end {self.end.hex(' ')!r}; expected an end of one other byte"
            )
        if special & {code ^ self.escape_xor for code in special}:
            raise ValueError(
                f"escape_xor is {self.escape_xor:#x}; expected one that makes neither escape nor "
                "end of the other"
            )

    def packet_size(self, header: bytes | bytearray) -> int:
        """Read the length of the whole packet from its header."""
        assert self.length is not None
        value = self.length.read(header)
        if self.length.counts == "packet":
            return value
        if self.length.counts == "rest":
            return self.length.offset + self.length.size + value
        return self.header + value + self.crc_size

    @property
    def crc_size(self) -> int:
        """Bytes of the CRC."""
        return (self.crc.width + 7) // 8

    def unescaped(self, raw: bytes) -> bytes | None:
        """Take delimiter and escapes from a packet; None where an escape stands alone."""
        packet = raw.removesuffix(self.end) if self.end else raw
        if not self.escape or self.escape not in packet:
            return packet
        # The sync bytes are never escaped, though one of them may be the escape byte itself.
        body = packet[len(self.sync) :]
        first, *rest = body.split(self.escape)
        if not all(rest):
            return None
        changed = (bytes([part[0] ^ self.escape_xor]) + part[1:] for part in rest)
        return self.sync + first + b"".join(changed)

    def proves(self, packet: bytes) -> bool:
        """Say whether a packet, without delimiter and escapes, is whole and its CRC right."""
        covered = len(packet) - self.crc_size
        if covered < self.header:
            return False
        if self.kinds and not self.kinds.knows(packet):
            return False
        expected = crc(self.crc, packet[self.crc.start : covered])
        return packet[covered:] == expected.to_bytes(self.crc_size, self.crc.order)

    def payload(self, packet: bytes) -> bytes:
        """Take the payload from a packet that is proven."""
        return packet[self.header : len(packet) - self.crc_size]
