"""The codecs: one module, and one class of ``[codec]`` section, per format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.decode.codecs.fcs_codec import FcsCodec

if TYPE_CHECKING:
    from edge_daemon.decode.codec import Codec

CODECS: Final[dict[str, type[Codec]]] = {
    "fcs": FcsCodec,
}
"""By the name that a profile gives under ``[codec]``."""
