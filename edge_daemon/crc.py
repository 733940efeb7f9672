"""Cyclic redundancy checks of any width from 8 to 32 bits, described by their parameters."""

from __future__ import annotations

import binascii
import functools
import struct
from dataclasses import dataclass
from typing import Final

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_POLY_CRC32: Final = 0x04C11DB7


@dataclass(frozen=True, slots=True)
class CrcModel:
    """The parameters every catalogue of CRCs lists.

    Attributes
    ----------
    width
        Bits, 8 to 32.
    poly
        Polynomial without its highest term, most significant bit first.
    init, xorout
        Register at the start; what the result is combined with.
    refin, refout
        Whether bytes enter, and the result leaves, least significant bit first.
    """

    width: int
    poly: int
    init: int = 0
    refin: bool = False
    refout: bool = False
    xorout: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.width <= 32:
            raise ValueError(f"width is {self.width}; expected 8 to 32")
        most = (1 << self.width) - 1
        for name in ("poly", "init", "xorout"):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 to {most}")
        if not self.poly & 1:
            raise ValueError(
                f"poly is {self.poly:#x}; expected an odd number, written most significant bit "
                "first and without the highest term"
            )


def crc(model: CrcModel, data: bytes) -> int:
    """Compute the check value of `data`."""
    # One register, least significant bit first, serves both orders: for the other one the bits
    # of every byte are reversed on the way in, which costs one call for the whole packet.
    if not model.refin:
        data = data.translate(_REVERSED)
    register = _reverse(model.init, model.width)
    if model.width == 32 and model.poly == _POLY_CRC32:
        register = binascii.crc32(data, register ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    else:
        register = _run(register, _tables(model.width, model.poly), data)
    return (register if model.refout else _reverse(register, model.width)) ^ model.xorout


def _run(register: int, tables: tuple[tuple[int, ...], tuple[int, ...]], data: bytes) -> int:
    """Take two bytes a step, each with its own table.

    One table of all 65,536 steps would be read once a step, not twice, but does not fit the cache
    and takes three times as long.
    """
    first, second = tables
    for word in struct.unpack_from(f"<{len(data) // 2}H", data):
        step = (register ^ word) & 0xFFFF
        register = first[step & 0xFF] ^ second[step >> 8] ^ (register >> 16)
    if len(data) % 2:
        register = second[(register ^ data[-1]) & 0xFF] ^ (register >> 8)
    return register


@functools.lru_cache(maxsize=8)
def _tables(width: int, poly: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Make what a byte adds to the register when another byte follows, and when none does."""
    reversed_poly = _reverse(poly, width)
    last = []
    for byte in range(256):
        register = byte
        for _ in range(8):
            register = (register >> 1) ^ (reversed_poly if register & 1 else 0)
        last.append(register)
    return tuple(last[step & 0xFF] ^ (step >> 8) for step in last), tuple(last)


def _reverse(value: int, width: int) -> int:
    return int(f"{value:0{width}b}"[::-1], 2)
