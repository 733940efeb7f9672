"""``[codec] name = "astm"``: results as ASTM E1394 (LIS2-A2) records, list mode included."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import Field

from edge_daemon.decode.codec import Identified
from edge_daemon.decode.codecs.astm_frames import deframe
from edge_daemon.decode.codecs.astm_matrix import (
    Allowance,
    Matrix,
    as_histogram,
    holds_matrix,
    read_matrix,
)
from edge_daemon.decode.codecs.astm_records import Sample, Transmission, read_transmissions
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.message import (
    Leniencies,
    Observation,
    ReportingCodec,
    SampleMessage,
    Status,
    check_size,
    malformed,
    too_large,
    value_keywords,
)
from edge_daemon.decode.section import Section
from edge_daemon.decode.table import RawColumn, RawTable
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from edge_daemon.decode.codecs.astm_records import Record

_STATUS: Final[dict[str, Status]] = {
    "P": "preliminary", "I": "preliminary", "S": "preliminary", "C": "corrected",
    "W": "questionable", "X": "withdrawn",
}  # fmt: skip
_NOT_CLINICAL: Final = {"T": "training", "D": "debugging"}
# A header with its delimiters, comments before it, or the first frame of a recording.
_BEGINNING = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*H[^\w\s]{4}|[\x04\x05]*\x02[0-7][A-Z][^\w\s]")
_LONGEST_PREAMBLE = 1 << 16
_TERMINATOR = re.compile(rb"(?:^|[\r\n]|\x02[0-7])L[^\w\s]")
_HEADER = re.compile(rb"(?:^|[\r\n]|\x02[0-7])H(?=[^\w\s])")
_LAST_RECORDS = (_TERMINATOR, _HEADER)
_DELIMITERS = 4
_LONGEST_ENDING = 4096


class AstmOptions(Section):
    """Leniencies; all off is strict. Each one that is needed is noted in the result."""

    without_session: bool = False
    without_line_feed: bool = False
    without_record_end: bool = False
    long_frames: bool = False
    line_feeds: bool = False
    comment_lines: bool = False
    blank_padding: bool = False
    sequence_numbers: bool = False


class AstmCodec(ReportingCodec):
    """ASTM records, in E1381 frames or without."""

    name: Literal["astm"]
    encoding: Literal["utf-8", "latin-1", "cp1252", "gb18030"] = "utf-8"
    options: AstmOptions = AstmOptions()
    columns: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    histogram_unit: str = Field(default="1", min_length=1)

    @property
    def leniencies(self) -> tuple[str, ...]:
        """Names of the leniencies that the section allows."""
        return tuple(name for name, allowed in self.options if allowed)

    @property
    def recognises_as(self) -> str:
        """One for all: what a profile allows is its own to refuse, once it is known which."""
        return self.name

    def identify(self, data: bytes) -> Identified | None:
        """Read header, patient, order and results; None unless it begins with a header."""
        if not _BEGINNING.match(data[:_LONGEST_PREAMBLE]):
            return None
        limits = Limits(max_bytes=len(data))
        sent, _ = _transmissions(data, "utf-8", "replace", Leniencies(None), limits)
        sample = next((s for one in sent for s in one.samples), None)
        header = sent[0].header
        keywords = _fields(header) if sample is None else _keywords(sample, _contents(sample)[0])
        results = sum(r.kind == "R" for one in sent for s in one.samples for r in s.records)
        sender = " ".join(filter(None, header.components(5)))
        origin = f"from {sender[:60]!r}" if sender else "that names no sender (H.5)"
        return Identified(_format(header), keywords, f"ASTM message {origin}, {results} results")

    def read(self, data: bytes, *, dataset: int, limits: Limits) -> RawTable:
        """Read one list-mode matrix; a message without any has no events and no columns."""
        if self.max_channels is not None:
            limits = replace(limits, max_channels=max(limits.max_channels, self.max_channels))
        sent, lenient = self._parse(data, limits)
        allowance = Allowance(limits, len(data))
        found = [
            (owner, matrix)
            for one in sent
            for owner in one.samples
            for matrix in _matrices(owner, limits, allowance)
            if matrix.kind == "MATRIX"
        ]
        total = max(1, len(found))
        if not 1 <= dataset <= total:
            raise malformed(f"expected data set 1 to {total}, found a request for {dataset}")
        sample: Sample | None
        keywords: dict[str, str] = {}
        columns: tuple[RawColumn, ...] = ()
        values = np.empty((0, 0), np.float32)
        if found:
            sample, matrix = found[dataset - 1]
            keywords["MATRIX"] = matrix.name
            columns, values = self._columns(matrix), matrix.values
        else:
            sample = next((s for one in sent for s in one.samples), None)
        if sample is not None:
            keywords |= _keywords(sample, _contents(sample)[0])
        return RawTable(
            format=_format(sent[0].header),
            columns=columns,
            recorded=values,
            keywords=keywords,
            datasets=total,
            notes=lenient.notes,
        )

    def messages(self, data: bytes, *, limits: Limits) -> tuple[SampleMessage, ...]:
        """Read the results of every sample."""
        sent, lenient = self._parse(data, limits)
        for one in sent:
            _check_clinical(one)
        allowance = Allowance(limits, len(data))
        found = tuple(
            self._message(sample, limits, allowance, lenient.notes)
            for one in sent
            for sample in one.samples
            if any(record.kind in "RM" for record in sample.records)
        )
        if found:
            return found
        if any(one.requests for one in sent):
            raise Quarantine(
                "unsupported",
                "the message asks for orders (Q record) and holds no results",
                action="Switch the query of the host off in the analyzer's settings; the box only "
                "takes results.",
            )
        raise malformed("the message holds no results (no R or M record)")

    def is_whole(self, data: bytes) -> bool:
        """Tell whether the last message has its terminator."""
        if not _BEGINNING.match(data[:_LONGEST_PREAMBLE]):
            return True
        ending = data[-_LONGEST_ENDING:]
        last = [max((m.start() for m in p.finditer(ending)), default=-1) for p in _LAST_RECORDS]
        return last[0] > last[1]

    def _parse(self, data: bytes, limits: Limits) -> tuple[list[Transmission], Leniencies]:
        return _transmissions(data, self.encoding, "strict", Leniencies(self.options), limits)

    def _message(
        self, sample: Sample, limits: Limits, allowance: Allowance, notes: tuple[str, ...]
    ) -> SampleMessage:
        header, order = sample.chain[0], sample.order
        observations, comments = _contents(sample)
        histograms = []
        for matrix in _matrices(sample, limits, allowance):
            if matrix.kind == "HISTOGRAM":
                histogram = as_histogram(matrix, self.histogram_unit)
                if histogram is None:
                    notes += (f"histogram {matrix.name}: its bins are not equally wide; left out",)
                else:
                    histograms.append(histogram)
        return SampleMessage(
            format=_format(header),
            keywords=_keywords(sample, observations),
            observations=observations,
            histograms=tuple(histograms),
            comments=comments,
            control=header.text(12) == "Q" or order.text(12) == "Q",
            amends=order.text(26) == "C" or any(o.status == "corrected" for o in observations),
            message_id=header.text(3) or None,
            notes=notes,
        )

    def _columns(self, matrix: Matrix) -> tuple[RawColumn, ...]:
        count = matrix.values.shape[1]
        names = self.columns.get(matrix.name, tuple(f"C{n}" for n in range(1, count + 1)))
        if len(names) != count:
            raise Quarantine(
                "profile_mismatch",
                f"matrix {matrix.name}: the profile names {len(names)} columns, the capture has "
                f"{count}",
                action="Check the analyzer's firmware, and choose or write the profile that fits.",
            )
        return tuple(RawColumn(name, None, bits=32, maximum=None) for name in names)


def _transmissions(
    data: bytes, encoding: str, errors: str, lenient: Leniencies, limits: Limits
) -> tuple[list[Transmission], Leniencies]:
    if len(data) > limits.max_bytes:
        raise too_large(f"the capture has {len(data)} bytes, the limit is {limits.max_bytes}")
    body = deframe(data, lenient).body
    check_size(body, limits, _HEADER, _DELIMITERS)
    try:
        text = body.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise malformed(
            f"byte {error.start} of the records: expected {encoding}, found "
            f"{body[error.start : error.end]!r}; set [codec] encoding of the profile"
        ) from error
    return read_transmissions(text, lenient), lenient


def _format(header: Record) -> str:
    version = header.text(13)
    return f"ASTM {version[:12] if version.startswith(('LIS', 'E1394')) else 'E1394'}"


def _check_clinical(sent: Transmission) -> None:
    code = sent.header.text(12)
    if code in _NOT_CLINICAL:
        raise Quarantine(
            "unsupported",
            f"the message is marked as {_NOT_CLINICAL[code]} (H.12 {code}), not as results",
            action="Set the analyzer's interface back to production.",
        )


def _matrices(sample: Sample, limits: Limits, allowance: Allowance) -> list[Matrix]:
    return [read_matrix(r, limits, allowance) for r in sample.records if holds_matrix(r)]


def _contents(sample: Sample) -> tuple[tuple[Observation, ...], tuple[str, ...]]:
    """Return the results, each with the comments that follow it, and the comments of none."""
    results: list[tuple[Record, list[str]]] = []
    others: list[str] = []
    place = others
    for record in sample.records:
        if record.kind == "C":
            place += _comment(record)
        elif record.kind == "R":
            place = []
            results.append((record, place))
        else:
            place = others
    return tuple(_observation(r, tuple(c)) for r, c in results), tuple(others)


def _observation(record: Record, comments: tuple[str, ...]) -> Observation:
    identifiers = tuple(filter(None, record.components(3)))
    flags = (" ".join(filter(None, record.split(raw))) for raw in record.repeats(7))
    return Observation(
        name=identifiers[0] if identifiers else record.where,
        identifiers=identifiers,
        text=record.text(4),
        unit=record.text(5),
        reference=record.components(6)[0],
        flags=tuple(flag for flag in flags if flag not in {"", "N"}),
        status=_STATUS.get(record.text(9), "final"),
        comments=comments,
    )


def _comment(record: Record) -> list[str]:
    texts = (" ".join(filter(None, record.split(raw))) for raw in record.repeats(4))
    return [text for text in texts if text]


def _keywords(sample: Sample, observations: tuple[Observation, ...]) -> dict[str, str]:
    first = next((record for record in sample.records if record.kind == "R"), None)
    found: dict[str, str] = {}
    for record in (*sample.chain, *(() if first is None else (first,))):
        found |= _fields(record)
    return found | value_keywords(observations)


def _fields(record: Record) -> dict[str, str]:
    """Return ``<letter>.<field>`` and, of its first repeat, ``<letter>.<field>.<component>``."""
    found: dict[str, str] = {}
    for number in range(2, len(record.fields) + 1):
        if not record.raw(number) or (record.kind, number) == ("H", 2):
            continue
        parts = record.components(number)
        found[f"{record.kind}.{number}"] = " ".join(filter(None, parts))
        for k, part in enumerate(parts if len(parts) > 1 else (), start=1):
            if part:
                found[f"{record.kind}.{number}.{k}"] = part
    return found
