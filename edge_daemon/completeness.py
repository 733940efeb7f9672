"""Whether a file that has stopped changing is whole, as far as its own header tells."""

from __future__ import annotations

from typing import Final

from edge_daemon.decode.codecs.fcs_codec import FcsCodec

_FCS: Final = FcsCodec(name="fcs")


def is_whole(data: bytes) -> bool:
    """Tell whether a capture reaches the end that its header names.

    Only "not yet" is answered with False. Broken or unknown content is whole: decoding will
    say what is wrong with it, and waiting would not mend it.

    Parameters
    ----------
    data
        Everything the file holds now.
    """
    return _FCS.is_whole(data)
