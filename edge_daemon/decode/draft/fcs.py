"""A proposal for FCS list mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from edge_daemon.decode.codecs.fcs import FcsOptions, read_fcs
from edge_daemon.decode.draft.channels import suggest, unambiguous
from edge_daemon.decode.draft.render import CELL_QUESTIONS, Proposal, ProposedChannel, quote
from edge_daemon.decode.limits import Limits

if TYPE_CHECKING:
    from edge_daemon.decode.table import RawTable

_METADATA: Final = (
    ("sample_id", ("$SMNO", "SAMPLE ID", "SAMPLEID", "TUBE NAME")),
    ("patient_id", ("PATIENT ID", "$CELLS")),
    ("instrument_model", ("$CYT",)),
    ("instrument_serial", ("$CYTSN", "CYTNUM")),
    ("acquired_at", ("$DATE",)),
    ("species", ("SPECIES",)),
)
_LONGEST: Final = 80
_VERSION_WORDS: Final = ("FIRMWARE", "VERSION", "SOFTWARE", "CREATOR", "BUILD", "$SYS")


def propose_fcs(data: bytes, name: str) -> Proposal | None:
    """Propose a profile for an FCS file; None for another format.

    Raises
    ------
    Quarantine
        The file is broken even for the most lenient reading.
    """
    if not data.startswith(b"FCS"):
        return None
    limits = replace(Limits(max_bytes=max(len(data), 1)), max_channels=256)
    table = read_fcs(data, limits=limits, options=FcsOptions.lenient())
    needed = sorted({note.split(":")[0] for note in table.notes})
    settings = tuple(
        [f"options = {{ {', '.join(f'{n} = true' for n in needed)} }}"] if needed else []
    )
    if len(table.columns) > Limits().max_channels:
        settings += (f"max_channels = {len(table.columns)}",)
    return Proposal(
        codec="fcs",
        format=table.format,
        patterns=(f"*{PurePath(name).suffix or '.fcs'}",),
        settings=settings,
        identifying=_identifying(table),
        channels=_channels(table),
        metadata=_metadata(table),
        questions=_questions(table, needed),
    )


def _identifying(table: RawTable) -> dict[str, str]:
    return {
        key: value
        for key, value in table.keywords.items()
        if 0 < len(value) <= _LONGEST
        and (key == "$CYT" or any(word in key for word in _VERSION_WORDS))
    }


def _channels(table: RawTable) -> tuple[ProposedChannel, ...]:
    suggested = unambiguous([suggest(c.name, c.label) for c in table.columns])
    return tuple(
        ProposedChannel(column.name, canonical, "log" if column.log_decades else "linear")
        for column, canonical in zip(table.columns, suggested, strict=True)
    )


def _metadata(table: RawTable) -> dict[str, str]:
    found = {}
    for field, keys in _METADATA:
        key = next((key for key in keys if table.keywords.get(key)), None)
        if key is not None:
            found[field] = key
    return found


def _questions(table: RawTable, needed: list[str]) -> tuple[str, ...]:
    asked = list(CELL_QUESTIONS)
    if not table.keywords.get("$CYT"):
        asked.insert(0, "The file does not name its instrument ($CYT): what else tells it apart?")
    if needed:
        asked.append(
            f"Reading needed {', '.join(map(quote, needed))}: is that how every export of this "
            "instrument is written?"
        )
    return tuple(asked)
