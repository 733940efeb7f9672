"""A result as an HL7 v2.5.1 ORU^R01 message."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from edge_daemon import wording
from edge_daemon.exchange import coding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_daemon.exchange.coding import Origin

_ESCAPES: Final = {
    "\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": "\\X0D\\",
    "\n": "\\X0A\\",
}  # fmt: skip
_STATUS: Final = {
    "final": "F", "preliminary": "P", "cancelled": "X", "corrected": "C", "amended": "C",
    "appended": "F", "entered-in-error": "X",
}  # fmt: skip
"""OBX-11 and OBR-25: final, preliminary until someone has looked, correction of what was final,
not obtained. A note does not change the values it is added to."""
_SENDER: Final = "EDGE_DAEMON"
_CONTROL_ID: Final = 20
"""Longest MSH-10 that version 2.5.1 allows."""


def as_hl7(run: Mapping[str, Any], origin: Origin, *, answered: bool = False) -> bytes:
    r"""Write one run.

    Absolute counts are there only where they were reported; a failed run has no values. Simulated
    runs are of processing id ``T`` (training) and say so in a note. The same run has the same
    bytes, and the same control id (MSH-10), however often it is written.

    Parameters
    ----------
    run
        As `store.queries.results` gives it. The centre adds ``standing``, ``said`` and
        ``elsewhere`` (`coding`), and the name of the ``clinic``.
    origin
        Which box speaks.
    answered
        Whether the receiver is to acknowledge it (MSH-15 and MSH-16 empty: original mode);
        a file is not answered.

    Returns
    -------
    bytes
        UTF-8; segments end with a carriage return. Framing (MLLP) is the transport's.
    """
    segments = [
        _header(run, origin, answered=answered),
        _segment("SFT", "edge_daemon", origin.version, "edge_daemon", origin.version),
        _patient(run),
        _request(run, origin),
        *_notes(_headlines(run)),
    ]
    for position, measurement in enumerate(run["measurements"], start=1):
        segments += _observation(position, run, measurement)
    for position, flag in enumerate(run["flags"], start=len(run["measurements"]) + 1):
        segments += _flag(position, run, flag)
    specimen = _parts("", coding.plain(run["sample_id"]))
    kind = _parts(coding.BLOOD_SPECIMEN, "blood", "SCT")
    segments.append(_segment("SPM", "1", specimen, "", kind))
    return "".join(f"{segment}\r" for segment in segments).encode("utf-8")


def _header(run: Mapping[str, Any], origin: Origin, *, answered: bool) -> str:
    fields = [""] * 17
    fields[0] = "^~\\&"
    fields[1] = _parts(_SENDER, origin.epoch, "UUID")
    fields[2] = _escape(run.get("clinic") or run["instrument"])
    fields[5] = _stamp(datetime.fromisoformat(run["created_wall"]).astimezone(UTC))
    fields[7] = "ORU^R01^ORU_R01"
    fields[8] = run["digest"][:_CONTROL_ID]
    fields[9] = "T" if run["simulated"] else "P"
    fields[10] = "2.5.1"
    fields[13] = fields[14] = "" if answered else "NE"
    fields[16] = "UNICODE UTF-8"
    return _segment("MSH", *fields)


def _patient(run: Mapping[str, Any]) -> str:
    fields = [""] * 36
    fields[0] = "1"
    # An animal that nobody named is still one: both fields are required.
    key, name = coding.plain(run["patient_id"]), coding.plain(run["patient_name"])
    fields[2] = _parts(key, "", "", "", "PI") if key else _parts("UNKNOWN", "", "", "", "U")
    fields[4] = _parts("", name) if name else _parts("", "", "", "", "", "", "U")
    species = run["species"]
    if species in coding.SNOMED_SPECIES:
        fields[34] = _parts(coding.SNOMED_SPECIES[species], species, "SCT")
    elif species:
        fields[34] = _parts(species, species, coding.LOCAL_SYSTEM)
    if species and run["breed"]:
        fields[35] = _parts("", run["breed"])
    return _segment("PID", *fields)


def _request(run: Mapping[str, Any], origin: Origin) -> str:
    fields = [""] * 25
    fields[0] = "1"
    fields[1] = _escape(run["sample_id"])
    fields[2] = _parts(str(run["id"]), _SENDER, origin.epoch, "UUID")
    fields[3] = _parts(coding.CBC_PANEL, "complete blood count", "LN")
    fields[6] = _observed(run)
    fields[21] = _stamp(coding.issued_at(run))
    fields[23] = "HM"
    fields[24] = _STATUS[coding.standing(run)]
    return _segment("OBR", *fields)


def _headlines(run: Mapping[str, Any]) -> list[str]:
    said = [": ".join(filter(None, (coding.headline(run), coding.reason(run))))]
    if run["simulated"]:
        said.insert(0, f"{wording.SIMULATED}: not a patient's result")
    return said + coding.comments(run) + coding.said(run)


def _observation(
    position: int, run: Mapping[str, Any], measurement: Mapping[str, Any]
) -> list[str]:
    code = measurement["code"]
    name = wording.MEASUREMENT_NAMES.get(code, code)
    value = coding.number(code, measurement["value"]) if coding.reportable(run) else None
    local = (code, name, coding.LOCAL_SYSTEM)
    known = coding.LOINC.get(code)
    fields = [""] * 18
    fields[0] = str(position)
    fields[2] = _parts(known, name, "LN", *local) if known else _parts(*local)
    fields[16] = _parts(measurement["method"], measurement["method"], coding.LOCAL_SYSTEM)
    fields[13] = _observed(run)
    fields[17] = _analyzer(run)
    if value is None:
        fields[10] = "X"
        return [_segment("OBX", *fields), *_notes([coding.why_not(run, measurement)])]
    fields[1] = "NM"
    fields[4] = value
    fields[5] = _parts(measurement["unit"], "", "UCUM")
    fields[10] = _STATUS[coding.standing(run)]
    said = [*coding.remarks(run, measurement), *coding.said(run, code)]
    if (beside := coding.beside(run, code)) is not None:
        bounds = [coding.number(code, beside["reference"][end]) for end in ("low", "high")]
        fields[6] = "-".join(_escape(bound) for bound in bounds)
        fields[7] = beside["mark"] or "N"
        said.append(f"reference interval of {coding.interval_source(beside)}")
    low, high = (coding.number(code, measurement[end]) for end in ("low", "high"))
    if low is not None and high is not None:
        said.insert(0, f"95 % interval {low} to {high}")
    return [_segment("OBX", *fields), *_notes(said)]


def _flag(position: int, run: Mapping[str, Any], flag: Mapping[str, Any]) -> list[str]:
    fields = [""] * 11
    fields[0] = str(position)
    fields[1] = "CE"
    fields[2] = _parts("FLAG", "flag", coding.LOCAL_SYSTEM)
    fields[4] = _parts(flag["code"], flag["message"], coding.LOCAL_SYSTEM)
    fields[10] = "P" if coding.status(run) == "review" else "F"
    severity = wording.SEVERITIES[flag["severity"]]
    action = f"{severity}. Next: {flag['action']}" if flag["action"] else severity
    return [_segment("OBX", *fields), *_notes([action])]


def _notes(texts: Iterable[str]) -> list[str]:
    return [
        _segment("NTE", str(position), "L", _escape(text))
        for position, text in enumerate(texts, start=1)
    ]


def _analyzer(run: Mapping[str, Any]) -> str:
    serial, model = run["instrument_serial"], run["instrument_model"] or run["instrument"]
    return _parts(serial or model, model)


def _observed(run: Mapping[str, Any]) -> str:
    return _stamp(coding.observed_at(run))


def _stamp(moment: datetime | None) -> str:
    if moment is None:
        return ""
    return moment.strftime("%Y%m%d%H%M%S") + ("+0000" if moment.tzinfo else "")


def _segment(name: str, *fields: str) -> str:
    return "|".join((name, *fields)).rstrip("|")


def _parts(*components: str | None) -> str:
    return "^".join(map(_escape, components)).rstrip("^")


def _escape(text: str | None) -> str:
    """Take their meaning from delimiters, and leave out other control characters."""
    return "".join(_ESCAPES.get(letter, letter) for letter in coding.plain(text))
