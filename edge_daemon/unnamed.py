"""A capture without the names of people, which decodes to the very same cells.

What the profile reads as a name, and what keywords that usually hold one say, is overwritten with
letters of the same length. The result is decoded again: another cell, another field of the
sample, or a name that is still there, and the capture is refused.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon import parts
from edge_daemon.decode import decode, decode_raw
from edge_daemon.decode.schema import Metadata
from edge_daemon.errors import EdgeError, Quarantine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.decode import Profile
    from edge_daemon.records import CellBatch

_PERSONAL: Final = re.compile(r"OWNER|CLIENT|CUSTOMER|SURNAME|NAME$|^\$(FIL|SRC|OP|EXP)$")
"""Keywords that usually name a person, or a file that somebody named so."""
_FILLER: Final = "x"


class StillNamedError(EdgeError):
    """A name in a capture could not be taken out."""


def without_names(data: bytes, profile: Profile, batch: CellBatch) -> tuple[bytes, int]:
    """Overwrite the names in a capture.

    Parameters
    ----------
    data
        The capture.
    profile
        That decoded it.
    batch
        What it decoded to.

    Returns
    -------
    tuple
        The capture, the same bytes where it held no name, and how many values were overwritten.

    Raises
    ------
    StillNamedError
        A name cannot be overwritten without changing what the capture says.
    """
    if profile.file_name is not None or len(parts.split(data)) > 1:
        raise StillNamedError("the names of its files, which may hold a patient's, are part of it")
    names = _names(data, profile)
    if not names:
        return data, 0
    blank = data
    for name in sorted(names, key=len, reverse=True):
        for encoding in ("utf-8", "latin-1"):
            blank = _overwritten(blank, name, encoding)
    if _names(blank, profile) & names or not _same_cells(blank, profile, batch):
        raise StillNamedError("a name in it cannot be taken out without changing what it says")
    return blank, len(names)


def _names(data: bytes, profile: Profile) -> set[str]:
    keywords = decode_raw(data, profile).keywords
    own = profile.metadata.patient_name
    named = {own.keyword.upper()} if own is not None else set()
    needed = {key.upper() for key in profile.match.keywords} if profile.match is not None else set()
    for field in Metadata.model_fields:
        mapped = getattr(profile.metadata, field)
        if mapped is not None and field != "patient_name":
            needed.add(mapped.keyword.upper())
    return {
        text.strip()
        for key, text in keywords.items()
        if text.strip() and (key in named or (_PERSONAL.search(key) and key not in needed))
    }


def _overwritten(data: bytes, name: str, encoding: str) -> bytes:
    try:
        raw = name.encode(encoding)
    except UnicodeEncodeError:
        return data
    word = re.compile(rb"(?<![0-9A-Za-z])" + re.escape(raw) + rb"(?![0-9A-Za-z])")
    return word.sub(_FILLER.encode() * len(raw), data)


def _same_cells(data: bytes, profile: Profile, batch: CellBatch) -> bool:
    try:
        again = decode(data, profile)
    except Quarantine:
        return False
    same = (
        _equal(again.signals, batch.signals)
        and _equal(again.saturated, batch.saturated)
        and _equal(again.time_s, batch.time_s)
        and _equal(again.pulses, batch.pulses)
    )
    samples = (replace(one.sample, patient_name=None) for one in (again, batch))
    return same and len(set(samples)) == 1


def _equal(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.array_equal(one, other))
