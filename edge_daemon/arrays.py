"""Read named arrays (``.npz``) from bytes that somebody else made.

numpy's own reader evaluates the header of each array as Python, takes memory for what the header
claims before it looks whether the bytes are there, and raises what zip, zlib, tokenizer and numpy
raise. Here a header is one fixed text, an array is exactly its bytes, and what is wrong is one
error.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER: Final = re.compile(
    rb"\{'descr': '([<|](?:f[248]|[iu][1248]|b1))', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,10}(?:, |,(?=\))|(?=\))))*)\), \} *\n"
)
_MAGIC: Final = b"\x93NUMPY\x01\x00"
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE: Final = (
    OSError, EOFError, ValueError, KeyError, RuntimeError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


class ArraysError(ValueError):
    """The bytes are no file of named arrays; the text says why."""


def read_arrays(data: bytes, most: int) -> dict[str, NDArray[Any]]:
    """Read every array of a file.

    Parameters
    ----------
    data
        The file.
    most
        Bytes that all arrays together may have.

    Returns
    -------
    dict
        Arrays of numbers or truth values by name, of any shape.

    Raises
    ------
    ArraysError
        It is no such file, is damaged, or holds more than that.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_size(sum(member.file_size for member in members), most)
            return {m.filename.removesuffix(".npy"): _array(archive, m) for m in members}
    except ArraysError:
        raise
    except _UNREADABLE as error:
        raise ArraysError(str(error)[:200] or type(error).__name__) from error


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise ArraysError(f"arrays of {size} bytes, the limit is {most}")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    if member.compress_type not in _COMPRESSIONS:
        raise ArraysError(f"{member.filename!r:.60} is compressed in a way that is not read")
    content = archive.read(member)
    begin = len(_MAGIC) + 2
    body = begin + int.from_bytes(content[len(_MAGIC) : begin], "little")
    header = _HEADER.fullmatch(content[begin:body])
    if not content.startswith(_MAGIC) or header is None:
        raise ArraysError(f"{member.filename!r:.60} is no array of numbers")
    kind, fortran = np.dtype(header[1].decode()), header[2] == b"True"
    shape = tuple(int(length) for length in re.findall(rb"\d+", header[3]))
    if kind.itemsize * math.prod(shape) != len(content) - body or len(shape) > 8:
        raise ArraysError(
            f"{member.filename!r:.60} says shape {shape} of {kind}, and holds "
            f"{len(content) - body} bytes"
        )
    values = np.frombuffer(content, kind, offset=body)
    return values.reshape(shape, order="F" if fortran else "C").copy()
