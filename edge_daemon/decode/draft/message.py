"""A proposal for a message of results, ASTM or HL7."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from edge_daemon.decode.codecs.astm import AstmCodec, AstmOptions
from edge_daemon.decode.codecs.hl7 import Hl7Codec, Hl7Options
from edge_daemon.decode.draft.render import FIRMWARE_QUESTION, Proposal, ProposedValue
from edge_daemon.decode.limits import Limits
from edge_daemon.records import MEASUREMENT_CODES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.decode.message import Observation, ReportingCodec, SampleMessage

_SENDERS: Final = ("H.5.1", "H.5.2", "H.5.3", "H.13", "MSH.3", "MSH.4", "MSH.12")
_FIELDS: Final = (
    ("sample_id", ("O.3.1", "O.3", "O.4.3", "O.4", "OBR.3", "OBR.2")),
    ("patient_id", ("P.3", "P.4", "PID.3.1", "PID.3", "PID.2")),
    ("patient_name", ("P.6", "PID.5")),
    ("acquired_at", ("R.13", "O.7", "OBR.7", "H.14", "MSH.7")),
)
_ALIASES: Final = {
    "RDW-CV": "RDW", "RDW_CV": "RDW", "RDWCV": "RDW", "RET%": "RETIC%", "RETIC_PCT": "RETIC%",
    "RET#": "RETIC", "RETIC#": "RETIC", "RET": "RETIC", "HB": "HGB", "HTC": "HCT",
}  # fmt: skip
_QUESTIONS: Final = (
    (
        "Does [match] tell this instrument apart from others, and its firmware or message version "
        "from the next? " + FIRMWARE_QUESTION
    ),
    "Is each value really the measurement its name suggests, in the unit the message gives?",
    "Which field holds the species, and in which words? Map them under [metadata] species.",
    "Is quality-control material marked, and how? Add it under [report] control.",
)


def propose_message(data: bytes, name: str) -> Proposal | None:
    """Propose a results-only profile for a message; None for another format.

    Raises
    ------
    Quarantine
        The message is broken even for the most lenient reading.
    """
    strictest = (AstmCodec(name="astm"), Hl7Codec(name="hl7"))
    codec = next((one for one in strictest if one.identify(data) is not None), None)
    if codec is None:
        return None
    lenient: ReportingCodec = (
        AstmCodec(name="astm", options=AstmOptions(**dict.fromkeys(AstmOptions.model_fields, True)))
        if isinstance(codec, AstmCodec)
        else Hl7Codec(
            name="hl7", options=Hl7Options(**dict.fromkeys(Hl7Options.model_fields, True))
        )
    )
    sample = lenient.messages(data, limits=Limits(max_bytes=len(data)))[0]
    needed = [note.split(":")[0] for note in sample.notes]
    needed = sorted(n for n in needed if n in type(codec.options).model_fields)
    return Proposal(
        codec=codec.name,
        format=sample.format,
        patterns=(f"*{PurePath(name).suffix or '.txt'}",),
        settings=tuple(
            [f"options = {{ {', '.join(f'{n} = true' for n in needed)} }}"] if needed else []
        ),
        identifying={key: sample.keywords[key] for key in _SENDERS if sample.keywords.get(key)},
        channels=(),
        metadata=_metadata(sample.keywords),
        questions=_QUESTIONS,
        reported=_reported(sample),
    )


def _metadata(keywords: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for field, keys in _FIELDS:
        key = next((key for key in keys if keywords.get(key)), None)
        if key is not None:
            found[field] = key
    return found


def _reported(sample: SampleMessage) -> tuple[ProposedValue, ...]:
    proposed = [ProposedValue(_code(seen), seen.name, seen.unit) for seen in sample.observations]
    taken = [value.code for value in proposed]
    return tuple(v for v in proposed if v.code is not None and taken.count(v.code) == 1)


def _code(seen: Observation) -> str | None:
    for identifier in (seen.name, *seen.identifiers):
        written = identifier.strip().upper()
        code = _ALIASES.get(written, written)
        if code in MEASUREMENT_CODES:
            return code
    return None
