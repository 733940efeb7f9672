"""Framings of a byte stream, as pure state machines: bytes and time in, actions out."""

from edge_daemon.sources.framing.base import Action, Deliver, Discard, Framer, Heard, Reply

__all__ = ["Action", "Deliver", "Discard", "Framer", "Heard", "Reply"]
