"""What HL7 v2 and FHIR share: codes, rounding, and what may be said of a run."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import wording

if TYPE_CHECKING:
    from collections.abc import Mapping

LOINC: Final = {
    "RBC": "789-8", "HCT": "4544-3", "HGB": "718-7", "MCV": "787-2", "MCH": "785-6",
    "MCHC": "786-4", "RDW": "788-0", "RETIC": "60474-4", "RETIC%": "17849-1", "PLT": "777-3",
    "MPV": "32623-1", "PDW": "32207-3", "PCT": "51637-7",
}  # fmt: skip
"""Automated counts in blood. LOINC carries no species: the patient does."""

CBC_PANEL: Final = "58410-2"
SNOMED_SPECIES: Final = {
    "dog": "448771007", "cat": "448169003", "horse": "35354009", "cow": "34618005",
    "sheep": "125099002", "goat": "125097000",
}  # fmt: skip
"""As the HL7 laboratory-report guide gives them; the other species go as text."""
BLOOD_SPECIMEN: Final = "119297000"

LOCAL_SYSTEM: Final = "99EDGE"


@dataclass(frozen=True, slots=True)
class Origin:
    """Which box speaks.

    Attributes
    ----------
    epoch
        UUID of the database.
    version
        Of this software.
    """

    epoch: str
    version: str


def status(run: Mapping[str, Any]) -> str:
    """Return ``ok``, ``review`` or ``invalid``, by the flags of a run and the remarks on it."""
    if run["status"] == "ok" and headline(run) == wording.HEADLINES["review"]:
        return "review"
    return str(run["status"])


def standing(run: Mapping[str, Any]) -> str:
    """Say in FHIR's word where a result stands: by its status, or by what it follows.

    ``final``, ``preliminary`` while somebody should look, ``cancelled`` where there are no values;
    and where an earlier version of it had gone out as final, as its ``standing`` says:
    ``corrected`` (a person corrected the sample), ``amended`` (analysed again), ``appended`` (a
    note was added), ``entered-in-error`` (withdrawn).
    """
    return str(run.get("standing") or _STANDING[status(run)])


_STANDING: Final = {"ok": "final", "review": "preliminary", "invalid": "cancelled"}


def said(run: Mapping[str, Any], code: str | None = None) -> list[str]:
    """List what people said of a result, or of one of its values, a sentence each."""
    return [one["text"] for one in run.get("said", ()) if code in (None, one["concerns"])]


def headline(run: Mapping[str, Any]) -> str:
    """Return OK, Review or Failed: with the intervals where they were looked at."""
    return str(run.get("headline") or wording.HEADLINES[run["status"]])


def reason(run: Mapping[str, Any]) -> str:
    """Say why the headline is not OK."""
    return str(run.get("reason") or wording.reason(run))


def reportable(run: Mapping[str, Any]) -> bool:
    """Tell whether the values of a run may be given to others: those of a failed one may not."""
    return bool(run["status"] != "invalid")


def beside(run: Mapping[str, Any], code: str) -> Mapping[str, Any] | None:
    """Find what `reference.interpret` put beside a value: its interval and mark, or None."""
    found = (v for v in run.get("interpretation", {}).get("values", ()) if v["code"] == code)
    value = next(found, None)
    if value is None or value["reference"] is None or value["value"] is None:
        return None
    return value if value["reference"]["unit"] == value["unit"] else None


def interval_source(value: Mapping[str, Any]) -> str:
    """Say whose interval stands beside a value, and where it is from."""
    reference = value["reference"]
    site = reference["site"]
    told = f"this site: {site['by']}, {site['reason']}" if site else reference["source"]
    parts = (reference["of"], told, reference["caution"])
    return "; ".join(part for part in parts if part)


def comments(run: Mapping[str, Any]) -> list[str]:
    """Remarks on a run, each with its cause and next action, and its regeneration in a sentence."""
    found = run.get("interpretation")
    if not found or not reportable(run):
        return []
    said = [
        f"{comment['title']}: {comment['cause']}"
        + (f" Next: {comment['action']}" if comment["action"] else "")
        for comment in found["comments"]
    ]
    regeneration = found["regeneration"]
    return said + ([regeneration["text"]] if regeneration else [])


def number(code: str, value: float | None) -> str | None:
    """Round a value once, with the decimals of printed results; None where there is none."""
    if value is None or not math.isfinite(value):
        return None
    text = f"{value:.{wording.DECIMALS.get(code, 2)}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def plain(text: str | None) -> str:
    """Text without control characters but line breaks, and without white space around it."""
    return "".join(c for c in text or "" if c.isprintable() or c in "\r\n").strip()


def remarks(run: Mapping[str, Any], measurement: Mapping[str, Any]) -> list[str]:
    """Messages of the flags that concern a measurement."""
    messages = {flag["code"]: flag["message"] for flag in run["flags"]}
    return [messages.get(code, code) for code in measurement["flags"]]


def why_not(run: Mapping[str, Any], measurement: Mapping[str, Any]) -> str:
    """Say why a value is not given."""
    causes = remarks(run, measurement)
    if not reportable(run):
        causes = [reason(run)]
    return f"{wording.NOT_REPORTED}: {'; '.join(causes)}" if causes else wording.NOT_REPORTED


def issued_at(run: Mapping[str, Any]) -> datetime | None:
    """When the result was made, in UTC; None where the box did not know the time."""
    return _moment(run["created_wall"]) if run["created_clock"] == "synchronised" else None


def observed_at(run: Mapping[str, Any]) -> datetime | None:
    """When the sample was measured, in UTC: by the analyzer's clock, else by the box's if known.

    A time without a zone is taken as the box's own, and stays without one where the box is
    ``elsewhere``; a day without a time, and what the analyzer wrote in a form of its own, is not
    guessed at.
    """
    acquired = run["acquired_at"] or ""
    if len(acquired) <= len("2026-01-05"):
        return issued_at(run)
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(acquired)
        if moment.tzinfo is None and run.get("elsewhere"):
            return moment
    return _moment(acquired) or issued_at(run)


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
