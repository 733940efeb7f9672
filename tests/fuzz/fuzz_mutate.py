"""Damage that knows what formats are made of: numbers, lengths, lines, tokens, and each other."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import Final

MAX_BYTES: Final = 1 << 18
_HEAD: Final = 1500  # formats keep what everything depends on at their beginning
_DIGITS: Final = re.compile(rb"\d+")
_NUMBERS: Final = (
    b"0", b"1", b"-1", b"2", b"58", b"255", b"256", b"65535", b"65536", b"99999999", b"1000000",
    b"1000001", b"2147483648", b"4294967296", b"1000000000", b"18446744073709551616", b"0x10",
    b"1e308", b"1e999", b"-1e999", b"nan", b"inf", b"-inf", b"1e-320", b"0.1", b"1,5", b"01", b"",
    b"9" * 400, "٣".encode(), "²".encode(), b"1_0", b"true",
)  # fmt: skip
_WORDS: Final = (
    b"\0", b"\r", b"\n", b"\r\n", b"\t", b" ", b'"', b"'", b"\\", b"/", b"=", b"[", b"]", b"{",
    b"}", b"#", b",", b";", b"|", b"^", b"~", b"&", b"$", b"%", b"../", b"/etc/passwd", b"\xff",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", "\u202e".encode(), "\U0001f9ea".encode(), b"\x1b[2J", b"\x7f",
    b"=cmd|' /C calc'!A0",
)  # fmt: skip
_WHOLE: Final = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 1 << 31, (1 << 31) - 1)
_FLOATS: Final = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e-45, 3e38, -1.0, 1e308)

Random = random.Random


def mutate(data: bytes, chance: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Change some bytes in one to several ways.

    Parameters
    ----------
    data
        To begin with.
    chance
        Decides everything.
    others
        Inputs of the same kind, to splice with.
    words
        What the format has a meaning for.
    """
    raw = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 1, 1, 1, 2, 2, 3, 6))):
        chance.choice(_WAYS)(raw, chance, others, words)
        del raw[MAX_BYTES:]
    return bytes(raw)


def _place(raw: bytearray, chance: Random) -> int:
    most = len(raw) if chance.random() < 0.4 else min(len(raw), _HEAD)
    return chance.randrange(most + 1)


def _span(chance: Random) -> int:
    return chance.choice((1, 1, 1, 2, 2, 3, 4, 4, 8, 16, 40, 400))


def _flip(raw: bytearray, chance: Random, _: object, __: object) -> None:
    if raw:
        raw[min(_place(raw, chance), len(raw) - 1)] ^= 1 << chance.randrange(8)


def _set(raw: bytearray, chance: Random, _: object, __: object) -> None:
    at = _place(raw, chance)
    raw[at : at + 1] = bytes([chance.choice((0, 1, 9, 10, 13, 32, 48, 57, 127, 128, 255))])


def _cut(raw: bytearray, chance: Random, _: object, __: object) -> None:
    del raw[_place(raw, chance) :]


def _lose(raw: bytearray, chance: Random, _: object, __: object) -> None:
    at = _place(raw, chance)
    del raw[at : at + _span(chance)]


def _double(raw: bytearray, chance: Random, _: object, __: object) -> None:
    at, span = _place(raw, chance), _span(chance)
    raw[at:at] = raw[at : at + span] * chance.choice((1, 1, 1, 2, 10, 300))


def _move(raw: bytearray, chance: Random, _: object, __: object) -> None:
    at, span = _place(raw, chance), _span(chance)
    piece = raw[at : at + span]
    del raw[at : at + span]
    to = _place(raw, chance)
    raw[to:to] = piece


def _noise(raw: bytearray, chance: Random, _: object, __: object) -> None:
    at, span = _place(raw, chance), _span(chance)
    raw[at : at + chance.choice((0, span))] = chance.randbytes(span)


def _word(raw: bytearray, chance: Random, _: object, words: Sequence[bytes]) -> None:
    at, word = _place(raw, chance), chance.choice(words or _WORDS)
    raw[at : at + chance.choice((0, 0, len(word)))] = word


def _sign(raw: bytearray, chance: Random, _: object, __: object) -> None:
    at, word = _place(raw, chance), chance.choice(_WORDS)
    raw[at : at + chance.choice((0, 0, len(word)))] = word


def _splice(raw: bytearray, chance: Random, others: Sequence[bytes], _: object) -> None:
    other = chance.choice(others)
    at, take = _place(raw, chance), _place(bytearray(other), chance)
    raw[at : at + chance.choice((0, 100, len(raw)))] = other[take : take + _span(chance) * 10]


def _number(raw: bytearray, chance: Random, _: object, __: object) -> None:
    """Give the next written number another value, in the room of the old one or not."""
    found = _DIGITS.search(raw, _place(raw, chance))
    if found is not None:
        value = chance.choice(_NUMBERS)
        if chance.random() < 0.3:
            value = str(max(int(found[0][:15]) + chance.choice((-1, 1)), 0)).encode()
        room = len(found[0]) if chance.random() < 0.5 else 0
        raw[found.start() : found.end()] = value.rjust(room, chance.choice((b" ", b"0")))


def _length(raw: bytearray, chance: Random, _: object, __: object) -> None:
    """Write a whole number where a length may stand, near the truth or far from it."""
    width, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
    at = _place(raw, chance)
    near = (len(raw), len(raw) - at, at, int.from_bytes(raw[at : at + width], order))
    value = chance.choice((*_WHOLE, (1 << 8 * width) - 1, *near)) + chance.choice((0, 0, -1, 1))
    raw[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)


def _float(raw: bytearray, chance: Random, _: object, __: object) -> None:
    form = chance.choice(("<f", ">f", "<d", ">d"))
    size = struct.calcsize(form)
    at = _place(raw, chance) // size * size
    value = chance.choice(_FLOATS[:-1] if form[1] == "f" else _FLOATS)
    raw[at : at + size] = struct.pack(form, value)


def _line(raw: bytearray, chance: Random, _: object, __: object) -> None:
    """Lose, double or exchange lines."""
    end = chance.choice((b"\n", b"\r"))
    lines = bytes(raw).split(end)
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.randrange(3)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at:at] = [lines[other]] * chance.choice((1, 1, 2, 50))
    else:
        lines[at], lines[other] = lines[other], lines[at]
    raw[:] = end.join(lines)


_WAYS: Final[tuple[Callable[[bytearray, Random, Sequence[bytes], Sequence[bytes]], None], ...]] = (
    _flip, _flip, _set, _cut, _lose, _double, _move, _noise, _word, _word, _sign, _splice, _number,
    _number, _length, _float, _line,
)  # fmt: skip
