"""Digitised pulses of the simulator: the converter's counts, and the file they are written to."""

from __future__ import annotations

import binascii
import struct
from dataclasses import replace

import numpy as np
import pytest

from edge_daemon.decode import decode_raw, load_profile
from edge_daemon.records import CELL_CLASSES
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.acquisition import acquire
from edge_daemon.simulator.cells import SIGNALS, Particles
from edge_daemon.simulator.cohort import simulate
from edge_daemon.simulator.instruments import INSTRUMENTS
from edge_daemon.simulator.pulse_writer import FIELDS, HEADER_BYTES, MAGIC, write_pulses
from edge_daemon.simulator.pulses import pass_beam, record

INSTRUMENT = INSTRUMENTS["sim_pulse4"]
DIGITISER = INSTRUMENT.firmwares["1.0"].digitiser
HEADER = {"INSTRUMENT": "SimPulse4", "FIRMWARE": "1.0", "VOLUME_UL": 1.5, "SPECIES": "CANINE"}


@pytest.fixture(scope="module")
def profile():
    return load_profile(profiles_dir() / "sim_pulse4" / "1.0.toml")


def still(**changes):
    """The instrument without any noise or drift."""
    detectors = {
        name: replace(d, floor=0.0, shot=0.0, day_cv=0.0)
        for name, d in INSTRUMENT.detectors.items()
    }
    quiet = {"position_cv": 0.0, "laser_cv": 0.0, "drift_cv": 0.0, "dye_cv": 0.0}
    return replace(INSTRUMENT, detectors=detectors, step_probability=0.0, **quiet, **changes)


def pulses(parts=1, spacing=4.0, signal=10.0, count=9000):
    """Counts above the baseline of equal particles that pass alone."""
    model = still()
    particles = Particles(
        code=np.zeros(count, np.uint8),
        owner=np.repeat(np.arange(count), parts),
        signals=np.full((count * parts, len(SIGNALS)), signal),
        diameter_um=np.full(count * parts, 5.0),
        offset_um=np.tile(spacing * np.arange(parts), count),
    )
    events = pass_beam(np.random.default_rng(1), particles, model, 1.0)
    counts = record(np.random.default_rng(2), events, model, DIGITISER)
    assert counts.shape == (count, 4, DIGITISER.samples)
    return events, counts.astype(np.int64) - DIGITISER.baseline


def test_a_pulse_has_the_height_area_and_place_that_the_beam_gave_it():
    events, counts = pulses()
    assert np.ptp(counts, axis=0).max() == 0  # equal particles, in every block of events
    for j, name in enumerate(INSTRUMENT.detectors):
        step = DIGITISER.step[name]
        wave = counts[0, j] * step
        assert wave.max() == pytest.approx(events.height[name][0], abs=step)
        area = wave.sum() * DIGITISER.interval_us
        assert area == pytest.approx(events.area[name][0], rel=0.02)
        assert wave.argmax() == round(DIGITISER.before_us / DIGITISER.interval_us)


def test_parts_follow_each_other_in_the_record():
    _, counts = pulses(parts=2, spacing=18.0, count=50)
    wave = counts[0, 0]
    first = round(DIGITISER.before_us / DIGITISER.interval_us)
    second = first + round(18.0 / INSTRUMENT.velocity_um_per_us / DIGITISER.interval_us)
    assert wave[(first + second) // 2] < 0.5 * wave[first]
    assert wave[second] == pytest.approx(wave[first], rel=0.02)


def test_the_converter_stops_at_its_limit():
    _, counts = pulses(signal=1e4, count=10)
    assert counts.max() == 2**DIGITISER.bits - 1 - DIGITISER.baseline


def test_the_file_is_header_events_and_check_value(profile):
    counts = np.arange(2 * 4 * 32, dtype=np.uint16).reshape(2, 4, 32)
    data = write_pulses(counts, np.array([7, 9], np.uint32), HEADER)
    assert data[: len(MAGIC)] == MAGIC
    assert len(data) == HEADER_BYTES + 2 * (4 + 4 * 32 * 2) + 4
    assert struct.unpack("<I", data[-4:]) == (binascii.crc32(data[:-4]),)
    first = struct.unpack_from("<I128H", data, HEADER_BYTES)
    assert first == (7, *range(128))
    table = decode_raw(data, profile)
    assert table.values[:, -1].tolist() == [7, 9]
    assert {key: table.keywords[key] for key in HEADER} == {
        key: str(value) for key, value in HEADER.items()
    }
    assert table.keywords["EVENTS"] == "2"
    assert table.keywords["EDGE_SIMULATED"] == "1"


def test_the_profile_describes_what_the_simulator_writes(profile):
    codec = profile.codec
    assert codec.header.size == HEADER_BYTES
    assert {f.keyword: f.offset for f in codec.header.field} == {
        keyword: offset for keyword, (offset, _) in FIELDS.items()
    }
    event = codec.event
    assert event.detectors == tuple(INSTRUMENT.detectors)
    assert (event.samples, event.bits) == (DIGITISER.samples, DIGITISER.bits)
    assert event.interval_us == DIGITISER.interval_us
    for channel in profile.channel:
        detector, feature = channel.canonical.split(".")
        assert channel.column == channel.canonical
        assert channel.gain == (1.0 if feature == "W" else DIGITISER.step[detector])
        assert channel.offset == 0.0


def test_a_cohort_of_it_is_marked_and_repeatable(tmp_path, plan_of, decoded):
    for name in ("a", "b"):
        simulate(tmp_path / name, instrument="sim_pulse4", samples=2, events=60, seed=4)
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "ab")
    assert first == second
    assert sum(name.endswith(".edp") for name in first) == 2
    run = acquire(plan_of("cat"), instrument="sim_pulse4", events=300, name="x.edp")
    batch = decoded(run)
    assert batch.sample.simulated
    assert (batch.sample.species, batch.sample.sample_id) == ("cat", "SIM0001")
    assert batch.sample.volume_ul == pytest.approx(run.reference.volume_ul, rel=1e-3)
    assert batch.sample.dilution == run.reference.dilution
    assert batch.events == len(run.codes) == 300
    assert np.all(np.diff(batch.time_s) >= 0.0)
    assert set(run.codes) <= set(range(len(CELL_CLASSES)))
