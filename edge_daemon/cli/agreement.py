"""The command `agreement`: our values against the analyzer's, and moving averages.

It sees the store and the statistics, never a stage.
"""

from __future__ import annotations

import contextlib
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output
from edge_daemon.cli.output import Column
from edge_daemon.records import MEASUREMENT_CODES, SPECIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_daemon.cli.output import Form, Record
    from edge_daemon.quality.agreement import Followed, Measure

_WORDS: Final = {
    "agrees": "agrees",
    "small": "small difference",
    "undecided": "not decided",
    "differs": "DIFFERS",
}
_STATES: Final = {"in_control": "in control", "drift": "DRIFTS"}
_PROPORTIONAL: Final = frozenset({"PLT", "PCT", "RETIC", "RETIC%"})
"""Their differences grow with the value: the limits are shown in percent."""


@click.command()
@click.option("--instrument", metavar="NAME", help="Only this instrument.")
@click.option("--species", type=click.Choice(SPECIES), metavar="NAME", help="Only this species.")
@click.option(
    "--measure",
    "measures",
    type=click.Choice(MEASUREMENT_CODES),
    multiple=True,
    metavar="CODE",
    help="Only this measure, such as RBC or RETIC%; may be repeated.",
)
@click.option("--since", type=options.Moment(), help="Only from this time on.")
@click.option("--until", type=options.Moment(), help="Only before this time.")
@click.option(
    "--points",
    type=click.IntRange(min=0, max=10_000),
    default=0,
    metavar="N",
    help="With --json: also the newest N pairs of each measure (run, ours, theirs).",
)
@options.data_dir_option
@options.json_option
@options.csv_option
def agreement(
    data_dir: Path,
    instrument: str | None,
    species: str | None,
    measures: tuple[str, ...],
    since: str | None,
    until: str | None,
    points: int,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Compare our values with the analyzer's own, and follow both for drift.

    For each instrument and species: bias, limits of agreement (Bland-Altman), regression
    (Passing-Bablok), and moving averages of patients (Bull). Simulated samples stand apart.
    Exit code 3 when a moving average drifts or a bias is beyond its goal.
    """
    from edge_daemon.quality.agreement import compare, follow
    from edge_daemon.store import queries
    from edge_daemon.store.comparisons import UNITS, Comparisons, Filters

    how = output.form(as_json=as_json, as_csv=as_csv)
    with contextlib.closing(queries.connect(data_dir)) as db:
        held = Comparisons(db, Filters(since, until, instrument, species))
        codes = [code for code in UNITS if not measures or code in measures]
        compared = compare(held.pairs(), codes, points=points)
        followed = follow(point for part in (held.ours(), held.reported()) for point in part)
    if measures:
        followed = [f for f in followed if f.code.removesuffix("/s") in measures]
    if how == "json":
        output.emit_json(_document(compared, followed, asdict(held.left_out)))
    elif how == "csv":
        output.write_csv(_CSV, _csv_rows(compared, followed), sys.stdout)
    else:
        _write(compared, followed, held.left_out, how)
    beyond = any(m.verdict and m.verdict.word == "differs" for m in compared)
    drifts = any(f.drifts for f in followed)
    return errors.EXIT_WARNINGS if beyond or drifts else errors.EXIT_OK


def _document(
    compared: Sequence[Measure], followed: Sequence[Followed], left_out: dict[str, int]
) -> dict[str, Any]:
    measures = []
    for one in compared:
        row = asdict(one)
        measures.append(row.pop("group") | row)
    streams = [asdict(one) | {"drifts": one.drifts} for one in followed]
    return {"measures": measures, "streams": streams, "left_out": left_out}


def _write(
    compared: Sequence[Measure], followed: Sequence[Followed], left_out: Any, how: Form
) -> None:
    if not compared and not followed:
        output.say("Nothing to compare yet: no result and no report of an analyzer is of use.")
        return
    if not compared:
        output.say("No run of ours has a report of the analyzer yet (`edge-daemon reports`).\n")
    for group in dict.fromkeys(one.group for one in compared):
        mine = [one for one in compared if one.group == group]
        through = "" if group.analyzer == group.instrument else f", reports from {group.analyzer}"
        mark = f"  {output.SIMULATED}" if group.simulated else ""
        output.headline(f"{group.instrument}{through}, {group.species}{mark}", "")
        _write_measures(mine, how)
    _write_streams(followed, how)
    parts = [
        (left_out.failed_runs, "failed runs"),
        (left_out.control_runs, "runs of control material"),
        (left_out.control_reports, "reports of control material"),
        (left_out.no_species, "results without a species (moving averages only)"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in parts if count)
    if told:
        output.say(f"\nLeft out: {told}.")


def _write_measures(mine: Sequence[Measure], how: Form) -> None:
    output.listing(_MEASURES, [{"one": one} for one in mine], how, empty="")
    click.echo()
    for one in mine:
        if one.verdict is not None and one.verdict.word != "agrees":
            click.echo(output.printable(f"{one.code}: {one.verdict.meaning}"))
            if one.verdict.action:
                click.echo(f"  {output.next_action(one.verdict.action)}")
        if one.refused:
            click.echo(output.printable(f"{one.code}: {one.refused}"))
        if one.line and one.line.left_out:
            click.echo(f"{one.code}: the line is of the newest {one.line.n} pairs")
    click.echo()


def _write_streams(followed: Sequence[Followed], how: Form) -> None:
    from edge_daemon.quality.moving import BATCH
    from edge_daemon.quality.verdict import BLIND_SPOT

    if not followed:
        return
    output.headline(f"Moving averages of patients (Bull), batches of {BATCH}", "")
    rows: list[Record] = [
        {"one": one, "side": side, "stream": stream}
        for one in followed
        for side, stream in (("ours", one.ours), ("analyzer", one.analyzer))
        if stream is not None
    ]
    judged = [row for row in rows if row["stream"].state != "too_few"]
    if judged:
        output.listing(_STREAMS, judged, how, empty="")
        click.echo()
    _write_waiting([row for row in rows if row["stream"].state == "too_few"])
    for one in followed:
        if one.drifts:
            who = f"{one.instrument}, {one.species}{_mark(one.simulated)}"
            click.echo(output.printable(f"{one.code} of {who}: {_drift(one)}"))
            click.echo(f"  {output.next_action(one.action)}")
    click.echo(BLIND_SPOT)


def _write_waiting(rows: Sequence[Record]) -> None:
    """Say which averages have too few animals, in a line for each group and side."""
    from edge_daemon.quality.moving import BASELINE_BATCHES, BATCH

    waiting: dict[str, list[str]] = {}
    for row in rows:
        one = row["one"]
        who = f"{one.instrument}, {one.species}{_mark(one.simulated)}, {row['side']}"
        waiting.setdefault(who, []).append(f"{one.code} {row['stream'].values}")
    needed = BATCH * (BASELINE_BATCHES + 1)
    for who, counts in waiting.items():
        told = f"{who}: too few of {needed} animals yet ({', '.join(counts)})"
        click.echo(output.printable(told))
    if waiting:
        click.echo()


def _drift(one: Followed) -> str:
    parts = []
    for side, stream in (("ours", one.ours), ("the analyzer's", one.analyzer)):
        if stream is not None and stream.state == "drift":
            batches = f"{stream.drifting} batch{'es' if stream.drifting > 1 else ''}"
            parts.append(f"{side} is {stream.percent[-1]:+.1f} % off its target, for {batches}")
    return "; ".join(parts)


def _mark(simulated: bool) -> str:
    return f" {output.SIMULATED}" if simulated else ""


def _range(code: str, bounds: tuple[float, float] | None, *, percent: bool = False) -> str:
    if bounds is None:
        return ""
    if percent:
        return " to ".join(f"{value:.1f}" for value in bounds)
    return " to ".join(output.signed(code, value) or "no end" for value in bounds)


def _bias(record: Record) -> str:
    one = record["one"]
    return output.signed(one.code, one.absolute.bias) if one.absolute else ""


def _limits(record: Record) -> str:
    """Limits of agreement, in percent where differences grow with the value."""
    one = record["one"]
    if one.code in _PROPORTIONAL:
        found, unit = one.percent, " %"
    else:
        found, unit = one.absolute, ""
    if found is None:
        return ""
    bounds = (found.low, found.high)
    return f"{_range(one.code, bounds, percent=bool(unit))}{unit}"


def _slope(record: Record) -> str:
    line = record["one"].line
    if line is None:
        return ""
    low, high = (f"{end:.3f}" if end != float("inf") else "no end" for end in line.slope_ci)
    return f"{line.slope:.3f} ({low} to {high})"


def _intercept(record: Record) -> str:
    one = record["one"]
    if one.line is None:
        return ""
    value = output.signed(one.code, one.line.intercept)
    return f"{value} ({_range(one.code, one.line.intercept_ci)})"


def _percent(record: Record) -> str:
    found = record["one"].percent
    return "" if found is None else output.percent(found.bias)


def _unit(record: Record) -> str:
    from edge_daemon.store.comparisons import UNITS

    return output.unit(UNITS[record["one"].code])


def _verdict(record: Record) -> str:
    one = record["one"]
    return _WORDS[one.verdict.word] if one.verdict else "too few" if not one.absolute else ""


_MEASURES: Final = (
    Column("measure", "Measure", lambda r: r["one"].code),
    Column("unit", "Unit", _unit),
    Column("n", "Pairs", lambda r: r["one"].n, right=True),
    Column("bias", "Bias", _bias, right=True),
    Column("bias_percent", "%", _percent, right=True),
    Column("limits", "95 % of differences", _limits, right=True, folds=True),
    Column("slope", "Slope (95 %)", _slope, right=True, folds=True),
    Column("intercept", "Intercept (95 %)", _intercept, right=True, folds=True, wide=True),
    Column("verdict", "Meaning", _verdict),
)

_STREAMS: Final = (
    Column("instrument", "Instrument", lambda r: r["one"].instrument),
    Column("species", "Species", lambda r: f"{r['one'].species}{_mark(r['one'].simulated)}"),
    Column("value", "Value", lambda r: r["one"].code),
    Column("side", "Side", lambda r: r["side"]),
    Column("n", "Animals", lambda r: r["stream"].values, right=True),
    Column("target", "Target", lambda r: _round(r, r["stream"].target), right=True),
    Column("newest", "Newest", lambda r: _newest(r, "averages"), right=True),
    Column("off", "Off", lambda r: _newest(r, "percent"), right=True),
    Column(
        "limit",
        "Limit",
        lambda r: f"±{r['stream'].limit_percent:.1f} %" if r["stream"].limit_percent else "",
        right=True,
    ),
    Column("state", "State", lambda r: _STATES[r["stream"].state]),
)


def _round(record: Record, value: float | None) -> str:
    return output.number(record["one"].code, value)


def _newest(record: Record, field: str) -> str:
    values = getattr(record["stream"], field)
    if not values:
        return ""
    return output.percent(values[-1]) if field == "percent" else _round(record, values[-1])


def _csv_rows(compared: Sequence[Measure], followed: Sequence[Followed]) -> list[Record]:
    found: list[Record] = []
    for one in compared:
        row: Record = asdict(one.group) | {"kind": "agreement", "measure": one.code, "n": one.n}
        if one.absolute:
            row |= {k: getattr(one.absolute, k) for k in ("bias", "sd", "low", "high")}
            row["bias_low"], row["bias_high"] = one.absolute.bias_ci
        if one.percent:
            row["bias_percent"] = one.percent.bias
            row["low_percent"], row["high_percent"] = one.percent.low, one.percent.high
        if one.line:
            row |= {"slope": one.line.slope, "intercept": one.line.intercept}
            row["slope_low"], row["slope_high"] = one.line.slope_ci
            row["intercept_low"], row["intercept_high"] = one.line.intercept_ci
        if one.verdict:
            row |= {"verdict": one.verdict.word, "action": one.verdict.action}
        found.append(row | {"note": one.refused})
    for other in followed:
        for side, stream in (("ours", other.ours), ("analyzer", other.analyzer)):
            if stream is None:
                continue
            row = {key: getattr(other, key) for key in ("instrument", "species", "simulated")}
            row |= {"kind": f"moving average, {side}", "measure": other.code, "n": stream.values}
            row |= {"target": stream.target, "limit_percent": stream.limit_percent}
            if stream.averages:
                row |= {"newest": stream.averages[-1], "off_percent": stream.percent[-1]}
            found.append(row | {"verdict": stream.state, "action": other.action})
    return found


def _cell(key: str) -> Column:
    def cell(record: Record) -> object:
        value = record.get(key)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return Column(key, key, cell)


_CSV: Final = (
    *(_cell(key) for key in ("kind", "instrument", "analyzer", "species")),
    Column("simulated", "Mark", output.simulated_mark),
    *(
        _cell(key)
        for key in (
            "measure", "n", "bias", "bias_low", "bias_high", "sd", "low", "high",
            "bias_percent", "low_percent", "high_percent", "slope", "slope_low", "slope_high",
            "intercept", "intercept_low", "intercept_high", "target", "newest", "off_percent",
            "limit_percent", "verdict", "action", "note",
        )
    ),
)  # fmt: skip
