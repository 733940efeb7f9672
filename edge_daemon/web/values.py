"""One result's values as rows of a table: ours, the analyzer's, and those of the last visit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_daemon import wording
from edge_daemon.records import MEASUREMENT_CODES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.web.numbers import Numbers


@dataclass(frozen=True, slots=True)
class Beside:
    """A value that stands beside ours: the analyzer's, or that of an earlier visit.

    Attributes
    ----------
    value
        As text.
    difference, percent
        Ours less it, absolute and in percent of it, as text; empty where not comparable.
    marks
        What the analyzer itself said of it.
    """

    value: str
    difference: str = ""
    percent: str = ""
    marks: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurand.

    Attributes
    ----------
    code, name
        Its abbreviation and its name in words.
    value, unit, interval
        As text; `value` empty where it is not reported.
    calculated
        Whether it was derived and not counted or measured.
    flags
        Codes of the flags that concern it.
    analyzer, before
        The analyzer's own value; that of the last visit.
    """

    code: str
    name: str
    value: str
    unit: str
    interval: str
    calculated: bool
    flags: tuple[str, ...]
    analyzer: Beside | None
    before: Beside | None


def table(run: Mapping[str, Any], before: Mapping[str, Any] | None, numbers: Numbers) -> list[Row]:
    """Lay out the values of a run.

    Parameters
    ----------
    run
        As `queries.run`.
    before
        The patient's result before this one, as `queries.results`, or None.
    numbers
        How to write them.
    """
    compared = {row["code"]: row for row in run["analyzer"]["differences"]}
    lines = {line["code"]: line for line in run["analyzer"]["values"] if line["code"]}
    earlier = {m["code"]: m for m in before["measurements"]} if before else {}
    return [
        Row(
            code=m["code"],
            name=wording.MEASUREMENT_NAMES.get(m["code"], ""),
            value=numbers.value(m["code"], m["value"], m["unit"]),
            unit=numbers.unit(m["code"], m["unit"]) if m["value"] is not None else "",
            interval=numbers.interval(m["code"], m["low"], m["high"], m["unit"]),
            calculated=m["method"] == "calculated",
            flags=tuple(m["flags"]),
            analyzer=_analyzer(lines.get(m["code"]), compared.get(m["code"]), numbers),
            before=_earlier(m, earlier.get(m["code"]), numbers),
        )
        for m in sorted(run["measurements"], key=_place)
    ]


def _place(measurement: Mapping[str, Any]) -> int:
    """Order as on printed results; the store keeps the order they were worked out in."""
    code = measurement["code"]
    return MEASUREMENT_CODES.index(code) if code in MEASUREMENT_CODES else len(MEASUREMENT_CODES)


def _analyzer(
    line: Mapping[str, Any] | None, compared: Mapping[str, Any] | None, numbers: Numbers
) -> Beside | None:
    if line is None:
        return None
    marks = " ".join(line["flags"])
    if line["value"] is None:
        return Beside(line["text"] or wording.NOT_REPORTED, marks=marks)
    value = numbers.value(line["code"], line["value"], line["unit"])
    if compared is None or compared["difference"] is None:
        return Beside(f"{value} {numbers.unit(line['code'], line['unit'])}", marks=marks)
    return Beside(
        value,
        numbers.signed(line["code"], compared["difference"], compared["unit"]),
        numbers.percent(compared["percent"]),
        marks,
    )


def _earlier(
    ours: Mapping[str, Any], theirs: Mapping[str, Any] | None, numbers: Numbers
) -> Beside | None:
    if theirs is None or theirs["value"] is None:
        return None
    code = ours["code"]
    value = numbers.value(code, theirs["value"], theirs["unit"])
    if ours["value"] is None or ours["unit"] != theirs["unit"]:
        return Beside(value)
    change = ours["value"] - theirs["value"]
    percent = 100.0 * change / theirs["value"] if theirs["value"] else None
    return Beside(value, numbers.signed(code, change, ours["unit"]), numbers.percent(percent))


def others(run: Mapping[str, Any], numbers: Numbers) -> list[tuple[str, str, str]]:
    """List what the analyzer reports that is no value of ours: name, value with unit, marks."""
    ours = {m["code"] for m in run["measurements"]}
    found = []
    for line in run["analyzer"]["values"]:
        if line["code"] in ours:
            continue
        if line["code"] and line["value"] is not None:
            value = numbers.value(line["code"], line["value"], line["unit"])
            unit = numbers.unit(line["code"], line["unit"])
        else:
            value, unit = line["text"], line["written_unit"]
        found.append(
            (line["code"] or line["name"], f"{value} {unit}".strip(), " ".join(line["flags"]))
        )
    return found
