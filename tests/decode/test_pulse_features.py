"""Features of digitised pulses: against plain Python, against curves that are known, and fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.decode.codecs.pulse_features import FEATURES, pulse_features, subtract_baseline

H, A, W, TOF, SKEW = range(len(FEATURES))


def plain(y, interval):
    """Measure one pulse slowly, as the module describes it."""
    y = [float(value) for value in y]
    last = len(y) - 1
    top = y.index(max(y))
    area = sum(y) * interval
    if y[top] <= 0:
        return [0.0, area, 0.0, 0.0, 0.0]
    height = y[top]
    if 0 < top < last:
        before, after = max(y[top - 1], 0.0), max(y[top + 1], 0.0)
        if 2 * height > before + after:
            height += (after - before) ** 2 / (8 * (2 * height - before - after))
    height = float(np.float32(height))
    left, right = crossings(y, 0.5 * height)
    begin, end = crossings(y, float(np.float32(0.1) * np.float32(height)))
    return [
        height,
        area,
        (right - left) * interval,
        (end - begin) * interval,
        skewness(y, float(np.float32(0.1) * np.float32(height))),
    ]


def crossings(y, level):
    above = [i for i, value in enumerate(y) if value >= level]
    left, right = above[0], above[-1]
    begin, end = float(left), float(right)
    if left > 0:
        begin -= (y[left] - level) / (y[left] - y[left - 1])
    if right < len(y) - 1:
        end += (y[right] - level) / (y[right] - y[right + 1])
    return begin, end


def skewness(y, level):
    above = [i for i, value in enumerate(y) if value >= level]
    inside = [(i, max(y[i], 0.0)) for i in range(above[0], above[-1] + 1)]
    total = sum(weight for _, weight in inside)
    mean = sum(i * weight for i, weight in inside) / total
    spread = sum((i - mean) ** 2 * weight for i, weight in inside) / total
    if spread < 1e-3:
        return 0.0
    return sum((i - mean) ** 3 * weight for i, weight in inside) / total / spread**1.5


def wave(center, sigma, height=1000.0, samples=32):
    return height * np.exp(-0.5 * ((np.arange(samples) - center) / sigma) ** 2)


def measured(*rows, interval=1.0):
    return pulse_features(np.array(rows, np.float32), interval)


counts = st.lists(st.integers(0, 16383), min_size=4, max_size=40)


@settings(max_examples=300)
@given(counts, st.sampled_from([0.05, 0.25, 1.0]))
def test_any_pulse_is_measured_as_by_plain_python(samples, interval):
    pulses = subtract_baseline(np.array([samples], np.uint16), 4)
    assert pulses.dtype == np.float32
    expected = plain(pulses[0], interval)
    found = pulse_features(pulses, interval)[0]
    np.testing.assert_allclose(found[:SKEW], expected[:SKEW], rtol=1e-4, atol=0.02)
    assert found[SKEW] == pytest.approx(expected[SKEW], abs=5e-3)


def test_every_row_of_many_blocks_is_measured_alone():
    rng = np.random.default_rng(3)
    pulses = rng.normal(0, 40, (3000, 2, 32)).astype(np.float32)
    pulses += wave(15, 3)
    found = pulse_features(pulses, 0.25)
    assert found.shape == (3000, 2, 5)
    for i, j in ((0, 0), (1023, 1), (1024, 0), (2999, 1)):
        np.testing.assert_allclose(found[i, j], plain(pulses[i, j], 0.25), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("center", [14.0, 14.25, 14.5, 15.1])
@pytest.mark.parametrize("sigma", [2.0, 2.4, 3.0])
def test_a_gaussian_gives_its_own_figures(center, sigma):
    found = measured(wave(center, sigma), interval=0.25)[0]
    assert found[H] == pytest.approx(1000, rel=4e-3)
    assert found[A] == pytest.approx(1000 * np.sqrt(2 * np.pi) * sigma * 0.25, rel=1e-3)
    assert found[W] == pytest.approx(2.3548 * sigma * 0.25, rel=0.01)
    assert found[TOF] == pytest.approx(4.2919 * sigma * 0.25, rel=0.03)
    assert found[SKEW] == pytest.approx(0, abs=0.08)


def test_figures_do_not_depend_on_size_and_grow_with_the_interval():
    small, large = measured(wave(15, 3, 10.0), wave(15, 3, 10000.0))
    np.testing.assert_allclose(small[W:], large[W:], rtol=1e-3, atol=1e-4)
    slow = measured(wave(15, 3, 10.0), interval=2.0)[0]
    np.testing.assert_allclose(slow, small * [1, 2, 2, 2, 1], rtol=1e-5, atol=1e-6)


def test_a_slow_fall_is_positive_skewness_and_two_cells_are_wide():
    fall = np.where(np.arange(32) < 10, 0, np.exp(-(np.arange(32) - 10) / 4))
    late, early = measured(fall, fall[::-1])
    assert late[SKEW] > 0.5
    assert early[SKEW] == pytest.approx(-late[SKEW], rel=1e-3)
    one, two = measured(wave(10, 2), wave(10, 2) + wave(20, 2))
    assert two[W] == pytest.approx(one[W] + 10, abs=0.1)
    assert two[TOF] == pytest.approx(one[TOF] + 10, abs=0.1)


def test_no_pulse_measures_nothing_and_a_cut_one_ends_at_the_record():
    flat, below, cut = measured([0] * 8, [0] * 7 + [-5], [8] * 8)
    assert flat.tolist() == [0] * 5
    assert below.tolist() == [0, -5, 0, 0, 0]
    assert cut[:SKEW].tolist() == [8, 64, 7, 7]


@pytest.mark.campaign
def test_a_hundred_thousand_events_take_less_than_half_a_second():
    """Of one core, the conversion from counts included; CPU time, for the machine may be busy."""
    rng = np.random.default_rng(1)
    counts = (600 + wave(15, 2.4) + rng.normal(0, 4, (100_000, 4, 32))).astype("<u2")
    spent = time.thread_time()
    pulse_features(subtract_baseline(counts, 8), 0.25)
    assert time.thread_time() - spent < 0.5
