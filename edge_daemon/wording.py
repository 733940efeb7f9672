"""The words and decimals in which results are shown to people, in a terminal and on the page.

Standard library only: query commands import it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SIMULATED: Final = "SIMULATED"
NOT_REPORTED: Final = "not reported"

HEADLINES: Final = {"ok": "OK", "review": "Review", "invalid": "Failed"}
"""Status of a run, by the gravest of its flags."""

KINDS: Final = {"control": "Control", "blank": "Blank", "check": "Check"}
"""What a capture is that holds no patient's sample."""

SEVERITIES: Final = {"info": "Note", "review": "Review", "invalid": "Failed"}

CLASS_NAMES: Final = {
    "pure_rbc": "red cells",
    "reticulocyte": "reticulocytes",
    "clumped_rbc": "clumped red cells",
    "platelet": "platelets",
    "other": "other events",
}

MEASUREMENT_NAMES: Final = {
    "RBC": "red cells",
    "HCT": "haematocrit",
    "HGB": "haemoglobin",
    "MCV": "mean red-cell volume",
    "MCH": "haemoglobin in a red cell",
    "MCHC": "haemoglobin concentration in red cells",
    "RDW": "spread of red-cell volumes",
    "RETIC": "reticulocytes",
    "RETIC%": "reticulocytes, share of red cells",
    "PLT": "platelets",
    "MPV": "mean platelet volume",
    "PDW": "spread of platelet volumes",
    "PCT": "plateletcrit",
    "CLUMP%": "clumps, share of red-cell events",
}

DECIMALS: Final = {
    "RBC": 2, "HCT": 1, "HGB": 1, "MCV": 1, "MCH": 1, "MCHC": 1, "RDW": 1, "RETIC": 1,
    "RETIC%": 1, "PLT": 0, "MPV": 1, "PDW": 1, "PCT": 2, "CLUMP%": 1,
}  # fmt: skip
"""Decimals of each measurand, as seen on the analyzers' own printed results."""

UNITS: Final = {"10*6/uL": "M/µL", "10*3/uL": "K/µL"}
"""UCUM → the abbreviation clinics read; other units are already readable."""


def kind(record: Mapping[str, Any]) -> str:
    """Say what a run of no patient is, with lot and level of a control; empty for a patient's."""
    name = KINDS.get(record.get("kind") or "", "")
    lot = f"{record['lot']} {record['level']}" if name and record["lot"] else ""
    return f"{name} {lot}".rstrip()


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun: ``1 pair``, ``1,200 pairs``; `many` where it is no plain s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


CLOCKS: Final = {
    "synchronised": "clock synchronised",
    "unsynchronised": "clock NOT synchronised: the time may be wrong",
    "unknown": "clock state unknown",
}


def local_time(wall: str | None) -> str:
    """Show a stored UTC moment as local date and minute; anything else as it is."""
    if not wall:
        return ""
    try:
        return datetime.fromisoformat(wall).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return wall


def short_time(wall: str) -> str:
    """Show a stored UTC moment as local day and minute, or as a date when it is of another year."""
    moment = datetime.fromisoformat(wall).astimezone()
    same_year = moment.year == datetime.now().astimezone().year
    return moment.strftime("%d %b %H:%M" if same_year else "%d %b %Y")


def patient(record: Mapping[str, Any]) -> str:
    """Name and id of the patient, as far as the instrument said."""
    name, key = record["patient_name"], record["patient_id"]
    return f"{name} ({key})" if name and key else name or key or ""


def reason(record: Mapping[str, Any]) -> str:
    """Say why the headline is not OK: the messages of the gravest flags."""
    return "; ".join(
        f["message"].rstrip(".") for f in record["flags"] if f["severity"] == record["status"]
    )
