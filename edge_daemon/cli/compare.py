"""The command `compare`: a result beside an earlier one of the same patient, and the trend."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import choosing, options, output, report
from edge_daemon.cli.interpretation import Interpreter
from edge_daemon.cli.output import Column
from edge_daemon.wording import SIMULATED, counted, kind, local_time, patient

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge_daemon.cli.output import Form, Record

_KINDS: Final = {
    "patient": "a patient's", "control": "of a control", "blank": "of a blank",
    "check": "of a check",
}  # fmt: skip
_SAYS: Final = {True: "yes", False: "no", None: ""}
_DAY_S: Final = 86_400.0


@click.command()
@click.argument("key", metavar="RUN")
@click.argument("other", metavar="[RUN]", required=False)
@click.option(
    "--visits",
    "count",
    type=click.IntRange(min=0, max=50),
    default=5,
    show_default=True,
    metavar="N",
    help="Visits in the trend; 0 for none.",
)
@options.data_dir_option
@options.json_option
@options.csv_option
def compare(
    key: str, other: str | None, count: int, data_dir: Path, as_json: bool, as_csv: bool
) -> int:
    """Compare a result with an earlier one: by default the last visit of the same patient.

    RUN is the number of a run or a sample id (then its newest run). For each value: the change, in
    percent of the earlier, and whether it is larger than the 95 % intervals of both explain. Exit
    code 3 when the two may not be comparable, 4 when there is nothing to compare with.
    """
    from edge_daemon.store import controls, visits

    how = output.form(as_json=as_json, as_csv=as_csv)
    with choosing.database(data_dir) as db:
        now = _run(db, key)
        history = visits.of_patient(db, now)
        controls.add_kinds(db, history)
        earlier = _run(db, other) if other else next(iter(visits.before(history, now)), None)
    if earlier is None:
        raise errors.Fatal(
            f"there is no earlier visit of the patient of run {now['id']} to compare with",
            action=_why_none(now),
            exit_code=errors.EXIT_NOT_FOUND,
        )
    doubts = _doubts(now, earlier)
    rows = visits.changes(now, earlier)
    trend = [dict(now), *visits.before(history, now)][:count] if history else []
    _interpret(now, rows)
    if how == "json":
        output.emit_json(_document(now, earlier, rows, trend, doubts))
    elif how == "csv":
        output.listing(_CSV, rows, how, empty="")
    else:
        _write(now, earlier, rows, trend, how)
    for doubt in doubts:
        output.say(f"{doubt}.")
    return errors.EXIT_WARNINGS if doubts else errors.EXIT_OK


def _run(db: sqlite3.Connection, key: str) -> Record:
    from edge_daemon.store import controls, queries

    found = queries.run(db, key)
    if found is None:
        raise errors.Fatal(
            f"no result has the run number or sample id {key!r}",
            action="Look at `edge-daemon results`.",
            exit_code=errors.EXIT_NOT_FOUND,
        )
    controls.add_kinds(db, [found])
    return found


def _why_none(now: Mapping[str, Any]) -> str:
    if now["kind"] != "patient":
        return "It is no patient's; name the other run: `edge-daemon compare RUN RUN`."
    if not now["patient_id"] and not now["patient_name"]:
        return "The analyzer named no patient; name the other run: `edge-daemon compare RUN RUN`."
    return "Name the other run, if there is one: `edge-daemon compare RUN RUN`."


def _doubts(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[str]:
    """Say what makes the two results less than comparable."""
    if now["simulated"] != earlier["simulated"]:
        raise errors.EdgeError(
            "a simulated result and a patient's are never compared",
            action="Name two runs of one kind.",
        )
    if now["kind"] != earlier["kind"]:
        raise errors.EdgeError(
            f"run {now['id']} is {_KINDS[now['kind']]}, run {earlier['id']} "
            f"{_KINDS[earlier['kind']]}: they are never compared",
            action="Name two runs of one kind.",
        )
    doubts = [
        f"Run {run['id']} failed: its values say nothing reliable"
        for run in (now, earlier)
        if run["status"] == "invalid"
    ]
    if (now["lot"], now["level"]) != (earlier["lot"], earlier["level"]):
        doubts.append("The two controls are of different lots or levels")
    for column, what in (("species", "species"), ("patient_id", "patients")):
        both = now[column], earlier[column]
        if None not in both and both[0].casefold() != both[1].casefold():
            doubts.append(f"The two runs name different {what}: {both[0]} and {both[1]}")
    for column, what in (("profile", "instruments or firmwares"), ("model", "models")):
        if now[column] != earlier[column]:
            doubts.append(
                f"They were analysed by different {what} ({now[column]}, {earlier[column]}): part "
                "of a change may be theirs"
            )
    return doubts


def _interpret(now: Record, rows: Sequence[Record]) -> None:
    """Add the mark of the present value, H or L, to each row."""
    marks = Interpreter().in_full(now)["marks"]
    for row in rows:
        row["mark"] = marks.get(row["code"])


_ABOUT: Final = (
    "id", "sample_id", "patient_id", "patient_name", "species", "status", "simulated",
    "acquired_at", "created_wall", "created_clock", "instrument", "profile", "model", "kind",
)  # fmt: skip


def _document(
    now: Mapping[str, Any],
    earlier: Mapping[str, Any],
    rows: Sequence[Record],
    trend: Sequence[Mapping[str, Any]],
    doubts: Sequence[str],
) -> dict[str, Any]:
    return {
        "now": {key: now[key] for key in _ABOUT},
        "before": {key: earlier[key] for key in _ABOUT},
        "patient_known_by": _known_by(now),
        "doubts": list(doubts),
        "values": list(rows),
        "visits": [
            {key: visit[key] for key in _ABOUT}
            | {"values": {m["code"]: m["value"] for m in visit["measurements"]}}
            for visit in trend
        ],
    }


def _known_by(now: Mapping[str, Any]) -> str | None:
    return next((key for key in ("patient_id", "patient_name") if now[key]), None)


def _bounds(side: str) -> tuple[Column, ...]:
    def cell(end: str) -> Column:
        return Column(
            f"{side}_{end}", "", lambda r: output.number(r["code"], r[side][end]), right=True
        )

    return cell("value"), cell("low"), cell("high")


_CSV: Final = (
    Column("code", "", lambda r: r["code"]),
    Column("unit", "", lambda r: r["unit"]),
    *_bounds("now"),
    *_bounds("before"),
    Column("change", "", lambda r: output.signed(r["code"], r["change"])),
    Column("percent", "", lambda r: output.percent(r["percent"])),
    Column("exceeds_intervals", "", lambda r: _SAYS[r["exceeds"]]),
    Column("mark", "", lambda r: r["mark"]),
)


def _value(row: Record, side: str) -> str:
    return output.measurement({"code": row["code"], **row[side]})


_COLUMNS: Final = (
    Column("code", "Measurement", lambda r: r["code"]),
    Column("now", "Now", lambda r: _value(r, "now"), right=True),
    Column("mark", "Mark", lambda r: r["mark"]),
    Column("before", "Before", lambda r: _value(r, "before"), right=True),
    Column("unit", "Unit", lambda r: output.unit(r["unit"])),
    Column("change", "Change", lambda r: output.signed(r["code"], r["change"]), right=True),
    Column("percent", "%", lambda r: output.percent(r["percent"]), right=True),
    Column("exceeds", "Beyond 95 %", lambda r: _SAYS[r["exceeds"]]),
)


def _write(
    now: Record,
    earlier: Record,
    rows: Sequence[Record],
    trend: Sequence[Mapping[str, Any]],
    how: Form,
) -> None:
    who = patient(now) or "patient not given"
    output.headline(kind(now) or f"{who}, {now['species'] or 'species unknown'}", "")
    if _known_by(now) == "patient_name":
        click.echo("Known by name only: two animals may share it.")
    if now["simulated"]:
        output.headline(f"{SIMULATED}: not a patient's result", SIMULATED)
    output.pairs([("Now", _visit(now)), ("Before", f"{_visit(earlier)}{_apart(now, earlier)}")])
    click.echo()
    output.listing(_COLUMNS, rows, how, empty="The two results have no value in common.")
    moved = [row["code"] for row in rows if row["exceeds"]]
    click.echo()
    click.echo(
        f"Changed by more than the uncertainty of both results: {', '.join(moved)}."
        if moved
        else "No value changed by more than the uncertainty of both results."
    )
    if len(trend) > 1:
        click.echo(f"\nThe last {len(trend)} visits, newest first")
        output.listing(_trend_columns(trend), _trend_rows(trend), how, empty="")


def _visit(run: Mapping[str, Any]) -> str:
    sample = run["sample_id"] or "without sample id"
    return f"run {run['id']}, {_when(run)}, sample {sample}, {report.headline(run)}"


def _when(run: Mapping[str, Any]) -> str:
    return run["acquired_at"] or local_time(run["created_wall"])


def _apart(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    """Time between the two, by the analyzer's clock or by ours, if one of them knows."""
    for column, trusted in (
        ("acquired_at", True),
        ("created_wall", {now["created_clock"], earlier["created_clock"]} == {"synchronised"}),
    ):
        try:
            late, early = (datetime.fromisoformat(run[column] or "") for run in (now, earlier))
            days = (late - early).total_seconds() / _DAY_S
        except (ValueError, TypeError):
            continue
        if trusted and days >= 0:
            return f" ({counted(round(days), 'day')} earlier)" if days >= 1 else " (the same day)"
    return ""


def _trend_rows(trend: Sequence[Mapping[str, Any]]) -> list[Record]:
    codes = dict.fromkeys(m["code"] for visit in trend for m in visit["measurements"])
    found = [{m["code"]: m for m in visit["measurements"]} for visit in trend]
    return [{"code": code, "visits": [values.get(code) for values in found]} for code in codes]


def _trend_columns(trend: Sequence[Mapping[str, Any]]) -> list[Column]:
    def value(index: int) -> Column:
        visit = trend[index]

        def cell(row: Record) -> str:
            return output.measurement(row["visits"][index])

        return Column(f"run_{visit['id']}", _when(visit)[:10], cell, right=True)

    return [
        Column("code", "Measurement", lambda r: r["code"]),
        *(value(index) for index in range(len(trend))),
    ]
