"""A first profile from one capture: what can be read off it, and what a person must decide.

A draft only decodes. What a column means is proposed in comments and never in force: a wrong map
would look like a working one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_daemon.decode.draft.binary import propose_binary
from edge_daemon.decode.draft.fcs import propose_fcs
from edge_daemon.decode.draft.message import propose_message
from edge_daemon.decode.draft.render import Identity, Proposal, render
from edge_daemon.decode.draft.table import propose_table
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Identity", "Proposal", "propose", "render"]

_PROPOSERS: Final[tuple[Callable[[bytes, str], Proposal | None], ...]] = (
    propose_fcs,
    propose_message,
    propose_table,
    propose_binary,
)
"""In order; the first that knows the format answers."""


def propose(data: bytes, name: str) -> Proposal:
    """Say how a capture may be read.

    Parameters
    ----------
    data
        The whole capture.
    name
        Its file name, for messages and patterns.

    Raises
    ------
    Quarantine
        ``not_recognised`` when no codec knows the format; other codes when one does and the
        capture is broken.
    """
    for proposer in _PROPOSERS:
        found = proposer(data, name)
        if found is not None:
            return found
    raise Quarantine(
        "not_recognised",
        f"{name}: of no format that a codec reads; it begins {data[:16]!r}",
        action="docs/codecs.md lists the formats. For a binary layout without regular "
        "records, write its description under [codec] by hand.",
    )
