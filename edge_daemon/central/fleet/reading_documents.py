"""What a document says, as far as it is searched, listed and compared: pure, and trusting nothing.

A box is known by its certificate, but what it writes into a document was never checked against
anything: a text may hold what a database refuses, a number may be none.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.joining import sample_key
from edge_daemon.records import SPECIES
from edge_daemon.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

CODES: Final[Mapping[str, str]] = {**UNITS, "CLUMP%": "%"}
"""Values that are listed, each with the unit it is listed in; in another one it is left out."""

_SHORT: Final = 300
_LONG: Final = 4000
_MOST_FLAGS: Final = 60
_STATUS: Final = ("ok", "review", "invalid")
_KINDS: Final = ("control", "blank", "check")
_SEVERITIES: Final = ("info", "review", "invalid")
_AHEAD: Final = dt.timedelta(minutes=5)
_SAMPLE: Final = (
    "sample_id", "patient_id", "patient_name", "species", "breed", "instrument_model",
    "instrument_serial", "firmware", "acquired_at",
)  # fmt: skip
_TEXTS: Final = ("kind", "concerns", "verdict", "text", "reason", "lot", "level")
SAID: Final = (*_TEXTS, "changes")
"""What is kept of a note, correction or mark."""


class UnreadableError(Exception):
    """The body is not what a document of its type says."""


def read(row: Mapping[str, Any]) -> dict[str, Any]:
    """Read one document.

    Parameters
    ----------
    row
        Of ``documents``.

    Returns
    -------
    dict
        A row of ``results`` with ``flags`` and ``values`` beside its columns, or, of what people
        said, one of ``said``; ``what`` is the document's type without its mark.

    Raises
    ------
    UnreadableError
        It says nothing that is known.
    """
    what, _, mark = row["type"].partition(".")
    try:
        body = json.loads(row["body"])
        if not isinstance(body, dict) or what not in _READERS:
            raise UnreadableError(what)
        at, trusted = moment(row)
        common = {
            "document_id": row["id"],
            "clinic_id": row["clinic_id"],
            "device_id": row["device_id"],
            "capture": _needed(body, "capture"),
            "at": at,
        }
        found = _READERS[what](body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(what) from error
    if what in ("run", "report"):
        found |= {
            "epoch": row["epoch"],
            "seq": row["seq"],
            "simulated": mark == "simulated",
            "at_trusted": trusted,
        }
    return {"what": what, **common, **found}


def moment(row: Mapping[str, Any]) -> tuple[dt.datetime, bool]:
    """Say when a document was written at its box, and whether the box's clock can be trusted.

    Where it cannot, it is the time it came.
    """
    received: dt.datetime = row["received_at"]
    received = received if received.tzinfo else received.replace(tzinfo=dt.UTC)
    if row["clock_state"] != "synchronised":
        return received, False
    try:
        written = dt.datetime.fromisoformat(row["created_at"])
        written = written.astimezone(dt.UTC) if written.tzinfo else written.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return received, False
    sane = dt.datetime(2020, 1, 1, tzinfo=dt.UTC) <= written <= received + _AHEAD
    return (written, True) if sane else (received, False)


def _run(body: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(_values(body.get("measurements"), "counted"))
    counts = {k: n for k, v in _object(body, "counts").items() if (n := _number(v)) is not None}
    return {
        "kind": "run",
        "status": one_of(_STATUS, body.get("status")),
        "model": text(body.get("model")),
        "values": values,
        "flags": list(_flags(body.get("flags"))),
        "mark": one_of(_KINDS, body.get("kind")),
        **_common(body),
        "rates": _rates(counts, _number(_object(body, "sample").get("duration_s"))),
    }


def _report(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "report",
        "status": None,
        "model": None,
        "values": dict(_values(body.get("values"), "reported")),
        "flags": [],
        "mark": "control" if body.get("kind") == "control" else None,
        **_common(body),
        "rates": {},
    }


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    sample = {name: text(_object(body, "sample").get(name)) for name in _SAMPLE}
    profile = _needed(body, "profile")
    number = body.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 31:
        raise UnreadableError("number")
    return {
        "source": _needed(body, "instrument"),
        "number": number,
        "profile": profile,
        "profile_sha256": text(body.get("profile_sha256")) or "",
        "instrument": profile.partition("/")[0],
        "sample": sample,
        "sample_key": sample_key(sample["sample_id"]),
        "patient_key": sample_key(sample["patient_id"]),
        "sample_id": sample["sample_id"],
        "patient_id": sample["patient_id"],
        "species": one_of(SPECIES, sample["species"]),
    }


def _said(body: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: text(body.get(name), _LONG) for name in _TEXTS if body.get(name) is not None}
    if isinstance(changes := body.get("changes"), dict):
        facts["changes"] = {  # type: ignore[assignment]
            text(field) or "": [text(one) for one in change]
            for field, change in list(changes.items())[:20]
            if isinstance(change, list) and len(change) == 2
        }
    return {"by": text(body.get("by")) or "?", "facts": facts}


_READERS: Final = {
    "run": _run, "report": _report, "note": _said, "correction": _said, "mark": _said,
}  # fmt: skip


def text(value: object, longest: int = _SHORT) -> str | None:
    """Take a text as a database can hold it; anything else is none."""
    if not isinstance(value, str) or not value:
        return None
    safe = value.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")
    return safe[:longest]


def one_of(known: Container[str], value: object) -> str | None:
    """Take a word of a closed list; anything else is none."""
    return value if isinstance(value, str) and value in known else None


def _needed(body: Mapping[str, Any], name: str) -> str:
    found = text(body.get(name))
    if found is None:
        raise UnreadableError(name)
    return found


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _values(lines: object, method: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the values of a result or report that are in the unit they are listed in."""
    for line in lines if isinstance(lines, list) else ():
        code = one_of(CODES, line.get("code")) if isinstance(line, dict) else None
        if code is None or CODES[code] != line.get("unit"):
            continue
        yield (
            code,
            {
                "value": _number(line.get("value")),
                "low": _number(line.get("low")),
                "high": _number(line.get("high")),
                "method": text(line.get("method")) or method,
            },
        )


def _flags(lines: object) -> Iterator[dict[str, str]]:
    seen = set()
    for line in (lines if isinstance(lines, list) else [])[:_MOST_FLAGS]:
        code = text(line.get("code")) if isinstance(line, dict) else None
        if code is None or code in seen:
            continue
        seen.add(code)
        yield {
            "code": code,
            "severity": one_of(_SEVERITIES, line.get("severity")) or "review",
            "message": text(line.get("message"), _LONG) or "",
            "action": text(line.get("action"), _LONG) or "",
        }


def _rates(counts: Mapping[str, float], duration_s: float | None) -> dict[str, float]:
    """Events per second, which show what the indices of red cells cannot."""
    red = ("pure_rbc", "reticulocyte", "clumped_rbc")
    if not duration_s or duration_s <= 0 or any(name not in counts for name in (*red, "platelet")):
        return {}
    return {
        "RBC/s": sum(counts[name] for name in red) / duration_s,
        "PLT/s": counts["platelet"] / duration_s,
    }
