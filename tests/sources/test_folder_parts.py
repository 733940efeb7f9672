"""Runs that an analyzer exports in several files, in a real folder."""

from __future__ import annotations

import pytest

from edge_daemon.parts import MAX_PARTS, split

PATTERN = r"(.*)\.116(?P<PART>\(\d+\))?\.fcs"


@pytest.fixture
def source(bench):
    return bench.source(parts=(PATTERN,))


def contents(capture):
    return [content for _, content in split(capture.data)]


def put(bench, name, content=b"cells"):
    (bench.folder / name).write_bytes(content)


def test_the_parts_of_a_run_become_one_capture_in_order(bench, source):
    for number in (10, 2, *range(3, 10), 1):
        put(bench, f"X.116({number}).fcs", f"{number}".encode())
    put(bench, "X.116.fcs", b"0")
    put(bench, "Y.116.fcs", b"other")
    put(bench, "plain.fcs", b"plain")
    bench.pass_time(source, 60.0)
    by_name = {capture.name: capture for capture in bench.accepted}
    assert sorted(by_name) == ["X.116.fcs", "Y.116.fcs", "plain.fcs"]
    assert contents(by_name["X.116.fcs"]) == [f"{n}".encode() for n in range(11)]
    assert split(by_name["X.116.fcs"].data)[1][0] == "X.116(1).fcs"
    assert by_name["Y.116.fcs"].data == b"other"
    bench.pass_time(source, 600.0)
    assert len(bench.accepted) == 3
    assert bench.refused == []


def test_a_run_is_not_taken_while_one_of_its_parts_still_grows(bench, source):
    put(bench, "X.116.fcs", b"0")
    for turn in range(10):
        put(bench, "X.116(1).fcs", b"1" * (turn + 1))
        source.hint("X.116(1).fcs")
        bench.pass_time(source, 1.5)
        assert bench.accepted == []
    bench.pass_time(source, 3.0)
    assert [contents(c) for c in bench.accepted] == [[b"0", b"1" * 10]]


def test_a_new_part_is_seen_by_its_event_and_not_only_by_the_rescan(bench, source):
    put(bench, "X.116.fcs", b"0")
    bench.pass_time(source, 1.0)
    put(bench, "X.116(1).fcs", b"1")
    source.hint("X.116(1).fcs")
    bench.pass_time(source, 3.0)
    assert [contents(c) for c in bench.accepted] == [[b"0", b"1"]]


def test_a_full_part_is_waited_for_until_its_continuation_is_there(bench, source):
    bench.whole = lambda data: len(split(data)[-1][1]) < 4
    put(bench, "X.116.fcs", b"full")
    bench.pass_time(source, 600.0)
    assert bench.accepted == []
    put(bench, "X.116(1).fcs", b"end")
    bench.pass_time(source, 40.0)
    assert [contents(c) for c in bench.accepted] == [[b"full", b"end"]]
    assert bench.refused == []


def test_a_missing_part_stalls_with_the_bytes_of_the_others(bench, source):
    put(bench, "X.116.fcs", b"0")
    put(bench, "X.116(2).fcs", b"2")
    bench.pass_time(source, 950.0)
    assert bench.accepted == []
    ((name, refusal, capture),) = bench.refused
    assert (name, refusal.code) == ("X.116.fcs", "stalled")
    assert "part 1 of this run is not there" in refusal.message
    assert contents(capture) == [b"0", b"2"]
    bench.pass_time(source, 2000.0)
    assert len(bench.refused) == 1
    put(bench, "X.116(1).fcs", b"1")
    bench.pass_time(source, 40.0)
    assert [contents(c) for c in bench.accepted] == [[b"0", b"1", b"2"]]


def test_a_continuation_alone_is_never_taken_for_a_run(bench, source):
    put(bench, "X.116(1).fcs", b"1")
    bench.pass_time(source, 950.0)
    assert bench.accepted == []
    assert [(n, r.code, c.data) for n, r, c in bench.refused] == [("X.116(1).fcs", "stalled", b"1")]


def test_a_late_part_makes_another_capture_of_the_whole_run(bench, source):
    put(bench, "X.116.fcs", b"0")
    bench.pass_time(source, 60.0)
    put(bench, "X.116(1).fcs", b"1")
    bench.pass_time(source, 60.0)
    assert [contents(c) for c in bench.accepted] == [[b"0"], [b"0", b"1"]]


def test_cleaning_up_old_parts_makes_no_new_capture(bench, source):
    for name in ("X.116.fcs", "X.116(1).fcs", "Y.116.fcs", "Y.116(1).fcs"):
        put(bench, name)
    bench.pass_time(source, 60.0)
    (bench.folder / "X.116.fcs").unlink()
    (bench.folder / "Y.116(1).fcs").unlink()
    source.hint("X.116.fcs")
    bench.pass_time(source, 2000.0)
    assert len(bench.accepted) == 2
    assert bench.refused == []


def test_a_part_that_goes_while_waiting(bench, source):
    put(bench, "X.116.fcs", b"0")
    put(bench, "X.116(1).fcs", b"1")
    bench.pass_time(source, 1.0)
    (bench.folder / "X.116(1).fcs").unlink()
    bench.pass_time(source, 60.0)
    assert [contents(c) for c in bench.accepted] == [[b"0"]]


def test_a_link_among_the_parts_is_refused_and_not_followed(bench, source, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    put(bench, "X.116.fcs", b"0")
    (bench.folder / "X.116(1).fcs").symlink_to(secret)
    bench.pass_time(source, 60.0)
    assert bench.accepted == []
    assert [(name, refusal.code) for name, refusal, _ in bench.refused] == [
        ("X.116.fcs", "refused")
    ]


def test_parts_are_limited_together(bench):
    source = bench.source(parts=(PATTERN,), max_bytes=9)
    put(bench, "X.116.fcs", b"12345")
    put(bench, "X.116(1).fcs", b"12345")
    for number in range(MAX_PARTS + 1):
        put(bench, f"Y.116({number}).fcs", b"")
    bench.pass_time(source, 60.0)
    assert bench.accepted == []
    assert {(name, refusal.code) for name, refusal, _ in bench.refused} == {
        ("X.116.fcs", "too_large"),
        ("Y.116(0).fcs", "too_large"),
    }
