"""A result, or an analyzer's report, as one canonical JSON document, and its digest.

The same function builds the document from rows about to be written and from rows read back, so
that a reader can prove that a stored result is the one that was written. Standard library only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOCUMENT_SCHEMA: Final = 1
REPORT_SCHEMA: Final = 1

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
    """
    sample = {key: value for key, value in document["sample"].items() if key != "patient_name"}
    told = {**document, "sample": sample}
    if "values" in document:
        told["values"] = [
            line for line in document["values"] if line["code"] or line["value"] is not None
        ]
    return told
