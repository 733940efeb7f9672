"""HEADER and TEXT of an FCS file: where everything lies and what the file says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from edge_daemon.errors import Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_daemon.decode.limits import Limits

HEADER_BYTES = 58
VERSIONS = ("FCS2.0", "FCS3.0", "FCS3.1", "FCS3.2")

_MAX_DATASETS = 64
_PADDING = b" \0\t\r\n"
_BLANKS = " \0\t\r\n"
_DIGITS = re.compile(r"\d{1,20}")
_HEADER_FIELD = re.compile(rb"[ \0]*(\d*)[ \0]*")
_SETTINGS_ACTION = (
    "Ask the vendor for a corrected export, or name the leniency under [codec.options] of the "
    "instrument's profile once a person has checked the values."
)


@dataclass(frozen=True, slots=True)
class FcsOptions:
    """Named leniencies; all False is strict. Each one that is needed is noted in the result.

    Attributes
    ----------
    data_end_off_by_one
        The DATA segment's end points one byte past its last byte.
    offset_disagreement
        HEADER and TEXT give different DATA offsets: those that fit exactly ``$TOT`` events
        are taken, and those of the HEADER if both do.
    missing_final_delimiter
        The TEXT segment does not end with its delimiter.
    doubled_final_delimiter
        The TEXT segment ends with its delimiter twice.
    empty_values
        TEXT holds empty values, so that a doubled delimiter is not an escaped one.
    spaced_keywords
        A keyword has blanks around it.
    unreadable_supplemental_text
        The supplemental TEXT segment is not text, and is left out.
    """

    data_end_off_by_one: bool = False
    offset_disagreement: bool = False
    missing_final_delimiter: bool = False
    doubled_final_delimiter: bool = False
    empty_values: bool = False
    spaced_keywords: bool = False
    unreadable_supplemental_text: bool = False

    @classmethod
    def lenient(cls) -> FcsOptions:
        """Return the options that allow every leniency."""
        return cls(**{field.name: True for field in fields(cls)})


STRICT = FcsOptions()
"""No leniency."""


@dataclass(frozen=True, slots=True)
class FcsHeader:
    """HEADER and TEXT of one data set.

    Attributes
    ----------
    version
        ``FCS2.0`` to ``FCS3.2``.
    base
        Byte of the file at which the data set begins; every offset counts from it.
    text
        First and last byte of the primary TEXT segment.
    data
        First and last byte of DATA as the HEADER says; ``(0, 0)`` when it leaves that to TEXT.
    keywords
        Upper-case keys, blanks around values removed.
    notes
        Leniencies that were needed so far.
    """

    version: str
    base: int
    text: tuple[int, int]
    data: tuple[int, int]
    keywords: dict[str, str]
    notes: tuple[str, ...]


def malformed(message: str, *, action: str = _SETTINGS_ACTION) -> Quarantine:
    """Return the error for content that breaks the FCS standard."""
    return Quarantine("malformed", message, action=action)


def leniency(name: str, found: str) -> Quarantine:
    """Return the error for something that the option `name` would have allowed."""
    return malformed(
        f"{found}; strict reading refuses that (leniency {name})",
    )


def quoted(value: str) -> str:
    """Show what was found, in messages."""
    return repr(value[:40]) if value else "nothing"


def keyword_int(keywords: Mapping[str, str], key: str) -> int | None:
    """Return the whole number of a keyword, or None where it is absent or empty.

    Raises
    ------
    Quarantine
        ``malformed`` when the value is not a number without sign.
    """
    value = keywords.get(key, "")
    if not value:
        return None
    if not _DIGITS.fullmatch(value) or not value.isascii():
        raise malformed(f"keyword {key}: expected a whole number, found {quoted(value)}")
    return int(value)


def headers(data: bytes, limits: Limits, options: FcsOptions) -> Iterator[FcsHeader]:
    """Yield HEADER and primary TEXT of every data set in turn.

    Raises
    ------
    Quarantine
        ``not_recognised``, ``malformed``, ``truncated``, ``too_large`` or ``unsupported``.
    """
    if len(data) > limits.max_bytes:
        raise Quarantine(
            "too_large",
            f"the file has {len(data)} bytes, the limit is {limits.max_bytes}",
            action="Export fewer events a file, or raise the limit in the configuration.",
        )
    base: int | None = 0
    count = 0
    while base is not None:
        count += 1
        if count > _MAX_DATASETS:
            raise Quarantine("too_large", f"the file has more than {_MAX_DATASETS} data sets")
        header = _read_one(data, base, limits, options)
        yield header
        base = _next_base(data, header)


def _next_base(data: bytes, header: FcsHeader) -> int | None:
    step = keyword_int(header.keywords, "$NEXTDATA")
    if not step:
        return None
    # Also what keeps the total work linear: no byte of TEXT is read twice.
    if step <= header.text[1]:
        raise malformed(
            f"keyword $NEXTDATA: expected the next data set after byte {header.text[1]}, the end "
            f"of this one's TEXT, found {step}"
        )
    base = header.base + step
    if base + HEADER_BYTES > len(data):
        raise Quarantine(
            "truncated",
            f"keyword $NEXTDATA: the next data set begins at byte {base}, the file has "
            f"{len(data)} bytes",
            action="Export the file again.",
        )
    return base


def _read_one(data: bytes, base: int, limits: Limits, options: FcsOptions) -> FcsHeader:
    version = _version(data, base)
    if len(data) - base < HEADER_BYTES:
        raise Quarantine(
            "truncated",
            f"the HEADER needs {HEADER_BYTES} bytes, the file has {len(data) - base}",
            action="Export the file again.",
        )
    begin = _header_field(data, base, 10, "first byte of TEXT")
    end = _header_field(data, base, 18, "last byte of TEXT")
    payload = (
        _header_field(data, base, 26, "first byte of DATA"),
        _header_field(data, base, 34, "last byte of DATA"),
    )
    text = _segment(data, base, (begin, end), "TEXT", limits)
    keywords, notes = parse_text(text, options, where=f"TEXT at byte {base + begin}")
    return FcsHeader(version, base, (begin, end), payload, keywords, notes)


def _version(data: bytes, base: int) -> str:
    magic = data[base : base + 6]
    if magic[:3] != b"FCS":
        found = f"expected 'FCS', found {bytes(data[base : base + 8])!r}"
        if base:
            raise malformed(f"byte {base}: the next data set does not begin there: {found}")
        raise Quarantine(
            "not_recognised",
            f"byte 0: not an FCS file: {found}",
            action="Check that the analyzer exports list-mode FCS into this folder.",
        )
    version = magic.decode("latin-1")
    if version in VERSIONS:
        return version
    if re.fullmatch(r"FCS\d\.\d", version):
        raise Quarantine(
            "unsupported",
            f"byte {base}: version {version}; read are {', '.join(VERSIONS)}",
            action="Choose another FCS version in the analyzer's export settings.",
        )
    raise malformed(f"byte {base}: expected a version such as FCS3.1, found {magic!r}")


def _header_field(data: bytes, base: int, at: int, what: str) -> int:
    field = data[base + at : base + at + 8]
    match = _HEADER_FIELD.fullmatch(field)
    if match is None:
        raise malformed(f"byte {base + at}: HEADER, {what}: expected digits, found {field!r}")
    return int(match[1] or b"0")


def _segment(data: bytes, base: int, span: tuple[int, int], what: str, limits: Limits) -> bytes:
    """Return the bytes of a text segment after checking where it lies."""
    begin, end = span
    if begin < HEADER_BYTES or end <= begin:
        raise malformed(
            f"{what} is said to lie at bytes {begin} to {end}; expected a first byte of "
            f"{HEADER_BYTES} or more and a larger last byte"
        )
    size = end - begin + 1
    if size > limits.max_text:
        raise Quarantine("too_large", f"{what} has {size} bytes, the limit is {limits.max_text}")
    if base + end >= len(data):
        raise Quarantine(
            "truncated",
            f"{what} ends at byte {base + end}, the file has {len(data)} bytes",
            action="Export the file again.",
        )
    return data[base + begin : base + end + 1]


def parse_text(
    text: bytes, options: FcsOptions, *, where: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Split a TEXT segment into keywords and values.

    Parameters
    ----------
    text
        The whole segment; its first byte is the delimiter. Padding after the last delimiter
        is ignored.
    options
        Leniencies.
    where
        Name and place of the segment for messages.

    Returns
    -------
    tuple
        Keywords, and the leniencies that were needed.

    Raises
    ------
    Quarantine
        ``malformed``.
    """
    delimiter = text[:1]
    body = text[1:].rstrip(_PADDING.replace(delimiter, b""))
    tokens, notes = _tokens(body, delimiter, options, where)
    keywords, spaced = _keywords(tokens, delimiter, options, where)
    return keywords, notes + spaced


def _tokens(
    body: bytes, delimiter: bytes, options: FcsOptions, where: str
) -> tuple[list[bytes], tuple[str, ...]]:
    """Split by the standard or, where that gives no pairs, with the one leniency that does."""
    tokens = _escaped_tokens(body, delimiter)
    if tokens is not None and not any(delimiter in key for key in tokens[::2]):
        return tokens, ()
    name = ""
    plain = _plain_tokens(body, delimiter)
    if plain is not None:
        empty = next(i for i, token in enumerate(plain) if not token)
        name = "empty_values"
        found = f"{where}: keyword {_show(plain[empty - 1])} has an empty value"
        tokens = plain
    elif tokens is None and body.endswith(delimiter * 2):
        name = "doubled_final_delimiter"
        found = f"{where} ends with its delimiter {delimiter!r} twice"
        tokens = _escaped_tokens(body[:-1], delimiter)
    elif tokens is None and not body.endswith(delimiter):
        name = "missing_final_delimiter"
        found = f"{where} does not end with its delimiter {delimiter!r}"
        tokens = _escaped_tokens(body + delimiter, delimiter)
    if tokens is None:
        raise malformed(
            f"{where}: expected pairs of keyword and value between delimiters "
            f"{delimiter!r}, found a keyword without a value or an empty keyword"
        )
    if not name:
        return tokens, ()
    if not getattr(options, name):
        raise leniency(name, found)
    return tokens, (f"{name}: {found}",)


def _escaped_tokens(body: bytes, delimiter: bytes) -> list[bytes] | None:
    """Split by the standard: a doubled delimiter is a literal one, no token is empty."""
    doubled = delimiter + delimiter in body
    stand_in = b""
    if doubled:
        stand_in = next((bytes([b]) for b in range(256) if bytes([b]) not in body), b"")
        if not stand_in:  # every byte value occurs: this is not text
            return None
        body = body.replace(delimiter + delimiter, stand_in)
    if not body.endswith(delimiter):
        return None
    tokens = body[:-1].split(delimiter)
    if len(tokens) % 2 or not all(tokens):
        return None
    return [token.replace(stand_in, delimiter) for token in tokens] if doubled else tokens


def _plain_tokens(body: bytes, delimiter: bytes) -> list[bytes] | None:
    """Split at every delimiter; None unless that gives pairs with at least one empty value."""
    if not body.endswith(delimiter):
        return None
    tokens = body[:-1].split(delimiter)
    if len(tokens) % 2 or not all(tokens[::2]) or all(tokens[1::2]):
        return None
    return tokens


def _keywords(
    tokens: list[bytes], delimiter: bytes, options: FcsOptions, where: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    encoding = _encoding(tokens, delimiter)
    keywords: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    for raw_key, raw_value in zip(tokens[::2], tokens[1::2], strict=True):
        written = raw_key.decode(encoding)
        key = written.strip(_BLANKS).upper()
        value = raw_value.decode(encoding).strip(_BLANKS)
        if len(key) != len(written):
            found = f"{where}: keyword {key[:60]!r} has blanks around it"
            if not options.spaced_keywords:
                raise leniency("spaced_keywords", found)
            notes = notes or (f"spaced_keywords: {found}",)
        if not key:
            raise malformed(f"{where}: expected a keyword, found blanks")
        if keywords.setdefault(key, value) != value:
            raise malformed(
                f"{where}: keyword {key[:40]} is given twice, as {keywords[key][:40]!r} and as "
                f"{value[:40]!r}"
            )
    return keywords, notes


def _encoding(tokens: list[bytes], delimiter: bytes) -> str:
    """UTF-8 where that is what it is; older writers used the local 8-bit character set."""
    try:
        delimiter.join(tokens).decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8" if delimiter < b"\x80" else "latin-1"


def _show(token: bytes) -> str:
    return repr(token[:60].decode("latin-1"))


def with_supplement(
    data: bytes, header: FcsHeader, limits: Limits, options: FcsOptions
) -> FcsHeader:
    """Add the supplemental TEXT segment of FCS 3, where there is one.

    Raises
    ------
    Quarantine
        ``malformed``, ``truncated`` or ``too_large``, unless that is allowed.
    """
    begin = keyword_int(header.keywords, "$BEGINSTEXT") or 0
    end = keyword_int(header.keywords, "$ENDSTEXT") or 0
    if header.version == "FCS2.0" or not (begin or end) or (begin, end) == header.text:
        return header
    where = f"supplemental TEXT at byte {header.base + begin}"
    try:
        text = _segment(data, header.base, (begin, end), where, limits)
        if begin <= header.text[1] and end >= header.text[0]:
            raise malformed(f"{where} overlaps the primary TEXT segment")
        more, notes = parse_text(text, options, where=where)
    except Quarantine as error:
        if not options.unreadable_supplemental_text:
            raise
        notes = (f"unreadable_supplemental_text: {error.message}",)
        more = {}
    return replace(header, keywords=more | header.keywords, notes=header.notes + notes)
