"""Against published worked examples, and under what must not change the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_daemon.errors import EdgeError
from edge_daemon.quality.bland_altman import bland_altman

# Bland and Altman, Lancet 1986; i: 307-310: peak expiratory flow of 17 people, l/min, first
# measurement with a Wright and with a mini Wright meter.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_peak_flow_meters_of_1986():
    found = bland_altman(WRIGHT, MINI)
    assert found.n == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    # The paper takes two standard deviations and says −79.7 and 75.5.
    assert found.bias - 2 * found.sd == pytest.approx(-79.7, abs=0.15)
    assert found.bias + 2 * found.sd == pytest.approx(75.5, abs=0.15)
    assert found.low == pytest.approx(-78.1, abs=0.05)
    assert found.high == pytest.approx(73.9, abs=0.05)
    # Bias −22.0 to 17.8; limits −114.3 to −45.1 and 40.9 to 110.1, with 3 s²/n for 2.98 s²/n.
    assert found.bias_ci == pytest.approx((-22.0, 17.8), abs=0.1)
    half = (found.low_ci[1] - found.low_ci[0]) / 2
    assert half == pytest.approx((114.3 - 45.1) / 2, rel=0.01)
    assert found.high_ci[1] - found.high == pytest.approx((110.1 - 40.9) / 2, rel=0.01)


def test_thirty_samples_of_2015(two_methods):
    found = bland_altman(*two_methods)
    assert (found.bias, found.sd) == pytest.approx((-27.17, 34.81), abs=0.005)
    assert (found.low, found.high) == pytest.approx((-95.4, 41.1), abs=0.05)
    assert found.bias_ci == pytest.approx((-40.2, -14.2), abs=0.05)
    percent = bland_altman(*two_methods, percent=True)
    assert percent.percent
    assert (percent.bias, percent.sd) == pytest.approx((-17.40, 38.66), abs=0.005)


values = arrays(np.float64, st.integers(10, 40), elements=st.floats(1, 100, allow_nan=False))


@given(values, st.integers(0, 2**32), st.floats(-50, 50), st.floats(0.1, 10))
def test_shift_scale_and_exchange(x, seed, shift, scale):
    y = x + np.random.default_rng(seed).normal(0, 5, x.size)
    one = bland_altman(y, x)
    both = bland_altman(y + shift, x + shift)
    assert (both.bias, both.sd) == pytest.approx((one.bias, one.sd), abs=1e-9)
    only = bland_altman(y + shift, x)
    assert (only.bias, only.low) == pytest.approx((one.bias + shift, one.low + shift), abs=1e-9)
    larger = bland_altman(y * scale, x * scale)
    assert larger.high_ci == pytest.approx(tuple(scale * e for e in one.high_ci), abs=1e-6)
    exchanged = bland_altman(x, y)
    assert exchanged.bias == pytest.approx(-one.bias, abs=1e-9)
    assert (exchanged.low, exchanged.high) == pytest.approx((-one.high, -one.low), abs=1e-9)
    assert one.low_ci[0] <= one.low <= one.low_ci[1]


@given(values, st.floats(0.1, 10))
def test_percentages_do_not_depend_on_the_unit(x, scale):
    y = x * 1.1
    one = bland_altman(y, x, percent=True)
    assert one.bias == pytest.approx(100 * 0.1 / 1.05)
    assert bland_altman(y * scale, x * scale, percent=True).bias == pytest.approx(one.bias)


def test_confidence_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(7)
    covered = np.zeros(3)
    for _ in range(2000):
        d = rng.normal(1.0, 2.0, 25)
        found = bland_altman(d, np.zeros(25))
        truth = (1.0, 1.0 - 1.959964 * 2.0, 1.0 + 1.959964 * 2.0)
        intervals = (found.bias_ci, found.low_ci, found.high_ci)
        covered += [low <= t <= high for t, (low, high) in zip(truth, intervals, strict=True)]
    assert covered / 2000 == pytest.approx([0.95] * 3, abs=0.015)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ([1.0], [1.0], "^1 pair is too few to compare the methods; 10 are needed"),
        ([1.0] * 9, [1.0] * 9, "9 pairs are too few to compare the methods; 10 are needed"),
        ([1.0] * 10, [1.0] * 11, "equal length"),
        ([1.0] * 9 + [math.nan], [1.0] * 10, "not a finite number"),
        ([[1.0]] * 10, [[1.0]] * 10, "equal length"),
    ],
)
def test_what_cannot_be_compared(ours, theirs, words):
    with pytest.raises(EdgeError, match=words):
        bland_altman(ours, theirs)


def test_a_pair_of_zeros_has_no_percentage():
    with pytest.raises(EdgeError, match="mean is not positive"):
        bland_altman([0.0] * 10, [0.0] * 10, percent=True)
    assert bland_altman([0.0] * 10, [0.0] * 10).sd == 0.0
