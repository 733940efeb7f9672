"""How well an instrument measures: from the store to the statistics of quality.

Commands and pages ask here; what they show is theirs. Connections are those of `queries.connect`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from edge_daemon.errors import EdgeError
from edge_daemon.quality.checks import CARRY_OVER_LIMITS, Measured, background, carry_over
from edge_daemon.quality.levey_jennings import Chart, Reading, State, Target, chart
from edge_daemon.store import controls, queries
from edge_daemon.store.comparisons import Comparisons, Filters
from edge_daemon.units import UNITS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from edge_daemon.quality.agreement import Followed
    from edge_daemon.quality.checks import CarryOver


@dataclass(frozen=True, slots=True)
class ControlChart:
    """The controls of one value on one instrument.

    Attributes
    ----------
    side
        ``ours`` or ``analyzer``: whose values.
    """

    instrument: str
    side: str
    simulated: bool
    code: str
    chart: Chart

    @property
    def state(self) -> State:
        """Of the newest controls."""
        return self.chart.state


def charts(
    db: sqlite3.Connection,
    *,
    instrument: str | None = None,
    code: str | None = None,
    newest: int | None = None,
) -> list[ControlChart]:
    """Chart the controls of every instrument, side and value that has any.

    Parameters
    ----------
    db
        Connection from `queries.connect`.
    instrument, code
        Only this one; None for all.
    newest
        Only so many measurements of each instrument and side, the newest; None for all.
    """
    known = controls.lots(db)
    groups: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
    for one in controls.measured(db):
        if one["lot"] is not None and instrument in (None, one["instrument"]):
            key = (one["instrument"], one["side"], one["simulated"])
            groups.setdefault(key, []).append(one)
    found = []
    for (name, side, simulated), mine in groups.items():
        for wanted in UNITS if code is None else (code,):
            kept = mine if newest is None else mine[-newest:]
            drawn = chart(wanted, _readings(kept, wanted), _targets(known, wanted))
            if drawn.points:
                found.append(ControlChart(name, side, simulated, wanted, drawn))
    return found


def _targets(known: Sequence[Mapping[str, Any]], code: str) -> dict[tuple[str, str], Target]:
    return {
        (lot["lot"], lot["level"]): Target(**lot["targets"][code], unit=UNITS[code])
        for lot in known
        if code in lot["targets"]
    }


def _readings(measured: Sequence[Mapping[str, Any]], code: str) -> list[Reading]:
    return [
        Reading(one["key"], one["lot"], one["level"], value, one["at_s"], one["wall"])
        for one in measured
        if (value := one["values"].get(code)) is not None
    ]


def expired(db: sqlite3.Connection, found: Sequence[ControlChart]) -> list[dict[str, Any]]:
    """List lots that are past their day of expiry and still the newest of their level.

    Returns
    -------
    list of dict
        ``lot``, ``level``, ``expires``.
    """
    today = date.today().isoformat()  # noqa: DTZ011 - the day on the sheet is the clinic's
    in_use = {
        (point.reading.lot, level) for one in found for level, point in one.chart.newest.items()
    }
    return [
        {"lot": lot["lot"], "level": lot["level"], "expires": lot["expires"]}
        for lot in controls.lots(db)
        if (lot["lot"], lot["level"]) in in_use and lot["expires"] and lot["expires"] < today
    ]


def blank_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Check the background of a run of diluent alone.

    Returns
    -------
    dict
        ``run_id``, ``simulated``, ``analysed`` and ``values``, each ``code``, ``value``, ``unit``,
        ``limit``, ``passes``.
    """
    checked = background({m["code"]: m["value"] for m in run["measurements"]})
    return {
        "run_id": run["id"],
        "simulated": run["simulated"],
        "analysed": run["created_wall"],
        "values": [
            {
                "code": one.code,
                "value": one.value,
                "unit": UNITS[one.code],
                "limit": one.limit,
                "passes": one.passes,
            }
            for one in checked
        ],
    }


def newest_blank(db: sqlite3.Connection) -> dict[str, Any] | None:
    """Check the newest blank, as `blank_of`; None where there is none."""
    run_id = controls.newest_blank(db)
    run = None if run_id is None else queries.run(db, f"run:{run_id}")
    return None if run is None else blank_of(run)


def drifting(db: sqlite3.Connection, instrument: str | None = None) -> list[Followed]:
    """List moving averages of patients that drift, as `agreement` finds them."""
    from edge_daemon.quality.agreement import follow  # noqa: PLC0415 - numpy: not for the page

    held = Comparisons(db, Filters(instrument=instrument))
    followed = follow(point for part in (held.ours(), held.reported()) for point in part)
    return [one for one in followed if one.drifts]


def carry_over_of(runs: Sequence[Mapping[str, Any]]) -> list[CarryOver]:
    """Check carry-over in six runs, as `queries.run` gives them: three high, then three low.

    Raises
    ------
    EdgeError
        Their counts are not reported, or not those of a high and a low sample.
    """
    found = []
    for code in CARRY_OVER_LIMITS:
        values = [
            Measured(m["value"], m["low"], m["high"])
            for run in runs
            for m in run["measurements"]
            if m["code"] == code and m["value"] is not None and m["unit"] == UNITS[code]
        ]
        if len(values) == len(runs):
            found.append(carry_over(code, values[:3], values[3:]))
    if not found:
        raise EdgeError(
            "neither RBC nor PLT is reported of all six runs",
            action="Carry-over needs absolute counts: check volume and dilution of the profile.",
        )
    return found
