"""Strict reader of FCS 2.0 to 3.2 list mode (docs/decisions/0002)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_daemon.decode.codecs.fcs_data import Layout, Packing, read_layout, unpack
from edge_daemon.decode.codecs.fcs_text import (
    STRICT,
    FcsHeader,
    FcsOptions,
    headers,
    keyword_int,
    leniency,
    malformed,
    quoted,
    with_supplement,
)
from edge_daemon.decode.limits import DEFAULT_LIMITS, Limits
from edge_daemon.decode.table import RawTable
from edge_daemon.errors import Quarantine

__all__ = ["STRICT", "FcsHeader", "FcsOptions", "read_fcs", "read_header"]

_EXPORT_AGAIN = "Export the file again; the copy may have been interrupted."


def read_header(
    data: bytes, *, limits: Limits = DEFAULT_LIMITS, options: FcsOptions = STRICT
) -> FcsHeader:
    """Read HEADER and TEXT of the first data set, for identification.

    Parameters
    ----------
    data
        The whole file.
    limits
        Caps on bytes.
    options
        Leniencies.

    Raises
    ------
    Quarantine
        ``not_recognised``, ``malformed``, ``truncated``, ``too_large`` or ``unsupported``.
    """
    return with_supplement(data, next(headers(data, limits, options)), limits, options)


def read_fcs(
    data: bytes,
    *,
    dataset: int = 1,
    limits: Limits = DEFAULT_LIMITS,
    options: FcsOptions = STRICT,
) -> RawTable:
    """Read one list-mode data set.

    Parameters
    ----------
    data
        The whole file.
    dataset
        Which data set, counted from 1.
    limits
        Caps, checked before anything is allocated.
    options
        Leniencies; strict by default.

    Returns
    -------
    RawTable
        Values as recorded: unsigned integers masked to ``$PnR``, float32, or float64.

    Raises
    ------
    Quarantine
        ``not_recognised``, ``malformed``, ``truncated``, ``too_large`` or ``unsupported``; the
        message names the byte or keyword, what was expected and what was found.
    """
    header = None
    count = 0
    for count, candidate in enumerate(headers(data, limits, options), start=1):
        if count == dataset:
            header = candidate
    if header is None:
        raise malformed(
            f"data set {dataset} was asked for, the file has {count}",
            action=f"Choose a data set from 1 to {count}.",
        )
    header = with_supplement(data, header, limits, options)
    channels = _channels(header, limits)
    layout = read_layout(header, channels)
    events = _events(header, layout, len(data), limits)
    payload, notes = _payload(data, header, layout, events, options)
    recorded, masks = unpack(payload.span, layout, events, payload.packing)
    return RawTable(
        format=header.version,
        columns=layout.columns,
        recorded=recorded,
        keywords=header.keywords,
        datasets=count,
        notes=header.notes + notes,
        masks=masks,
    )


def _channels(header: FcsHeader, limits: Limits) -> int:
    mode = header.keywords.get("$MODE", "L" if header.version == "FCS3.2" else "")
    if mode.upper() != "L":
        if mode.upper() in {"C", "U"}:
            raise Quarantine(
                "unsupported",
                f"keyword $MODE: this file holds histograms ({mode}); only list mode (L) has "
                "single cells",
                action="Choose list mode in the analyzer's export settings.",
            )
        raise malformed(f"keyword $MODE: expected L, found {quoted(mode)}")
    channels = keyword_int(header.keywords, "$PAR")
    if not channels:
        raise malformed(
            f"keyword $PAR: expected a number of columns, found "
            f"{quoted(header.keywords.get('$PAR', ''))}"
        )
    if channels > limits.max_channels:
        raise Quarantine(
            "too_large", f"keyword $PAR: {channels} columns, the limit is {limits.max_channels}"
        )
    return channels


def _events(header: FcsHeader, layout: Layout, held: int, limits: Limits) -> int:
    events = keyword_int(header.keywords, "$TOT")
    if events is None:
        begin, end = header.data
        # FCS 2.0 lets $TOT be absent: then DATA itself must hold a whole number of events.
        events, rest = divmod(8 * (end - begin + 1), layout.padded_bits)
        if header.version != "FCS2.0" or rest or not begin:
            raise malformed("keyword $TOT: expected the number of events, found nothing")
    if events > limits.max_events:
        raise Quarantine(
            "too_large", f"keyword $TOT: {events} events, the limit is {limits.max_events}"
        )
    limits.check_expansion(
        f"{events} events of {len(layout.columns)} columns",
        events * len(layout.columns) * layout.dtype.itemsize,
        held,
    )
    return events


@dataclass(frozen=True, slots=True)
class _Payload:
    """The bytes of DATA, and how their values are laid out."""

    span: memoryview
    packing: Packing


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One statement of where DATA lies; byte numbers count from the data set."""

    source: str
    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin + 1

    def __str__(self) -> str:
        return f"{self.source} says bytes {self.begin} to {self.end}"


def _payload(
    data: bytes, header: FcsHeader, layout: Layout, events: int, options: FcsOptions
) -> tuple[_Payload, tuple[str, ...]]:
    """Find the bytes that hold exactly the stated events."""
    needs: dict[Packing, int] = {
        "padded": events * layout.padded_bits // 8,
        "packed": -(-events * layout.packed_bits // 8),
    }
    candidates = _candidates(header)
    if not candidates and events == 0:
        return _Payload(memoryview(b""), "padded"), ()
    if not candidates:
        raise malformed("neither HEADER nor TEXT says where DATA lies")
    chosen, packing, notes = _fitting(candidates, needs, header, options)
    begin = header.base + chosen.begin
    end = begin + needs[packing]
    if end > len(data):
        raise Quarantine(
            "truncated",
            f"{chosen}: {events} events need {needs[packing]} bytes from byte {begin}, the file "
            f"ends after {max(0, len(data) - begin)}",
            action=_EXPORT_AGAIN,
        )
    text_begin, text_end = header.text
    if chosen.begin <= text_end and chosen.begin + needs[packing] > text_begin:
        raise malformed(f"{chosen}; that overlaps TEXT at bytes {text_begin} to {text_end}")
    return _Payload(memoryview(data)[begin:end], packing), notes


def _candidates(header: FcsHeader) -> list[_Candidate]:
    stated = [("HEADER", *header.data)]
    if header.version != "FCS2.0":
        # HEADER has eight digits; files beyond them leave it blank or zero and use TEXT.
        begin = keyword_int(header.keywords, "$BEGINDATA") or 0
        stated.append(("TEXT", begin, keyword_int(header.keywords, "$ENDDATA") or 0))
    found: list[_Candidate] = []
    for source, begin, end in stated:
        if begin == 0 and end == 0:
            continue
        if begin < 58 or end < begin - 1:
            raise malformed(
                f"{source}: DATA is said to lie at bytes {begin} to {end}; expected a first byte "
                "of 58 or more and a last byte not before it"
            )
        if not any((begin, end) == (other.begin, other.end) for other in found):
            found.append(_Candidate(source, begin, end))
    return found


def _fitting(
    candidates: list[_Candidate],
    needs: dict[Packing, int],
    header: FcsHeader,
    options: FcsOptions,
) -> tuple[_Candidate, Packing, tuple[str, ...]]:
    """Choose the statement and the packing that fit the number of events."""
    notes: tuple[str, ...] = ()
    if len(candidates) > 1:
        found = " but ".join(map(str, candidates))
        if not options.offset_disagreement:
            raise leniency("offset_disagreement", found)
        notes = (f"offset_disagreement: {found}",)
    for excess in (0, 1):
        for candidate in candidates:
            for packing, need in needs.items():
                if candidate.size != need + excess:
                    continue
                found = f"{candidate}, one byte more than the {need} that the events need"
                if excess and not options.data_end_off_by_one:
                    raise leniency("data_end_off_by_one", found)
                if notes:
                    notes = (f"{notes[0]}; taken from {candidate.source}",)
                return (
                    candidate,
                    packing,
                    notes + ((f"data_end_off_by_one: {found}",) if excess else ()),
                )
    sizes = " or ".join(dict.fromkeys(str(need) for need in needs.values()))
    total = header.keywords.get("$TOT")
    message = (
        f"{' and '.join(map(str, candidates))} ({candidates[0].size} bytes), but $TOT = {total} "
        f"events need {sizes} bytes"
    )
    if all(candidate.size < min(needs.values()) for candidate in candidates):
        raise Quarantine("truncated", message, action=_EXPORT_AGAIN)
    raise malformed(message)
