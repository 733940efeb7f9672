"""Westgard's rules against examples worked by hand, and their meaning on any series."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.quality.westgard import ACTIONS, EVENT_S, REJECTS, Hit, Point, events, judge

DAY = 24 * 3600.0


def series(*days):
    """One event a day: ``(normal,)`` or ``(normal, high)``."""
    levels = ("normal", "high", "low")
    return [
        Point(level, z, day * DAY + 60.0 * i)
        for day, values in enumerate(days)
        for i, (level, z) in enumerate(zip(levels, values, strict=False))
        if z is not None
    ]


def rules(points):
    """What the newest point breaks."""
    return {hit.rule for hit in judge(points)[-1]}


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        # One level.
        ([(1.9,)], set()),
        ([(2.0,)], set()),  # beyond means beyond
        ([(2.1,)], {"1-2s"}),
        ([(-2.1,)], {"1-2s"}),
        ([(3.0,)], {"1-2s"}),
        ([(3.1,)], {"1-2s", "1-3s"}),
        ([(-3.1,)], {"1-2s", "1-3s"}),
        ([(2.1,), (2.2,)], {"1-2s", "2-2s"}),
        ([(2.1,), (-2.2,)], {"1-2s"}),  # opposite sides; R-4s is for one event alone
        ([(2.1,), (0.0,), (2.2,)], {"1-2s"}),  # not in a row
        ([(1.1,), (1.2,), (1.3,), (1.4,)], {"4-1s"}),
        ([(1.1,), (1.2,), (1.3,)], set()),
        ([(1.1,), (1.2,), (-1.3,), (1.4,)], set()),
        ([(1.1,), (1.0,), (1.3,), (1.4,)], set()),
        ([(-1.1,), (-1.2,), (-1.3,), (-2.4,)], {"4-1s", "1-2s"}),
        ([(1.5,), (1.5,), (2.5,), (3.5,)], {"1-2s", "1-3s", "2-2s", "4-1s"}),
        # Two levels.
        ([(2.1, 2.2)], {"1-2s", "2-2s"}),  # across levels, in one event
        ([(-2.1, -2.2)], {"1-2s", "2-2s"}),
        ([(2.1, -2.2)], {"1-2s", "R-4s"}),
        ([(2.1, -1.9)], set()),  # their distance is 4 SD, but only one is beyond 2
        ([(2.1, 0.0), (0.0, 2.2)], {"1-2s"}),  # across levels, but in two events
        ([(2.1, 0.0), (2.2, 0.0)], set()),  # what the newest point, of the other level, says
        ([(1.1, 1.2), (1.3, 1.4)], {"4-1s"}),  # across levels, two events
        ([(1.1, 1.2), (1.3, 0.9)], set()),
        ([(None, 1.2), (1.3, 1.4), (1.1,)], {"4-1s"}),
        ([(3.2, -3.3)], {"1-2s", "1-3s", "R-4s"}),
        # Three levels: R-4s looks at any two of an event.
        ([(2.5, 0.0, -2.5)], {"1-2s", "R-4s"}),
        ([(2.5, 0.0, 2.5)], {"1-2s"}),  # the two beyond are not in a row
    ],
)
def test_worked_examples(days, expected):
    assert rules(series(*days)) == expected


def test_which_points_a_rule_rests_on():
    hits = {hit.rule: hit for hit in judge(series((2.1, -2.2)))[-1]}
    assert hits["R-4s"] == Hit("R-4s", levels=True, points=(0, 1))
    within = judge(series((2.1, 0.0), (2.2, 0.0)))[2]
    assert Hit("2-2s", levels=False, points=(0, 2)) in within
    across = judge(series((1.1, 1.2), (1.3, 1.4)))[-1]
    assert across == (Hit("4-1s", levels=True, points=(0, 1, 2, 3)),)


def test_an_event_is_one_of_each_level_made_together():
    points = [
        Point("normal", 0.0, 0.0),
        Point("high", 0.0, 60.0),
        Point("normal", 0.0, 120.0),  # repeated: another event
        Point("high", 0.0, 120.0 + EVENT_S),
        Point("low", 0.0, 121.0 + EVENT_S),  # too late for the event it would complete
    ]
    assert events(points) == [(0, 1), (2, 3), (4,)]


def test_levels_that_lie_days_apart_do_not_make_a_range():
    points = [Point("normal", 2.5, 0.0), Point("high", -2.5, 2 * DAY)]
    assert {hit.rule for hit in judge(points)[-1]} == {"1-2s"}


def test_every_rule_says_what_to_do():
    assert set(ACTIONS) == {"1-2s", *REJECTS}
    assert all(ACTIONS[rule].startswith("hold results back") for rule in REJECTS)


points = st.lists(
    st.tuples(st.sampled_from(["normal", "high"]), st.floats(-5, 5), st.floats(0, 3 * DAY)),
    max_size=30,
).map(lambda rows: [Point(lv, z, at) for lv, z, at in sorted(rows, key=lambda r: r[2])])


@given(points)
def test_events_hold_every_point_once_and_no_level_twice(found):
    groups = events(found)
    assert [i for group in groups for i in group] == list(range(len(found)))
    for group in groups:
        assert len({found[i].level for i in group}) == len(group)
        assert found[group[-1]].at_s - found[group[0]].at_s <= EVENT_S


@given(points)
def test_a_mirror_breaks_the_same_rules(found):
    mirrored = [Point(p.level, -p.z, p.at_s) for p in found]
    assert judge(mirrored) == judge(found)


@given(points)
def test_every_rule_does_what_its_name_says(found):
    """An oracle by definition, on the points that each hit names."""
    for index, hits in enumerate(judge(found)):
        names = {hit.rule for hit in hits}
        assert ("1-2s" in names) == (abs(found[index].z) > 2)
        assert ("1-3s" in names) == (abs(found[index].z) > 3)
        for hit in hits:
            assert hit.points[-1] == index
            zs = [found[i].z for i in hit.points]
            same = all(z > 0 for z in zs) or all(z < 0 for z in zs)
            if hit.rule == "2-2s":
                assert len(zs) == 2
                assert same
                assert min(map(abs, zs)) > 2
            elif hit.rule == "4-1s":
                assert len(zs) == 4
                assert same
                assert min(map(abs, zs)) > 1
            elif hit.rule == "R-4s":
                assert max(zs) - min(zs) > 4
                assert len({found[i].level for i in hit.points}) == 2
            if hit.rule in ("2-2s", "4-1s"):
                levels = {found[i].level for i in hit.points}
                assert (len(levels) > 1) == hit.levels


@given(points, st.integers(0, 30))
def test_later_points_never_change_what_was_said(found, cut):
    assert judge(found[:cut]) == judge(found)[: len(found[:cut])]
