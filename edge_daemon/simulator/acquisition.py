"""One acquisition: particles through the beam, pulses, converter, file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from edge_daemon.errors import EdgeError
from edge_daemon.exchange.fcs_writer import FcsColumn, write_fcs
from edge_daemon.records import CELL_CLASSES
from edge_daemon.simulator.cells import concentrations, draw_particles
from edge_daemon.simulator.instruments import Firmware, find_firmware, find_instrument
from edge_daemon.simulator.instruments import shifted as shift_physics
from edge_daemon.simulator.optics import load_table
from edge_daemon.simulator.pulse_writer import write_pulses
from edge_daemon.simulator.pulses import Events, measure, pass_beam, record

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from edge_daemon.simulator.biology import SamplePlan
    from edge_daemon.simulator.instruments import Instrument, PulseFirmware

MARK: Final = ("EDGE_SIMULATED", "TRUE")
"""Keyword of every simulated capture (docs/decisions/0005)."""

MAX_EVENTS: Final = 1_000_000
MIN_EVENT_RATE: Final = 0.1
MAX_EVENT_RATE: Final = 10.0

_EPOCH: Final = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_ANALYZER_RED_CELLS: Final = 60_000
"""Red cells that the reference analyzer counts; its reticulocyte channel sees half as many."""

# Stages of randomness: each has its own stream, so that a change in one leaves the others.
_CELLS, _BEAM, _ELECTRONICS, _REFERENCE = range(4)


class Truth(NamedTuple):
    """One row of ``truth.csv``; the fields are its header."""

    capture: str
    species: str
    condition: str
    n_pure_rbc: int
    n_reticulocyte: int
    n_clumped_rbc: int
    n_platelet: int
    n_other: int
    rbc_10e6_per_ul: float
    plt_10e3_per_ul: float
    retic_pct: float


class Reference(NamedTuple):
    """One row of ``references.csv``; the fields are its header; None is written empty."""

    capture: str
    species: str
    rbc_10e6_per_ul: float
    plt_10e3_per_ul: float
    retic_pct: float | None
    dilution: float
    volume_ul: float


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What one run gives, and what nobody but the simulator knows about it.

    Attributes
    ----------
    name
        File name of the capture.
    data
        The exported bytes.
    codes
        uint8 ``(events,)``: true class of each event, in the order of `CELL_CLASSES`.
    truth
        True values of the sample and events per class.
    reference
        What an analyzer would report beside it, with its noise.
    """

    name: str
    data: bytes
    codes: NDArray[np.uint8]
    truth: Truth
    reference: Reference


def acquire(
    plan: SamplePlan,
    *,
    instrument: str = "sim_optical4",
    firmware: str = "1.0",
    events: int = 20_000,
    seed: int | tuple[int, ...] = 0,
    name: str = "sample.fcs",
    shifted: bool = False,
    event_rate: float = 1.0,
) -> Acquisition:
    """Run one sample on a simulated instrument.

    Parameters
    ----------
    plan
        The blood.
    instrument, firmware
        Ids in `INSTRUMENTS`.
    events
        Events to record; the metered volume is what it took to see them.
    seed
        Same seed, same bytes. Firmware versions see the same cells.
    name
        File name of the capture.
    shifted
        Use the instrument with other physics behind the same export.
    event_rate
        Times the usual events per second, from a sample diluted that much less: the same cells
        pass, more of them by chance together.

    Raises
    ------
    EdgeError
        If instrument or firmware are unknown, or `events` or `event_rate` is out of range.
    """
    model = find_instrument(instrument)
    layout = find_firmware(model, firmware)
    if not 1 <= events <= MAX_EVENTS:
        raise EdgeError(
            f"{events} events asked for; an acquisition has 1 to {MAX_EVENTS}",
            action="Ask for a number in this range.",
        )
    if not MIN_EVENT_RATE <= event_rate <= MAX_EVENT_RATE:
        raise EdgeError(
            f"event rate {event_rate:g} times the usual asked for; possible are "
            f"{MIN_EVENT_RATE:g} to {MAX_EVENT_RATE:g}",
            action="Ask for a number in this range.",
        )
    if shifted:
        model = shift_physics(model)
    model = replace(model, dilution=model.dilution / event_rate)
    entropy = (seed,) if isinstance(seed, int) else seed
    seen = _collect(plan, model, events, entropy)
    rng = _stream(entropy, _ELECTRONICS)
    signals: dict[str, NDArray[np.float64]] = {}
    if isinstance(layout, Firmware):
        signals = measure(rng, seen, model)
    else:
        counts = record(rng, seen, model, layout.digitiser)
    volume = float(seen.time_s[-1]) * model.flow_ul_per_s
    metered = volume * (1.0 + model.metering_cv * float(rng.standard_normal()))
    if isinstance(layout, Firmware):
        data = _export(plan, model, layout, signals, seen.time_s, metered)
    else:
        data = _export_pulses(plan, model, layout, counts, seen.time_s, metered)
    truth = _truth(plan, name, seen.code)
    reference = _reference(_stream(entropy, _REFERENCE), plan, name, model.dilution, metered)
    return Acquisition(name, data, seen.code, truth, reference)


def _stream(entropy: tuple[int, ...], stage: int) -> Generator:
    return np.random.default_rng([*entropy, stage])


def _collect(plan: SamplePlan, model: Instrument, events: int, entropy: tuple[int, ...]) -> Events:
    """Let particles pass until `events` are recorded."""
    table = load_table(model.optics)
    per_s = 1000.0 * sum(concentrations(plan).values()) / model.dilution * model.flow_ul_per_s
    count = int(1.15 * events) + 200
    while True:
        particles = draw_particles(_stream(entropy, _CELLS), plan, table, count)
        seen = pass_beam(_stream(entropy, _BEAM), particles, model, per_s)
        if len(seen.code) >= events:
            return seen.first(events)
        count = int(1.5 * count)


def _export(
    plan: SamplePlan,
    model: Instrument,
    layout: Firmware,
    signals: dict[str, NDArray[np.float64]],
    time_s: NDArray[np.float64],
    volume_ul: float,
) -> bytes:
    limit = 2**layout.adc_bits
    values = np.empty((len(time_s), len(layout.columns)), dtype=np.uint32)
    columns = []
    for i, column in enumerate(layout.columns):
        source = time_s if column.canonical == "TIME" else signals[column.canonical]
        if column.decades:
            decades = np.log10(np.maximum(source, column.step) / column.step)
            counts = decades * (limit / column.decades)
        else:
            counts = source / column.step + column.pedestal
        values[:, i] = np.clip(np.rint(counts), 0, limit - 1)
        columns.append(
            FcsColumn(column.name, column.label, layout.word_bits, limit, column.decades)
        )
    keywords = _keywords(plan, model, layout, float(time_s[-1]), volume_ul)
    return write_fcs(columns, values, keywords, byte_order=layout.byte_order)


def _export_pulses(
    plan: SamplePlan,
    model: Instrument,
    layout: PulseFirmware,
    counts: NDArray[np.uint16],
    time_s: NDArray[np.float64],
    volume_ul: float,
) -> bytes:
    header: dict[str, str | float] = {
        "INSTRUMENT": model.cyt,
        "SERIAL": f"{model.cyt}-0001",
        "FIRMWARE": layout.version,
        "VOLUME_UL": volume_ul,
        "DILUTION": model.dilution,
        "DURATION_S": float(time_s[-1]),
        "TIMESTEP": layout.time_step_s,
        "SAMPLE": plan.sample_id,
        "SPECIES": _SPECIES_NAMES[plan.species],
        "ACQUIRED": _begin(plan).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    times = np.rint(time_s / layout.time_step_s).astype(np.uint32)
    return write_pulses(counts, times, header)


def _begin(plan: SamplePlan) -> datetime:
    digits = "".join(c for c in plan.sample_id if c.isdigit()) or "0"
    return _EPOCH + timedelta(minutes=7 * (int(digits) % 100_000))


def _keywords(
    plan: SamplePlan, model: Instrument, layout: Firmware, duration_s: float, volume_ul: float
) -> dict[str, str]:
    begin = _begin(plan)
    end = begin + timedelta(seconds=duration_s)
    return {
        "$CYT": model.cyt,
        "$CYTSN": f"{model.cyt}-0001",
        "FIRMWARE": layout.version,
        MARK[0]: MARK[1],
        "$COM": "Simulated data, not from a patient",
        "$SMNO": plan.sample_id,
        "SPECIES": _SPECIES_NAMES[plan.species],
        "$VOL": f"{1000.0 * volume_ul:.1f}",
        "DILUTION": f"{model.dilution:g}",
        "$TIMESTEP": f"{layout.time_step_s:g}",
        "ACQUIRED": begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "DURATION_S": f"{duration_s:.3f}",
        "$DATE": begin.strftime("%d-%b-%Y").upper(),
        "$BTIM": _clock(begin),
        "$ETIM": _clock(end),
    }


_SPECIES_NAMES: Final = {
    "dog": "CANINE", "cat": "FELINE", "horse": "EQUINE", "cow": "BOVINE", "sheep": "OVINE",
    "goat": "CAPRINE", "alpaca": "ALPACA", "rabbit": "RABBIT", "ferret": "FERRET",
}  # fmt: skip


def _clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 10_000:02d}"


def _truth(plan: SamplePlan, name: str, codes: NDArray[np.uint8]) -> Truth:
    counts = np.bincount(codes, minlength=len(CELL_CLASSES)).tolist()
    return Truth(
        capture=name,
        species=plan.species,
        condition=plan.condition,
        rbc_10e6_per_ul=plan.rbc,
        plt_10e3_per_ul=plan.plt,
        retic_pct=100.0 * plan.retic,
        **{f"n_{kind}": n for kind, n in zip(CELL_CLASSES, counts, strict=True)},
    )


def _reference(
    rng: Generator, plan: SamplePlan, name: str, dilution: float, volume_ul: float
) -> Reference:
    """Report as an analyzer does: each clump counts once, aggregated platelets are missed."""
    particles = concentrations(plan)
    red = sum(particles[kind] for kind in ("mature", "reticulocyte", "clump")) / 1000.0
    rbc = red * (1.0 + 0.02 * float(rng.standard_normal()))
    expected = particles["platelet"] / (1000.0 * red) * _ANALYZER_RED_CELLS
    counted = float(rng.poisson(expected)) / expected if expected > 0.0 else 0.0
    plt = particles["platelet"] * counted * (1.0 + 0.06 * float(rng.standard_normal()))
    stained = _ANALYZER_RED_CELLS // 2
    retic = float(rng.binomial(stained, plan.retic)) / stained
    retic *= 1.0 + 0.12 * float(rng.standard_normal())
    missing = bool(rng.random() < 0.06)
    return Reference(
        capture=name,
        species=plan.species,
        rbc_10e6_per_ul=round(rbc, 2),
        plt_10e3_per_ul=float(max(round(plt), 0)),
        retic_pct=None if missing else round(max(100.0 * retic, 0.0), 2),
        dilution=dilution,
        volume_ul=round(volume_ul, 4),
    )
