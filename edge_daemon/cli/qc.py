"""Commands for quality control: lots of control material, charts, checks, and how things stand."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import click

from edge_daemon import errors
from edge_daemon.cli import options, output, qc_show
from edge_daemon.quality import sheet
from edge_daemon.units import UNITS

if TYPE_CHECKING:
    from pathlib import Path

    from edge_daemon.cli.output import Record

_SIDES: Final = ("ours", "analyzer")


@click.group()
def qc() -> None:
    """Control material, Levey-Jennings charts, carry-over and blank checks."""


@qc.group()
def lots() -> None:
    """Add or list lots of control material."""


@lots.command("list")
@options.data_dir_option
@options.json_option
@options.csv_option
def lots_list(data_dir: Path, as_json: bool, as_csv: bool) -> None:
    """List the lots with their targets, newest first."""
    from edge_daemon.store import controls, queries

    how = output.form(as_json=as_json, as_csv=as_csv)
    with contextlib.closing(queries.connect(data_dir)) as db:
        found = controls.lots(db)
    if how == "json":
        output.emit_json(found)
        return
    output.listing(qc_show.LOTS, found, how, empty="No lot yet; add one with `qc lots add`.")


@lots.command("add")
@click.argument("lot", metavar="LOT")
@click.argument("level", metavar="LEVEL")
@click.option("--material", required=True, metavar="NAME", help="What the material is called.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    required=True,
    metavar="CODE=…",
    help="MEAN,SD or LOW..HIGH with an optional unit: PLT=250,12 or HGB=136..144,g/L.",
)
@click.option(
    "--range-sds",
    type=click.FloatRange(*sheet.RANGES),
    default=sheet.RANGE_SDS,
    show_default=True,
    metavar="N",
    help="How many standard deviations to either side a range LOW..HIGH is.",
)
@click.option("--pattern", metavar="TEXT", help="Sample ids that mean it, such as 'QC-N*'.")
@click.option("--expires", metavar="DATE", help="Day of expiry, 2027-03-31.")
@click.option("--instrument", metavar="NAME", help="Only on this instrument.")
@click.option("--by", required=True, metavar="NAME", help="Who adds it.")
@options.data_dir_option
@options.json_option
def lots_add(
    lot: str,
    level: str,
    material: str,
    targets: tuple[str, ...],
    range_sds: float,
    pattern: str | None,
    expires: str | None,
    instrument: str | None,
    by: str,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Add one LEVEL of a LOT, with the targets of its sheet.

    The same lot and level again takes the place of the former, which is kept.
    """
    from edge_daemon.cli.desk import do_errand

    done = do_errand(
        data_dir,
        {
            "errand": "add_lot",
            "lot": lot,
            "level": level,
            "material": material,
            "targets": dict(_target(text, range_sds) for text in targets),
            "pattern": pattern,
            "expires": expires,
            "instrument": instrument,
            "by": by,
        },
    )
    if as_json:
        output.emit_json(done)
    else:
        output.say("Added. `edge-daemon qc lots list` shows it.")


def _target(text: str, range_sds: float) -> tuple[str, dict[str, float]]:
    """Read ``PLT=250,12``, ``PLT=226..274`` or either with a unit; in our unit."""
    code, _, rest = (part.strip() for part in text.partition("="))
    if code not in UNITS:
        raise click.BadParameter(f"{code!r} is no value; known: {', '.join(UNITS)}")
    parts = [part.strip() for part in rest.split(",")]
    unit = UNITS[code]
    if ".." in parts[0]:
        numbers = parts.pop(0).split("..")
    else:
        numbers, parts = parts[:2], parts[2:]
    if parts:
        unit = parts.pop(0)
    try:
        first, second = (float(number) for number in numbers)
    except ValueError:
        parts = ["?"]
    if parts:
        raise click.BadParameter(f"{text!r}: write CODE=MEAN,SD or CODE=LOW..HIGH, then ,UNIT")
    form: sheet.Form = "range" if ".." in rest else "mean"
    try:
        return code, sheet.target(code, form, first, second, unit, range_sds)
    except errors.EdgeError as error:
        raise click.BadParameter(f"{text!r}: {error.message}; {error.action}") from error


@qc.command()
@click.argument("key", metavar="RUN")
@click.option("--control", nargs=2, metavar="LOT LEVEL", help="It is this level of this lot.")
@click.option("--blank", is_flag=True, help="It is a blank: diluent alone.")
@click.option("--check", is_flag=True, help="It belongs to a check, such as carry-over.")
@click.option("--patient", is_flag=True, help="It is a patient's sample after all.")
@click.option("--by", required=True, metavar="NAME", help="Who says so.")
@options.data_dir_option
@options.json_option
def mark(
    key: str,
    control: tuple[str, str] | None,
    blank: bool,
    check: bool,
    patient: bool,
    by: str,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Say what a run is: a control, a blank, part of a check, or a patient's after all.

    RUN is as KEY of `show`. What is no patient's is left out of moving averages and agreement.
    """
    from edge_daemon.cli.desk import do_errand, find_run

    given = {"control": bool(control), "blank": blank, "check": check, "patient": patient}
    if sum(given.values()) != 1:
        raise click.UsageError("Give one of --control, --blank, --check and --patient.")
    lot, level = control or (None, None)
    errand = {
        "errand": "mark",
        "run_id": find_run(data_dir, key)["id"],
        "kind": next(kind for kind, chosen in given.items() if chosen),
        "lot": lot,
        "level": level,
        "by": by,
    }
    done = do_errand(data_dir, errand)
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"Marked run {errand['run_id']}.")


@qc.command()
@click.argument("code", type=click.Choice(list(UNITS)), metavar="CODE")
@click.option("--instrument", metavar="NAME", help="Only this instrument.")
@click.option("--side", type=click.Choice(_SIDES), help="Only our values, or the analyzer's own.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=10_000),
    default=30,
    show_default=True,
    metavar="N",
    help="Draw the newest so many.",
)
@options.data_dir_option
@options.json_option
@options.csv_option
def chart(
    code: str,
    instrument: str | None,
    side: str | None,
    limit: int,
    data_dir: Path,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Draw the Levey-Jennings chart of CODE, such as PLT, with the rules that break.

    Exit code 3 when the newest control of a level breaks a rule that rejects.
    """
    from edge_daemon.control_charts import charts
    from edge_daemon.store import queries

    how = output.form(as_json=as_json, as_csv=as_csv)
    with contextlib.closing(queries.connect(data_dir)) as db:
        every = charts(db, instrument=instrument, code=code)
    found = [one for one in every if side in (None, one.side)]
    if how == "json":
        output.emit_json([qc_show.document(one) for one in found])
    elif how == "csv":
        rows = [row for one in found for row in qc_show.rows(one)]
        output.listing(qc_show.POINTS, rows, how, empty="")
    else:
        if not found:
            output.say(f"No control of {code} yet: add a lot (`qc lots add`) and run it.")
        for one in found:
            qc_show.draw(one, limit)
    broken = any(one.state == "out_of_control" for one in found)
    return errors.EXIT_WARNINGS if broken else errors.EXIT_OK


@qc.command()
@click.option("--instrument", metavar="NAME", help="Only this instrument.")
@options.data_dir_option
@options.json_option
def status(instrument: str | None, data_dir: Path, as_json: bool) -> int:
    """Say whether the analyzer is in control, and what to do where it is not.

    Controls by Westgard's rules, the newest blank, and moving averages of patients. Exit code 3
    when a rule rejects, a blank is too high, a moving average drifts, or the lot in use has
    expired.
    """
    from edge_daemon import control_charts
    from edge_daemon.store import queries

    how = output.form(as_json=as_json)
    with contextlib.closing(queries.connect(data_dir)) as db:
        found = control_charts.charts(db, instrument=instrument)
        expired = control_charts.expired(db, found)
        blank = control_charts.newest_blank(db)
        drifting = control_charts.drifting(db, instrument)
    bad = (
        bool(expired or drifting)
        or any(one.state == "out_of_control" for one in found)
        or (blank is not None and any(_too_high(row) for row in blank["values"]))
    )
    if how == "json":
        output.emit_json(
            {
                "in_control": not bad,
                "controls": [qc_show.summary(one) for one in found],
                "expired": expired,
                "blank": blank,
                "drifting": [qc_show.drift(one) for one in drifting],
            }
        )
    else:
        qc_show.write_status(found, expired, blank, drifting, how)
    return errors.EXIT_WARNINGS if bad else errors.EXIT_OK


def _too_high(row: Record) -> bool:
    return row["value"] is not None and not row["passes"]


@qc.command()
@click.argument("key", metavar="RUN", required=False)
@options.data_dir_option
@options.json_option
def blank(key: str | None, data_dir: Path, as_json: bool) -> int:
    """Check the background of a blank run; the newest one unless RUN is given.

    Exit code 3 when it is too high, 4 when there is no blank.
    """
    from edge_daemon.cli.desk import find_run
    from edge_daemon.control_charts import blank_of, newest_blank
    from edge_daemon.store import queries

    if key:
        found: Record | None = blank_of(find_run(data_dir, key))
    else:
        with contextlib.closing(queries.connect(data_dir)) as db:
            found = newest_blank(db)
    if found is None:
        raise errors.Fatal(
            "no blank run is known",
            action="Give its number, mark it with `qc mark RUN --blank`, or call its sample BLANK.",
            exit_code=errors.EXIT_NOT_FOUND,
        )
    if as_json:
        output.emit_json(found)
    else:
        qc_show.write_blank(found, output.form(as_json=False))
    fails = not all(row["passes"] for row in found["values"])
    return errors.EXIT_WARNINGS if fails else errors.EXIT_OK


@qc.command("carry-over")
@click.argument("keys", nargs=6, metavar="HIGH HIGH HIGH LOW LOW LOW")
@options.data_dir_option
@options.json_option
def carry_over(keys: tuple[str, ...], data_dir: Path, as_json: bool) -> int:
    """Check carry-over: three runs of a high sample, then three of a low one, in this order.

    (j1 - j3) / (i3 - j3) x 100 of the highs i and the lows j. Limits: RBC 0.5 %, PLT 1.0 %.
    Exit code 3 when there is too much, or the samples do not fit the check.
    """
    from edge_daemon.cli.desk import find_run
    from edge_daemon.control_charts import carry_over_of

    runs = [find_run(data_dir, key) for key in keys]
    found = carry_over_of(runs)
    simulated = any(run["simulated"] for run in runs)
    if as_json:
        output.emit_json(qc_show.carry_over_document(found, simulated=simulated))
    else:
        qc_show.write_carry_over(found, output.form(as_json=False), simulated=simulated)
    fails = not all(one.passes for one in found)
    return errors.EXIT_WARNINGS if fails else errors.EXIT_OK
