"""Listen on a serial line and tell what speaks there; nothing is ever answered.

An answer would tell the analyzer that its message is safe. It is not, so the analyzer keeps it
and sends it again to the service.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_daemon.errors import Quarantine
from edge_daemon.sources.connection import Stop
from edge_daemon.sources.ports import LineSettings, open_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_daemon.decode.registry import Registry

_ENQ, _STX, _VT, _FS = 0x05, 0x02, 0x0B, 0x1C
_QUIET_S: Final = 1.0
_ENOUGH: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Heard:
    """What came over a line.

    Attributes
    ----------
    size
        Bytes.
    framing
        ``astm`` or ``mllp``; empty where they begin no message that is known.
    profiles
        Profiles that speak so; exactly one where the message itself says which.
    """

    size: int = 0
    framing: str = ""
    profiles: tuple[str, ...] = ()


def listen(
    port: Path,
    line: LineSettings,
    seconds: float,
    *,
    opened: Callable[[], object] = lambda: None,
    enough: Callable[[], bool] = lambda: False,
) -> bytes:
    """Return the first bytes of a line, up to its first pause.

    Parameters
    ----------
    port, line
        What to open, for this process alone.
    seconds
        How long to wait for the first byte.
    opened
        Called when the port listens: what came before is not heard.
    enough
        Asked now and then; True gives up.

    Raises
    ------
    LostError
        The port cannot be opened, or was unplugged.
    """
    data = b""
    with closing(Stop()) as stop, closing(open_port(port, line, stop)) as connection:
        opened()
        until = time.monotonic() + seconds
        while time.monotonic() < until and not enough() and len(data) < _ENOUGH:
            more = connection.read(0.2)
            if more:
                data += more
                until = time.monotonic() + _QUIET_S
    return data


def hear(data: bytes, registry: Registry) -> Heard:
    """Tell framing and profile from the first bytes of a line."""
    if not data:
        return Heard()
    begins = next((byte for byte in data if byte in (_ENQ, _STX, _VT)), None)
    if begins is None:
        return Heard(len(data))
    framing = "mllp" if begins == _VT else "astm"
    if framing == "mllp" and (fits := _fitting(data, registry)):
        return Heard(len(data), framing, (fits,))
    return Heard(len(data), framing, speaking(framing, registry))


def speaking(framing: str, registry: Registry) -> tuple[str, ...]:
    """List the profiles of analyzers that use a framing."""
    return tuple(
        sorted(
            name
            for name, profile in registry.profiles.items()
            if profile.framing is not None and profile.framing.name == framing
        )
    )


def _fitting(data: bytes, registry: Registry) -> str:
    """Ask the first whole message which profile is its own; empty where none is."""
    begin, end = data.index(_VT) + 1, data.find(_FS)
    try:
        return registry.match(data[begin : end if end > begin else len(data)], "line.hl7").id
    except Quarantine:
        return ""


def settings_of(profile: str | None, registry: Registry) -> LineSettings:
    """Line settings that a profile names, else the usual ones."""
    usual = registry.get(profile).source.serial if profile else None
    if usual is None:
        return LineSettings()
    return LineSettings(usual.baud, usual.bits, usual.parity, usual.stop_bits, usual.flow)
