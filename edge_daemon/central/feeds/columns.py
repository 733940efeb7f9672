"""The tables that analysts get: what each column holds, its unit, and a row for a document.

One row is one version of a result, one report of an analyzer, or one thing that a person said.
Values keep all their digits; what was not reported is empty, never zero.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.central.feeds.versions import kind_of, result_id
from edge_daemon.exchange.coding import LOINC
from edge_daemon.records import CELL_CLASSES, MEASUREMENT_CODES
from edge_daemon.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.central.feeds.documents import Told

Kind = Literal["text", "integer", "number", "truth", "time"]
Cell = Callable[["Entry"], Any]

CODE_UNITS: Final[Mapping[str, str]] = {**UNITS, "CLUMP%": "%"}
"""Unit of each value, UCUM; a value in another unit is left out and counted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document on its way into a row.

    Attributes
    ----------
    newest
        Whether no later version of it is there.
    mark
        What people say its capture is, or None.
    """

    told: Told
    newest: bool = True
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One column: name, kind, what it means, unit (UCUM) and LOINC code where it has any."""

    name: str
    kind: Kind
    cell: Cell
    meaning: str
    unit: str = ""
    loinc: str = ""


def column_name(code: str) -> str:
    """Name of a value's column, as databases like it: ``RETIC%`` is ``retic_pct``."""
    return code.lower().replace("%", "_pct")


def _body(key: str) -> Cell:
    return lambda entry: entry.told.body.get(key)


def _sample(key: str) -> Cell:
    return lambda entry: entry.told.body["sample"].get(key)


def _words(key: str) -> Cell:
    return lambda entry: " ".join(map(str, entry.told.body.get(key, ()))) or None


_ORIGIN: Final = (
    Column("document_id", "integer", lambda e: e.told.id, "number at the centre, rising"),
    Column("received_at", "time", lambda e: e.told.received_at, "when the centre had it"),
    Column("simulated", "truth", lambda e: e.told.simulated, "no patient's, for ever"),
    Column("clinic_id", "integer", lambda e: e.told.clinic_id, "number of the clinic"),
    Column("clinic", "text", lambda e: e.told.clinic, "name of the clinic"),
    Column("device_id", "text", lambda e: e.told.device_id, "id of the box"),
    Column("box", "text", lambda e: e.told.box, "name of the box"),
    Column(
        "result_id",
        "text",
        lambda e: result_id(e.told),
        "of the capture: the same in all versions",
    ),
    Column("instrument", "text", _body("instrument"), "the source's name at the box"),
    Column("capture", "text", _body("capture"), "SHA-256 of the raw capture"),
    Column("created_at", "text", lambda e: e.told.created_at, "by the box's clock"),
    Column("clock_state", "text", lambda e: e.told.clock_state, "whether that clock was right"),
)
_SAMPLE: Final = (
    *(
        Column(key, "text", _sample(key), f"of the sample: {key.replace('_', ' ')}")
        for key in (
            "sample_id", "patient_id", "species", "breed", "instrument_model",
            "instrument_serial", "firmware", "acquired_at",
        )
    ),
    Column("volume_ul", "number", _sample("volume_ul"), "metered volume of diluted sample", "uL"),
    Column("dilution", "number", _sample("dilution"), "diluted over blood volume", "1"),
    Column("duration_s", "number", _sample("duration_s"), "time the volume took", "s"),
)  # fmt: skip


def _count(name: str) -> Cell:
    return lambda entry: entry.told.body["counts"].get(name)


def _measured(code: str, key: str) -> Cell:
    def cell(entry: Entry) -> Any:
        found = _of_code(entry.told.body["measurements"], code)
        if found is None:
            return None
        return " ".join(found["flags"]) or None if key == "flags" else found[key]

    return cell


def _of_code(lines: Any, code: str) -> Mapping[str, Any] | None:
    """Find the line of a code in the unit of its column."""
    unit = CODE_UNITS[code]
    return next((one for one in lines if one["code"] == code and one["unit"] == unit), None)


def _value_columns(code: str) -> tuple[Column, ...]:
    name, unit, loinc = column_name(code), CODE_UNITS[code], LOINC.get(code, "")

    def end(which: str) -> Column:
        meaning = f"{which}er end of the 95 % interval of {code}"
        return Column(f"{name}_{which}", "number", _measured(code, which), meaning, unit)

    return (
        Column(name, "number", _measured(code, "value"), code, unit, loinc),
        end("low"),
        end("high"),
        Column(f"{name}_method", "text", _measured(code, "method"), "counted or calculated"),
        Column(f"{name}_flags", "text", _measured(code, "flags"), "flags that concern it"),
    )


def _flags(entry: Entry) -> str | None:
    return " ".join(flag["code"] for flag in entry.told.body["flags"]) or None


def _kind(entry: Entry) -> str:
    return entry.mark or kind_of(entry.told, ())


RESULTS: Final = (
    *_ORIGIN,
    Column("version", "integer", _body("number"), "1, and one more for each correction or rerun"),
    Column("newest", "truth", lambda e: e.newest, "no later version was there"),
    Column("mark", "text", lambda e: e.mark, "control, blank, check: what people say it is"),
    Column("status", "text", _body("status"), "ok, review or invalid"),
    Column("flags", "text", _flags, "codes of the flags of the run"),
    Column("corrected", "text", _words("corrected"), "fields of the sample that a person said"),
    *_SAMPLE,
    *(
        Column(key, "text", _body(key), meaning)
        for key, meaning in (
            ("profile", "that decoded it"), ("profile_sha256", "its digest"),
            ("model", "that called the cells"), ("model_sha256", "its digest"),
        )
    ),
    Column("events", "integer", _body("events"), "recorded events"),
    *(Column(f"n_{c}", "integer", _count(c), f"events called {c}") for c in CELL_CLASSES),
    *(column for code in MEASUREMENT_CODES for column in _value_columns(code)),
    Column("kind", "text", _kind, "patient, control, blank or check: the mark, else the box"),
)  # fmt: skip
"""One row for each version of a result."""


def _reported(code: str, key: str) -> Cell:
    def cell(entry: Entry) -> Any:
        found = _of_code(entry.told.body["values"], code)
        if found is None:
            return None
        return " ".join(found["flags"]) or None if key == "flags" else found[key]

    return cell


def _others(entry: Entry) -> str | None:
    """Lines of a report that are no measurand of ours, as JSON."""
    values = entry.told.body["values"]
    rest = [one for one in values if CODE_UNITS.get(one["code"] or "") != one["unit"]]
    return json.dumps(rest, ensure_ascii=False) if rest else None


REPORTS: Final = (
    *_ORIGIN,
    Column("analysis", "integer", _body("number"), "analysis of the capture it was read in"),
    Column("newest", "truth", lambda e: e.newest, "no later reading was there"),
    Column("kind", "text", _body("kind"), "sample or control"),
    Column("message_id", "text", _body("message_id"), "the analyzer's own"),
    Column("amends", "truth", _body("amends"), "says that it corrects an earlier one"),
    *_SAMPLE,
    Column("profile", "text", _body("profile"), "that read it"),
    Column("messages", "text", _words("messages"), "suspect flags in the analyzer's words"),
    *(
        column
        for code in UNITS
        for column in (
            Column(
                column_name(code), "number", _reported(code, "value"),
                f"{code} as the analyzer reported it", UNITS[code], LOINC.get(code, ""),
            ),
            Column(f"{column_name(code)}_text", "text", _reported(code, "text"), "as written"),
            Column(f"{column_name(code)}_flags", "text", _reported(code, "flags"), "as written"),
        )
    ),
    Column("other_values", "text", _others, "lines that are none of these, JSON"),
)  # fmt: skip
"""One row for each report of an analyzer."""

SAID: Final = (
    *_ORIGIN,
    Column("type", "text", lambda e: e.told.what, "note, correction or mark"),
    Column("version", "integer", _body("number"), "of the result it was written beside"),
    Column("kind", "text", _body("kind"), "note, smear; control, blank, check, patient"),
    Column("concerns", "text", _body("concerns"), "cell class, value or flag"),
    Column("verdict", "text", _body("verdict"), "confirms or refutes"),
    Column("text", "text", _body("text"), "of a note"),
    Column("reason", "text", _body("reason"), "of a correction"),
    Column("changes", "text", lambda e: _json(e.told.body.get("changes")), "of a correction, JSON"),
    Column("lot", "text", _body("lot"), "of control material"),
    Column("level", "text", _body("level"), "of control material"),
    Column("by", "text", _body("by"), "who said it"),
    Column("made_at", "text", _body("made_at"), "by the box's clock"),
    Column("made_clock", "text", _body("made_clock"), "whether that clock was right"),
)
"""One row for each note, correction and mark."""

TABLES: Final[Mapping[str, tuple[tuple[Column, ...], frozenset[str]]]] = {
    "results": (RESULTS, frozenset({"run"})),
    "reports": (REPORTS, frozenset({"report"})),
    "said": (SAID, frozenset({"note", "correction", "mark"})),
}
"""Name of a table → its columns, and the types of documents that are its rows."""


def other_units(told: Told) -> list[str]:
    """List the values of a result that no column takes, because of their unit."""
    if told.what != "run":
        return []
    return [
        f"{one['code']} in {one['unit']}"
        for one in told.body["measurements"]
        if CODE_UNITS.get(one["code"]) != one["unit"]
    ]


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
