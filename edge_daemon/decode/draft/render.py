"""From a proposal to the text of a profile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FIRMWARE_QUESTION: Final = (
    "Which keyword changes when the analyzer gets new firmware? [match] needs it, and one that "
    "tells the instrument."
)
CELL_QUESTIONS: Final = (
    FIRMWARE_QUESTION,
    (
        "Does each column really measure what its name suggests? Compare with the manual and with "
        "`edge-daemon profile decode`; delete the [[channel]] of columns that are not used."
    ),
    (
        "What are gain, offset and unit of each channel (the service manual, or calibration "
        "particles)?"
    ),
    (
        "Which keywords hold metered volume (µL) and dilution? Without them nothing is counted "
        "per volume."
    ),
)
"""What no capture of cells tells by itself."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the person calls the instrument."""

    vendor: str
    model: str
    firmware: str
    title: str


@dataclass(frozen=True, slots=True)
class ProposedChannel:
    """A column, and the canonical channel its name suggests; None where it suggests none."""

    column: str
    canonical: str | None
    scale: str = "linear"


@dataclass(frozen=True, slots=True)
class ProposedValue:
    """A value of the analyzer's report, and the measurement its name suggests."""

    code: str | None
    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What was read off one capture.

    Attributes
    ----------
    codec
        Name of the codec.
    format
        For people.
    patterns
        File names.
    settings
        Lines of the ``[codec]`` section after its name, in force.
    identifying
        Keywords that seem to tell instrument and firmware, with their values here.
    channels
        One per column; empty where the capture holds none.
    metadata
        Field of the sample's description → keyword that seems to hold it.
    questions
        What only a person can decide, one sentence each.
    reported
        Values of the analyzer's own report; empty where the capture holds cells.
    """

    codec: str
    format: str
    patterns: tuple[str, ...]
    settings: tuple[str, ...]
    identifying: Mapping[str, str]
    channels: tuple[ProposedChannel, ...]
    metadata: Mapping[str, str]
    questions: tuple[str, ...]
    reported: tuple[ProposedValue, ...] = ()


def render(proposal: Proposal, identity: Identity) -> str:
    """Return the TOML of a profile that only decodes.

    The sections that would make it classify or report follow in comments.
    """
    switch = "reports" if proposal.reported else "classify"
    lines = [
        f"# Drafted from one capture ({proposal.format}). It only decodes: see what is to be",
        f"# decided below, then set {switch} = true and take the marked sections into force.",
        "schema = 1",
        "",
        "[profile]",
        f"title = {quote(identity.title)}",
        f"vendor = {quote(identity.vendor)}",
        f"model = {quote(identity.model)}",
        f"firmware = {quote(identity.firmware)}",
        "revision = 1",
        "classify = false",
        'provenance = "captured"',
        "",
        "[source]",
        'kind = "folder"',
        f"patterns = [{', '.join(map(quote, proposal.patterns))}]",
        "",
        "[codec]",
        f"name = {quote(proposal.codec)}",
        *proposal.settings,
        "",
        "[metadata]",
        *(f"{field} = {{ keyword = {quote(key)} }}" for field, key in proposal.metadata.items()),
        "",
        "# To be decided by a person:",
        *(f"# - {question}" for question in proposal.questions),
        "",
        "# What follows is proposed, not in force.",
        *_commented(_match(proposal)),
        *_commented(_channels(proposal.channels)),
        *_commented(_reported(proposal.reported)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def quote(text: str) -> str:
    """Return a TOML string of any text."""
    # JSON's escapes are TOML's, but for the surrogate pairs that its ASCII form would make.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _match(proposal: Proposal) -> Iterable[str]:
    yield ""
    yield "[match]"
    yield f"format = {quote(proposal.codec)}"
    pairs = ", ".join(f"{quote(k)} = {quote(v)}" for k, v in proposal.identifying.items())
    yield f"keywords = {{ {pairs} }}" if pairs else "keywords = {}"


def _channels(channels: Iterable[ProposedChannel]) -> Iterable[str]:
    for channel in channels:
        yield ""
        yield "[[channel]]"
        yield f"column = {quote(channel.column)}"
        yield f'canonical = "{channel.canonical or "?"}"'
        yield f'scale = "{channel.scale}"'
        yield "gain = 1.0"
        yield 'unit = "1"'


def _reported(values: Iterable[ProposedValue]) -> Iterable[str]:
    for value in values:
        yield ""
        yield "[[reported]]"
        yield f'code = "{value.code}"'
        yield f"name = {quote(value.name)}"
        if value.unit:
            yield f"# written here in {value.unit}"


def _commented(lines: Iterable[str]) -> Iterable[str]:
    return (f"# {line}".rstrip() for line in lines)
