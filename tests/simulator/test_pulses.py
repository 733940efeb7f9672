"""Pulses, coincidence and noise of the instrument model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES
from edge_daemon.simulator.cells import SIGNALS, Particles
from edge_daemon.simulator.instruments import INSTRUMENTS, find_firmware, find_instrument, shifted
from edge_daemon.simulator.pulses import measure, pass_beam

INSTRUMENT = INSTRUMENTS["sim_optical4"]
OTHER = CELL_CLASSES.index("other")


def identical(count, parts=1, spacing=4.0, signal=10.0, code=0):
    """Particles of equal cells, each of `parts` parts in a row."""
    total = count * parts
    return Particles(
        code=np.full(count, code, np.uint8),
        owner=np.repeat(np.arange(count), parts),
        signals=np.full((total, len(SIGNALS)), signal),
        diameter_um=np.full(total, 5.0),
        offset_um=np.tile(spacing * np.arange(parts), count),
    )


def run(particles, per_s=10.0, instrument=INSTRUMENT, seed=1):
    return pass_beam(np.random.default_rng(seed), particles, instrument, per_s)


# Chance of at least one more cell within the window, as 1 - exp(-rate × window).
@pytest.mark.parametrize(
    ("rate", "window", "percent"),
    [
        (1000, 2, 0.2), (1000, 5, 0.5), (1000, 10, 1.0), (1000, 20, 2.0),
        (5000, 2, 1.0), (5000, 5, 2.5), (5000, 10, 4.9), (5000, 20, 9.5),
        (10000, 2, 2.0), (10000, 5, 4.9), (10000, 10, 9.5), (10000, 20, 18.0),
    ],
)  # fmt: skip
def test_doublets_follow_event_rate_and_window(rate, window, percent):
    events = run(identical(60_000), rate, replace(INSTRUMENT, window_us=float(window)))
    share = 100.0 * np.mean(events.code == OTHER)
    assert share == pytest.approx(percent, rel=0.03, abs=4.0 * np.sqrt(percent * 100 / 60_000))


def test_a_chance_doublet_is_other_and_its_signals_add():
    doublets = run(identical(4_000), 50_000.0)
    lone = doublets.code == 0
    assert 0 < lone.sum() < len(lone)
    assert np.all(doublets.code[~lone] == OTHER)
    area, single = doublets.area["EXT"], doublets.area["EXT"][lone][0]
    members = area / single
    assert members == pytest.approx(np.rint(members))
    assert members[~lone].min() == pytest.approx(2.0)
    assert np.all(doublets.width["EXT"][~lone] >= doublets.width["EXT"][lone][0] * 0.999)


def test_particles_below_the_trigger_are_not_recorded_and_make_no_doublet():
    detector, threshold = INSTRUMENT.trigger
    small = identical(2_000, signal=0.9 * threshold)
    assert len(run(small).code) == 0
    mixed = identical(40_000)
    speck = np.random.default_rng(2).random(40_000) < 0.5
    mixed.signals[speck, SIGNALS.index(detector)] = 0.5 * threshold
    events = run(mixed, per_s=20_000.0)
    seen = events.code == 0
    lone_rate = np.exp(-10_000.0 * INSTRUMENT.window_us * 1e-6)
    assert seen.mean() == pytest.approx(lone_rate, abs=0.005)


def test_a_compound_of_one_place_is_a_single_pulse():
    single = run(identical(3, signal=20.0))
    stacked = run(identical(3, parts=2, spacing=0.0, signal=10.0))
    for name in INSTRUMENT.detectors:
        assert stacked.height[name] == pytest.approx(single.height[name], rel=2e-3)
        assert stacked.area[name] == pytest.approx(single.area[name])
        assert stacked.width[name] == pytest.approx(single.width[name], rel=5e-3)


def test_clumps_widen_and_lose_height_but_not_area():
    single = run(identical(3))
    previous = single.width["LA"][0]
    for parts in (2, 3, 5):
        clump = run(identical(3, parts=parts, code=2))
        assert np.all(clump.code == 2)
        assert clump.area["LA"] == pytest.approx(parts * single.area["LA"])
        assert np.all(clump.height["LA"] < parts * single.height["LA"])
        assert np.all(clump.width["LA"] > previous)
        previous = clump.width["LA"][0]


def test_larger_cells_make_lower_wider_pulses_of_the_same_area():
    small, large = identical(2), identical(2)
    large.diameter_um[:] = 9.0
    a, b = run(small), run(large)
    assert np.all(b.height["LA"] < a.height["LA"])
    assert np.all(b.width["LA"] > a.width["LA"])
    assert b.area["LA"] == pytest.approx(a.area["LA"])


def test_noise_is_photons_over_a_floor():
    quiet = replace(
        INSTRUMENT, position_cv=0.0, laser_cv=0.0, drift_cv=0.0, step_probability=0.0,
        detectors={"LA": replace(INSTRUMENT.detectors["LA"], day_cv=0.0)},
    )  # fmt: skip
    for signal in (0.2, 2.0, 20.0):
        events = run(
            identical(20_000, signal=signal), instrument=replace(quiet, trigger=("LA", 0.1))
        )
        events = events.take(events.code != OTHER)
        measured = measure(np.random.default_rng(3), events, quiet)["LA.H"]
        height = events.height["LA"][0]
        detector = quiet.detectors["LA"]
        expected = np.sqrt(detector.floor**2 + detector.shot * height)
        assert measured.mean() == pytest.approx(height, rel=0.01)
        assert measured.std() == pytest.approx(expected, rel=0.03)


def test_drift_moves_the_gain_within_a_run():
    drifting = replace(INSTRUMENT, drift_cv=0.2, step_probability=0.0)
    events = run(identical(20_000))
    level = measure(np.random.default_rng(5), events, drifting)["HA.H"]
    parts = [part.mean() for part in np.array_split(level, 4)]
    assert abs(parts[3] / parts[0] - 1.0) > 0.02
    assert abs(parts[3] - parts[2]) < abs(parts[1] - parts[0])


def test_the_shifted_instrument_has_other_physics_and_the_same_export():
    other = shifted(INSTRUMENT)
    assert other.optics != INSTRUMENT.optics
    assert other.firmwares == INSTRUMENT.firmwares
    assert other.dye < INSTRUMENT.dye
    assert other.detectors["LA"].gain == pytest.approx(1.15)
    assert other.detectors["LA"].shot > INSTRUMENT.detectors["LA"].shot


def test_unknown_instruments_and_firmware_are_refused_with_what_is_known():
    with pytest.raises(EdgeError, match="known are sim_optical4"):
        find_instrument("sim_optical9")
    with pytest.raises(EdgeError, match=r"known are 1\.0, 2\.0"):
        find_firmware(INSTRUMENT, "3.0")
