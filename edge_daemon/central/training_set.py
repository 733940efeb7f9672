"""Which captures of the fleet can train models, each with what its analyzer reported of it.

Runs and reports are put together with the same rules as on a box (`joining`), within each box: on
the analyzer's own clock, else on the box's where that was right.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from edge_daemon import joining
from edge_daemon.central.feeds.documents import Choice, Told, pages, settled
from edge_daemon.central.feeds.versions import NO_PATIENT, kind_of
from edge_daemon.central.reading import Scope
from edge_daemon.central.schema import raw_objects
from edge_daemon.merging import merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edge_daemon.central.raw_store import RawStore
    from edge_daemon.central.reading import Reader

_UNITS: Final = {"RBC": "10*6/uL", "PLT": "10*3/uL", "RETIC%": "%"}
_KEPT: Final = ("instrument", "capture", "number", "profile", "sample", "kind", "amends")
_WHAT: Final = frozenset({"run", "report", "mark"})


@dataclass(frozen=True, slots=True)
class Example:
    """One capture with the values that train from it; None is not known.

    Attributes
    ----------
    sha256
        Of the raw capture.
    rbc, plt, retic_pct
        As the analyzer reported them: 10⁶/µL, 10³/µL, %.
    documents
        Numbers of the run's and the reports' documents at the centre.
    """

    sha256: str
    clinic_id: int
    profile: str
    species: str | None
    rbc: float
    plt: float | None
    retic_pct: float | None
    dilution: float
    volume_ul: float
    documents: tuple[int, ...]


@dataclass(slots=True)
class Wanted:
    """What a set is to hold.

    Attributes
    ----------
    instrument
        First part of the profiles' ids, e.g. ``sim_optical4``.
    profile
        One whole id; None for every firmware.
    simulated
        Simulated captures, or real ones: never both.
    species
        Species → most captures of it, None for all; empty for every species.
    left_out
        Why captures are not in it, with how many.
    """

    instrument: str
    profile: str | None = None
    simulated: bool = False
    species: Mapping[str, int | None] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def is_of(self, profile: str) -> bool:
        """Whether a profile is one of those that are meant."""
        if self.profile is not None:
            return profile == self.profile
        return profile.partition("/")[0] == self.instrument


def find(reader: Reader, clinics: Iterable[int], wanted: Wanted) -> list[Example]:
    """Find the captures of these clinics that the set is to hold, in the order of their digests.

    Of a species with a limit, those with the lowest digests: whatever else is asked for, the
    same ones.
    """
    found: dict[str, Example] = {}
    for clinic in sorted(clinics):
        for example in _of_clinic(reader, clinic, wanted):
            if example.sha256 in found:
                wanted.left_out["the same capture of another box is there"] += 1
            found.setdefault(example.sha256, example)
    return list(_mixed(sorted(found.values(), key=lambda e: e.sha256), wanted))


def _mixed(examples: Sequence[Example], wanted: Wanted) -> Iterator[Example]:
    taken: Counter[str | None] = Counter()
    for example in examples:
        limit = wanted.species.get(example.species or "")
        if wanted.species and example.species not in wanted.species:
            wanted.left_out["of another species"] += 1
        elif limit is not None and taken[example.species] >= limit:
            wanted.left_out["more of this species than asked for"] += 1
        else:
            taken[example.species] += 1
            yield example


def is_held_out(clinic_id: int, share: float, seed: int) -> bool:
    """Say whether a clinic's captures are kept from training: the same whatever else is there."""
    drawn = hashlib.sha256(f"{seed}:{clinic_id}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") < share * 2**64


def read_capture(store: RawStore, sha256: str) -> bytes | None:
    """Return a capture's bytes where they are there and are those that were named."""
    try:
        data = store.get(sha256)
    except FileNotFoundError:
        return None
    return data if hashlib.sha256(data).hexdigest() == sha256 else None


@dataclass(slots=True)
class _Box:
    """What one box has sent of its results, by capture."""

    runs: dict[tuple[str, str], list[Told]] = field(default_factory=lambda: defaultdict(list))
    reports: dict[tuple[str, str], list[Told]] = field(default_factory=lambda: defaultdict(list))
    marks: dict[tuple[str, str], list[Told]] = field(default_factory=lambda: defaultdict(list))


def _of_clinic(reader: Reader, clinic: int, wanted: Wanted) -> Iterator[Example]:
    scope = Scope(frozenset({clinic}))
    kinds = frozenset({"simulated" if wanted.simulated else "clinical"})
    boxes: dict[str, _Box] = defaultdict(_Box)
    choice = Choice(_WHAT, kinds, upto=settled(reader, scope))
    for page in pages(reader, scope, choice):
        for told in map(_slim, page):
            device, *capture = told.result
            box, key = boxes[device], (capture[0], capture[1])
            if told.what == "mark":
                box.marks[key].append(told)
            else:
                (box.runs if told.what == "run" else box.reports)[key].append(told)
    with reader.reading(scope) as db:
        query = select(raw_objects.c.sha256).where(raw_objects.c.clinic_id == clinic)
        raw = frozenset(db.execute(query).scalars())
    for box in boxes.values():
        yield from _of_box(box, raw, wanted)


def _slim(told: Told) -> Told:
    """Keep of a document what joining and training look at: a clinic's years must fit in memory."""
    kept = {key: told.body[key] for key in _KEPT if key in told.body}
    if told.what == "report":
        kept["values"] = [line for line in told.body["values"] if line["code"] in _UNITS]
    return replace(told, body=kept)


def _of_box(box: _Box, raw: frozenset[str], wanted: Wanted) -> Iterator[Example]:
    newest = {key: max(runs, key=lambda run: run.order) for key, runs in box.runs.items()}
    keys = {key: number for number, key in enumerate([*box.runs, *box.reports])}
    reports = {
        report.id: report for told in box.reports.values() for report in _newest_reading(told)
    }
    matches = joining.match_all(
        [_run_subject(box.runs[key], keys[key]) for key in newest],
        [
            _subject(report, box.reports[key][0], keys[key])
            for key, told in box.reports.items()
            for report in _newest_reading(told)
        ],
    )
    for key, run in newest.items():
        if not wanted.is_of(str(run.body["profile"])):
            continue
        if kind_of(run, box.marks.get(key, ())) in NO_PATIENT:
            wanted.left_out["no patient's"] += 1
            continue
        first = min(box.runs[key], key=lambda told: told.order)
        joined = matches.get(first.id, joining.Match()).joined
        example = _example(run, [reports[number] for number in joined], wanted)
        if example is not None and example.sha256 not in raw:
            wanted.left_out["the raw capture is not here"] += 1
        elif example is not None:
            yield example


def _example(run: Told, reports: Sequence[Told], wanted: Wanted) -> Example | None:
    if not reports:
        wanted.left_out["no report of the analyzer belongs to it"] += 1
        return None
    in_order = sorted(reports, key=lambda report: report.id)
    told = [{**report.body, "id": report.id} for report in in_order]
    values = {
        line["code"]: line["value"]
        for line in merge(told)
        if line["code"] in _UNITS and line["unit"] == _UNITS[line["code"]]
    }
    sample = run.body["sample"]
    rbc, dilution, volume = values.get("RBC"), sample["dilution"], sample["volume_ul"]
    if rbc is None or dilution is None or volume is None:
        wanted.left_out["reported RBC, dilution or metered volume is not known"] += 1
        return None
    return Example(
        sha256=str(run.body["capture"]),
        clinic_id=run.clinic_id,
        profile=str(run.body["profile"]),
        species=sample["species"],
        rbc=float(rbc),
        plt=_number(values.get("PLT")),
        retic_pct=_number(values.get("RETIC%")),
        dilution=float(dilution),
        volume_ul=float(volume),
        documents=(run.id, *(report.id for report in in_order)),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _newest_reading(told: Sequence[Told]) -> list[Told]:
    """List the reports of a capture's newest analysis: earlier readings no longer count."""
    last = max(int(report.body["number"]) for report in told)
    return [report for report in told if report.body["number"] == last]


def _run_subject(versions: Sequence[Told], capture: int) -> joining.Subject:
    """Look at a run as joining does: dated as its first version, with what was corrected since."""
    first = min(versions, key=lambda told: told.order)
    newest = max(versions, key=lambda told: told.order)
    said = {f"told_{key}": first.body["sample"].get(key) for key in ("patient_id", "species")}
    row = _row(newest, first, capture)
    return joining.subject({**row, **said, "id": first.id, "sample_key": _key(first)})


def _subject(report: Told, first: Told, capture: int) -> joining.Subject:
    return joining.subject({**_row(report, first, capture), "kind": report.body["kind"]})


def _row(told: Told, first: Told, capture: int) -> dict[str, Any]:
    sample = told.body["sample"]
    return {
        "id": told.id,
        "capture_id": capture,
        "sample_key": _key(told),
        "instrument": told.body["instrument"],
        "instrument_serial": sample.get("instrument_serial"),
        "patient_id": sample.get("patient_id"),
        "patient_name": None,
        "species": sample.get("species"),
        "simulated": told.simulated,
        "acquired_at": sample.get("acquired_at"),
        # The monotonic clock of a boot stays on the box: no two share it here.
        "received_boot": str(told.id),
        "received_monotonic_s": 0.0,
        "received_clock": first.clock_state,
        "received_wall": first.created_at,
    }


def _key(told: Told) -> str | None:
    return joining.sample_key(told.body["sample"].get("sample_id"))
