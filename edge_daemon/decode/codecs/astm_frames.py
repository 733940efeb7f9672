"""ASTM E1381 (LIS1-A) frames of a recorded transmission, taken off.

A serial or network source hands over messages that its framing has already unpacked; a file that
somebody recorded on the line still holds the frames. Both end as the same records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_daemon.decode.message import MAX_RECORDS, cut_off, malformed, too_large

if TYPE_CHECKING:
    from edge_daemon.decode.message import Leniencies

ENQ, EOT, STX, ETX, ETB = b"\x05", b"\x04", b"\x02", b"\x03", b"\x17"

_LONGEST_TEXT = 240
_STOP = re.compile(rb"[\x02-\x05\x17]")
_CHECKSUM = re.compile(rb"[0-9A-Fa-f]{2}")
_FRAME_NUMBERS = 8
_MAX_FRAMES = 300_000


@dataclass(frozen=True, slots=True)
class Deframed:
    """The records of a transmission.

    Attributes
    ----------
    body
        Records, each ended by CR.
    frames
        How many frames they came in, repeated ones included; 0 where there were none.
    """

    body: bytes
    frames: int


@dataclass(frozen=True, slots=True)
class _Frame:
    at: int
    number: int
    text: bytes
    last: bool
    after: int


def deframe(data: bytes, lenient: Leniencies) -> Deframed:
    """Check frames, numbers and checksums, and join the records.

    Parameters
    ----------
    data
        A recorded transmission, or records without frames, which are returned as they are.
    lenient
        Which deviations are allowed.

    Raises
    ------
    Quarantine
        ``malformed`` or ``truncated``, naming the byte and the frame.
    """
    if data[:1] not in (ENQ, STX, EOT):
        return Deframed(data, 0)
    texts: list[bytes] = []
    frames, marks, at = 0, 0, 0
    session = False
    previous: _Frame | None = None
    while at < len(data):
        if frames > _MAX_FRAMES or marks > MAX_RECORDS:
            raise too_large(f"byte {at}: more than {frames + marks - 1} frames, ENQ and EOT")
        mark = data[at : at + 1]
        if mark == STX:
            if not session:
                lenient.need("without_session", f"byte {at}: a frame outside ENQ … EOT")
            frame = _read_frame(data, at, lenient)
            if not _repeats(frame, previous):
                _check_number(frame, previous, session=session)
                texts.append(_text(frame, lenient))
            previous, at, frames = frame, frame.after, frames + 1
        elif mark in (ENQ, EOT):
            _check_stop(previous, at)
            session, previous, at, marks = mark == ENQ, None, at + 1, marks + 1
        else:
            raise malformed(
                f"byte {at}: expected a frame (STX), ENQ or EOT, found {data[at : at + 8]!r}"
            )
    if session:
        raise cut_off(f"byte {at}: the transmission does not end (no EOT)")
    _check_stop(previous, at)
    return Deframed(b"".join(texts), frames)


def _check_stop(previous: _Frame | None, at: int) -> None:
    if previous is not None and not previous.last:
        raise cut_off(f"byte {at}: the transmission stops inside a record (ETB before)")


def _read_frame(data: bytes, at: int, lenient: Leniencies) -> _Frame:
    number = data[at + 1 : at + 2]
    if number and number not in b"01234567":
        raise malformed(f"byte {at + 1}: expected a frame number 0 to 7, found {number!r}")
    stop = _STOP.search(data, at + 1)
    if stop is None:
        raise cut_off(f"byte {at}: the frame has no end (ETX or ETB)")
    end = stop.start()
    if stop[0] not in (ETX, ETB):
        raise malformed(f"byte {end}: the frame of byte {at} is broken off by {stop[0]!r}")
    text = data[at + 2 : end]
    if len(text) > _LONGEST_TEXT:
        lenient.need(
            "long_frames",
            f"byte {at}: a frame of {len(text)} characters, the standard allows {_LONGEST_TEXT}",
        )
    _check_sum(data, at, end)
    after = end + 5
    if data[end + 3 : after] != b"\r\n":
        if data[end + 3 : end + 4] != b"\r":
            raise malformed(
                f"byte {end + 3}: expected CR LF after the checksum, found "
                f"{data[end + 3 : after]!r}"
            )
        lenient.need("without_line_feed", f"byte {end + 4}: no LF after checksum and CR")
        after = end + 4
    return _Frame(at, int(number or b"0"), text, stop[0] == ETX, after)


def _check_sum(data: bytes, at: int, end: int) -> None:
    written = data[end + 1 : end + 3]
    if len(written) < 2:
        raise cut_off(f"byte {end + 1}: the frame of byte {at} ends before its checksum")
    if not _CHECKSUM.fullmatch(written):
        raise malformed(f"byte {end + 1}: expected a checksum, two hex digits, found {written!r}")
    summed = sum(data[at + 1 : end + 1]) % 256
    if int(written, 16) != summed:
        raise malformed(
            f"byte {end + 1}: the frame of byte {at} has checksum {written.decode()}, its bytes "
            f"give {summed:02X}"
        )


def _repeats(frame: _Frame, previous: _Frame | None) -> bool:
    """Tell whether a frame was sent again because its acknowledgement was lost."""
    return (
        previous is not None
        and (frame.number, frame.text, frame.last)
        == (previous.number, previous.text, previous.last)
    )  # fmt: skip


def _check_number(frame: _Frame, previous: _Frame | None, *, session: bool) -> None:
    expected = 1 if previous is None else (previous.number + 1) % _FRAME_NUMBERS
    if frame.number == expected:
        return
    # Where nothing marks the end of a transmission, the next one begins with its header.
    restarts = previous is not None and previous.last and frame.text.startswith(b"H")
    if session or frame.number != 1 or not restarts:
        raise malformed(
            f"byte {frame.at}: expected frame number {expected}, found {frame.number}: a frame is "
            "missing"
        )


def _text(frame: _Frame, lenient: Leniencies) -> bytes:
    if not frame.last or frame.text.endswith((b"\r", b"\n")):
        return frame.text
    lenient.need(
        "without_record_end", f"byte {frame.at}: the last record of the frame does not end with CR"
    )
    return frame.text + b"\r"
