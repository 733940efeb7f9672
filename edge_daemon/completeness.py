"""Whether a file that has stopped changing is whole, as far as its own header tells."""

from __future__ import annotations

from typing import Final

from edge_daemon.decode.codecs.fcs_text import HEADER_BYTES, FcsOptions, headers, keyword_int
from edge_daemon.decode.limits import Limits
from edge_daemon.errors import Quarantine

_MAGIC: Final = b"FCS"
_LENIENT: Final = FcsOptions.lenient()


def is_whole(data: bytes) -> bool:
    """Tell whether a capture reaches the end that its header names.

    Only "not yet" is answered with False. Broken or unknown content is whole: decoding will
    say what is wrong with it, and waiting would not mend it.

    Parameters
    ----------
    data
        Everything the file holds now.
    """
    if not data.startswith(_MAGIC):
        return not _MAGIC.startswith(data)
    if len(data) < HEADER_BYTES:
        return False
    try:
        for header in headers(data, Limits(max_bytes=len(data)), _LENIENT):
            end = header.data[1] or keyword_int(header.keywords, "$ENDDATA") or 0
            # Some writers name the byte after the last one; that file is whole all the same.
            if header.base + end > len(data):
                return False
    except Quarantine as error:
        return error.code != "truncated"
    return True
