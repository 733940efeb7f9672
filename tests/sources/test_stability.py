"""When a file counts as settled, complete or stalled."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.sources.stability import Observation, Tracker, Verdict

A = Observation(size=10, mtime_ns=1, inode=7)
B = Observation(size=20, mtime_ns=2, inode=7)


def yes() -> bool:
    return True


def no() -> bool:
    return False


def test_one_look_is_never_enough():
    assert Tracker(0.0, 900.0).observe("a", A, 0.0, yes) is Verdict.WAITING


def test_unchanged_for_the_settle_time_is_ready_and_forgotten():
    tracker = Tracker(2.0, 900.0)
    tracker.observe("a", A, 0.0, yes)
    assert tracker.observe("a", A, 1.9, yes) is Verdict.WAITING
    assert tracker.observe("a", A, 2.0, yes) is Verdict.READY
    assert "a" not in tracker
    assert len(tracker) == 0


def test_a_change_starts_the_wait_again():
    tracker = Tracker(2.0, 900.0)
    tracker.observe("a", A, 0.0, yes)
    assert tracker.observe("a", B, 1.9, yes) is Verdict.WAITING
    assert tracker.observe("a", B, 3.8, yes) is Verdict.WAITING
    assert tracker.observe("a", B, 3.9, yes) is Verdict.READY


def test_an_event_between_two_equal_looks_starts_the_wait_again():
    tracker = Tracker(2.0, 900.0)
    tracker.observe("a", A, 0.0, yes)
    tracker.touched("a")
    assert tracker.observe("a", A, 5.0, yes) is Verdict.WAITING
    assert tracker.observe("a", A, 7.0, yes) is Verdict.READY


def test_the_format_is_asked_once_for_each_state_and_last_when_it_stalls():
    asked: list[float] = []
    tracker = Tracker(2.0, 10.0)

    def look(now: float) -> Verdict:
        return tracker.observe("a", A, now, lambda: bool(asked.append(now)))

    verdicts = [look(float(now)) for now in range(11)]
    assert asked == [2.0, 10.0]
    assert verdicts == [Verdict.WAITING] * 10 + [Verdict.STALLED]
    assert "a" not in tracker


def test_a_file_completed_at_the_last_moment_is_not_given_up():
    tracker = Tracker(2.0, 10.0)
    tracker.observe("a", A, 0.0, no)
    tracker.observe("a", A, 2.0, no)
    assert tracker.observe("a", A, 10.0, yes) is Verdict.READY


def test_due_names_what_time_alone_decides():
    tracker = Tracker(2.0, 10.0)
    assert tracker.due_in(0.0) is None
    tracker.observe("a", A, 0.0, no)
    tracker.observe("b", A, 1.0, no)
    assert tracker.due_in(1.0) == 1.0
    assert tracker.due(2.0, limit=9) == ("a",)
    tracker.observe("a", A, 2.0, no)
    assert tracker.due_in(2.5) == 0.5
    tracker.retain({"a"})
    assert tracker.names() == ("a",)
    assert tracker.due_in(2.0) == 8.0
    tracker.forget("a")
    assert tracker.due(99.0, limit=9) == ()


steps = st.lists(
    st.tuples(
        st.floats(0.0, 5.0),
        st.sampled_from(["look", "grow", "event"]),
        st.booleans(),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=200)
@given(steps=steps, settle=st.floats(0.0, 4.0))
def test_never_ready_unless_quiet_for_the_settle_time_and_complete(steps, settle):
    tracker = Tracker(settle, 900.0)
    now, size = 0.0, 0
    first_look_since_news: float | None = None
    for wait, action, complete in steps:
        now += wait
        if action == "event":
            tracker.touched("a")
            first_look_since_news = None
            continue
        if action == "grow":
            size += 1
            first_look_since_news = None
        verdict = tracker.observe("a", Observation(size, size, 1), now, lambda c=complete: c)
        if verdict is Verdict.READY:
            assert complete
            assert first_look_since_news is not None
            assert now - first_look_since_news >= settle
            first_look_since_news = None
        elif first_look_since_news is None:
            first_look_since_news = now


@settings(deadline=None, max_examples=100)
@given(settle=st.floats(0.0, 5.0), stall=st.floats(0.1, 20.0))
def test_looking_when_due_always_ends(settle, stall):
    tracker = Tracker(settle, stall)
    now = 0.0
    tracker.observe("a", A, now, no)
    for _ in range(4):
        wait = tracker.due_in(now)
        if wait is None:
            break
        now += wait + 1e-6
        tracker.observe("a", A, now, no)
    assert len(tracker) == 0
