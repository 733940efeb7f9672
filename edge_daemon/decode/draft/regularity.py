"""Finding fixed records in bytes of which nothing is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LONGEST: Final = 512
"""Largest record looked for, bytes."""

_LOOKED_AT: Final = 1 << 16
_FEWEST: Final = 16
"""Records there must be, so that chance makes none."""
_GAIN: Final = 0.15
"""Nats a byte that knowing the place in the record must save."""
_LONGEST_HEADER: Final = 4096


@dataclass(frozen=True, slots=True)
class Count:
    """A number in the header that may be the number of records."""

    offset: int
    type: Literal["u16", "u32"]
    order: Literal["little", "big"]
    value: int

    @property
    def width(self) -> int:
        """Bytes."""
        return int(self.type[1:]) // 8


def record_size(data: bytes) -> int | None:
    """Return the size of the records that a capture most probably consists of.

    Bytes at the same place of a record are alike: high bytes of small numbers are near zero. So
    for every size, mean and variance at each place are learnt from one half of the records and
    tried on the other; the smallest size that tells nearly as much of a byte as the best is
    taken, because every multiple of it tells as much.

    Parameters
    ----------
    data
        The whole capture. Its second half is looked at, where no header stands.

    Returns
    -------
    int or None
        Bytes, up to `LONGEST`; None where no size tells anything.
    """
    tail = np.frombuffer(data, np.uint8)[len(data) // 2 :][:_LOOKED_AT].astype(np.float32)
    sizes = range(2, min(LONGEST, len(tail) // _FEWEST) + 1)
    if not sizes:
        return None
    unknown = _nats(tail, 1)
    gains = np.array([unknown - _nats(tail, size) for size in sizes])
    if gains.max() < _GAIN:
        return None
    return sizes[int(np.flatnonzero(gains >= 0.98 * gains.max())[0])]


def _nats(content: NDArray[np.float32], size: int) -> float:
    """Information in a byte whose place in records of `size` is known, of a Gaussian model."""
    records = content[: len(content) // size * size].reshape(-1, size)
    half = len(records) // 2
    learnt, tried = records[:half], records[half:]
    variance = learnt.var(axis=0) + 1.0
    error = np.square(tried - learnt.mean(axis=0)).mean(axis=0)
    return float(np.mean(np.log(variance) + error / variance) / 2.0)


def counts(data: bytes, size: int) -> Iterator[Count]:
    """Yield the numbers that leave a header that holds them when they count records."""
    shapes: tuple[tuple[Literal["u16", "u32"], int], ...] = (("u32", 4), ("u16", 2))
    for kind, width in shapes:
        for offset in range(min(_LONGEST_HEADER, len(data)) - width):
            for order in _orders():
                value = int.from_bytes(data[offset : offset + width], order)
                rest = len(data) - value * size
                if value >= _FEWEST and offset + width <= rest <= _LONGEST_HEADER:
                    yield Count(offset, kind, order, value)


def _orders() -> tuple[Literal["little"], Literal["big"]]:
    return ("little", "big")


def header_size(data: bytes, size: int, trailer: int) -> int:
    """Return where records begin that end `trailer` bytes before the end.

    The header ends with the last stretch, as long as a record, that is unlike the records.
    """
    content = np.frombuffer(data, np.uint8)[: len(data) - trailer]
    begin = len(content) % size
    records = content[begin:].reshape(-1, size).astype(np.float32)
    half = records[len(records) // 2 :]
    distance = (np.abs(records - half.mean(axis=0)) / (half.std(axis=0) + 8.0)).mean(axis=1)
    usual = 1.5 * np.quantile(distance[len(records) // 2 :], 0.99)
    first = distance[: _LONGEST_HEADER // size]
    unlike = np.flatnonzero(first > usual)
    return begin + (int(unlike[-1]) + 1) * size if len(unlike) else begin


def low_bytes_first(data: bytes, begin: int) -> bool:
    """Tell whether two-byte numbers from byte `begin` on seem to be little-endian.

    Of a number, the high byte varies less.
    """
    content = np.frombuffer(data, np.uint8)[begin:][:_LOOKED_AT]
    if len(content) < 4:
        return True
    spread = content[: len(content) // 2 * 2].reshape(-1, 2).astype(np.float32).std(axis=0)
    return bool(spread[1] <= spread[0])
