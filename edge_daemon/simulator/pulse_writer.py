"""Files of digitised pulses, as the simulated ``sim_pulse4`` writes them.

=======  =======================================================================================
header   192 bytes: ``EDPULSE1``, then fields at the offsets of `FIELDS`
event    time (u32, in units of ``TIMESTEP``), then detector by detector its samples (u16)
trailer  CRC-32 of all before it (u32)
=======  =======================================================================================

Everything is little-endian; texts end at a NUL.
"""

from __future__ import annotations

import binascii
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MAGIC: Final = b"EDPULSE1"
HEADER_BYTES: Final = 192
FIELDS: Final = {
    "INSTRUMENT": (8, "16s"),
    "SERIAL": (24, "16s"),
    "FIRMWARE": (40, "8s"),
    "EVENTS": (48, "<I"),
    "DETECTORS": (52, "<H"),
    "SAMPLES": (54, "<H"),
    "VOLUME_UL": (56, "<f"),
    "DILUTION": (60, "<f"),
    "DURATION_S": (64, "<f"),
    "TIMESTEP": (68, "<f"),
    "EDGE_SIMULATED": (72, "<B"),
    "SAMPLE": (80, "48s"),
    "SPECIES": (128, "16s"),
    "ACQUIRED": (144, "32s"),
}
"""Keyword to offset and `struct` format."""


def write_pulses(
    counts: NDArray[np.uint16], times: NDArray[np.uint32], header: Mapping[str, str | float]
) -> bytes:
    """Write one run.

    Parameters
    ----------
    counts
        ``(events, detectors, samples)``.
    times
        ``(events,)``, in units of ``TIMESTEP``.
    header
        The fields of `FIELDS` but for those that follow from the arrays.
    """
    events, detectors, samples = counts.shape
    content = bytearray(HEADER_BYTES)
    content[: len(MAGIC)] = MAGIC
    sizes = {"EVENTS": events, "DETECTORS": detectors, "SAMPLES": samples, "EDGE_SIMULATED": 1}
    for keyword, value in {**header, **sizes}.items():
        offset, form = FIELDS[keyword]
        packed = value.encode("ascii") if isinstance(value, str) else value
        struct.pack_into(form, content, offset, packed)
    rows = np.empty((events, 4 + 2 * detectors * samples), np.uint8)
    rows[:, :4] = times.astype("<u4")[:, None].view(np.uint8)
    rows[:, 4:] = counts.reshape(events, -1).astype("<u2").view(np.uint8)
    body = bytes(content) + rows.tobytes()
    return body + struct.pack("<I", binascii.crc32(body))
