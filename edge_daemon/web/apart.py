"""What is no patient's sample, worded for the page: controls, blanks and runs of checks.

Such a run is shown with what it is measured against, its target or its limit, and never with what
is said of animals: no interval of a species, no mark, no flag about a patient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edge_daemon.quality.checks import BLANK_ACTION, BLANK_LIMITS
from edge_daemon.reference.interpret import about_measurement
from edge_daemon.store import controls
from edge_daemon.units import UNITS
from edge_daemon.web.values import place
from edge_daemon.wording import KINDS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from edge_daemon.web.interpreting import Ask
    from edge_daemon.web.numbers import Numbers
    from edge_daemon.web.values import Row


@dataclass(frozen=True, slots=True)
class Apart:
    """What a run is that is no patient's.

    Attributes
    ----------
    kind
        ``control``, ``blank`` or ``check``.
    name
        ``Control``, ``Blank`` or ``Check``.
    detail
        Lot and level of a control; empty where there are none.
    said_by
        Who marked it; empty where its sample id or the analyzer says what it is.
    targets
        Of a control's lot: code → ``mean`` and ``sd``, in our unit.
    """

    kind: str
    name: str
    detail: str
    said_by: str
    targets: Mapping[str, Mapping[str, float]]

    @property
    def title(self) -> str:
        """Name and detail."""
        return f"{self.name}, {self.detail}" if self.detail else self.name

    @property
    def against(self) -> str:
        """Heading of what its values are held against; empty where there is nothing."""
        return {"control": "Target ± SD", "blank": "At most"}.get(self.kind, "")


def of_run(db: sqlite3.Connection, run: Mapping[str, Any]) -> Apart | None:
    """Tell what a run is that is no patient's; None for a patient's."""
    capture = run["capture_id"]
    return worded(controls.kinds(db, [capture]).get(capture))


def worded(found: Mapping[str, Any] | None) -> Apart | None:
    """Word one of `controls.kinds`; None for a patient's sample."""
    if found is None:
        return None
    detail = ""
    if found["kind"] == "control":
        known = f"lot {found['lot']}, {found['level']}"
        detail = known if found["lot"] else "its lot is not known"
    return Apart(
        found["kind"], KINDS[found["kind"]], detail, found["made_by"] or "", found["targets"]
    )


def asked(asks: Iterable[Ask], what: Apart) -> list[Ask]:
    """Keep of what a result asks what is about the measurement; of a blank nothing is."""
    return [ask for ask in asks if about_measurement(what.kind, ask.severity, ask.code)]


@dataclass(frozen=True, slots=True)
class Held:
    """The values of a run beside what they are held against.

    Attributes
    ----------
    rows
        With target or limit where a patient's have the reference interval, and standard
        deviations off the target where those have the letter of its source.
    beyond
        Codes of those beyond 2 standard deviations, or above the limit.
    verdict, action
        What that means, and what to do; empty where nothing can be said.
    """

    rows: list[Row]
    beyond: tuple[str, ...] = ()
    verdict: str = ""
    action: str = ""


def hold(what: Apart, run: Mapping[str, Any], rows: Sequence[Row], numbers: Numbers) -> Held:
    """Hold the values of a run against the targets of its lot, or the limits of a blank.

    Parameters
    ----------
    what
        What the run is.
    run
        As `queries.run`.
    rows
        As `values.table` lays them out.
    numbers
        How to write them.
    """
    measured = {
        m["code"]: m["value"] for m in run["measurements"] if m["unit"] == UNITS.get(m["code"])
    }
    if what.kind == "control":
        return _about_target(rows, measured, what.targets, numbers)
    return _of_blank(rows, measured, numbers) if what.kind == "blank" else Held(list(rows))


def _about_target(
    rows: Sequence[Row],
    measured: Mapping[str, float | None],
    targets: Mapping[str, Mapping[str, float]],
    numbers: Numbers,
) -> Held:
    held, beyond = [], []
    for row in rows:
        target, value = targets.get(row.code), measured.get(row.code)
        if target is None:
            held.append(replace(row, reference="no target" if targets else "", letter=""))
            continue
        mean, sd = target["mean"], target["sd"]
        text = f"{numbers.value(row.code, mean)} ± {spread(row.code, sd, numbers)}"
        if value is None:
            held.append(replace(row, reference=text, letter=""))
            continue
        off = (value - mean) / sd
        beyond += [row.code] if abs(off) > 2 else []
        bar = place((value,) * 3, mean - 2 * sd, mean + 2 * sd)
        held.append(replace(row, reference=text, letter=f"{signed(off, numbers)} SD", bar=bar))
    if not targets:
        return Held(held)
    missing = [code for code in targets if measured.get(code) is None]
    if len(missing) == len(targets):
        return Held(held, (), "no value with a target is reported: it proves nothing")
    also = f"; not reported: {', '.join(missing)}" if missing else ""
    if not beyond:
        which = "every reported value" if missing else "every value"
        return Held(held, (), f"{which} with a target is within 2 SD of it{also}")
    return Held(
        held,
        tuple(beyond),
        f"beyond 2 SD of the target: {', '.join(beyond)}{also}",
        "look on Quality which rule breaks and what it asks for",
    )


def _of_blank(rows: Sequence[Row], measured: Mapping[str, float | None], numbers: Numbers) -> Held:
    held, beyond = [], []
    for row in (row for row in rows if row.code in BLANK_LIMITS):
        limit, value = BLANK_LIMITS[row.code], measured.get(row.code)
        beyond += [row.code] if value is not None and value > limit else []
        held.append(replace(row, reference=numbers.value(row.code, limit), letter=""))
    known = [row.code for row in held if measured.get(row.code) is not None]
    if beyond:
        return Held(held, tuple(beyond), f"too high: {', '.join(beyond)}", BLANK_ACTION)
    if not known:
        return Held(held, (), "no count is reported: it proves nothing")
    return Held(held, (), f"within the limit: {', '.join(known)}")


def spread(code: str, sd: float, numbers: Numbers) -> str:
    """Write a standard deviation in the unit of its value, one decimal finer."""
    unit = UNITS[code]
    return numbers.plain(numbers.converted(code, sd, unit) or 0.0, numbers.decimals(code, unit) + 1)


def signed(z: float, numbers: Numbers) -> str:
    """Write how many standard deviations a value is off its target."""
    text = numbers.plain(z, 1)
    return text if text.startswith(("−", "0,0", "0.0")) else f"+{text}"
