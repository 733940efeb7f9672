"""What a capture says about its sample, through the eyes of a profile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edge_daemon.decode.numbers import parse_number
from edge_daemon.decode.schema import MAX_VALUE, NUMERIC_METADATA, Metadata, MetadataField
from edge_daemon.errors import Quarantine
from edge_daemon.records import SPECIES, SampleInfo

if TYPE_CHECKING:
    from edge_daemon.decode.profile import Profile
    from edge_daemon.decode.table import RawTable

SIMULATED_KEYWORD = "EDGE_SIMULATED"

_ACTION = "Check the analyzer's export settings, or choose the right profile."


def read_sample(table: RawTable, profile: Profile) -> tuple[SampleInfo, tuple[str, ...]]:
    """Read the sample's metadata.

    Returns
    -------
    tuple
        The description, and remarks on values that were there and could not be used.

    Raises
    ------
    Quarantine
        ``profile_mismatch`` when a required keyword is absent, or a number is not one.
    """
    values: dict[str, Any] = {}
    notes: list[str] = []
    for name in Metadata.model_fields:
        field: MetadataField | None = getattr(profile.metadata, name)
        if field is None:
            continue
        text = _text(table, field)
        if text is not None and field.map is not None and name != "species":
            text = field.map.get(text, text)
        value: str | float | None = text
        if text is not None and name in NUMERIC_METADATA:
            value = _number(text, field)
        elif text is not None and name == "species":
            value = _species(text, field, notes)
        if value is None and field.required:
            raise Quarantine(
                "profile_mismatch",
                f"profile {profile.id} requires {name} from keyword {field.keyword}; found "
                f"{'nothing' if text is None else repr(text[:40])}",
                action=_ACTION,
            )
        values[name] = value
    mark = table.keywords.get(SIMULATED_KEYWORD, "0").upper()
    simulated = profile.simulated or mark not in {"0", "FALSE"}
    return SampleInfo(**values, simulated=simulated), tuple(notes)


def _text(table: RawTable, field: MetadataField) -> str | None:
    text = table.keywords.get(field.keyword.upper(), "")
    if len(text) > MAX_VALUE:
        raise Quarantine(
            "profile_mismatch",
            f"keyword {field.keyword}: expected at most {MAX_VALUE} characters, found {len(text)}",
            action=_ACTION,
        )
    return text or None


def _number(text: str, field: MetadataField) -> float:
    number = parse_number(text)
    value = (number or 0.0) * (1.0 if field.scale is None else field.scale)
    if not 0 < value < math.inf:
        raise Quarantine(
            "profile_mismatch",
            f"keyword {field.keyword}: expected a positive number, found {text[:40]!r}",
            action=_ACTION,
        )
    return value


def _species(text: str, field: MetadataField, notes: list[str]) -> str | None:
    species = text.lower() if field.map is None else field.map.get(text)
    if species in SPECIES:
        return species
    notes.append(f"species: keyword {field.keyword} says {text[:40]!r}, which is not mapped")
    return None
