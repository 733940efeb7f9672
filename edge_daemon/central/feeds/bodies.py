"""What a document must hold to be told on: a box may send any JSON whose digest is right.

One that does not is left out and counted; it must not hold up what comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads it
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

Text = str | None
Value = FiniteFloat | None


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class _Sample(_Part):
    sample_id: Text
    patient_id: Text
    species: Text
    breed: Text
    instrument_model: Text
    instrument_serial: Text
    firmware: Text
    acquired_at: Text
    volume_ul: Value
    dilution: Value
    duration_s: Value


class _Measured(_Part):
    code: str
    value: Value
    unit: str
    low: Value
    high: Value
    method: str
    flags: list[str]


class _Flag(_Part):
    code: str
    severity: Literal["info", "review", "invalid"]
    message: str
    action: str


class _Line(_Part):
    name: str
    code: Text
    value: Value
    unit: str
    text: str
    flags: list[str]


class _Body(_Part):
    instrument: str
    capture: str


class _Run(_Body):
    number: int
    status: Literal["ok", "review", "invalid"]
    profile: str
    profile_sha256: str
    model: str
    model_sha256: str
    events: int
    sample: _Sample
    counts: Mapping[str, int]
    measurements: list[_Measured]
    flags: list[_Flag]
    corrected: list[str] = []
    kind: Literal["control", "blank", "check"] | None = None


class _Report(_Body):
    number: int
    kind: str
    message_id: Text
    amends: bool
    profile: str
    sample: _Sample
    messages: list[str]
    values: list[_Line]


class _Said(_Body):
    by: str
    made_at: str
    made_clock: str


class _Note(_Said):
    number: int
    kind: Literal["note", "smear"]
    concerns: Text
    verdict: Text
    text: str


class _Correction(_Said):
    number: int
    reason: str
    changes: Mapping[str, list[Text]]


class _Mark(_Said):
    kind: str
    lot: Text
    level: Text


_MODELS: Final[Mapping[str, type[_Body]]] = {
    "run": _Run, "report": _Report, "note": _Note, "correction": _Correction, "mark": _Mark,
}  # fmt: skip


def is_readable(what: str, device_id: str, body: Any) -> bool:
    """Tell whether a document has what its type must have."""
    try:
        UUID(device_id)
        _MODELS[what].model_validate(body)
    except (ValidationError, KeyError, ValueError):
        return False
    if what == "correction":
        return all(len(change) == 2 for change in body["changes"].values())
    return True
