"""Framings of a byte stream, as pure state machines: bytes and time in, actions out."""

from edge_daemon.sources.framing.base import Action, Deliver, Discard, Framer, Heard, Reply
from edge_daemon.sources.framing.registry import FRAMINGS, make_framer

__all__ = [
    "FRAMINGS",
    "Action",
    "Deliver",
    "Discard",
    "Framer",
    "Heard",
    "Reply",
    "make_framer",
]
