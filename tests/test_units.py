"""Units as analyzers write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.units import UNITS, convert, is_possible, parse_unit, possible_range

CELLS = (
    "10*6/uL", "10^6/uL", "10E6/uL", "10e6/ul", "10**6/uL", "x10^6/uL", "x 10^6/µL", "×10⁶/μL",
    "10*12/L", "10^12/L", "10e12/l", "T/L", "T/l", "M/uL", "M/µL", "/pL", "10^6/mm3", "Mil/uL",
    "10^6/mm^3",
)  # fmt: skip


@pytest.mark.parametrize("unit", CELLS)
def test_one_red_cell_count_in_every_spelling(unit):
    assert convert("RBC", 6.84, unit) == 6.84


@pytest.mark.parametrize(
    ("code", "value", "unit", "expected"),
    [
        ("PLT", 262.0, "10*9/L", 262.0),
        ("PLT", 262.0, "G/L", 262.0),
        ("PLT", 262.0, "K/uL", 262.0),
        ("PLT", 26.2, "10*4/uL", 262.0),  # the Japanese setting
        ("PLT", 0.262, "10*6/uL", 262.0),
        ("PLT", 262_000.0, "/uL", 262.0),
        ("RETIC", 0.0673, "10*6/uL", 67.3),
        ("RETIC%", 12.0, "‰", 1.2),
        ("HGB", 141.0, "g/L", 14.1),
        ("HGB", 14.1, "g/dL", 14.1),
        ("HGB", 8.75, "mmol/L", 14.1001875),
        ("MCHC", 390.0, "g/L", 39.0),
        ("MCHC", 20.7, "mmol/L", 33.357015),
        ("MCH", 1.37, "fmol", 22.076865),
        ("MCH", 1370.0, "amol", 22.076865),
        ("HCT", 0.431, "L/L", 43.1),
        ("HCT", 0.56, "1", 56.0),
        ("HCT", 43.1, "%", 43.1),
        ("PCT", 1.9, "mL/L", 0.19),
        ("MCV", 82.0, "um3", 82.0),
        ("MCV", 82.0, "µm³", 82.0),
    ],
)
def test_conversions(code, value, unit, expected):
    assert convert(code, value, unit) == expected


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        ("PLT", "g/L"),  # gram, where G/L counts
        ("HGB", "G/L"),
        ("RDW", "fL"),  # the width of the distribution, not its CV
        ("PDW", "%"),
        ("RBC", "%"),
        ("RBC", "t/L"),
        ("RBC", "10^6"),
        ("RBC", "10^6/furlong"),
        ("RBC", ""),
        ("RBC", "10*6/uL" + " " * 40),
        ("MCV", "10^999/L"),
    ],
)
def test_other_quantities_are_not_converted(code, unit):
    assert convert(code, 1.0, unit) is None


def test_possible_values():
    for code in UNITS:
        assert is_possible(code, 0.0)  # a blank run
        assert not is_possible(code, -1.0)
        assert UNITS[code] in possible_range(code)
    assert not is_possible("HCT", 0.431)  # a fraction under a percent sign
    assert not is_possible("HCT", 4310.0)  # and the other way round
    assert not is_possible("HGB", 141.0)
    assert not is_possible("MCHC", 390.0)
    assert not is_possible("PLT", 262_000.0)
    # Disease and artefacts are possible.
    assert is_possible("HCT", 5.0)
    assert is_possible("PLT", 1.0)
    assert is_possible("MCHC", 90.0)
    assert is_possible("RBC", 24.0)  # a goat


@given(st.text(max_size=30))
def test_any_text_is_a_unit_or_none(text):
    unit = parse_unit(text)
    assert unit is None or -30 < unit.exponent < 120


@given(
    st.sampled_from(sorted(UNITS)),
    st.floats(1e-6, 1e6),
    st.sampled_from([*CELLS, "%", "1", "g/L", "g/dL", "mmol/L", "fmol", "pg", "fL", "um3"]),
)
def test_conversion_is_linear(code, value, unit):
    one, many = convert(code, 1.0, unit), convert(code, value, unit)
    assert (one is None) == (many is None)
    if one is not None:
        assert math.isclose(many, one * value, rel_tol=1e-12)
