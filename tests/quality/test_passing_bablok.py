"""Against a second, plain implementation, by hand, and under exchange, shift and scale."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_daemon.errors import EdgeError
from edge_daemon.quality import passing_bablok as module
from edge_daemon.quality.passing_bablok import passing_bablok


def plain(y, x):
    """The method as its authors write it down: sort, count K below −1, shift the median."""
    slopes = []
    for (xi, yi), (xj, yj) in itertools.combinations(zip(x, y, strict=True), 2):
        if xi == xj:
            if yi != yj:
                slopes.append(math.inf if yi > yj else -math.inf)
        elif (yi - yj) / (xi - xj) != -1:
            slopes.append((yi - yj) / (xi - xj))
    slopes.sort()
    k = sum(slope < -1 for slope in slopes)
    n, count = len(x), len(slopes)
    if count % 2:
        slope = slopes[(count + 1) // 2 + k - 1]
    else:
        slope = math.sqrt(slopes[count // 2 + k - 1] * slopes[count // 2 + k])
    c = statistics.NormalDist().inv_cdf(0.975) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    first = round((count - c) / 2)
    low, high = slopes[first + k - 1], slopes[count - first + 1 + k - 1]

    def intercept(b):
        return statistics.median(yi - b * xi for xi, yi in zip(x, y, strict=True))

    return slope, (low, high), intercept(slope), (intercept(high), intercept(low))


def test_thirty_published_samples(two_methods):
    """Four of their slopes are below −1, and one is of −1: the shift matters."""
    x, y = two_methods
    found = passing_bablok(y, x)
    slope, slope_ci, intercept, intercept_ci = plain(y, x)
    assert found.slope == pytest.approx(slope)
    assert found.slope_ci == pytest.approx(slope_ci)
    assert found.intercept == pytest.approx(intercept)
    assert found.intercept_ci == pytest.approx(intercept_ci)
    assert (found.slope, *found.slope_ci) == pytest.approx((1.06, 1.02, 1.09), abs=0.005)
    assert (found.intercept, *found.intercept_ci) == pytest.approx((7.08, -0.30, 19.84), abs=0.005)


def test_a_line_is_found_exactly_and_one_outlier_does_not_bend_it():
    x = np.arange(1.0, 21.0)
    y = 1.25 * x - 0.5
    found = passing_bablok(y, x)
    assert (found.slope, found.intercept) == (1.25, -0.5)
    assert (found.slope_ci, found.intercept_ci) == ((1.25, 1.25), (-0.5, -0.5))
    y[10] = 300.0
    bent = passing_bablok(y, x)
    assert (bent.slope, bent.intercept) == (1.25, -0.5)


grid = st.integers(0, 12).map(float)
related = st.lists(st.tuples(grid, st.integers(-3, 3).map(float)), min_size=10, max_size=24)


@given(related)
@settings(max_examples=150)
def test_with_any_ties_it_is_the_plain_method(points):
    x = [p for p, _ in points]
    y = [p + q for p, q in points]
    try:
        found = passing_bablok(y, x)
    except EdgeError:
        assume(False)
    assume(all(math.isfinite(end) and end > -1 for end in found.slope_ci))
    slope, slope_ci, intercept, intercept_ci = plain(y, x)
    assert found.slope == pytest.approx(slope)
    assert found.slope_ci == pytest.approx(slope_ci)
    assert found.intercept == pytest.approx(intercept)
    assert found.intercept_ci == pytest.approx(intercept_ci)


@given(related, st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_exchanging_the_methods_gives_the_inverse_line(points, random):
    x = [p for p, _ in points]
    y = [p + q for p, q in points]
    try:
        one, other = passing_bablok(y, x), passing_bablok(x, y)
    except EdgeError:
        assume(False)
    assert other.slope == pytest.approx(1 / one.slope)
    low, high = one.slope_ci
    if low > 0 and math.isfinite(high):
        assert other.slope_ci == pytest.approx((1 / high, 1 / low))
    order = list(range(len(x)))
    random.shuffle(order)
    assert passing_bablok([y[i] for i in order], [x[i] for i in order]) == one


@given(related, st.integers(-50, 50), st.integers(-50, 50), st.sampled_from([0.25, 2.0, 8.0]))
def test_shift_and_scale(points, right, up, scale):
    x = np.array([p for p, _ in points])
    y = x + np.array([q for _, q in points])
    try:
        one = passing_bablok(y, x)
    except EdgeError:
        assume(False)
    moved = passing_bablok(scale * (y + up), scale * (x + right))
    assert moved.slope == pytest.approx(one.slope)
    expected = scale * (one.intercept + up - one.slope * right)
    assert moved.intercept == pytest.approx(expected, abs=1e-6)


def test_a_slope_of_minus_one_in_decimals_does_not_count():
    x = [*(0.1 * i for i in range(1, 12)), 0.3]
    y = [*(0.1 * i for i in range(1, 12)), 0.7]
    assert passing_bablok(y, x).slope == pytest.approx(1.0)
    exact = passing_bablok([round(10 * v) for v in y], [round(10 * v) for v in x])
    assert passing_bablok(y, x).slope_ci == pytest.approx(exact.slope_ci)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(600):
        truth = rng.uniform(4, 9, 40)
        found = passing_bablok(truth + rng.normal(0, 0.15, 40), truth + rng.normal(0, 0.15, 40))
        hits += found.slope_ci[0] <= 1.0 <= found.slope_ci[1]
    assert hits / 600 == pytest.approx(0.95, abs=0.03)


def test_of_too_many_pairs_the_last_are_used(monkeypatch):
    monkeypatch.setattr(module, "MAX_PAIRS", 12)
    x = np.arange(1.0, 21.0)
    y = np.where(x <= 8, 100.0 - x, 2.0 * x)
    found = passing_bablok(y, x)
    assert (found.n, found.left_out, found.slope) == (12, 8, 2.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ([1.0] * 9, [2.0] * 9, "9 pairs are too few"),
        ([5.0] * 30, [5.0] * 30, "too many have equal values"),
        (list(range(30)), [5.0] * 30, "not related"),
        ([5.0] * 30, list(range(30)), "not related"),
    ],
)
def test_what_has_no_line(ours, theirs, words):
    with pytest.raises(EdgeError, match=words) as caught:
        passing_bablok(ours, theirs)
    assert caught.value.action
