"""Framings by name, as a configuration names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EXIT_BAD_CONFIG, Fatal
from edge_daemon.sources.framing.astm import AstmFramer, AstmOptions
from edge_daemon.sources.framing.block import BlockFramer, BlockOptions
from edge_daemon.sources.framing.mllp import MllpFramer, MllpOptions
from edge_daemon.sources.framing.options import read_options
from edge_daemon.sources.framing.packet import PacketFramer
from edge_daemon.sources.framing.packet_options import PacketOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_daemon.sources.framing.base import Framer

_FRAMINGS: Final[Mapping[str, tuple[Callable[[Any], Framer], type[Any]]]] = {
    "astm": (AstmFramer, AstmOptions),
    "block": (BlockFramer, BlockOptions),
    "mllp": (MllpFramer, MllpOptions),
    "packet": (PacketFramer, PacketOptions),
}

FRAMINGS: Final[tuple[str, ...]] = tuple(_FRAMINGS)
"""Every name `make_framer` takes."""


def make_framer(name: str, options: Mapping[str, object]) -> Framer:
    """Make a fresh framer for one connection.

    Parameters
    ----------
    name
        One of `FRAMINGS`.
    options
        Keys of the framing's options, as in a TOML table; bytes as hexadecimal digits.

    Raises
    ------
    Fatal
        An unknown name, or options the framing refuses, with the exit code of a bad
        configuration.
    """
    if name not in _FRAMINGS:
        raise Fatal(
            f"unknown framing {name!r}; expected one of {', '.join(FRAMINGS)}",
            action="Correct the framing of this source in the configuration.",
            exit_code=EXIT_BAD_CONFIG,
        )
    framer, cls = _FRAMINGS[name]
    try:
        return framer(read_options(cls, options))
    except ValueError as error:
        raise Fatal(
            f"options of framing {name}: {error}",
            action="Correct the framing of this source in the configuration.",
            exit_code=EXIT_BAD_CONFIG,
        ) from error
