"""Matrices in M records: ``FLOATLE-stream/deflate:base64``, little-endian floats in raw deflate."""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.decode.message import malformed, too_large
from edge_daemon.errors import Quarantine
from edge_daemon.records import ReportedHistogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.decode.codecs.astm_records import Record
    from edge_daemon.decode.limits import Limits

ENCODING: Final = "FLOATLE-stream/deflate:base64"

_MAX_RATIO = 100
_SMALL = 1 << 16
"""Below this no ratio is bad: a histogram of zeros shrinks to almost nothing."""
_MAX_THRESHOLDS = 64


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix as the analyzer sent it.

    Attributes
    ----------
    kind, name
        M.3 (``HISTOGRAM`` or ``MATRIX``) and M.5.
    values
        float32 ``(rows, columns)``: of a histogram positions and heights, of list mode one row an
        event.
    """

    kind: str
    name: str
    values: NDArray[np.float32]


class Allowance:
    """How many bytes the matrices of one capture may still expand to."""

    def __init__(self, limits: Limits, held: int) -> None:
        self.left = limits.allowed(held)


def holds_matrix(record: Record) -> bool:
    """Tell whether an M record has its data in the encoding that is read here."""
    return record.kind == "M" and record.components(7)[0] == ENCODING


def read_matrix(record: Record, limits: Limits, allowance: Allowance) -> Matrix:
    """Expand and check one matrix.

    M.7 holds the ranges of both axes, the number of thresholds on the first and the thresholds
    themselves, a 0, the numbers of columns and rows, and the values column by column.

    Raises
    ------
    Quarantine
        ``malformed``, ``truncated``, ``too_large`` or ``unsupported``, naming the record.
    """
    numbers = _floats(record, 7, allowance)
    if numbers.size < 8:
        raise malformed(f"{record.where}: expected 8 numbers or more in M.7, found {numbers.size}")
    thresholds = _whole(record, numbers[4], _MAX_THRESHOLDS, "thresholds")
    if numbers.size < 8 + thresholds:
        raise malformed(f"{record.where}: M.7 ends within its {thresholds} thresholds")
    if numbers[5 + thresholds] != 0:
        raise Quarantine(
            "unsupported",
            f"{record.where}: expected 0 after the thresholds in M.7, found "
            f"{numbers[5 + thresholds]:g}: a variant that is not known",
            action="Keep the capture, and have the profile's author look at it.",
        )
    columns = _whole(record, numbers[6 + thresholds], limits.max_channels, "columns")
    rows = _whole(record, numbers[7 + thresholds], limits.max_events, "rows")
    body = numbers[8 + thresholds :]
    if body.size != rows * columns:
        raise malformed(
            f"{record.where}: M.7 says {rows} rows × {columns} columns and holds {body.size} values"
        )
    values = np.ascontiguousarray(body.reshape(columns, rows).T)
    values.flags.writeable = False
    return Matrix(record.text(3), record.text(5), values)


def as_histogram(matrix: Matrix, unit: str) -> ReportedHistogram | None:
    """Return a matrix of positions and heights as a distribution; None where it is none.

    Positions are taken as the middles of equally wide bins.
    """
    if matrix.values.shape[1] != 2 or matrix.values.shape[0] < 2:
        return None
    position = matrix.values[:, 0].astype(np.float64)
    steps = np.diff(position)
    width = float(position[-1] - position[0]) / steps.size
    if not np.isfinite(matrix.values).all() or not width > 0:
        return None
    if np.abs(steps - width).max() > 0.01 * width:
        return None
    return ReportedHistogram(
        name=matrix.name,
        unit=unit,
        low=float(position[0]) - width / 2,
        high=float(position[-1]) + width / 2,
        counts=tuple(matrix.values[:, 1].astype(np.float64).tolist()),
    )


def _floats(record: Record, number: int, allowance: Allowance) -> NDArray[np.float32]:
    # The payload is looked at as written: base64 has none of the delimiters in it.
    encoding, _, payload = record.raw(number).partition(record.delimiters.component)
    if encoding != ENCODING:
        raise malformed(f"{record.where}: expected {ENCODING} in M.{number}, found {encoding!r}")
    try:
        packed = binascii.a2b_base64(payload, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise malformed(f"{record.where}: M.{number} is not base64: {error}") from error
    limit = min(allowance.left, max(_SMALL, _MAX_RATIO * len(packed)))
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        raw = unpacker.decompress(packed, limit + 1)
    except zlib.error as error:
        raise malformed(f"{record.where}: M.{number} is not raw deflate: {error}") from error
    if len(raw) > limit:
        raise too_large(
            f"{record.where}: M.{number} expands {len(packed)} bytes to more than {limit}, the "
            f"limit ({_MAX_RATIO}:1, and {allowance.left} bytes left for this capture)"
        )
    if not unpacker.eof or unpacker.unused_data:
        raise malformed(f"{record.where}: M.{number} does not end where its deflate stream does")
    if len(raw) % 4:
        raise malformed(
            f"{record.where}: M.{number} expands to {len(raw)} bytes, expected float32 values of 4"
        )
    allowance.left -= len(raw)
    return np.frombuffer(raw, "<f4").astype(np.float32, copy=False)


def _whole(record: Record, number: np.float32, limit: int, what: str) -> int:
    value = float(number)
    if not value.is_integer() or value < 0:  # also refuses nan and infinity
        raise malformed(f"{record.where}: expected a number of {what} in M.7, found {value:g}")
    if value > limit:
        raise too_large(f"{record.where}: {value:g} {what} in M.7, the limit is {limit}")
    return int(value)
