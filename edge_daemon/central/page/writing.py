"""Boxes, results and the rest as JSON, CSV and JSON Lines for programs."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.central.fleet.reading_documents import CODES
from edge_daemon.safe_text import csv_cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_daemon.central.fleet.agreement import Agreement, Line
    from edge_daemon.central.fleet.boxes import Box
    from edge_daemon.central.fleet.updates import Update

_PLAIN: Final = (
    "id", "at", "at_trusted", "simulated", "status", "clinic_id", "clinic", "device", "box",
    "instrument", "source", "sample_id", "patient_id", "species", "breed", "mark", "version",
    "capture", "profile", "model",
)  # fmt: skip


def plain(value: Any) -> Any:
    """Make what JSON can hold: moments become ISO text in UTC."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    return value


def box(one: Box) -> dict[str, Any]:
    """Describe a box."""
    found: dict[str, Any] = plain(one)
    summary = found.pop("summary")
    return {**found, "version": None if summary is None else summary["version"],
            "state": None if summary is None else summary["state"]}  # fmt: skip


def update(one: Update) -> dict[str, Any]:
    """Describe a rollout."""
    found: dict[str, Any] = plain(one)
    return {**found.pop("rollout"), **found}


def agreed(found: Agreement) -> dict[str, Any]:
    """Describe agreement; of a median that stands on too few nothing is said but how few."""
    return {
        "since": plain(found.since),
        "pairs": found.pairs,
        "cut": found.cut,
        "groups": [
            {**asdict(group), "values": [_line(line) for line in lines]}
            for group, lines in found.groups
        ],
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "code": line.code,
        "n": line.n,
        "boxes_counted": line.counted,
        "percent": plain(line.percent),
        "word": line.word,
        "boxes": [plain(one) for one in line.boxes],
    }


def csv_lines(found: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """Write results as CSV; text that a spreadsheet would run is made safe."""
    head = [*_PLAIN, "flags"]
    for code, unit in CODES.items():
        head += [f"{code} [{unit}]", f"{code} low", f"{code} high"]
    yield _csv(head)
    for one in found:
        cells: list[Any] = [_cell(one[name]) for name in _PLAIN]
        cells.append(csv_cell(" ".join(flag["code"] for flag in one["flags"])))
        for code in CODES:
            value = one["values"].get(code, {})
            cells += [csv_cell(value.get(name)) for name in ("value", "low", "high")]
        yield _csv(cells)


def json_lines(found: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """Write results as JSON Lines."""
    for one in found:
        yield json.dumps(plain(one), ensure_ascii=False) + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return csv_cell(plain(value))


def _csv(cells: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()
