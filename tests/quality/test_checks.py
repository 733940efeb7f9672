"""Carry-over and background."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.errors import EdgeError
from edge_daemon.quality.checks import Measured, background, carry_over
from edge_daemon.quality.levey_jennings import Reading, Target, chart


def of(*values):
    return [Measured(value) for value in values]


def test_carry_over_worked_by_hand():
    # (1.05 - 1.00) / (7.00 - 1.00) x 100 = 0.8333
    found = carry_over("RBC", of(7.1, 7.05, 7.0), of(1.05, 1.01, 1.0))
    assert found.percent == pytest.approx(0.833333, abs=1e-5)
    assert (found.limit, found.passes, found.unfit) == (0.5, False, "")
    assert found.low == found.high == found.percent  # no interval of the values is known
    # (20.0 - 18.0) / (400 - 18) x 100 = 0.5236
    found = carry_over("PLT", of(410, 405, 400), of(20, 19, 18))
    assert found.percent == pytest.approx(0.52356, abs=1e-5)
    assert found.passes


def test_the_interval_is_that_of_the_values():
    lows = [Measured(20.0, 16.08, 23.92), Measured(19.0), Measured(18.0, 14.08, 21.92)]
    found = carry_over("PLT", [*of(410, 405), Measured(400.0, 380.4, 419.6)], lows)
    # sd 2, 2 and 10; numerator sd² = 4 + (1 - s)²·4 + s²·100, s = 0.005236
    share = 2 / 382
    sd = (4 + (1 - share) ** 2 * 4 + share**2 * 100) ** 0.5 / 382
    assert found.high - found.percent == pytest.approx(100 * 1.96 * sd, rel=1e-3)


@given(st.floats(6.5, 9.0), st.floats(0.5, 1.2), st.floats(0.0, 0.2))
def test_what_was_carried_over_is_found(high, low, share):
    """A share of the high sample is added to the first low one."""
    found = carry_over("RBC", of(high, high, high), of(low + share * (high - low), low, low))
    assert found.percent == pytest.approx(100 * share, abs=1e-9)


def test_samples_that_do_not_fit_prove_nothing():
    found = carry_over("PLT", of(250, 250, 250), of(20, 20, 20))
    assert found.unfit == "the high sample must be above 300 three times"
    assert not found.passes
    assert (
        "low sample must be below 30" in carry_over("PLT", of(400, 400, 400), of(90, 20, 20)).unfit
    )


@pytest.mark.parametrize(
    ("highs", "lows", "message"),
    [
        (of(7, 7), of(1, 1, 1), "three runs of a high sample"),
        (of(7, 7, 7), of(1, 1), "three runs of a high sample"),
        (of(1, 1, 1), of(7, 7, 7), "third high run \\(1\\) is not above"),
        (of(7, 7, 1), of(1, 1, 1), "is not above"),
    ],
)
def test_what_is_no_check_is_said(highs, lows, message):
    with pytest.raises(EdgeError, match=message):
        carry_over("RBC", highs, lows)


def test_background():
    rbc, plt = background({"RBC": 0.05, "PLT": 10.1})
    assert rbc.passes
    assert not plt.passes
    assert not background({"RBC": None})[0].passes  # not reported proves nothing


TARGETS = {("A", "normal"): Target(100.0, 10.0, "10*3/uL"), ("B", "normal"): Target(200, 5, "x")}


def readings(*values, lot="A"):
    return [Reading(f"run:{i}", lot, "normal", v, i * 86400.0, "") for i, v in enumerate(values)]


def test_a_chart_is_in_standard_deviations_and_goes_on_over_lots():
    drawn = chart("PLT", readings(125.0) + readings(212.5, lot="B"), TARGETS)
    assert [point.z for point in drawn.points] == [2.5, 2.5]
    assert [hit.rule for hit in drawn.points[1].hits] == ["1-2s", "2-2s"]
    assert drawn.state == "out_of_control"


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ((), "no_target"),
        ((100.0,), "in_control"),
        ((121.0,), "warning"),
        ((131.0,), "out_of_control"),
        ((131.0, 100.0), "in_control"),  # run again and in
    ],
)
def test_the_state_is_that_of_the_newest(values, state):
    assert chart("PLT", readings(*values), TARGETS).state == state


def test_readings_without_a_target_are_left_out():
    assert chart("PLT", readings(100.0, lot="C"), TARGETS).points == ()
