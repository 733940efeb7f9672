"""ASTM E1394 (LIS2-A2) records: fields, escapes, and which result belongs to which sample."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from edge_daemon.decode.message import MAX_FIELD, MAX_RECORDS, cut_off, malformed, quoted, too_large
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_daemon.decode.message import Leniencies

KINDS: Final = {
    "H": "header", "P": "patient", "O": "order", "R": "result", "C": "comment",
    "Q": "request", "S": "scientific", "M": "manufacturer", "L": "terminator",
}  # fmt: skip
_NUMBERED_WITHIN: Final = {"P": "HL", "O": "HLP", "R": "HLPO"}
_ABORTED: Final = {"T": "sender aborted", "R": "receiver asked to abort", "E": "unknown error"}
_HEX = re.compile(r"X(?:[0-9A-Fa-f]{2})+")
_CONTROL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True)
class Delimiters:
    """What separates the parts of a message, as its header declares."""

    field: str
    repeat: str
    component: str
    escape: str

    @cached_property
    def padding(self) -> re.Pattern[str]:
        """Blanks before or after a value."""
        edge = "".join(map(re.escape, (self.field, self.repeat, self.component)))
        return re.compile(f"(?:^|[{edge}]) | (?:$|[{edge}])")

    def unescape(self, raw: str) -> str:
        """Put delimiters back where escape sequences stand for them."""
        if self.escape not in raw:
            return raw
        stands_for = {"F": self.field, "S": self.component, "R": self.repeat, "E": self.escape}
        parts = raw.split(self.escape)
        out = [parts[0]]
        at = 1
        while at < len(parts):
            code = parts[at]
            closed = at + 1 < len(parts)
            if closed and code in stands_for:
                out.append(stands_for[code])
            elif closed and _HEX.fullmatch(code):
                out.append(bytes.fromhex(code[1:]).decode("latin-1"))
            elif closed and code in {"H", "N"}:  # highlighting, which is no part of the text
                pass
            else:
                out.append(self.escape + code)
                at += 1
                continue
            out.append(parts[at + 1])
            at += 2
        return "".join(out)


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes
    ----------
    kind
        Its letter.
    fields
        As written; the first is the letter itself, so field numbers are those of the standard
        less one.
    where
        For messages.
    """

    kind: str
    fields: tuple[str, ...]
    where: str
    delimiters: Delimiters

    def raw(self, number: int) -> str:
        """Return field `number` of the standard as written; empty where it is absent."""
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def text(self, number: int) -> str:
        """Return a whole field, escapes and blanks around it removed."""
        return self.delimiters.unescape(self.raw(number)).strip()

    def repeats(self, number: int) -> tuple[str, ...]:
        """Return the repeats of a field, as written."""
        raw = self.raw(number)
        return tuple(raw.split(self.delimiters.repeat)) if raw else ()

    def components(self, number: int) -> tuple[str, ...]:
        """Return the components of a field's first repeat, escapes and blanks removed."""
        first = self.raw(number).split(self.delimiters.repeat, 1)[0]
        return self.split(first)

    def split(self, raw: str) -> tuple[str, ...]:
        """Return the components of one repeat, escapes and blanks removed."""
        parts = raw.split(self.delimiters.component)
        return tuple(self.delimiters.unescape(part).strip() for part in parts)


@dataclass(slots=True)
class Sample:
    """The records about one sample.

    Attributes
    ----------
    chain
        Header, patient and order.
    records
        What follows them: results, comments, manufacturer records.
    """

    chain: tuple[Record, ...]
    records: list[Record] = field(default_factory=list)

    @property
    def order(self) -> Record:
        """The order that names the sample."""
        return self.chain[-1]

    @property
    def specimen(self) -> tuple[str, str]:
        """Its id as the host gave it (O.3), and as the instrument knows it (O.4)."""
        return self.order.text(3), self.order.text(4)


@dataclass(slots=True)
class Transmission:
    """One message, from header to terminator."""

    header: Record
    samples: list[Sample] = field(default_factory=list)
    requests: int = 0


def read_transmissions(text: str, lenient: Leniencies) -> list[Transmission]:
    """Split records and sort them by sample.

    Raises
    ------
    Quarantine
        ``not_recognised``, ``malformed``, ``truncated`` or ``too_large``, naming message and
        record.
    """
    found: list[Transmission] = []
    builder: _Builder | None = None
    for line in _lines(text, lenient):
        kind = line[:1]
        if kind == "H":
            if builder is not None:
                raise cut_off(f"{builder.name}: no L record before the next header")
            builder = _Builder(line, f"message {len(found) + 1}", lenient)
            continue
        if builder is None:
            raise _outside(line, len(found))
        builder.add(line)
        if kind == "L":
            found.append(builder.transmission)
            builder = None
    if builder is not None:
        raise cut_off(f"{builder.name}: expected an L record at its end, found none")
    if not found:
        raise _outside("", 0)
    return found


def _outside(line: str, messages: int) -> Quarantine:
    if messages:
        return malformed(
            f"after message {messages}: expected a header (H record), found {quoted(line)}"
        )
    if line[1:2] == "|" and line[:1] in KINDS:
        return malformed(f"message 1: expected a header (H record) first, found {quoted(line)}")
    return Quarantine(
        "not_recognised",
        f"not an ASTM message: expected a header (H|\\^&…), found {quoted(line)}",
        action="Check the protocol in the analyzer's settings.",
    )


def _lines(text: str, lenient: Leniencies) -> Iterator[str]:
    control = _CONTROL.search(text)
    if control is not None:
        raise malformed(
            f"character {control.start()}: control character {control[0]!r} inside a record"
        )
    if "\n" in text:
        lenient.need("line_feeds", "records end with LF or CR LF, not with CR")
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    if text.count("\r") > MAX_RECORDS:
        raise too_large(f"the capture has more than {MAX_RECORDS} records")
    lines = text.removesuffix("\r").split("\r") if text else []
    for number, line in enumerate(lines, start=1):
        if line.startswith("#") or not line.strip():
            shown = quoted(line) if line else "an empty line"
            lenient.need("comment_lines", f"line {number}: {shown} between the records")
        else:
            yield line
    if lines and not text.endswith("\r"):
        lenient.need("without_record_end", "the last record does not end with CR")


class _Builder:
    """Takes the records of one message in turn."""

    def __init__(self, line: str, name: str, lenient: Leniencies) -> None:
        self.name = name
        self._lenient = lenient
        self._delimiters = _delimiters(line, name)
        self._count = 0
        self._numbers: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._patient: Record | None = None
        self._patient_records: list[Record] = []
        header = self._record(line)
        self.transmission = Transmission(header)
        self._header_records: list[Record] = []

    def add(self, line: str) -> None:
        record = self._record(line)
        self._check_number(record)
        if record.kind == "P":
            self._patient, self._patient_records = record, []
        elif record.kind == "O":
            self._order(record)
        elif record.kind == "Q":
            self.transmission.requests += 1
        elif record.kind == "L":
            self._end(record)
        else:
            self._attach(record)

    def _record(self, line: str) -> Record:
        self._count += 1
        fields = tuple(line.split(self._delimiters.field))
        kind = fields[0]
        where = f"{self.name}, record {self._count}"
        if kind not in KINDS:
            known = ", ".join(KINDS)
            raise malformed(f"{where}: expected a record type ({known}), found {quoted(line)}")
        for number, value in enumerate(fields, start=1):
            if len(value) > MAX_FIELD and kind != "M":
                raise too_large(
                    f"{where}: field {kind}.{number} has {len(value)} characters, the limit is "
                    f"{MAX_FIELD}"
                )
        if kind in "HPOR" and self._delimiters.padding.search(line, 5 if kind == "H" else 0):
            self._lenient.need("blank_padding", f"{where}: blanks around a value")
        return Record(kind, fields, where, self._delimiters)

    def _check_number(self, record: Record) -> None:
        kind, written = record.kind, record.text(2)
        if not (written.isascii() and written.isdigit()) or len(written) > 9:
            raise malformed(
                f"{record.where}: expected a sequence number in field {kind}.2, found "
                f"{quoted(written)}"
            )
        number = int(written)
        # Numbers begin anew below each higher record; some analyzers let them run on instead.
        allowed = {self._numbers.get(kind, 0) + 1, self._totals.get(kind, 0) + 1}
        if kind not in _NUMBERED_WITHIN:
            allowed.add(1)
        if number not in allowed:
            self._lenient.need(
                "sequence_numbers",
                f"{record.where}: expected {kind}|{min(allowed)}, found {kind}|{number}: a record "
                "may be missing",
            )
        self._numbers[kind] = number
        self._totals[kind] = self._totals.get(kind, 0) + 1
        for below, above in _NUMBERED_WITHIN.items():
            if kind in above:
                self._numbers[below] = 0

    def _order(self, record: Record) -> None:
        if self._patient is None:
            raise malformed(f"{record.where}: an order (O) before any patient record (P)")
        samples = self.transmission.samples
        chain = (self.transmission.header, self._patient, record)
        same = samples and samples[-1].chain[1] is self._patient
        specimen = (record.text(3), record.text(4))
        if not (same and any(specimen) and samples[-1].specimen == specimen):
            samples.append(Sample(chain, [*self._header_records, *self._patient_records]))

    def _attach(self, record: Record) -> None:
        samples = self.transmission.samples
        if samples and samples[-1].chain[1] is self._patient:
            samples[-1].records.append(record)
        elif record.kind == "R":
            raise malformed(f"{record.where}: a result (R) before any order record (O)")
        elif self._patient is not None:
            self._patient_records.append(record)
        else:
            self._header_records.append(record)

    def _end(self, record: Record) -> None:
        code = record.text(3)
        if code in _ABORTED:
            raise cut_off(f"{record.where}: the analyzer ended with L.3 {code} ({_ABORTED[code]})")


def _delimiters(line: str, name: str) -> Delimiters:
    """Read the header's declaration: field, repeat, component and escape delimiter."""
    separator = line[1:2]
    declared = line[1:].split(separator)[1] if separator else ""
    found = separator + declared
    distinct = len(set(found)) == len(found) == 4
    if not distinct or any(c.isalnum() or c.isspace() for c in found):
        raise malformed(
            f"{name}, record 1: expected four different delimiters after H, such as |\\^&, found "
            f"{quoted(line[1:6])}"
        )
    return Delimiters(*found)
