"""What is answered to an HL7 v2 message, from its MSH segment alone.

Original mode (HL7 v2.3.1, 2.12.1): one ACK a message, built from the sender's own separators,
version and character set. The character set itself is never touched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_RESULTS: Final = frozenset({b"ORU", b"OUL"})
_LINE_END = re.compile(rb"[\r\n]")
_SEPARATOR = re.compile(rb"[!-/:-@\[-`{-~]")
HEAD_BYTES: Final = 4096
"""The MSH segment lies within the first so many bytes of a message."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of one message.

    Attributes
    ----------
    keep
        Deliver it: it carries results, or nobody can tell what it carries.
    reply
        The ACK message without framing; empty where none is due.
    """

    keep: bool
    reply: bytes


def answer(message: bytes) -> Answer:
    """Decide about a whole message.

    ============================== ======= ==========================================
    message                        kept    answered
    ============================== ======= ==========================================
    ``ORU``, ``OUL``               yes     ``AA``
    ``MSH`` unreadable             yes     ``AR``, with default separators
    ``ZHB``, a heartbeat           no      ``AA``
    ``ACK``                        no      nothing: an acknowledgement is never
                                           acknowledged
    any other, such as a query     no      ``AR``: this receiver serves none
    ============================== ======= ==========================================

    Parameters
    ----------
    message
        The message, or its first `HEAD_BYTES`.
    """
    fields = _read_msh(message)
    if fields is None:
        return Answer(keep=True, reply=_reject_unreadable())
    kind = fields[9].split(fields[2][:1])[0].upper()
    if kind == b"ACK":
        return Answer(keep=False, reply=b"")
    if kind in _RESULTS:
        return Answer(keep=True, reply=_acknowledge(fields, b"AA", b""))
    if kind == b"ZHB":
        return Answer(keep=False, reply=_acknowledge(fields, b"AA", b""))
    return Answer(keep=False, reply=_acknowledge(fields, b"AR", b"message type not served"))


def reject_oversize(head: bytes) -> bytes:
    """Build the ``AR`` to a message over the limit, of which `head` is the beginning."""
    fields = _read_msh(head)
    if fields is None:
        return _reject_unreadable()
    return _acknowledge(fields, b"AR", b"message too large")


def _read_msh(message: bytes) -> list[bytes] | None:
    """Split MSH so that index n holds MSH-n; MSH-1 is the separator itself."""
    line = _LINE_END.split(message[:HEAD_BYTES], maxsplit=1)[0]
    separator = line[3:4]
    if not line.startswith(b"MSH") or not _SEPARATOR.fullmatch(separator):
        return None
    fields = [b"MSH", separator, *line.split(separator)[1:]]
    if len(fields) < 10 or not _SEPARATOR.match(fields[2]) or not fields[9]:
        return None
    return fields + [b""] * (19 - len(fields))


def _acknowledge(fields: list[bytes], code: bytes, text: bytes) -> bytes:
    separator, encoding = fields[1], fields[2]
    kind = fields[9].split(encoding[:1])
    event = encoding[:1].join([b"ACK", *kind[1:2]])
    header = [b"MSH", encoding, fields[5], fields[6], fields[3], fields[4], b"", b"", event]
    # MSH-7, the time, is optional in 2.3.1, and a framing knows none. The control id of the
    # answer repeats that of the message: one answer a message keeps it unique.
    header += [fields[10], fields[11], fields[12], *[b""] * 5, fields[18]]
    msh = separator.join(header).rstrip(separator)
    msa = separator.join([b"MSA", code, fields[10], text]).rstrip(separator)
    return msh + b"\r" + msa + b"\r"


def _reject_unreadable() -> bytes:
    return b"MSH|^~\\&|||||||ACK\rMSA|AR||MSH segment unreadable\r"
