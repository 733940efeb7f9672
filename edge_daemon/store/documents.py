"""A result, or an analyzer's report, as one canonical JSON document, and its digest.

The same function builds the document from rows about to be written and from rows read back, so
that a reader can prove that a stored result is the one that was written. Standard library only.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DOCUMENT_SCHEMA: Final = 1
REPORT_SCHEMA: Final = 1
SAID_SCHEMA: Final = 1

_RUN: Final = ("number", "profile", "profile_sha256", "model", "model_sha256", "events", "status")
_SAMPLE: Final = (
    "sample_id", "patient_id", "patient_name", "species", "breed", "instrument_model",
    "instrument_serial", "firmware", "volume_ul", "dilution", "duration_s", "acquired_at",
)  # fmt: skip
_COUNTS: Final = ("pure_rbc", "reticulocyte", "clumped_rbc", "platelet", "other")
_MEASUREMENT: Final = ("code", "value", "unit", "low", "high", "method")
_FLAG: Final = ("code", "severity", "message", "action")

_REPORT: Final = ("number", "position", "kind", "message_id", "profile", "profile_sha256")
_REPORTED: Final = ("name", "code", "value", "unit", "text", "written_unit", "low", "high")
_HISTOGRAM: Final = ("name", "unit", "low", "high")
_SAID: Final = {
    "note": ("number", "kind", "concerns", "verdict"),
    "correction": ("number",),
    "mark": ("kind", "lot", "level"),
}
_NAME: Final = "patient_name"
_HIDDEN: Final = "…"

_ENVELOPE: Final = frozenset(
    {"capture", "number", "position", "message_id", "amends", "profile", "profile_sha256", "notes"}
)


def result_document(
    capture: Mapping[str, Any],
    decoding: Mapping[str, Any],
    run: Mapping[str, Any],
    measurements: Sequence[Mapping[str, Any]],
    flags: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Gather everything a result says, without what only this box means (ids, times, paths).

    Parameters
    ----------
    capture, decoding, run, measurements, flags
        Rows of the tables of these names; lists are JSON text in them.
    """
    return {
        "schema": DOCUMENT_SCHEMA,
        "instrument": capture["instrument"],
        "capture": capture["sha256"],
        "simulated": bool(run["simulated"]),
        **{key: run[key] for key in _RUN},
        "sample": {key: run[key] for key in _SAMPLE},
        "channels": json.loads(decoding["channels"]),
        "notes": json.loads(decoding["notes"]),
        "counts": {key: run[f"n_{key}"] for key in _COUNTS},
        # Only where there is any, so that a result nobody corrected has the digest it always had.
        **({"corrected": corrected} if (corrected := json.loads(run["corrected"])) else {}),
        "measurements": [
            {**{key: row[key] for key in _MEASUREMENT}, "flags": json.loads(row["flags"])}
            for row in measurements
        ],
        "flags": [{key: row[key] for key in _FLAG} for row in flags],
    }


def report_document(
    capture: Mapping[str, Any],
    report: Mapping[str, Any],
    values: Sequence[Mapping[str, Any]],
    histograms: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Gather everything an analyzer's report says, without what only this box means.

    Parameters
    ----------
    capture, report, values, histograms
        Rows of ``captures``, ``reports``, ``reported_values`` and ``reported_histograms``;
        lists are JSON text in them.
    """
    return {
        "schema": REPORT_SCHEMA,
        "instrument": capture["instrument"],
        "capture": capture["sha256"],
        "simulated": bool(report["simulated"]),
        **{key: report[key] for key in _REPORT},
        "amends": bool(report["amends"]),
        "sample": {key: report[key] for key in _SAMPLE},
        "messages": json.loads(report["messages"]),
        "notes": json.loads(report["notes"]),
        "values": [
            {**{key: row[key] for key in _REPORTED}, "flags": json.loads(row["flags"])}
            for row in values
        ],
        "histograms": [
            {**{key: row[key] for key in _HISTOGRAM}, "counts": json.loads(row["counts"])}
            for row in histograms
        ],
    }


def content(document: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a report what differs when an analyzer sends the same one again."""
    return {key: value for key, value in document.items() if key not in _ENVELOPE}


def outgoing(document: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the central server has no need to know: names of patient and owner.

    Among the lines of a report, what is neither a measurand nor a number may be such a name.
    Of a run, ``kind`` stays only where it is no patient's.
    """
    sample = {key: value for key, value in document["sample"].items() if key != "patient_name"}
    told = {**document, "sample": sample}
    if told.get("kind") == "patient":
        del told["kind"]
    if "values" in document:
        told["values"] = [
            line for line in document["values"] if line["code"] or line["value"] is not None
        ]
    return told


def said_document(what: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Gather what a person said of a result, as it goes to the central server.

    Patients' names stay here: of a corrected name only that it was corrected is told, and where
    a free text holds the name of its patient, that is left out.

    Parameters
    ----------
    what
        ``note``, ``correction`` or ``mark``.
    row
        Of ``run_notes``, ``corrections`` or ``control_marks``, with its capture's ``sha256`` and
        ``instrument`` and its run's ``number``, ``patient_name`` and ``simulated``.

    Raises
    ------
    ValueError
        The changes of a correction are no JSON.
    """
    document: dict[str, Any] = {
        "schema": SAID_SCHEMA,
        "instrument": row["instrument"],
        "capture": row["sha256"],
        "simulated": bool(row["simulated"]),
        **{key: row[key] for key in _SAID[what]},
        "by": row["made_by"],
        "made_at": row["made_wall"],
        "made_clock": row["made_clock"],
    }
    if what == "note":
        document["text"] = _unnamed(row["text"], [row[_NAME]])
    elif what == "correction":
        changes = json.loads(row["changes"])
        names = [row[_NAME], *changes.get(_NAME, ())]
        document["reason"] = _unnamed(row["reason"], names)
        document["changes"] = {
            field: [None, None] if field == _NAME else change for field, change in changes.items()
        }
    return document


def _unnamed(text: str, names: Iterable[str | None]) -> str:
    """Leave the words of names out of a text, where they stand written as names are."""
    words = {word for name in names for word in re.findall(r"\w{2,}", name or "")}
    lower = {word.casefold() for word in words}

    def hidden(found: re.Match[str]) -> str:
        word = found[0]
        named = word in words or (word[0].isupper() and word.casefold() in lower)
        return _HIDDEN if named else word

    return re.sub(r"\w+", hidden, text) if words else text
