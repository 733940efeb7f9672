"""HL7 v2 messages: MLLP blocks, encoding characters, character sets, segments and their order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edge_daemon.decode.message import MAX_FIELD, MAX_RECORDS, cut_off, malformed, quoted, too_large
from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_daemon.decode.message import Leniencies

START, END = b"\x0b", b"\x1c"

CHARACTER_SETS: Final = {
    "ASCII": "ascii", "UNICODE": "utf-8", "UNICODE UTF-8": "utf-8", "UTF-8": "utf-8",
    "8859/1": "latin-1", "8859/2": "iso8859-2", "8859/5": "iso8859-5", "8859/9": "iso8859-9",
    "8859/15": "iso8859-15", "GB 18030-2000": "gb18030", "GB18030": "gb18030",
}  # fmt: skip
"""MSH-18 (table 0211) → Python's name. Analyzers mean UTF-8 when they say UNICODE."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_HEX = re.compile(r"X(?:[0-9A-Fa-f]{2})+")
_BREAK = re.compile(r"\.(?:br|sp)")
_PATIENT: Final = ("PID", "PD1", "PV1", "PV2")
_NUMBERED: Final = ("OBX",)


@dataclass(frozen=True, slots=True)
class Encoding:
    """MSH-1 and MSH-2: what separates the parts of a message."""

    field: str
    component: str
    repeat: str
    escape: str
    subcomponent: str

    def unescape(self, raw: str) -> str:
        r"""Put delimiters back where ``\F\`` and the like stand for them."""
        if self.escape not in raw:
            return raw
        stands_for = {
            "F": self.field, "S": self.component, "T": self.subcomponent, "R": self.repeat,
            "E": self.escape, "H": "", "N": "",
        }  # fmt: skip
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
            elif closed and _BREAK.match(code):
                out.append("\n")
            else:
                out.append(self.escape + code)
                at += 1
                continue
            out.append(parts[at + 1])
            at += 2
        return "".join(out)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; `fields` begin with field 1 of the standard."""

    name: str
    fields: tuple[str, ...]
    where: str
    encoding: Encoding

    def raw(self, number: int) -> str:
        """Return a field as written; empty where it is absent."""
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def text(self, number: int) -> str:
        """Return a whole field, escapes and blanks around it removed."""
        return self.encoding.unescape(self.raw(number)).strip()

    def repeats(self, number: int) -> tuple[str, ...]:
        """Return the repeats of a field, escapes and blanks removed."""
        raw = self.raw(number)
        parts = raw.split(self.encoding.repeat) if raw else ()
        return tuple(self.encoding.unescape(part).strip() for part in parts)

    def components(self, number: int) -> tuple[str, ...]:
        """Return the components of a field's first repeat, escapes and blanks removed."""
        first = self.raw(number).split(self.encoding.repeat, 1)[0]
        parts = first.split(self.encoding.component)
        return tuple(self.encoding.unescape(part).strip() for part in parts)


@dataclass(slots=True)
class Sample:
    """The segments about one sample.

    Attributes
    ----------
    header
        MSH.
    patient
        PID, PV1 and the like, as far as they were sent.
    order
        OBR, and ORC before it.
    records
        OBX and NTE in the order sent.
    """

    header: Segment
    patient: list[Segment]
    order: list[Segment]
    records: list[Segment] = field(default_factory=list)

    @property
    def specimen(self) -> tuple[str, str]:
        """Its id: filler order number (OBR-3), placer order number (OBR-2)."""
        return self.order[-1].text(3), self.order[-1].text(2)


@dataclass(slots=True)
class Hl7Message:
    """One message and its samples; none where it is of another type than ORU."""

    header: Segment
    samples: list[Sample]


def read_messages(data: bytes, charset: str, errors: str, lenient: Leniencies) -> list[Hl7Message]:
    """Split a capture into messages and sort their segments by sample.

    Parameters
    ----------
    data
        One or more messages, in MLLP blocks or bare.
    charset
        Python's name of the character set where MSH-18 names none.
    errors
        ``strict``, or ``replace`` for a look at the header only.
    lenient
        Which deviations are allowed.

    Raises
    ------
    Quarantine
        ``not_recognised``, ``malformed``, ``truncated``, ``too_large`` or ``unsupported``.
    """
    found: list[Hl7Message] = []
    for block in _blocks(data, lenient):
        for message in _split(block, lenient):
            found.append(_read(message, f"message {len(found) + 1}", charset, errors, lenient))
    return found


def _blocks(data: bytes, lenient: Leniencies) -> Iterator[bytes]:
    """Take MLLP off: 0x0B … 0x1C 0x0D."""
    if not data.startswith(START):
        yield data
        return
    at = 0
    while at < len(data):
        if data[at : at + 1] != START:
            raise malformed(f"byte {at}: expected 0x0B, found {data[at : at + 8]!r}")
        end = data.find(END, at)
        if end < 0:
            raise cut_off(f"byte {at}: the MLLP block does not end (no 0x1C)")
        yield data[at + 1 : end]
        at = end + 1
        if data[at : at + 1] == b"\r":
            at += 1
        else:
            lenient.need("without_block_end", f"byte {at}: no CR after 0x1C")
        while data[at : at + 1] == b"\n":
            lenient.need("without_block_end", f"byte {at}: LF after the block")
            at += 1


def _split(block: bytes, lenient: Leniencies) -> list[bytes]:
    if not block.startswith(b"MSH"):
        raise Quarantine(
            "not_recognised",
            f"not an HL7 message: expected MSH first, found {quoted(block[:16])}",
            action="Check the protocol in the analyzer's settings.",
        )
    if b"\n" in block:
        lenient.need("line_feeds", "segments end with LF or CR LF, not with CR")
        block = block.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    if block.count(b"\r") > MAX_RECORDS:
        raise too_large(f"the capture has more than {MAX_RECORDS} segments")
    starts = [0, *(match.end() for match in re.finditer(rb"\r+(?=MSH[^\w\s])", block))]
    return [block[a:b] for a, b in zip(starts, [*starts[1:], len(block)], strict=True)]


def _read(message: bytes, name: str, charset: str, errors: str, lenient: Leniencies) -> Hl7Message:
    first, *others = message.split(b"\r")
    encoding = _encoding(first, name)
    header = _segment(_decode(first, "latin-1", errors, name), f"{name}, segment 1", encoding)
    named = header.text(18)
    if named and named not in CHARACTER_SETS and errors == "strict":
        raise Quarantine(
            "unsupported",
            f"{name}: character set {quoted(named)} (MSH-18); read are {', '.join(CHARACTER_SETS)}",
            action="Choose another character set in the analyzer's interface settings.",
        )
    charset = CHARACTER_SETS.get(named, charset)
    header = _segment(_decode(first, charset, errors, name), f"{name}, segment 1", encoding)
    if others[-1:] == [b""]:
        others.pop()
    else:
        lenient.need("without_segment_end", f"{name}: the last segment does not end with CR")
    builder = _Builder(header, lenient)
    for number, line in enumerate(others, start=2):
        where = f"{name}, segment {number}"
        if not line.strip():
            lenient.need("empty_segments", f"{where} is empty")
            continue
        builder.add(_segment(_decode(line, charset, errors, where), where, encoding))
    return builder.message


def _decode(line: bytes, charset: str, errors: str, where: str) -> str:
    try:
        text = line.decode(charset, errors)
    except UnicodeDecodeError as error:
        raise malformed(
            f"{where}: expected {charset}, found {line[error.start : error.end]!r} at character "
            f"{error.start}; MSH-18 or [codec] encoding names another character set"
        ) from error
    control = _CONTROL.search(text)
    if control is not None:
        raise malformed(f"{where}: control character {control[0]!r}")
    return text


def _encoding(first: bytes, name: str) -> Encoding:
    separator = first[3:4].decode("latin-1")
    declared = first[4:].decode("latin-1").split(separator)[0] if separator else ""
    found = separator + declared
    good = len(found) == len(set(found)) == 5
    if not good or any(c.isalnum() or c.isspace() for c in found):
        raise malformed(
            f"{name}, segment 1: expected the field separator and four encoding characters after "
            f"MSH, such as |^~\\&, found {quoted(found[:10])}"
        )
    return Encoding(*found)


def _segment(line: str, where: str, encoding: Encoding) -> Segment:
    name, *fields = line.split(encoding.field)
    if not _SEGMENT.fullmatch(name):
        raise malformed(f"{where}: expected a segment such as OBX|…, found {quoted(line)}")
    if name == "MSH":
        fields.insert(0, encoding.field)
    encoded = name == "OBX" and len(fields) > 1 and fields[1] in {"ED", "RP"}
    for number, value in enumerate(fields, start=1):
        if len(value) > MAX_FIELD and not (encoded and number == 5):
            raise too_large(
                f"{where}: field {name}-{number} has {len(value)} characters, the limit is "
                f"{MAX_FIELD}"
            )
    return Segment(name, tuple(fields), where, encoding)


class _Builder:
    """Takes the segments of one message in turn."""

    def __init__(self, header: Segment, lenient: Leniencies) -> None:
        self.message = Hl7Message(header, [])
        self._lenient = lenient
        self._patient: list[Segment] = []
        self._order: list[Segment] = []
        self._sample: Sample | None = None
        self._number = 0

    def add(self, segment: Segment) -> None:
        if segment.name in _PATIENT:
            self._add_patient(segment)
        elif segment.name == "ORC":
            self._order, self._sample = [segment], None
        elif segment.name == "OBR":
            self._add_order(segment)
        elif segment.name == "OBX":
            self._add_result(segment)
        elif segment.name == "NTE" and self._sample is not None:
            self._sample.records.append(segment)
        # Segments of other kinds (local ones begin with Z) say nothing that is read here.

    def _add_patient(self, segment: Segment) -> None:
        known = [other.name for other in self._patient]
        if self._sample is not None or segment.name in known:
            self._patient, self._order, self._sample, known = [], [], None, []
        if segment.name == "PID" and known:
            self._lenient.need("segment_order", f"{segment.where}: PID after {known[-1]}")
        self._patient.append(segment)

    def _add_order(self, segment: Segment) -> None:
        order = [s for s in self._order if s.name == "ORC"] if self._sample is None else []
        self._number = 0
        sample = Sample(self.message.header, self._patient, [*order, segment])
        samples = self.message.samples
        same = samples and samples[-1].patient is self._patient and any(sample.specimen)
        if same and samples[-1].specimen == sample.specimen:
            self._sample = samples[-1]
        else:
            samples.append(sample)
            self._sample = sample

    def _add_result(self, segment: Segment) -> None:
        if self._sample is None:
            raise malformed(f"{segment.where}: a result (OBX) before any OBR")
        written = segment.text(1)
        expected = self._number + 1
        if written not in {"", str(expected)}:
            self._lenient.need(
                "sequence_numbers",
                f"{segment.where}: expected OBX|{expected}, found OBX|{written[:9]}: a result may "
                "be missing",
            )
        digits = written.isascii() and written.isdigit() and len(written) <= 9
        self._number = int(written) if digits else expected
        self._sample.records.append(segment)
