"""What simulated analyzers put on the wire: the sending half of every framing.

Written from the framings' descriptions and apart from the code that receives them, so that a
round trip through both proves something.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ENQ: Final = b"\x05"
EOT: Final = b"\x04"

PACKET_FRAMING: Final[Mapping[str, object]] = {
    "sync": "a5 5a",
    "header": 7,
    "length": {"offset": 5, "size": 2, "order": "little", "counts": "payload"},
    "kinds": {"offset": 2, "start": 1, "data": 2, "end": 3},
    "sequence": {"offset": 3, "size": 2, "order": "little"},
    "crc": {
        "width": 32,
        "poly": 0x04C11DB7,
        "init": 0xFFFFFFFF,
        "refin": True,
        "refout": True,
        "xorout": 0xFFFFFFFF,
        "order": "little",
        "start": 2,
    },
    "acknowledge": "06",
    "refuse": "15",
}
"""Options of the framing ``packet`` that read what `packet_run` writes."""

_SYNC: Final = b"\xa5\x5a"
_START, _DATA, _END = 1, 2, 3
_RESTRICTED: Final = frozenset(range(1, 7)) | frozenset(range(0x10, 0x18)) | {0x0A}


def astm_frames(message: bytes, *, text_size: int = 240, by_record: bool = True) -> list[bytes]:
    """Cut a message into the frames of ASTM E1381, to be sent one by one.

    Parameters
    ----------
    message
        Records, each ended by CR.
    text_size
        Characters of text in one frame at most.
    by_record
        Every record begins a frame; else frames are filled over the borders of records.

    Returns
    -------
    list of bytes
        Frames, numbered 1 to 7, 0, 1 and so on; without `ENQ` before and `EOT` after.

    Raises
    ------
    ValueError
        The message is empty, ends without CR, or holds a character that frames cannot carry.
    """
    if not message.endswith(b"\r"):
        raise ValueError(f"the message ends in {message[-1:]!r}; expected CR")
    if bad := _RESTRICTED.intersection(message):
        raise ValueError(f"the message holds {bytes(sorted(bad))!r}; frames cannot carry that")
    units = message.splitlines(keepends=True) if by_record else [message]
    texts = [
        (unit[begin : begin + text_size], begin + text_size >= len(unit))
        for unit in units
        for begin in range(0, len(unit), text_size)
    ]
    return [astm_frame(1 + index, text, last=last) for index, (text, last) in enumerate(texts)]


def astm_frame(number: int, text: bytes, *, last: bool) -> bytes:
    """Build one frame; `number` is taken modulo 8, `last` chooses ETX over ETB."""
    content = b"%d%s%c" % (number % 8, text, 0x03 if last else 0x17)
    return b"\x02%s%02X\r\n" % (content, sum(content) % 256)


def mllp_block(message: bytes) -> bytes:
    """Wrap an HL7 message for MLLP."""
    return b"\x0b" + message + b"\x1c\r"


def packet_run(message: bytes, *, sequence: int = 0, payload_size: int = 1024) -> list[bytes]:
    """Cut a message into the packets of a simulated analyzer, to be sent one by one.

    A packet is ``A5 5A``, kind (1 start, 2 data, 3 end), sequence (2 bytes), length of the
    payload (2 bytes), payload, CRC-32 of all behind the sync bytes; all little-endian.

    Parameters
    ----------
    message
        Any bytes.
    sequence
        Number of the first packet; analyzers count on from message to message.
    payload_size
        Bytes in one packet at most, up to 65,535.
    """
    parts = [
        message[begin : begin + payload_size] for begin in range(0, len(message), payload_size)
    ]
    parts += [b""] * (2 - len(parts))
    kinds = [_START, *[_DATA] * (len(parts) - 2), _END]
    return [
        packet(kind, sequence + index, part)
        for index, (kind, part) in enumerate(zip(kinds, parts, strict=True))
    ]


def packet(kind: int, sequence: int, payload: bytes) -> bytes:
    """Build one packet; see `packet_run`."""
    body = struct.pack("<BHH", kind, sequence % 65_536, len(payload)) + payload
    return _SYNC + body + struct.pack("<I", zlib.crc32(body))


def block(head: bytes, text: bytes) -> bytes:
    """Build SOH head STX text ETX sum EOT, the sum over all from SOH to ETX modulo 256."""
    content = b"\x01%s\x02%s\x03" % (head, text)
    return content + bytes([sum(content) % 256]) + EOT
