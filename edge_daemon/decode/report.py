"""The analyzer's own report: what a message says, through the eyes of a profile.

Nothing is guessed. A value whose unit is not known, is of another kind of quantity, or makes the
value impossible stays as written, without one of our measurement codes, and the reason is noted.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.decode.limits import DEFAULT_LIMITS, Limits
from edge_daemon.decode.message import ReportingCodec
from edge_daemon.decode.numbers import parse_number
from edge_daemon.decode.sample import read_sample
from edge_daemon.decode.table import RawTable
from edge_daemon.errors import EdgeError
from edge_daemon.records import AnalyzerReport, ReportedHistogram, ReportedValue
from edge_daemon.units import UNITS, convert, is_possible, possible_range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_daemon.decode.message import Observation, SampleMessage
    from edge_daemon.decode.profile import Profile
    from edge_daemon.decode.schema import Reported, SentHistogram

_MARKED = re.compile(r"(.*[0-9.])\s*([*?R])", re.DOTALL)
_RANGE = re.compile(r"\s*(\d[\d.]*)\s*(?:-|–|~|to)\s*(\d[\d.]*)\s*")
_BOUND = re.compile(r"\s*(<|≤|<=|>|≥|>=)\s*(\d[\d.]*)\s*")
_NOT_RAISED: Final = {"", "F", "N", "0", "FALSE", "NEGATIVE"}
_LONGEST_RANGE = 60
_MAX_BINS = 4096

Notes = tuple[str, ...]


def read_reports(
    data: bytes, profile: Profile, *, name: str = "", limits: Limits = DEFAULT_LIMITS
) -> tuple[tuple[AnalyzerReport, Notes], ...]:
    """Read what an analyzer reported in one capture.

    Parameters
    ----------
    data
        The whole capture.
    profile
        One with ``reports = true``.
    name
        File name, where the profile takes keywords from it.
    limits
        Caps, checked before anything is expanded.

    Returns
    -------
    tuple
        For each sample, in the order sent, its report and the notes on reading it: leniencies
        that were needed, and values that could not be used, with the reason.

    Raises
    ------
    Quarantine
        ``not_recognised``, ``malformed``, ``truncated``, ``too_large``, ``unsupported`` or
        ``profile_mismatch``.
    EdgeError
        When the profile reports nothing.
    """
    if not (profile.reports and isinstance(profile.codec, ReportingCodec)):
        raise EdgeError(
            f"profile {profile.id} reads no reports of the analyzer",
            action="Choose a profile with reports = true.",
        )
    extra = {} if profile.file_name is None else profile.file_name.keywords(name)
    messages = profile.codec.messages(data, limits=limits)
    named = (replace(one, keywords={**one.keywords, **extra}) for one in messages)
    return tuple(_report(message, profile) for message in named)


def _report(message: SampleMessage, profile: Profile) -> tuple[AnalyzerReport, Notes]:
    table = RawTable(message.format, (), np.empty((0, 0), np.float32), message.keywords)
    sample, remarks = read_sample(table, profile)
    notes = [*message.notes, *remarks]
    sorter = _Sorter(profile, notes)
    for observation in message.observations:
        sorter.add(observation)
    control = message.control or any(
        condition.accepts(message.keywords.get(key.upper()))
        for key, condition in profile.report.control.items()
    )
    report = AnalyzerReport(
        sample=sample,
        kind="control" if control else "sample",
        values=tuple(sorter.values),
        histograms=(*message.histograms, *sorter.histograms),
        messages=(*message.comments, *sorter.messages),
        message_id=message.message_id,
        amends=message.amends,
    )
    return report, tuple(notes)


class _Sorter:
    """Sorts observations into values, histograms, pictures and messages."""

    def __init__(self, profile: Profile, notes: list[str]) -> None:
        self.values: list[ReportedValue] = []
        self.histograms: list[ReportedHistogram] = []
        self.messages: list[str] = []
        self._profile = profile
        self._notes = notes
        self._codes: set[str] = set()

    def add(self, seen: Observation) -> None:
        rules = self._profile.report
        self.messages += [f"{seen.name}: {comment}" for comment in seen.comments]
        sent = next((h for h in rules.histogram if h.observation in seen.identifiers), None)
        if sent is not None:
            self._add_histogram(seen, sent)
        elif seen.attachment is not None or _fits(rules.pictures, seen.name):
            self._notes.append(f"{seen.name}: a picture or attachment, left in the capture")
        elif not seen.text and not seen.unit:
            if seen.flags:  # abnormal without a value: the name is the message
                self.messages.append(seen.name)
        else:
            self._add_value(seen)

    def _add_value(self, seen: Observation) -> None:
        raised = seen.text.upper() not in _NOT_RAISED
        if raised and _fits(self._profile.report.suspects, seen.name):
            shown = "" if seen.text.upper() in {"T", "TRUE"} else f" {seen.text}"
            self.messages.append(f"{seen.name}{shown}")
        value = _value(seen, _rule(seen, self._profile), self._notes)
        if value.code is not None and value.code in self._codes:
            self._notes.append(
                f"{seen.name}: {value.code} stands in the report already; kept as written"
            )
            value = _as_written(seen)
        if value.code is not None:
            self._codes.add(value.code)
        self.values.append(value)

    def _add_histogram(self, seen: Observation, sent: SentHistogram) -> None:
        counts, problem = _counts(seen, sent)
        if counts:
            high = sent.low + len(counts) if sent.high is None else sent.high
            found = ReportedHistogram(sent.name, sent.unit, sent.low, high, counts)
            self.histograms.append(found)
        else:
            self._notes.append(f"histogram {seen.name}: {problem}; left in the capture")


def _fits(pattern: str | None, name: str) -> bool:
    return pattern is not None and re.fullmatch(pattern, name[:200]) is not None


def _rule(seen: Observation, profile: Profile) -> Reported | None:
    for rule in profile.reported:
        if any(rule.name.accepts(identifier) for identifier in seen.identifiers):
            return rule
    return None


def _value(seen: Observation, rule: Reported | None, notes: list[str]) -> ReportedValue:
    """Read one value; in our unit where the profile says which measurement it is."""
    if rule is None:
        return _as_written(seen)
    number, marks = _number(seen)
    unit = rule.units.get(seen.unit, seen.unit) or rule.unit or ""
    value = None if number is None else convert(rule.code, number, unit)
    problem = "" if number is None else _problem(rule.code, seen.text, unit, value)
    if problem:
        notes.append(f"{seen.name}: {problem}; kept as written, without a code")
        return _as_written(seen)
    low, high = _reference(seen.reference)
    return ReportedValue(
        name=seen.name,
        code=rule.code,
        value=value,
        unit=UNITS[rule.code],
        text=seen.text,
        written_unit=seen.unit,
        low=None if low is None else convert(rule.code, low, unit),
        high=None if high is None else convert(rule.code, high, unit),
        flags=seen.flags + marks,
    )


def _problem(code: str, text: str, unit: str, value: float | None) -> str:
    """Say why a number cannot be taken for a measurement; empty where it can."""
    if not unit:
        return "no unit is written, and the profile declares none"
    if value is None:
        return f"unit {unit[:20]!r} is none of {code}, expected one such as {UNITS[code]}"
    if is_possible(code, value):
        return ""
    return (
        f"{text[:20]} {unit} is {value:g} {UNITS[code]}, no possible {code} "
        f"({possible_range(code)})"
    )


def _as_written(seen: Observation) -> ReportedValue:
    number, marks = _number(seen)
    low, high = _reference(seen.reference)
    return ReportedValue(
        name=seen.name,
        code=None,
        value=number,
        unit=seen.unit,
        text=seen.text,
        written_unit=seen.unit,
        low=low,
        high=high,
        flags=seen.flags + marks,
    )


def _number(seen: Observation) -> tuple[float | None, tuple[str, ...]]:
    """Return the number, if the text is one, and the marks that stand behind it."""
    marks = () if seen.status == "final" else (seen.status,)
    if seen.status == "withdrawn":
        return None, marks
    text = seen.text
    marked = _MARKED.fullmatch(text[:60])
    if marked is not None:
        text, mark = marked[1].rstrip(), marked[2]
        marks = (mark, *marks)
    return parse_number(text), marks


def _reference(text: str) -> tuple[float | None, float | None]:
    """Return the limits of a reference interval such as ``4.0 - 10.0`` or ``<5``."""
    if len(text) > _LONGEST_RANGE:
        return None, None
    both = _RANGE.fullmatch(text)
    if both is not None:
        low, high = parse_number(both[1]), parse_number(both[2])
        ordered = low is not None and high is not None and low <= high
        return (low, high) if ordered else (None, None)
    one = _BOUND.fullmatch(text)
    if one is None:
        return None, None
    limit = parse_number(one[2])
    return (None, limit) if one[1] in {"<", "≤", "<="} else (limit, None)


def _counts(seen: Observation, sent: SentHistogram) -> tuple[tuple[float, ...], str]:
    """Return one count a bin, or none and why."""
    content = "" if seen.attachment is None else seen.attachment.base64
    try:
        raw = binascii.a2b_base64("".join(content.split()), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        return (), f"not base64 ({error})"
    if not raw or len(raw) % sent.bytes or len(raw) > _MAX_BINS * sent.bytes:
        return (), (
            f"expected whole numbers of {sent.bytes} bytes, at most {_MAX_BINS}, found "
            f"{len(raw)} bytes"
        )
    order = ">" if sent.byte_order == "big" else "<"
    counts: Iterable[float] = np.frombuffer(raw, f"{order}u{sent.bytes}").astype(float).tolist()
    return tuple(counts), ""
