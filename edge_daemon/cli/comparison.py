"""How the analyzer's own report reads beside our result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon.cli import output
from edge_daemon.cli.output import Column, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_daemon.cli.output import Record

_KEY_VALUES: Final = ("RBC", "HCT", "RETIC%", "PLT")


def columns(analyzer: Mapping[str, Any]) -> tuple[Column, ...]:
    """Columns beside our measurements: the analyzer's value, ours less it, and its flags."""
    beside = {row["code"]: row for row in analyzer["differences"]}
    if not beside:
        return ()
    lines = {line["code"]: line for line in analyzer["values"] if line["code"]}

    def difference(measured: Record) -> str:
        row = beside.get(measured["code"])
        return output.signed(measured["code"], row["difference"]) if row else ""

    def percent(measured: Record) -> str:
        row = beside.get(measured["code"])
        return output.percent(row["percent"]) if row else ""

    def value(measured: Record) -> str:
        line = lines.get(measured["code"])
        unit = "" if line is None or line["unit"] == measured["unit"] else f" {line['unit']}"
        return f"{shown(line)}{unit}" if line else ""

    def flags(measured: Record) -> str:
        line = lines.get(measured["code"])
        return " ".join(line["flags"]) if line else ""

    return (
        Column("analyzer", "Analyzer", value, right=True),
        Column("difference", "Difference", difference, right=True),
        Column("percent", "%", percent, right=True),
        Column("analyzer_flags", "Its flags", flags, folds=True),
    )


def shown(line: Mapping[str, Any]) -> str:
    """Show one value of the analyzer: rounded where it is of ours, else as it was written."""
    if line["code"] is None or line["value"] is None:
        return line["text"] or output.NOT_REPORTED
    return output.number(line["code"], line["value"])


def write_others(record: Record) -> None:
    """Write what else the analyzer says of a run: values that we do not measure, and comments."""
    analyzer = record["analyzer"]
    if not analyzer["reports"]:
        return
    ours = {m["code"] for m in record["measurements"]}
    others = [line for line in analyzer["values"] if line["code"] not in ours]
    told = "; ".join(_transmission(one) for one in analyzer["reports"])
    click.echo(f"\nThe analyzer's own report ({printable(told)})")
    if others:
        click.echo(printable(", ".join(_inline(line) for line in others)))
    messages = dict.fromkeys(text for one in analyzer["reports"] for text in one["messages"])
    for text in messages:
        click.echo(f"It says: {printable(text)}")


def _transmission(report: Mapping[str, Any]) -> str:
    parts = [f"report:{report['id']}", report["acquired_at"] or ""]
    return " ".join(filter(None, [*parts, "amended" if report["amends"] else ""]))


def _inline(line: Mapping[str, Any]) -> str:
    name = line["code"] or line["name"]
    unit = output.unit(line["unit"]) if line["value"] is not None else ""
    return " ".join(filter(None, [name, shown(line), unit, *line["flags"]]))


def value_columns() -> tuple[Column, ...]:
    """Columns of the analyzer's values that fit a listing of reports."""
    return tuple(_value_column(code) for code in _KEY_VALUES)


def _value_column(code: str) -> Column:
    def cell(report: Record) -> str:
        found = next((line for line in report["values"] if line["code"] == code), None)
        return shown(found) if found else ""

    return Column(code, code, cell, right=True, wide=code == "HCT")


VALUES: Final[Sequence[Column]] = (
    Column("name", "Name", lambda v: v["name"]),
    Column("code", "Is", lambda v: v["code"]),
    Column("value", "Value", shown, right=True),
    Column("unit", "Unit", lambda v: output.unit(v["unit"])),
    Column("low", "", lambda v: v["low"]),
    Column("high", "", lambda v: v["high"]),
    Column(
        "interval",
        "Its interval",
        lambda v: output.interval(v["code"] or "", v["low"], v["high"]),
        right=True,
    ),
    Column("text", "As written", lambda v: f"{v['text']} {v['written_unit']}".rstrip()),
    Column("flags", "Flags", lambda v: " ".join(v["flags"]), folds=True),
)
