"""A small strict writer of FCS 3.1 list mode.

Analyzers export the counts of their converters, in integers of 8, 16 or 32 bits with a logarithmic
or linear scale, which FlowIO cannot write; exports of called cells are float32. FlowIO reads both
back in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.integer] | NDArray[np.floating]

DELIMITER = "|"
_HEADER_BYTES = 58
_LARGEST_IN_HEADER = 99_999_999
_COMPUTED = frozenset(
    {
        "$BEGINANALYSIS", "$BEGINDATA", "$BEGINSTEXT", "$BYTEORD", "$DATATYPE", "$ENDANALYSIS",
        "$ENDDATA", "$ENDSTEXT", "$MODE", "$NEXTDATA", "$PAR", "$TOT",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FcsColumn:
    """One parameter of the DATA segment.

    Attributes
    ----------
    name
        ``$PnN``: unique, not empty, without a comma.
    label
        ``$PnS``; empty for none.
    bits
        Word width: 8, 16 or 32.
    limit
        ``$PnR``: every whole number is below it; of float32 data a hint for the display.
    decades
        First number of ``$PnE``; 0 for a linear scale.
    """

    name: str
    label: str
    bits: Literal[8, 16, 32]
    limit: int
    decades: float = 0.0


def write_fcs(
    columns: Sequence[FcsColumn],
    values: Values,
    keywords: Mapping[str, str],
    *,
    byte_order: Literal["big", "little"],
) -> bytes:
    """Serialise one data set.

    Parameters
    ----------
    columns
        Description of each parameter.
    values
        ``(events, parameters)``: whole numbers as a converter records them, or float32 (then every
        column has 32 bits and a linear scale).
    keywords
        Further keywords; empty values are left out, because FCS cannot hold them.
    byte_order
        Order of the bytes in a word.

    Returns
    -------
    bytes
        HEADER, TEXT, DATA and an unset checksum.

    Raises
    ------
    ValueError
        If names repeat, a value does not lie below its column's limit or is not finite, a
        keyword is one that the writer computes, a text begins with the delimiter, or shapes do
        not agree.
    """
    _check(columns, values, keywords)
    if values.dtype.kind == "f":
        data = values.astype(">f4" if byte_order == "big" else "<f4").tobytes()
        return _assemble(_pairs(columns, len(values), keywords, byte_order, "F"), data)
    mark = ">" if byte_order == "big" else "<"
    row = np.dtype([(f"{i}", f"{mark}u{c.bits // 8}") for i, c in enumerate(columns)])
    if len({c.bits for c in columns}) == 1:
        data = values.astype(f"{mark}u{columns[0].bits // 8}").tobytes()
    else:
        records = np.empty(len(values), dtype=row)
        for i in range(len(columns)):
            records[f"{i}"] = values[:, i]
        data = records.tobytes()
    return _assemble(_pairs(columns, len(values), keywords, byte_order, "I"), data)


def _assemble(pairs: Mapping[str, str], data: bytes) -> bytes:
    text, begin = _text(pairs, len(data))
    end = begin + len(data) - 1
    in_header = (begin, end) if end <= _LARGEST_IN_HEADER else (0, 0)
    offsets = (_HEADER_BYTES, begin - 1, *in_header, 0, 0)
    header = "FCS3.1    " + "".join(f"{offset:>8d}" for offset in offsets)
    return header.encode("ascii") + text + data + b"00000000"


def _check(columns: Sequence[FcsColumn], values: Values, keywords: Mapping[str, str]) -> None:
    names = [c.name for c in columns]
    if len(set(names)) != len(names) or not all(names) or any("," in name for name in names):
        raise ValueError(f"parameter names must be unique, filled and without comma: {names}")
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise ValueError(f"values of shape {values.shape} for {len(columns)} parameters")
    if values.dtype.kind == "f":
        _check_floats(columns, values)
    for i, column in enumerate(columns if values.dtype.kind != "f" else ()):
        if column.limit > 2**column.bits:
            raise ValueError(f"{column.name}: limit {column.limit} needs over {column.bits} bits")
        if len(values) and not (values[:, i].min() >= 0 and values[:, i].max() < column.limit):
            raise ValueError(f"{column.name}: a value is not in 0..{column.limit - 1}")
    reserved = _COMPUTED & {key.upper() for key in keywords}
    if reserved:
        raise ValueError(f"the writer computes {sorted(reserved)}")
    texts = [text for pair in keywords.items() for text in pair] + [c.label for c in columns]
    if any(text.startswith(DELIMITER) for text in (*names, *texts)):
        raise ValueError(f"neither keyword nor value may begin with the delimiter {DELIMITER}")


def _check_floats(columns: Sequence[FcsColumn], values: Values) -> None:
    if values.dtype != np.float32:
        raise ValueError(f"values are {values.dtype}; write whole numbers or float32")
    if any(column.bits != 32 or column.decades for column in columns):
        raise ValueError("columns of float32 have 32 bits and a linear scale")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")


def _pairs(
    columns: Sequence[FcsColumn],
    events: int,
    keywords: Mapping[str, str],
    byte_order: str,
    datatype: Literal["I", "F"],
) -> dict[str, str]:
    pairs = {
        "$BEGINANALYSIS": "0",
        "$ENDANALYSIS": "0",
        "$BEGINSTEXT": "0",
        "$ENDSTEXT": "0",
        "$BYTEORD": "4,3,2,1" if byte_order == "big" else "1,2,3,4",
        "$DATATYPE": datatype,
        "$MODE": "L",
        "$NEXTDATA": "0",
        "$PAR": str(len(columns)),
        "$TOT": str(events),
    }
    for number, column in enumerate(columns, start=1):
        scale = f"{column.decades:.1f},1.0" if column.decades else "0,0"
        pairs[f"$P{number}B"] = str(column.bits)
        pairs[f"$P{number}E"] = scale
        pairs[f"$P{number}N"] = column.name
        pairs[f"$P{number}R"] = str(column.limit)
        pairs[f"$P{number}S"] = column.label
    pairs.update(keywords)
    return {key: value for key, value in pairs.items() if value}


def _text(pairs: Mapping[str, str], data_bytes: int) -> tuple[bytes, int]:
    """Return TEXT and the offset of DATA; fixed-width offsets keep the length independent."""
    begin = 0
    text = b""
    for _ in range(2):
        spans = {"$BEGINDATA": f"{begin:010d}", "$ENDDATA": f"{begin + data_bytes - 1:010d}"}
        fields = [field for pair in {**spans, **pairs}.items() for field in pair]
        escaped = (field.replace(DELIMITER, DELIMITER * 2) for field in fields)
        text = (DELIMITER + DELIMITER.join(escaped) + DELIMITER).encode("utf-8")
        begin = _HEADER_BYTES + len(text)
    return text, begin
