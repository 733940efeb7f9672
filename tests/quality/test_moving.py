"""Bull's averages by hand, the rule on repeats, and drifts that must and must not alarm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.quality.moving import BATCH, bull_averages, stream, without_repeats


def test_batches_by_hand():
    # All one above: mean of √1 is 1, and its square moves the average by 1.
    assert bull_averages([91.0] * 20, 90.0) == (91.0,)
    # Ten at +4 pull by √4, ten at −1 by −√1: (20 − 10)/20 = 0.5, moved by 0.25.
    assert bull_averages([94.0] * 10 + [89.0] * 10, 90.0) == (90.25,)
    # One at −100 among 19 at +1: (19 − 10)/20 = 0.45, moved by 0.2025; the mean would fall by 4.
    assert bull_averages([91.0] * 19 + [-10.0], 90.0) == pytest.approx((90.2025,))
    # The second batch starts from the first's average; a third of 19 waits.
    second = bull_averages([91.0] * 20 + [87.0] * 20 + [50.0] * 19, 90.0)
    assert second == (91.0, 87.0)
    assert bull_averages([5.0, 5.0, 1.0, 1.0], 4.0, batch=2) == (5.0, 1.0)


values = st.lists(st.floats(40, 90), max_size=70)


@given(values, st.floats(-20, 20), st.floats(0.5, 4))
def test_averages_move_and_stretch_with_the_values(found, shift, scale):
    plain = bull_averages(found, 60.0)
    moved = bull_averages([v + shift for v in found], 60.0 + shift)
    assert moved == pytest.approx([a + shift for a in plain], abs=1e-6)
    larger = bull_averages([scale * v for v in found], scale * 60.0)
    assert larger == pytest.approx([scale * a for a in plain], rel=1e-9)
    assert len(plain) == len(found) // BATCH


@given(st.lists(st.floats(40, 90), min_size=20, max_size=20), st.randoms(use_true_random=False))
def test_the_order_within_a_batch_does_not_matter(found, random):
    other = list(found)
    random.shuffle(other)
    assert bull_averages(other, 60.0) == pytest.approx(bull_averages(found, 60.0))


def test_a_patient_counts_once_in_a_batch():
    results = [("a", 1.0), ("b", 2.0), ("a", 3.0), (None, 4.0), (None, 5.0), ("a", 6.0), ("c", 7.0)]
    assert without_repeats(results, batch=4) == ((1.0, 2.0, 4.0, 5.0, 6.0, 7.0), 1)
    assert without_repeats(results, batch=3) == ((1.0, 2.0, 4.0, 5.0, 6.0, 7.0), 1)
    assert without_repeats([("a", 1.0)] * 5, batch=2) == ((1.0,), 4)


def animals(rng, count, mean, cv):
    return [(None, float(v)) for v in mean * (1 + cv * rng.normal(size=count))]


def test_too_few_animals_set_no_target():
    rng = np.random.default_rng(1)
    found = stream("MCV", animals(rng, 99, 68, 0.05))
    assert (found.state, found.target, found.averages) == ("too_few", None, ())
    baseline = stream("MCV", animals(rng, 119, 68, 0.05))
    assert (baseline.state, len(baseline.averages)) == ("too_few", 5)
    assert baseline.target == pytest.approx(68, rel=0.02)
    assert stream("MCV", animals(rng, 120, 68, 0.05)).state == "in_control"


def test_a_steady_instrument_raises_no_alarm_in_a_hundred_batches():
    rng = np.random.default_rng(2)
    for code, mean, cv in (
        ("MCV", 68, 0.05),
        ("MCHC", 34, 0.04),
        ("RBC", 7, 0.18),
        ("PLT", 290, 0.35),
    ):
        results = animals(rng, 2000, mean, cv)
        for count in range(120, 2001, 20):
            found = stream(code, results[:count])
            assert found.state == "in_control", (code, count, found.percent[-1])


@pytest.mark.parametrize(("code", "mean", "cv", "factor", "within"), [
    ("MCV", 68, 0.05, 1.05, 8),
    ("MCV", 68, 0.05, 0.95, 8),
    ("MCHC", 34, 0.04, 1.06, 5),
    ("RBC", 7, 0.18, 0.75, 6),
])  # fmt: skip
def test_a_drift_is_found_within_so_many_batches(code, mean, cv, factor, within):
    rng = np.random.default_rng(3)
    before = animals(rng, 300, mean, cv)
    after = [(None, factor * v) for _, v in animals(rng, 20 * within, mean, cv)]
    found = stream(code, [*before, *after])
    assert found.state == "drift"
    assert np.sign(found.percent[-1]) == np.sign(factor - 1)
    assert 1 <= found.drifting <= within
    back = stream(code, [*before, *after, *animals(rng, 600, mean, cv)])
    assert (back.state, back.drifting) == ("in_control", 0)


def test_limits_are_three_percent_for_indices_and_wider_for_what_varies_more():
    rng = np.random.default_rng(4)
    assert stream("MCV", animals(rng, 120, 68, 0.2)).limit_percent == 3.0
    assert stream("RBC/s", animals(rng, 120, 900, 0.2)).limit_percent == pytest.approx(13.4, abs=3)
    assert stream("RBC", animals(rng, 120, 7, 0.01)).limit_percent == 3.0
