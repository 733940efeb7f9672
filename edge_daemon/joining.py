"""Which report of the analyzer belongs to which run of ours: pure, on rows of both.

Nothing of this is stored: a run, a late report and a corrected profile may come in any order,
and every answer is worked out from what is there. A report belongs to a run when both name the
same sample, lie within a time window of each other, and contradict each other in nothing: mark
of simulation, serial number, patient, species. Where several runs would do (a sample that was
measured again), it is the one of the same instrument that is nearest in time; and reports that
contradict each other are never put together.

Sample ids are reused, often daily, so time decides, and only a clock that both sides share may:
the analyzer's own, one boot's monotonic clock, or synchronised wall time. Standard library only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

WINDOW_S: Final = 12 * 3600.0
"""A report may come so long before or after the run."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - of the analyzer's own clock, without zone
_SPACE: Final = " \t\n\v\f\r"
_COMPACT: Final = re.compile(r"(\d{8})(\d{4}|\d{6})?(?:[.,]\d+)?([+-]\d{4})?")
_ZONES_S: Final = 14 * 3600.0
_FEW: Final = 8
_FCS: Final = "%d-%b-%Y %H:%M:%S"

REASONS: Final = {
    "patient_differs": "it names another patient",
    "species_differs": "it names another species",
    "analyzer_differs": "it comes from an analyzer with another serial number",
    "control_material": "it is of control material",
    "other_analyzer": "it came from another instrument; only one's reports are compared",
}
"""Why a report of the same sample and time is not compared with a run."""


def sample_key(sample_id: str | None) -> str | None:
    """Return what makes two sample ids the same: white space around and ASCII case do not count.

    Migration 0002 says the same in SQL.
    """
    if sample_id is None:
        return None
    return sample_id.strip(_SPACE).encode().lower().decode() or None


def animal(patient: str | None, sample: str | None, day: str) -> str | None:
    """Return what tells animals apart where one id stands for them, or None.

    A patient's, else the sample's with its day: an analyzer may count from 1 every morning.
    """
    if patient or sample is None:
        return patient or None
    return f"{sample} {day}"


def analyzer_time(text: str | None) -> tuple[str, float] | None:
    """Read the analyzer's own date and time.

    Parameters
    ----------
    text
        ISO 8601 (slashes in the date will do), the compact form of HL7 and ASTM
        (``YYYYMMDDhhmm[ss]``, with or without an offset), or that of FCS
        (``05-JAN-2026 08:00:00``).

    Returns
    -------
    tuple or None
        The clock it is of (``utc``, or ``analyzer`` for its local time) and seconds on it.
        None where there is none, it cannot be read, or it is a date without a time.
    """
    if not text:
        return None
    text = text.strip()
    moment: datetime | None = None
    try:
        if (compact := _COMPACT.fullmatch(text)) is not None:
            day, clock, offset = compact.groups()
            if clock is None:
                return None
            # Compact ISO with its T is what the standard library reads.
            moment = datetime.fromisoformat(f"{day}T{clock}{offset or ''}")
        elif len(text) > 10:
            moment = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        moment = None
    if moment is None:
        try:
            moment = datetime.strptime(text, _FCS)  # noqa: DTZ007 - the analyzer's local time
        except ValueError:
            return None
    try:
        if moment.tzinfo is None:
            return "analyzer", (moment - _EPOCH).total_seconds()
        return "utc", moment.astimezone(UTC).timestamp()
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True)
class Subject:
    """A run or a report, as far as joining looks at it.

    Attributes
    ----------
    times
        Seconds on each clock that knows its moment, the most trusted first.
    told
        The same as the instrument said it, where people have corrected it: a report may repeat
        either.
    """

    id: int
    capture_id: int
    key: str | None
    instrument: str
    serial: str | None
    patient_id: str | None
    names: frozenset[str]
    species: str | None
    simulated: bool
    control: bool
    times: Mapping[str, float]
    told: Subject | None = None


def subject(row: Mapping[str, Any]) -> Subject:
    """Look at a row of runs or reports with its capture's ``instrument`` and ``received_*``."""
    times: dict[str, float] = {}
    if (own := analyzer_time(row["acquired_at"])) is not None:
        times[own[0]] = own[1]
    times[f"boot {row['received_boot']}"] = row["received_monotonic_s"]
    if row["received_clock"] == "synchronised":
        times["wall"] = datetime.fromisoformat(row["received_wall"]).timestamp()
    found = Subject(
        id=row["id"],
        capture_id=row["capture_id"],
        key=row["sample_key"],
        instrument=row["instrument"],
        serial=_word(row["instrument_serial"]),
        patient_id=_word(row["patient_id"]),
        names=_names(row["patient_name"]),
        species=row["species"],
        simulated=bool(row["simulated"]),
        control=row.get("kind") == "control",
        times=times,
    )
    who = {name: row.get(f"told_{name}", row[name]) for name in _WHO}
    if all(row[name] == said for name, said in who.items()):
        return found
    told = replace(
        found,
        patient_id=_word(who["patient_id"]),
        names=_names(who["patient_name"]),
        species=who["species"],
    )
    return replace(found, told=told)


_WHO: Final = ("patient_id", "patient_name", "species")


def _names(text: str | None) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", (text or "").casefold()))


def _word(text: str | None) -> str | None:
    return (text or "").strip().casefold() or None


def gap_s(one: Subject, other: Subject) -> float | None:
    """Seconds between the two on the first clock they share; None when they share none.

    Where one gives the analyzer's time with its zone and the other without, the zone leaves
    some hours open, and the rest is a lower bound.
    """
    if one.capture_id == other.capture_id:
        return 0.0
    gap = next(
        (
            abs(moment - other.times[clock])
            for clock, moment in one.times.items()
            if clock in other.times
        ),
        None,
    )
    if gap is None or {"utc", "analyzer"} & one.times.keys() & other.times.keys():
        return gap
    own = [t for item in (one, other) for c, t in item.times.items() if c in ("utc", "analyzer")]
    return max(gap, abs(own[0] - own[1]) - _ZONES_S) if len(own) == 2 else gap


def is_of(run: Subject, report: Subject, window_s: float = WINDOW_S) -> bool:
    """Whether the report can be of the run: same sample, same world, within the window."""
    if run.simulated != report.simulated:
        return False
    if run.capture_id == report.capture_id:
        return run.key == report.key or not (run.key and report.key)
    if run.key is None or run.key != report.key:
        return False
    gap = gap_s(run, report)
    return gap is not None and gap <= window_s


def contradiction(run: Subject, report: Subject) -> str | None:
    """Say what the two contradict each other in, a key of `REASONS`; None if in nothing.

    A run that people have corrected contradicts only what neither they nor the instrument said.
    """
    reason = _differs(run, report)
    return _differs(run.told, report) if reason and run.told else reason


def _differs(run: Subject, report: Subject) -> str | None:
    if report.control:
        return "control_material"
    if run.serial and report.serial and run.serial != report.serial:
        return "analyzer_differs"
    if run.patient_id and report.patient_id:
        if run.patient_id != report.patient_id:
            return "patient_differs"
    elif run.names and report.names and not run.names & report.names:
        return "patient_differs"
    if run.species and report.species and run.species != report.species:
        return "species_differs"
    return None


@dataclass(frozen=True, slots=True)
class Match:
    """The reports of one run, by id, oldest first.

    Attributes
    ----------
    joined
        To be merged and compared.
    contradicted
        Of the same sample and time, with the key of `REASONS` that forbids comparing.
    """

    joined: tuple[int, ...] = ()
    contradicted: tuple[tuple[int, str], ...] = ()


def match(
    run: Subject,
    reports: Iterable[Subject],
    rivals: Sequence[Subject] = (),
    *,
    window_s: float = WINDOW_S,
) -> Match:
    """Find the reports of a run.

    Parameters
    ----------
    run
        The run.
    reports
        Those that may be of it, in any order; of each capture's newest analysis.
    rivals
        Runs of other captures of the same sample, which may be nearer to a report.
    window_s
        Largest distance in time.
    """
    joined: list[Subject] = []
    against: list[tuple[int, str]] = []
    for report in sorted(reports, key=lambda r: r.id):
        if not is_of(run, report, window_s):
            continue
        if (reason := contradiction(run, report)) is not None:
            against.append((report.id, reason))
        elif not any(
            rival.capture_id != run.capture_id
            and is_of(rival, report, window_s)
            and contradiction(rival, report) is None
            and _rank(rival, report) < _rank(run, report)
            for rival in rivals
        ):
            joined.append(report)
    if not joined:
        return Match((), tuple(against))
    together: list[Subject] = []
    for report in sorted(joined, key=lambda report: _rank(run, report)):
        reasons = (
            "other_analyzer" if one.instrument != report.instrument else contradiction(one, report)
            for one in together
        )
        if (reason := next(filter(None, reasons), None)) is None:
            together.append(report)
        else:
            against.append((report.id, reason))
    return Match(tuple(sorted(report.id for report in together)), tuple(sorted(against)))


def _rank(run: Subject, report: Subject) -> tuple[bool, float]:
    gap = gap_s(run, report)
    return run.instrument != report.instrument, float("inf") if gap is None else gap


def match_all(
    runs: Iterable[Subject], reports: Iterable[Subject], *, window_s: float = WINDOW_S
) -> dict[int, Match]:
    """Find the reports of every run that has any: run id → as `match` of each alone.

    Time grows with the number of runs and of what lies within one window, not with how often a
    sample id was used over the years.
    """
    runs, reports = list(runs), list(reports)
    runs_by_key, reports_by_key = _grouped(runs, "key"), _grouped(reports, "key")
    runs_by_capture = _grouped(runs, "capture_id")
    reports_by_capture = _grouped(reports, "capture_id")
    shared = (runs_by_key.keys() & reports_by_key.keys()) - {None}
    runs_near = {k: _nearby(runs_by_key[k], reports_by_key[k], window_s) for k in shared}
    reports_near = {k: _nearby(reports_by_key[k], runs_by_key[k], window_s) for k in shared}
    found: dict[int, Match] = {}
    for run in runs:
        near = {r.id: r for r in reports_by_capture.get(run.capture_id, ())}
        if run.key in shared:
            near.update((r.id, r) for r in reports_near[run.key](run))
        if not near:
            continue
        rivals: dict[int, Subject] = {}
        for report in near.values():
            rivals.update((r.id, r) for r in runs_by_capture.get(report.capture_id, ()))
            if report.key in shared:
                rivals.update((r.id, r) for r in runs_near[report.key](report))
        matched = match(run, near.values(), tuple(rivals.values()), window_s=window_s)
        if matched != Match():
            found[run.id] = matched
    return found


def _grouped(items: Iterable[Subject], attribute: str) -> dict[Any, list[Subject]]:
    groups: dict[Any, list[Subject]] = defaultdict(list)
    for item in items:
        groups[getattr(item, attribute)].append(item)
    return groups


def _nearby(
    items: Sequence[Subject], seekers: Sequence[Subject], window_s: float
) -> Callable[[Subject], Iterable[Subject]]:
    """Make what gives a seeker the items that may lie within a window, and few others.

    Items are laid into boxes of one window on each clock. Where all have the same clock first,
    only that one can decide, and the others are left alone.
    """
    if len(items) <= _FEW:
        return lambda _: items
    first = {next(iter(item.times)) for item in (*items, *seekers)}
    only = first.pop() if len(first) == 1 else None
    width = max(window_s, 1.0)

    def places(item: Subject) -> list[tuple[str, int]]:
        times = item.times.items()
        return [(clock, int(at // width)) for clock, at in times if only in (None, clock)]

    boxes: dict[tuple[str, int], list[Subject]] = defaultdict(list)
    for item in items:
        for place in places(item):
            boxes[place].append(item)

    def near(seeker: Subject) -> Iterable[Subject]:
        found = {
            item.id: item
            for clock, box in places(seeker)
            for step in (-1, 0, 1)
            for item in boxes.get((clock, box + step), ())
        }
        return found.values()

    return near
