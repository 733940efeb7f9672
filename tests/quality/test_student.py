from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.quality.student import Z95, t_quantile

# Two-sided 95 % and 99 % points as every printed table of Student's t has them.
TABLE = [
    (1, 12.706, 63.657), (2, 4.303, 9.925), (5, 2.571, 4.032), (9, 2.262, 3.250),
    (16, 2.120, 2.921), (30, 2.042, 2.750), (120, 1.980, 2.617),
]  # fmt: skip


@pytest.mark.parametrize(("df", "five", "one"), TABLE)
def test_printed_table(df, five, one):
    assert t_quantile(0.975, df) == pytest.approx(five, abs=5e-4)
    assert t_quantile(0.995, df) == pytest.approx(one, abs=5e-4)


def test_with_many_degrees_of_freedom_it_is_the_normal():
    assert t_quantile(0.975, 1e7) == pytest.approx(Z95, rel=1e-6)
    assert pytest.approx(1.959964, abs=1e-6) == Z95


@given(st.floats(0.5001, 0.9999), st.sampled_from([1.0, 2.0]))
def test_where_it_has_a_closed_form(p, df):
    q = 2.0 * p - 1.0
    exact = math.tan(math.pi * (p - 0.5)) if df == 1.0 else q * math.sqrt(2.0 / (1.0 - q * q))
    assert t_quantile(p, df) == pytest.approx(exact, rel=1e-9)
