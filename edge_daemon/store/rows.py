"""From records to rows: plain Python values that SQLite stores and returns unchanged."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from edge_daemon.errors import EdgeError
from edge_daemon.joining import sample_key
from edge_daemon.records import CELL_CLASSES, Classified, Decoded, SampleInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_daemon.clock import Stamp
    from edge_daemon.records import (
        Flag,
        Measurement,
        Reported,
        ReportedHistogram,
        ReportedValue,
    )

_SAMPLE = tuple(field.name for field in fields(SampleInfo))


def clean(text: str) -> str:
    """Make text storable: file names that are not UTF-8 hold lone surrogates, SQLite cannot."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def stamp_row(moment: str, stamp: Stamp) -> dict[str, Any]:
    """Columns of one moment, e.g. ``received_wall``."""
    return {
        f"{moment}_wall": stamp.wall,
        f"{moment}_clock": stamp.state,
        f"{moment}_boot": stamp.boot_id,
        f"{moment}_monotonic_s": stamp.monotonic_s,
    }


def texts(values: Iterable[str]) -> str:
    """List of texts as a JSON column."""
    return json.dumps([clean(value) for value in values], ensure_ascii=False)


def decoding_row(capture_id: int, decoded: Decoded) -> dict[str, Any]:
    """Row of ``decodings`` without its id and stamp."""
    return {
        "capture_id": capture_id,
        "profile": clean(decoded.profile),
        "profile_sha256": decoded.profile_sha256,
        "events": int(decoded.events),
        "channels": texts(decoded.channels),
        "notes": texts(decoded.notes),
        **sample_row(decoded.sample),
    }


def sample_row(sample: SampleInfo) -> dict[str, Any]:
    """Columns of the sample."""
    row = {name: getattr(sample, name) for name in _SAMPLE}
    for name, value in row.items():
        if isinstance(value, str):
            row[name] = clean(value)
        elif name == "simulated":
            row[name] = int(value)
        else:
            row[name] = _finite(value, name)
    return row


def run_row(capture_id: int, decoded: Decoded, step: Classified) -> dict[str, Any]:
    """Row of ``runs`` without number, decoding, stamp and digest.

    Raises
    ------
    EdgeError
        The counts are not of exactly the five classes.
    """
    if set(step.counts) != set(CELL_CLASSES):
        raise EdgeError(
            f"counts of capture {capture_id} are for {sorted(step.counts)},"
            f" expected {sorted(CELL_CLASSES)}",
            action="report this: the classifier broke its contract",
        )
    return {
        "capture_id": capture_id,
        "profile": clean(decoded.profile),
        "profile_sha256": decoded.profile_sha256,
        "model": clean(step.model),
        "model_sha256": step.model_sha256,
        "events": int(decoded.events),
        **sample_row(decoded.sample),
        **{f"n_{name}": int(step.counts[name]) for name in CELL_CLASSES},
        "status": status_of(flag.severity for flag in step.flags),
        "elapsed_s": _finite(step.elapsed_s, "elapsed_s"),
        "sample_key": sample_key(decoded.sample.sample_id),
        "corrected": "[]",
    }


def status_of(severities: Iterable[str]) -> str:
    """Say of a run with flags of these severities what it is as a whole."""
    found = set(severities)
    return next((word for word in ("invalid", "review") if word in found), "ok")


def measurement_rows(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Rows of ``measurements`` without the run."""
    return [
        {
            "position": position,
            "code": item.code,
            "value": _finite(item.value, item.code),
            "unit": item.unit,
            "low": _finite(item.low, f"low end of {item.code}"),
            "high": _finite(item.high, f"high end of {item.code}"),
            "method": item.method,
            "flags": texts(item.flags),
        }
        for position, item in enumerate(measurements)
    ]


def flag_rows(flags: Iterable[Flag]) -> list[dict[str, Any]]:
    """Rows of ``flags`` without the run."""
    return [
        {
            "position": position,
            "code": item.code,
            "severity": item.severity,
            "message": clean(item.message),
            "action": clean(item.action),
        }
        for position, item in enumerate(flags)
    ]


def report_row(capture_id: int, step: Reported) -> dict[str, Any]:
    """Row of ``reports`` without number, position, stamp and digests."""
    report = step.report
    return {
        "capture_id": capture_id,
        "kind": report.kind,
        "message_id": None if report.message_id is None else clean(report.message_id),
        "amends": int(report.amends),
        "profile": clean(step.profile),
        "profile_sha256": step.profile_sha256,
        **sample_row(report.sample),
        "messages": texts(report.messages),
        "notes": texts(step.notes),
        "sample_key": sample_key(report.sample.sample_id),
    }


def reported_value_rows(values: Iterable[ReportedValue]) -> list[dict[str, Any]]:
    """Rows of ``reported_values`` without the report."""
    return [
        {
            "position": position,
            "name": clean(item.name),
            "code": item.code,
            "value": _finite(item.value, item.name),
            "unit": clean(item.unit),
            "text": clean(item.text),
            "written_unit": clean(item.written_unit),
            "low": _finite(item.low, f"low end of {item.name}"),
            "high": _finite(item.high, f"high end of {item.name}"),
            "flags": texts(item.flags),
        }
        for position, item in enumerate(values)
    ]


def histogram_rows(histograms: Iterable[ReportedHistogram]) -> list[dict[str, Any]]:
    """Rows of ``reported_histograms`` without the report."""
    return [
        {
            "position": position,
            "name": clean(item.name),
            "unit": clean(item.unit),
            "low": _finite(item.low, f"lower edge of histogram {item.name}"),
            "high": _finite(item.high, f"upper edge of histogram {item.name}"),
            "counts": json.dumps([_finite(n, f"histogram {item.name}") for n in item.counts]),
        }
        for position, item in enumerate(histograms)
    ]


def _finite(value: float | None, name: str) -> float | None:
    """Float, or None; SQLite would silently store NaN as NULL, that is as 'not reported'."""
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise EdgeError(
            f"{name} is {number}, expected a finite number or none",
            action="report this: a value that is not known must be given as none",
        )
    return number
