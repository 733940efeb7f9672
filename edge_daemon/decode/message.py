"""What one sample's part of an analyzer's message says, whatever the protocol it came in.

A codec of messages gives these; `edge_daemon.decode.report` gives them meaning by the profile.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edge_daemon.decode.codec import Codec
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

    from edge_daemon.decode.limits import Limits
    from edge_daemon.decode.section import Section
    from edge_daemon.records import ReportedHistogram

SIMULATED = "EDGE_SIMULATED"
"""Observation by which a simulated analyzer puts its permanent mark into a message."""

MAX_RECORDS = 20_000
MAX_PARTS = 500_000
MAX_MESSAGES = 1_000
MAX_FIELD = 4096
"""Characters of one field that is not an encoded matrix or picture."""

Status = Literal["final", "preliminary", "corrected", "questionable", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """Something that came encoded inside a message, not decoded yet.

    Attributes
    ----------
    kind
        What the message calls it, e.g. ``Application/Octet-stream``.
    base64
        Its content as sent.
    """

    kind: str
    base64: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One result record, blanks and escapes removed.

    Attributes
    ----------
    name
        For people: the analyzer's own name of the value.
    identifiers
        All codes and names the record gives it, none empty.
    text
        The value as written.
    unit, reference
        As written; empty where none was.
    flags
        Abnormal flags as written, without ``N`` for normal.
    status
        ``withdrawn`` where the message says that there is no valid value.
    comments
        That follow the record.
    attachment
        An encoded value, or None.
    """

    name: str
    identifiers: tuple[str, ...]
    text: str
    unit: str = ""
    reference: str = ""
    flags: tuple[str, ...] = ()
    status: Status = "final"
    comments: tuple[str, ...] = ()
    attachment: Attachment | None = None


@dataclass(frozen=True, slots=True)
class SampleMessage:
    """All that a capture says of one sample.

    Attributes
    ----------
    format
        Protocol and version for people.
    keywords
        Header, patient and order fields by their place in the standard (``H.5.1``, ``PID.5``),
        and observations as ``VALUE.<identifier>``; upper-case keys.
    observations
        In the order sent.
    histograms
        That the protocol itself describes.
    comments
        That belong to no observation.
    control
        Quality-control material, as the protocol's own field says.
    amends
        The message corrects an earlier one.
    message_id
        The sender's identifier of the message, or None.
    notes
        Leniencies that were needed, and remarks.
    """

    format: str
    keywords: Mapping[str, str]
    observations: tuple[Observation, ...]
    histograms: tuple[ReportedHistogram, ...] = ()
    comments: tuple[str, ...] = ()
    control: bool = False
    amends: bool = False
    message_id: str | None = None
    notes: tuple[str, ...] = ()


class ReportingCodec(Codec):
    """A codec of captures that hold the analyzer's own results."""

    @abstractmethod
    def messages(self, data: bytes, *, limits: Limits) -> tuple[SampleMessage, ...]:
        """Read what the analyzer reported, one for each sample, in the order sent.

        Raises
        ------
        Quarantine
            As `read`, and ``unsupported`` where the message holds no results.
        """


class Leniencies:
    """Collects the leniencies that a capture needs, and refuses those not allowed.

    Parameters
    ----------
    options
        Section of booleans, one for each leniency by name; None allows all.
    """

    def __init__(self, options: Section | None) -> None:
        self._options = options
        self._needed: dict[str, str] = {}

    def need(self, name: str, found: str) -> None:
        """Note that a leniency is needed.

        Raises
        ------
        Quarantine
            ``malformed`` when the profile does not allow it.
        """
        if self._options is not None and not getattr(self._options, name):
            raise malformed(f"{found}; strict reading refuses that (leniency {name})")
        self._needed.setdefault(name, found)

    @property
    def notes(self) -> tuple[str, ...]:
        """The first occasion of each leniency that was needed."""
        return tuple(f"{name}: {found}" for name, found in self._needed.items())


def malformed(message: str) -> Quarantine:
    """Return the error for a message that breaks its protocol."""
    return Quarantine(
        "malformed",
        message,
        action="Compare the message with the analyzer's interface manual; where it is right all "
        "the same, name the leniency under [codec.options] of the profile.",
    )


def cut_off(message: str) -> Quarantine:
    """Return the error for a message that ends too early."""
    return Quarantine("truncated", message, action="Send the results again from the analyzer.")


def too_large(message: str) -> Quarantine:
    """Return the error for a message over a limit."""
    return Quarantine(
        "too_large",
        message,
        action="Send fewer results in one transmission; no analyzer is known to send so much.",
    )


def quoted(text: str | bytes) -> str:
    """Show what was found, in messages."""
    return repr(text[:40]) if text else "nothing"


def check_size(data: bytes, limits: Limits, header: re.Pattern[bytes], delimiters: int) -> None:
    """Refuse what would cost far more memory or time than its bytes.

    Parameters
    ----------
    data
        Messages without frames.
    limits
        Of the whole capture.
    header
        Matches the beginning of each message, up to the first delimiter it declares.
    delimiters
        How many delimiters follow there, of one byte each.

    Raises
    ------
    Quarantine
        ``too_large``.
    """
    if len(data) > limits.max_bytes:
        raise too_large(f"the capture has {len(data)} bytes, the limit is {limits.max_bytes}")
    ends = [match.end() for match in itertools.islice(header.finditer(data), MAX_MESSAGES + 1)]
    if len(ends) > MAX_MESSAGES:
        raise too_large(f"the capture has more than {MAX_MESSAGES} messages")
    declared = {data[end + k : end + k + 1] for end in ends for k in range(delimiters)}
    parts = sum(map(data.count, (declared | {b"\r", b"\n"}) - {b""}))
    if parts > MAX_PARTS:
        raise too_large(f"the capture has {parts} fields and components, the limit is {MAX_PARTS}")


def value_keywords(observations: Iterable[Observation]) -> dict[str, str]:
    """Return what observations say, by each of their identifiers; the first one counts."""
    found: dict[str, str] = {}
    for observation in observations:
        for identifier in observation.identifiers:
            key = identifier.upper()
            found.setdefault(SIMULATED if key == SIMULATED else f"VALUE.{key}", observation.text)
    return found
