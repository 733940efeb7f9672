from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.merging import compare, merge


def line(code, value, text=None, **changes):
    shown = text if text is not None else "" if value is None else f"{value:g}"
    fields = {"name": code, "code": code, "value": value, "unit": "fL", "text": shown, "flags": []}
    return fields | changes


def told(key, *lines, amends=False):
    return {"id": key, "amends": amends, "values": list(lines)}


def values(*reports):
    return {item["code"] or item["name"]: item["value"] for item in merge(reports)}


def test_the_newest_number_stands():
    assert values(told(1, line("MCV", 60.0)), told(2, line("MCV", 61.0))) == {"MCV": 61.0}


@pytest.mark.parametrize(
    ("later", "amends", "expected"),
    [("", False, 60.0), ("----", False, 60.0), ("----", True, None), ("", True, 60.0)],
)
def test_a_line_without_a_number_replaces_one_only_in_an_amendment(later, amends, expected):
    found = values(
        told(1, line("MCV", 60.0)), told(2, line("MCV", None, text=later), amends=amends)
    )
    assert found == {"MCV": expected}


def test_words_are_better_than_nothing_and_newer_words_than_older():
    found = merge([told(1, line("PLT", None, "")), told(2, line("PLT", None, "++++"))])
    assert [(f["text"], f["report_id"]) for f in found] == [("++++", 2)]


def test_within_one_report_the_first_number_stands():
    found = merge([told(1, line("PLT", None, "----"), line("PLT", 240.0), line("PLT", 250.0))])
    assert [f["value"] for f in found] == [240.0]


def test_names_without_a_code_are_their_own():
    wbc = line("WBC", 8.0) | {"code": None}
    assert values(told(1, wbc, line("RBC", 6.0)), told(2, {**wbc, "value": 9.0})) == {
        "WBC": 9.0,
        "RBC": 6.0,
    }


@given(st.lists(st.dictionaries(st.sampled_from("ABC"), st.floats(0, 9)), max_size=6))
def test_merging_is_a_dictionary_update(numbers):
    expected = {}
    for one in numbers:
        expected.update(one)
    reports = [
        told(i, *(line(code, value) for code, value in one.items()))
        for i, one in enumerate(numbers)
    ]
    assert values(*reports) == expected


def ours(code, value, unit="fL"):
    return {"code": code, "value": value, "unit": unit}


def test_the_difference_is_ours_minus_the_analyzers():
    [found] = compare([ours("MCV", 66.0), ours("RBC", 6.0)], [line("MCV", 60.0, flags=["H"])])
    assert (found["ours"], found["analyzer"], found["unit"]) == (66.0, 60.0, "fL")
    assert (found["difference"], found["percent"], found["flags"]) == (
        6.0,
        pytest.approx(10),
        ["H"],
    )


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (ours("MCV", None), line("MCV", 60.0)),
        (ours("MCV", 66.0), line("MCV", None, "----")),
        (ours("MCV", 66.0), line("MCV", 60.0, unit="um3")),
    ],
)
def test_no_difference_of_what_is_not_known_or_of_another_unit(mine, theirs):
    [found] = compare([mine], [theirs])
    assert (found["difference"], found["percent"]) == (None, None)


def test_no_percentage_of_zero():
    [found] = compare([ours("MCV", 66.0)], [line("MCV", 0.0)])
    assert (found["difference"], found["percent"]) == (66.0, None)
