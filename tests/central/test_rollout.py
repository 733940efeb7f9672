"""Rings open one after the other, halt by themselves, and take back what fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.central.rollout import (
    HOURS,
    LAST,
    SHARES,
    Box,
    Rollout,
    may_take,
    ring_of,
    step,
)

NOW = datetime(2026, 11, 28, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rollout(ring: int = 0, **more) -> Rollout:
    return Rollout("model/x@1.0.0", "running", ring, HOURS, 2.0, NOW, **more)


def boxes(ring: int, **words: int) -> list[Box]:
    return [
        Box(f"{ring}-{word}-{n}", ring, word, NOW) for word, number in words.items()
        for n in range(number)
    ]  # fmt: skip


def test_rings_are_stable_and_as_large_as_they_should_be():
    rings = [ring_of(f"device-{n}") for n in range(20_000)]
    assert rings == [ring_of(f"device-{n}") for n in range(20_000)]
    for ring, share in enumerate(SHARES):
        assert abs(sum(r <= ring for r in rings) / len(rings) - share) < 0.01


def test_the_next_ring_opens_after_the_time_in_which_the_first_was_well():
    fleet = [*boxes(0, active=9, trying=1), *boxes(1, unknown=40)]
    first = step(rollout(), fleet, NOW)
    assert (first.ring, first.well_since) == (0, NOW)
    assert step(first, fleet, NOW + (HOURS - 0.1) * HOUR) == first
    second = step(first, fleet, NOW + HOURS * HOUR)
    assert (second.ring, second.well_since) == (1, None)
    assert may_take(second, 1)
    assert not may_take(second, 2)


def test_a_ring_that_only_tries_is_not_well():
    fleet = boxes(0, active=4, trying=6)
    assert step(rollout(), fleet, NOW).well_since is None
    assert step(rollout(well_since=NOW), fleet, NOW + HOUR).well_since is None


def test_more_failures_than_allowed_take_it_back_everywhere():
    fleet = [*boxes(0, active=9, failed=1), *boxes(1, unknown=10)]
    after = step(rollout(), fleet, NOW)
    assert after.state == "rolled_back"
    assert "1 of 10 boxes" in after.reason
    assert not may_take(after, 0)


def test_few_failures_in_a_large_ring_are_allowed():
    assert step(rollout(), boxes(0, active=99, failed=1), NOW).state == "running"
    assert step(rollout(), boxes(0, active=97, failed=3), NOW).state == "rolled_back"


def test_failures_of_rings_that_are_not_open_do_not_count():
    fleet = [*boxes(0, active=10), *boxes(2, failed=5)]
    assert step(rollout(), fleet, NOW).state == "running"


def test_a_silent_box_is_not_waited_for_but_its_failure_counts():
    old = NOW - timedelta(days=30)
    silent = [Box(f"s{n}", 0, "unknown", old) for n in range(20)]
    assert step(rollout(), [*boxes(0, active=1), *silent], NOW).well_since == NOW
    assert step(rollout(), silent, NOW).well_since is None
    failed = [Box("f", 0, "failed", old)]
    assert step(rollout(), [*boxes(0, active=9), *failed], NOW).state == "rolled_back"


def test_a_small_fleet_does_not_wait_for_an_empty_ring():
    fleet = boxes(2, unknown=2)
    first = step(rollout(), fleet, NOW)
    assert first.ring == 1
    assert step(first, fleet, NOW).ring == 2
    assert step(rollout(2), fleet, NOW).ring == 2


def test_a_ring_where_nobody_can_use_it_waits_for_time_alone():
    fleet = boxes(0, unused=5)
    first = step(rollout(), fleet, NOW)
    assert first.well_since == NOW
    assert step(first, fleet, NOW + HOURS * HOUR).ring == 1


def test_the_last_ring_ends_it_and_late_boxes_still_get_it():
    fleet = boxes(LAST, active=10)
    after = step(rollout(LAST, well_since=NOW), fleet, NOW + HOURS * HOUR)
    assert after.state == "done"
    assert may_take(after, LAST)
    assert step(after, boxes(LAST, failed=9, active=1), NOW).state == "done"


def test_nothing_moves_what_a_person_halted():
    halted = Rollout("model/x@1.0.0", "halted", 1, 0.0, 2.0, NOW)
    assert step(halted, boxes(0, active=10), NOW + 1000 * HOUR) == halted
    assert not may_take(halted, 0)


_WORDS = st.sampled_from(["active", "failed", "trying", "unused", "unknown"])


@settings(max_examples=200, deadline=None)
@given(
    fleets=st.lists(
        st.lists(st.tuples(st.integers(0, LAST), _WORDS), max_size=12), min_size=1, max_size=30
    ),
    hours=st.floats(0, 100),
)
def test_whatever_boxes_say_rings_open_in_order_and_failures_never_open_one(fleets, hours):
    now, at = NOW, rollout()
    for told in fleets:
        now += hours * HOUR
        fleet = [Box(str(n), ring, word, now) for n, (ring, word) in enumerate(told)]
        after = step(at, fleet, now)
        assert at.ring <= after.ring <= at.ring + 1
        inside = [box for box in fleet if box.ring <= at.ring]
        failed = sum(box.word == "failed" for box in inside)
        active = sum(box.word == "active" for box in inside)
        if at.state == "running" and failed and 100 * failed / (failed + active) > 2.0:
            assert after.state == "rolled_back"
        if after.ring > at.ring and inside:
            assert at.well_since is not None
            assert now - at.well_since >= HOURS * HOUR
        if at.state != "running":
            assert after == at
        at = after
