"""One result's values as rows of a table: ours, the analyzer's, and those of the last visit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_daemon import wording
from edge_daemon.records import MEASUREMENT_CODES
from edge_daemon.web.interpreting import citations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_daemon.reference.findings import Interpretation, MarkedValue, Reference
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
class Bar:
    """Value on a bar whose middle third is the reference interval; all from 0 to 100.

    Attributes
    ----------
    at
        The value; one far away stands at the end.
    low, high
        Its 95 % interval, or the value itself.
    """

    at: float
    low: float
    high: float


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
    mark
        ``H`` or ``L``: above or below the reference interval; empty within it or without one.
    clear
        The whole 95 % interval lies beyond the limit, too.
    unconfirmed
        A remark asks for something before the value is trusted.
    reference, letter
        Reference interval as text, and the letter of its source; empty without one.
    bar
        Where interval and value lie on the small bar, or None.
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
    mark: str
    clear: bool
    unconfirmed: bool
    reference: str
    letter: str
    bar: Bar | None
    analyzer: Beside | None
    before: Beside | None


def table(
    run: Mapping[str, Any],
    found: Interpretation,
    before: Mapping[str, Any] | None,
    numbers: Numbers,
) -> list[Row]:
    """Lay out the values of a run.

    Parameters
    ----------
    run
        As `queries.run`.
    found
        The run beside the reference intervals.
    before
        The patient's result before this one, as `queries.results`, or None.
    numbers
        How to write them.
    """
    compared = {row["code"]: row for row in run["analyzer"]["differences"]}
    lines = {line["code"]: line for line in run["analyzer"]["values"] if line["code"]}
    earlier = {m["code"]: m for m in before["measurements"]} if before else {}
    marked = {value.code: value for value in found.values}
    _, letters = citations(found)
    return [
        _row(
            m,
            marked[m["code"]],
            letters.get(m["code"], ""),
            numbers,
            analyzer=_analyzer(lines.get(m["code"]), compared.get(m["code"]), numbers),
            before=_earlier(m, earlier.get(m["code"]), numbers),
        )
        for m in sorted(run["measurements"], key=_order)
    ]


def _row(
    m: Mapping[str, Any],
    marked: MarkedValue,
    letter: str,
    numbers: Numbers,
    *,
    analyzer: Beside | None,
    before: Beside | None,
) -> Row:
    reference = marked.reference if m["value"] is not None else None
    code, unit = m["code"], m["unit"]
    return Row(
        code=code,
        name=wording.MEASUREMENT_NAMES.get(code, ""),
        value=numbers.value(code, m["value"], unit),
        unit=numbers.unit(code, unit) if m["value"] is not None else "",
        interval=numbers.interval(code, m["low"], m["high"], unit),
        calculated=m["method"] == "calculated",
        flags=tuple(m["flags"]),
        mark=marked.mark or "",
        clear=marked.clear,
        unconfirmed=marked.unconfirmed,
        reference=""
        if reference is None
        else numbers.interval(code, reference.low, reference.high, reference.unit),
        letter=letter,
        bar=_bar(m, reference),
        analyzer=analyzer,
        before=before,
    )


def _bar(m: Mapping[str, Any], reference: Reference | None) -> Bar | None:
    """Place a value against its interval, which spans the middle third."""
    if reference is None or m["unit"] != reference.unit:
        return None
    value = m["value"]
    low, high = (value if m[end] is None else m[end] for end in ("low", "high"))
    return place((value, low, high), reference.low, reference.high)


def place(values: tuple[float, float, float], low: float, high: float) -> Bar:
    """Place a value and the ends of its interval on a bar whose middle third is low to high."""

    def at(value: float) -> float:
        share = 100.0 / 3.0 * (1.0 + (value - low) / (high - low))
        return round(min(100.0, max(0.0, share)), 1)

    return Bar(*map(at, values))


def _order(measurement: Mapping[str, Any]) -> int:
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
