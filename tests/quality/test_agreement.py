"""Groups stand alone, refusals are in words, verdicts follow from the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edge_daemon.quality.agreement import Group, compare, follow
from edge_daemon.quality.bland_altman import bland_altman
from edge_daemon.quality.passing_bablok import passing_bablok
from edge_daemon.quality.verdict import judge


def pair(ours, theirs, **changes):
    fields = {"instrument": "a", "analyzer": "a", "species": "dog", "simulated": False}
    return {**fields, "ours": {"RBC": ours}, "theirs": {"RBC": theirs}, **changes}


def cohort(n=40, factor=1.0, noise=0.02, seed=1, low=4.0, high=9.0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(low, high, n)
    ours = factor * truth * (1 + noise * rng.normal(size=n))
    return list(
        zip(ours.tolist(), (truth * (1 + noise * rng.normal(size=n))).tolist(), strict=True)
    )


def test_groups_are_never_mixed():
    groups = [
        {},
        {"species": "cat"},
        {"species": None},
        {"simulated": True},
        {"instrument": "b", "analyzer": "b"},
        {"analyzer": "lis"},
    ]
    pairs = [
        pair(y, x, **group)
        for seed, group in enumerate(groups)
        for y, x in cohort(20 + seed, seed=seed)
    ]
    np.random.default_rng(0).shuffle(pairs)
    found = {m.group: m.n for m in compare(pairs, ["RBC"])}
    assert found == {
        Group("a", "a", "dog", simulated=False): 20,
        Group("a", "a", "cat", simulated=False): 21,
        Group("a", "a", "unknown", simulated=False): 22,
        Group("a", "a", "dog", simulated=True): 23,
        Group("b", "b", "dog", simulated=False): 24,
        Group("a", "lis", "dog", simulated=False): 25,
    }
    assert list(found)[-1].simulated  # apart, and last


def test_a_measure_needs_a_number_on_both_sides():
    pairs = [pair(y, x) for y, x in cohort(12)]
    pairs += [pair(None, 5.0), pair(5.0, None), pair(5.0, 5.0) | {"ours": {}}]
    pairs.append(pair(1.0, 1.0) | {"theirs": {"PLT": 1.0}})
    [found] = compare(pairs, ["PLT", "RBC"])
    assert (found.code, found.n) == ("RBC", 12)


def test_the_newest_pairs_are_kept_as_many_as_are_asked_for():
    pairs = [pair(float(n), 2.0 * n, run_id=n) for n in range(20)]
    [one] = compare(pairs, ["RBC"], points=3)
    assert one.points == ((17, 17.0, 34.0), (18, 18.0, 36.0), (19, 19.0, 38.0))
    assert one.n == 20
    assert compare(pairs, ["RBC"])[0].points == ()


def test_too_few_pairs_are_refused_in_words():
    [found] = compare([pair(y, x) for y, x in cohort(9)], ["RBC"])
    assert (found.absolute, found.percent, found.line, found.verdict) == (None,) * 4
    assert found.refused.startswith("9 pairs are too few")
    assert "let more samples run" in found.refused


def test_without_a_line_there_are_still_limits():
    [found] = compare([pair(5.0 + 0.01 * (i % 3), 5.0) for i in range(30)], ["RBC"])
    assert found.line is None
    assert "no rising line" in found.refused
    assert found.absolute.bias == pytest.approx(0.01)
    assert found.verdict.word == "small"


def test_pairs_of_zeros_have_no_percentage_and_hide_nothing_else():
    pairs = [pair(y, x) for y, x in cohort(30)] + [pair(0.0, 0.0)]
    [found] = compare(pairs, ["RBC"])
    assert (found.absolute.n, found.percent.n) == (31, 30)


def verdict(factor, noise=0.02, n=40, code="RBC", offset=0.0):
    y, x = (np.array(v) for v in zip(*cohort(n, factor, noise), strict=True))
    y = y + offset
    return judge(code, bland_altman(y, x, percent=True), passing_bablok(y, x))


@pytest.mark.parametrize(
    ("found", "word", "words", "action"),
    [
        (verdict(1.0, n=60), "agrees", "no systematic difference", ""),
        (verdict(1.01, 0.005, 200), "small", "0.9 % higher", ""),
        (verdict(1.0, 0.2, 12), "undecided", "no difference shown, but it may be", "more samples"),
        (verdict(1.022, 0.02, 30), "undecided", "or beyond", "more samples"),
        (
            verdict(1.08, 0.01, 200),
            "differs",
            "in proportion to the value (slope 1.0",
            "volume, dilution",
        ),
        (verdict(1.0, 0.005, offset=-0.5), "differs", "lower than the analyzer's", "background"),
        (verdict(1.08, code="MPV"), "differs", "(no goal is set for it)", "control material"),
        (verdict(1.05, code="PLT"), "small", "within the goal of ±10 %", ""),
    ],
)
def test_what_it_means_and_what_to_do(found, word, words, action):
    assert (found.word, words in found.meaning, action in found.action) == (word, True, True), found
    assert bool(found.action) == (word in ("undecided", "differs"))


def points(side, factor=1.0, n=400, seed=1, code="MCV", **changes):
    rng = np.random.default_rng(seed)
    for i, z in enumerate(rng.normal(size=n)):
        drift = factor if i >= n // 2 else 1.0
        yield {
            "side": side, "instrument": "a", "species": "dog", "simulated": False,
            "patient": f"{i}", "values": {code: 68.0 * drift * (1 + 0.05 * z)}, **changes,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "analyzer", "words"),
    [
        (1.06, 1.06, "both moved"),
        (1.06, 1.0, "only ours moved"),
        (1.0, 1.06, "only the analyzer's moved"),
        (1.06, None, "run control material"),
    ],
)
def test_which_side_drifts_decides_what_to_do(ours, analyzer, words):
    told = [] if analyzer is None else points("analyzer", analyzer, seed=2)
    [found] = follow([*points("ours", ours), *told])
    assert found.drifts
    assert words in found.action
    assert (found.analyzer is None) == (analyzer is None)


def test_streams_of_species_instruments_and_simulation_stand_alone():
    found = follow(
        [
            *points("ours"),
            *points("ours", 1.1, species="cat"),
            *points("ours", 1.1, simulated=True),
            *points("ours", 1.1, instrument="b"),
            *points("ours", 1.1, values={"RDW": 14.0}),
        ]
    )
    assert {(f.instrument, f.species, f.simulated): f.drifts for f in found} == {
        ("a", "dog", False): False,
        ("a", "cat", False): True,
        ("a", "dog", True): True,
        ("b", "dog", False): True,
    }
    assert [f.action for f in found if not f.drifts] == [""]


def test_nothing_gives_nothing():
    assert (compare([], ["RBC"]), follow([])) == ([], [])
