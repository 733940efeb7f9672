"""``[codec] name = "hl7"``: results as HL7 v2 ORU^R01 messages, with or without MLLP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from edge_daemon.decode.codec import Identified
from edge_daemon.decode.codecs.hl7_segments import END, START, read_messages
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.message import (
    Attachment,
    Leniencies,
    Observation,
    ReportingCodec,
    SampleMessage,
    Status,
    check_size,
    malformed,
    quoted,
    value_keywords,
)
from edge_daemon.decode.section import Section
from edge_daemon.decode.table import RawTable
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from edge_daemon.decode.codecs.hl7_segments import Hl7Message, Sample, Segment

_STATUS: Final[dict[str, Status]] = {
    "P": "preliminary", "S": "preliminary", "I": "preliminary", "R": "preliminary",
    "C": "corrected", "D": "withdrawn", "W": "withdrawn", "X": "withdrawn",
}  # fmt: skip
_NOT_CLINICAL: Final = {"T": "training", "D": "debugging"}
_HEADER = re.compile(rb"(?:^|[\r\n\x0b])MSH")
_DELIMITERS = 5
_POWER = re.compile(r"[x×]?10")


class Hl7Options(Section):
    """Leniencies; all off is strict. Each one that is needed is noted in the result."""

    line_feeds: bool = False
    segment_order: bool = False
    sequence_numbers: bool = False
    without_segment_end: bool = False
    empty_segments: bool = False
    without_block_end: bool = False


class Hl7Codec(ReportingCodec):
    """HL7 v2 result messages."""

    name: Literal["hl7"]
    encoding: Literal["utf-8", "latin-1", "cp1252", "gb18030"] = "utf-8"
    options: Hl7Options = Hl7Options()

    @property
    def leniencies(self) -> tuple[str, ...]:
        """Names of the leniencies that the section allows."""
        return tuple(name for name, allowed in self.options if allowed)

    @property
    def recognises_as(self) -> str:
        """One for all: what a profile allows is its own to refuse, once it is known which."""
        return self.name

    def identify(self, data: bytes) -> Identified | None:
        """Read header, patient, order and results; None unless it begins with MSH."""
        if not data.removeprefix(START).startswith(b"MSH"):
            return None
        check_size(data, Limits(max_bytes=len(data)), _HEADER, _DELIMITERS)
        message = read_messages(data, "utf-8", "replace", Leniencies(None))[0]
        sample = next(iter(message.samples), None)
        keywords = (
            _fields(message.header) if sample is None else _keywords(sample, _contents(sample)[0])
        )
        results = sum(r.name == "OBX" for s in message.samples for r in s.records)
        sender = " ".join(filter(None, (message.header.text(3), message.header.text(4))))
        origin = f"from {sender[:60]!r}" if sender else "that names no sender (MSH-3, MSH-4)"
        kind = message.header.text(9)[:20] or "message without a type"
        return Identified(
            _format(message.header), keywords, f"HL7 {kind} {origin}, {results} observations"
        )

    def read(self, data: bytes, *, dataset: int, limits: Limits) -> RawTable:
        """Return an empty table with the keywords: the protocol carries no single events."""
        sent, lenient = self._parse(data, limits)
        if dataset != 1:
            raise malformed(f"expected data set 1 to 1, found a request for {dataset}")
        sample = next((s for message in sent for s in message.samples), None)
        return RawTable(
            format=_format(sent[0].header),
            columns=(),
            recorded=np.empty((0, 0), np.float32),
            keywords={} if sample is None else _keywords(sample, _contents(sample)[0]),
            notes=lenient.notes,
        )

    def messages(self, data: bytes, *, limits: Limits) -> tuple[SampleMessage, ...]:
        """Read the results of every sample."""
        sent, lenient = self._parse(data, limits)
        for message in sent:
            _check_clinical(message)
        found = tuple(
            _message(sample, lenient.notes)
            for message in sent
            for sample in message.samples
            if any(record.name == "OBX" for record in sample.records)
        )
        if not found:
            raise malformed("the message holds no results (no OBX)")
        return found

    def is_whole(self, data: bytes) -> bool:
        """Tell whether the last block or segment is closed, as far as the options ask for it."""
        if data.startswith(START):
            return END in data[data.rindex(START) :]
        ended = self.options.without_segment_end or data.endswith((b"\r", b"\n"))
        return ended or not data.startswith(b"MSH")

    def _parse(self, data: bytes, limits: Limits) -> tuple[list[Hl7Message], Leniencies]:
        check_size(data, limits, _HEADER, _DELIMITERS)
        lenient = Leniencies(self.options)
        return read_messages(data, self.encoding, "strict", lenient), lenient


def _format(header: Segment) -> str:
    return f"HL7 v{header.components(12)[0][:8] or '2'}"


def _check_clinical(message: Hl7Message) -> None:
    header = message.header
    kind = header.components(9)[:2]
    if kind[0] not in {"ORU", "OUL"}:
        raise Quarantine(
            "unsupported",
            f"{header.where}: expected results (MSH-9 ORU^R01), found {quoted('^'.join(kind))}",
            action="Switch orders and queries off in the analyzer's settings; the box only takes "
            "results.",
        )
    if not header.text(12).startswith("2."):
        raise Quarantine(
            "unsupported",
            f"{header.where}: expected HL7 version 2 (MSH-12), found {quoted(header.text(12))}",
            action="Choose HL7 v2 in the analyzer's interface settings.",
        )
    code = header.components(11)[0]
    if code in _NOT_CLINICAL:
        raise Quarantine(
            "unsupported",
            f"{header.where}: the message is marked as {_NOT_CLINICAL[code]} (MSH-11 {code}), not "
            "as results",
            action="Set the analyzer's interface back to production.",
        )


def _message(sample: Sample, notes: tuple[str, ...]) -> SampleMessage:
    observations, comments = _contents(sample)
    header = sample.header
    return SampleMessage(
        format=_format(header),
        keywords=_keywords(sample, observations),
        observations=observations,
        comments=comments,
        control=header.components(11)[0] == "Q",
        amends=sample.order[-1].text(25) == "C"
        or any(o.status == "corrected" for o in observations),
        message_id=header.text(10) or None,
        notes=notes,
    )


def _contents(sample: Sample) -> tuple[tuple[Observation, ...], tuple[str, ...]]:
    """Return the results, each with the comments that follow it, and the comments of none."""
    results: list[tuple[Segment, list[str]]] = []
    others: list[str] = []
    place = others
    for record in sample.records:
        if record.name == "NTE":
            place += [text for text in record.repeats(3) if text]
        else:
            place = []
            results.append((record, place))
    return tuple(_observation(r, tuple(c)) for r, c in results), tuple(others)


def _observation(segment: Segment, comments: tuple[str, ...]) -> Observation:
    code, *names = segment.components(3)
    # The third component is the coding system (LN, 99MRC), which names no value.
    identifiers = tuple(filter(None, (code, *names[:1], *names[2:4])))
    attachment, text = _value(segment)
    return Observation(
        name=next(filter(None, (*names[:1], *identifiers)), segment.where),
        identifiers=identifiers,
        text=text,
        unit=_unit(segment),
        reference=segment.text(7),
        flags=tuple(flag for flag in segment.repeats(8) if flag not in {"", "N"}),
        status=_STATUS.get(segment.text(11), "final"),
        comments=comments,
        attachment=attachment,
    )


def _value(segment: Segment) -> tuple[Attachment | None, str]:
    """Return OBX-5: an encoded value, or its text."""
    if segment.text(2) not in {"ED", "RP"}:
        return None, " ".join(filter(None, segment.repeats(5)))
    _, *kind, _, content = ("", "", *segment.components(5))[-5:]
    named = "/".join(filter(None, kind))
    return Attachment(named, content), ""


def _unit(segment: Segment) -> str:
    """Return OBX-6; many analyzers write 10^9/L without escaping the component separator."""
    first = segment.components(6)[0]
    return segment.text(6) if _POWER.fullmatch(first) else first


def _keywords(sample: Sample, observations: tuple[Observation, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for segment in (sample.header, *sample.patient, *sample.order):
        found |= _fields(segment)
    return found | value_keywords(observations)


def _fields(segment: Segment) -> dict[str, str]:
    """Return ``<segment>.<field>`` and, of its first repeat, ``<segment>.<field>.<component>``."""
    found: dict[str, str] = {}
    for number in range(1, len(segment.fields) + 1):
        if not segment.raw(number) or (segment.name == "MSH" and number < 3):
            continue
        parts = segment.components(number)
        found[f"{segment.name}.{number}"] = " ".join(filter(None, parts))
        for k, part in enumerate(parts if len(parts) > 1 else (), start=1):
            if part:
                found[f"{segment.name}.{number}.{k}"] = part
    return found
