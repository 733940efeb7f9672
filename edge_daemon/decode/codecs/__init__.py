"""The codecs: one module, and one class of ``[codec]`` section, per format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.decode.codecs.astm import AstmCodec
from edge_daemon.decode.codecs.fcs_codec import FcsCodec
from edge_daemon.decode.codecs.hl7 import Hl7Codec
from edge_daemon.decode.codecs.pulses import PulsesCodec
from edge_daemon.decode.codecs.records import RecordsCodec
from edge_daemon.decode.codecs.table_codec import TableCodec

if TYPE_CHECKING:
    from edge_daemon.decode.codec import Codec

CODECS: Final[dict[str, type[Codec]]] = {
    "astm": AstmCodec,
    "fcs": FcsCodec,
    "hl7": Hl7Codec,
    "pulses": PulsesCodec,
    "records": RecordsCodec,
    "table": TableCodec,
}
"""By the name that a profile gives under ``[codec]``."""
