"""How quality control reads: lots, charts drawn in characters, verdicts and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from edge_daemon.cli import output
from edge_daemon.cli.output import Column
from edge_daemon.quality.checks import BLANK_ACTION, CARRY_OVER_ACTION
from edge_daemon.quality.westgard import ACTIONS
from edge_daemon.units import UNITS
from edge_daemon.wording import short_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_daemon.cli.output import Form, Record
    from edge_daemon.control_charts import ControlChart
    from edge_daemon.quality.agreement import Followed
    from edge_daemon.quality.checks import CarryOver
    from edge_daemon.quality.levey_jennings import Chart, Plotted

STATES: Final = {
    "in_control": "in control",
    "warning": "warning",
    "out_of_control": "OUT OF CONTROL",
    "no_target": "no target",
}
_SIDES: Final = {"ours": "our values", "analyzer": "the analyzer's values"}
_REACH: Final = 4
_STEP: Final = 5
"""Characters of the drawing: ±4 SD, five for each."""


def _targets(lot: Record) -> str:
    return ", ".join(
        f"{code} {output.number(code, t['mean'])} ± {t['sd']:.3g}"
        for code, t in lot["targets"].items()
    )


LOTS: Final = (
    Column("lot", "Lot", lambda r: r["lot"]),
    Column("level", "Level", lambda r: r["level"]),
    Column("material", "Material", lambda r: r["material"]),
    Column("expires", "Expires", lambda r: r["expires"]),
    Column("pattern", "Sample ids", lambda r: r["pattern"]),
    Column("instrument", "Instrument", lambda r: r["instrument"]),
    Column("targets", "Targets (± 1 SD)", _targets, folds=True),
    Column("made_by", "Added by", lambda r: r["made_by"]),
)

POINTS: Final = (
    Column("instrument", "Instrument", lambda r: r["instrument"]),
    Column("side", "Side", lambda r: r["side"]),
    Column("simulated", "Mark", output.simulated_mark),
    Column("code", "Value of", lambda r: r["code"]),
    Column("wall", "When", lambda r: r["wall"]),
    Column("key", "From", lambda r: r["key"]),
    Column("lot", "Lot", lambda r: r["lot"]),
    Column("level", "Level", lambda r: r["level"]),
    Column("value", "Value", lambda r: output.number(r["code"], r["value"])),
    Column("z", "SD", lambda r: f"{r['z']:.2f}"),
    Column("rules", "Rules", lambda r: " ".join(r["rules"])),
)


def rows(one: ControlChart) -> list[Record]:
    """One row for each point of a chart."""
    return [_about(one) | _point(point) for point in one.chart.points]


def _about(one: ControlChart) -> Record:
    return {
        "instrument": one.instrument,
        "side": one.side,
        "simulated": one.simulated,
        "code": one.code,
    }


def _point(point: Plotted) -> Record:
    reading = point.reading
    return {
        "key": reading.key,
        "wall": reading.wall,
        "lot": reading.lot,
        "level": reading.level,
        "value": reading.value,
        "mean": point.target.mean,
        "sd": point.target.sd,
        "unit": point.target.unit,
        "z": point.z,
        "rules": [hit.rule for hit in point.hits],
    }


def document(one: ControlChart) -> Record:
    """Chart as plain values."""
    about = _about(one) | {"state": one.state}
    points = [
        _point(point) | {"hits": [asdict(hit) for hit in point.hits]} for point in one.chart.points
    ]
    return {**about, "points": points, "actions": _actions(one.chart)}


def _actions(chart: Chart) -> dict[str, str]:
    """Say what to do for each rule that the newest controls break."""
    hits = [hit for point in chart.newest.values() for hit in point.hits]
    # "Results may go on" is no advice where another rule holds them back.
    rejects = any(hit.rejects for hit in hits)
    return {hit.rule: ACTIONS[hit.rule] for hit in hits if hit.rejects or not rejects}


def summary(one: ControlChart) -> Record:
    """Where a chart stands, without its points."""
    about = _about(one) | {"state": one.state}
    levels = {level: _point(point) for level, point in one.chart.newest.items()}
    return {**about, "newest": levels, "actions": _actions(one.chart)}


def draw(one: ControlChart, limit: int) -> None:
    """Draw a chart: time goes down, three lines a standard deviation to either side."""
    chart: Chart = one.chart
    code = one.code
    mark = f"  {output.SIMULATED}" if one.simulated else ""
    word = STATES[one.state]
    title = f"{one.instrument}, {_SIDES[one.side]}: {code} {output.unit(UNITS[code])}"
    output.headline(f"{title}: {word}{mark}", "Failed" if one.state == "out_of_control" else "")
    levels = {point.reading.level for point in chart.points}
    wide = max(len(output.printable(level)) for level in levels)
    scale = "".join(
        f"{sd:+d}"[-2:].replace("+0", "0").center(_STEP) for sd in range(-_REACH, _REACH + 1)
    )
    click.echo(f"{'':<12}  {'':<{wide}}  {'':>7}  {'SD':>5}  {scale}")
    for point in chart.points[-limit:]:
        level = output.printable(point.reading.level)
        value = output.number(code, point.reading.value)
        rules = " ".join(hit.rule for hit in point.hits)
        when = short_time(point.reading.wall)
        line = f"{when:<12}  {level:<{wide}}  {value:>7}  {point.z:>+5.1f}  {_place(point.z)}"
        click.echo(f"{line}  {rules}".rstrip())
    for rule, action in _actions(chart).items():
        click.echo(f"{rule} {output.next_action(action)}")
    click.echo()


def _place(z: float) -> str:
    """One line of the drawing: a dot between the marks of whole standard deviations."""
    width = (2 * _REACH + 1) * _STEP
    cells = [" "] * width
    for sd in range(-_REACH, _REACH + 1):
        cells[_cell(sd)] = "│" if sd == 0 else "┊" if abs(sd) in (2, 3) else "·"
    cells[_cell(max(-_REACH, min(z, _REACH)))] = "●" if abs(z) <= _REACH else "◆"
    return "".join(cells)


def _cell(z: float) -> int:
    return round((z + _REACH) * _STEP) + _STEP // 2


def drift(one: Followed) -> Record:
    """Describe a moving average that drifts, as plain values."""
    sides = {"ours": one.ours, "analyzer": one.analyzer}
    return {
        "instrument": one.instrument,
        "species": one.species,
        "simulated": one.simulated,
        "code": one.code,
        "percent": {
            side: stream.percent[-1]
            for side, stream in sides.items()
            if stream is not None and stream.state == "drift"
        },
        "action": one.action,
    }


def write_status(
    found: Sequence[ControlChart],
    expired: Sequence[Mapping[str, Any]],
    blank: Mapping[str, Any] | None,
    drifting: Sequence[Followed],
    how: Form,
) -> None:
    """Write where everything stands, and what to do."""
    table = [_status_row(one) for one in found]
    output.listing(_STATUS, table, how, empty="No control material has been measured yet.")
    for one in found:
        for rule, action in _actions(one.chart).items():
            click.echo(f"{one.instrument} {one.code} {rule} {output.next_action(action)}")
    for lot in expired:
        told = f"Lot {lot['lot']} {lot['level']} expired on {lot['expires']}."
        click.echo(f"{output.printable(told)} {output.next_action('open a new lot and add it')}")
    if blank is not None:
        click.echo()
        write_blank(blank, how)
    for stream in drifting:
        mark = f" {output.SIMULATED}" if stream.simulated else ""
        percent = drift(stream)["percent"]
        moved = ", ".join(f"{_SIDES[k]} {output.percent(v)}" for k, v in percent.items())
        told = f"Moving average of patients, {stream.instrument}, {stream.species} {stream.code}"
        click.echo(f"{output.printable(told)}: {moved}{mark} {output.next_action(stream.action)}")


def _status_row(one: ControlChart) -> Record:
    levels = one.chart.newest
    return _about(one) | {
        "state": STATES[one.state],
        "levels": ", ".join(f"{level} {point.z:+.1f} SD" for level, point in levels.items()),
        "rules": " ".join(_actions(one.chart)),
        "when": short_time(one.chart.points[-1].reading.wall),
    }


_STATUS: Final = (
    Column("instrument", "Instrument", lambda r: r["instrument"]),
    Column("side", "Side", lambda r: r["side"]),
    Column("simulated", "Mark", output.simulated_mark),
    Column("code", "Value of", lambda r: r["code"]),
    Column("state", "State", lambda r: r["state"]),
    Column("levels", "Newest", lambda r: r["levels"], folds=True),
    Column("rules", "Rules", lambda r: r["rules"]),
    Column("when", "When", lambda r: r["when"]),
)


def write_blank(found: Mapping[str, Any], how: Form) -> None:
    """Write the background of a blank, and what to do if it is too high."""
    mark = f"  {output.SIMULATED}" if found["simulated"] else ""
    click.echo(f"Blank, run {found['run_id']} of {short_time(found['analysed'])}{mark}")
    output.listing(_BLANK, found["values"], how, empty="")
    if any(row["value"] is None for row in found["values"]):
        click.echo("What is not reported proves nothing: a blank needs a metered volume.")
    if any(row["value"] is not None and not row["passes"] for row in found["values"]):
        click.echo(output.next_action(BLANK_ACTION))


_BLANK: Final = (
    Column("code", "Value of", lambda r: r["code"]),
    Column("value", "Background", output.measurement, right=True),
    Column("limit", "At most", lambda r: output.number(r["code"], r["limit"]), right=True),
    Column("unit", "Unit", lambda r: output.unit(r["unit"])),
    Column(
        "verdict",
        "Verdict",
        lambda r: "passes" if r["passes"] else "not known" if r["value"] is None else "TOO HIGH",
    ),
)


def carry_over_document(found: Sequence[CarryOver], *, simulated: bool) -> Record:
    """Carry-over as plain values."""
    values = [asdict(one) | {"passes": one.passes} for one in found]
    return {"simulated": simulated, "values": values, "passes": all(o.passes for o in found)}


def write_carry_over(found: Sequence[CarryOver], how: Form, *, simulated: bool) -> None:
    """Write carry-over, and what to do if there is too much."""
    if simulated:
        click.echo(f"{output.SIMULATED}: says nothing of a real analyzer")
    output.listing(_CARRY_OVER, [asdict(o) | {"passes": o.passes} for o in found], how, empty="")
    for one in found:
        if one.unfit:
            click.echo(f"{one.code}: {one.unfit}; this check says nothing")
    if any(not one.passes and not one.unfit for one in found):
        click.echo(output.next_action(CARRY_OVER_ACTION))


def _verdict(row: Record) -> str:
    if row["unfit"]:
        return "not known"
    return "passes" if row["passes"] else "TOO MUCH"


_CARRY_OVER: Final = (
    Column("code", "Value of", lambda r: r["code"]),
    Column("percent", "Carry-over", lambda r: f"{r['percent']:.2f} %", right=True),
    Column(
        "interval", "95 % interval", lambda r: f"{r['low']:.2f} to {r['high']:.2f} %", right=True
    ),
    Column("limit", "At most", lambda r: f"{r['limit']:g} %", right=True),
    Column("verdict", "Verdict", _verdict),
)
