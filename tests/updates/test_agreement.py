"""When two models agree: by stated limits, on the same cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.updates.agreement import LIMITS, compare, verdict
from edge_daemon.updates.state import SHADOW_SAMPLES


def measured(code: str, value: float | None, low=None, high=None):
    return {"code": code, "value": value, "low": low, "high": high}


def samples(*differences: float, code: str = "PLT", half: float = 0.0, failed: int = 0):
    told = [{"failed": "", "values": {code: [d, half]}} for d in differences]
    return [*told, *({"failed": "not classified", "values": {}} for _ in range(failed))]


def test_values_are_put_beside_each_other():
    active = [measured("PLT", 200.0, 180.0, 230.0), measured("RBC", 6.0), measured("RETIC%", None)]
    candidate = [measured("PLT", 210.0), measured("RBC", None), measured("RETIC%", 1.0)]
    assert compare(active, candidate) == {"PLT": [5.0, 15.0], "RBC": None, "RETIC%": None}
    assert compare([measured("CLUMP%", 1.0)], [measured("CLUMP%", 2.0)]) == {}


def test_percent_of_nothing_are_not_taken():
    assert compare([measured("PLT", 0.0, 0.0, 3.0)], [measured("PLT", 2.0)]) == {"PLT": [0.0, 0.0]}
    assert compare([measured("PLT", 0.0, 0.0, 3.0)], [measured("PLT", 4.0)])["PLT"][0] > 100


def test_twenty_samples_are_needed():
    assert verdict(samples(*[0.0] * (SHADOW_SAMPLES - 1))) is None
    assert verdict(samples(*[0.0] * SHADOW_SAMPLES)) == ""


def test_a_constant_difference_beyond_the_limit_is_named():
    assert verdict(samples(*[LIMITS["PLT"] + 0.1] * SHADOW_SAMPLES)).startswith("PLT differs by")
    assert verdict(samples(*[LIMITS["PLT"] - 0.1] * SHADOW_SAMPLES)) == ""


def test_one_sample_may_lie_beyond_and_not_two():
    far = 3 * LIMITS["PLT"] + 1
    assert verdict(samples(far, *[0.0] * (SHADOW_SAMPLES - 1))) == ""
    assert "2 of 20" in verdict(samples(far, -far, *[0.0] * (SHADOW_SAMPLES - 2)))


def test_few_cells_may_differ_within_their_interval():
    """A thrombocytopenic patient: the interval is wide, and so may the difference be."""
    assert verdict(samples(40.0, -45.0, *[0.0] * (SHADOW_SAMPLES - 2), half=50.0)) == ""


def test_a_model_that_gives_no_result_is_found_early():
    assert verdict(samples(0.0, failed=1)) is None
    assert "2 of 3 samples gave no result" in verdict(samples(0.0, failed=2))


def test_values_that_come_and_go_are_found():
    gone = [{"failed": "", "values": {"RETIC%": None}} for _ in range(2)]
    rest = samples(*[0.0] * (SHADOW_SAMPLES - 2), code="RETIC%")
    assert "RETIC% is there with one model" in verdict([*gone, *rest])


@given(st.lists(st.floats(-0.999, 0.999), min_size=SHADOW_SAMPLES, max_size=SHADOW_SAMPLES))
def test_what_is_within_every_limit_agrees(shares):
    told = [
        {"failed": "", "values": {code: [share * limit, 0.0] for code, limit in LIMITS.items()}}
        for share in shares
    ]
    assert verdict(told) == ""


@pytest.mark.parametrize("code", LIMITS)
@given(share=st.floats(1.01, 2.9), sign=st.sampled_from([-1, 1]))
def test_what_is_beyond_one_limit_does_not(code, share, sign):
    told = samples(*[sign * share * LIMITS[code]] * SHADOW_SAMPLES, code=code)
    assert code in verdict(told)
