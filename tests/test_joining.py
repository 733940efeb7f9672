"""The pure join: samples, clocks, contradictions, and that all at once is each alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon import joining
from edge_daemon.joining import (
    WINDOW_S,
    Match,
    analyzer_time,
    contradiction,
    gap_s,
    is_of,
    match,
    match_all,
    sample_key,
    subject,
)

H = 3600.0


def row(key=1, **changes):
    """A row of runs (or, with `kind`, of reports) received `at` seconds into one boot."""
    at = changes.pop("at", 0.0)
    fields = {
        "id": key,
        "capture_id": 1000 + key if "kind" in changes else key,
        "sample_key": "s-1",
        "instrument": "advia-1",
        "instrument_serial": None,
        "patient_id": None,
        "patient_name": None,
        "species": None,
        "simulated": 0,
        "acquired_at": None,
        "received_wall": "2026-11-22T10:00:00.000000Z",
        "received_clock": "unsynchronised",
        "received_boot": "b1",
        "received_monotonic_s": at,
    }
    return subject({**fields, **changes})


def report(key=1, **changes):
    return row(key, **{"kind": "sample"} | changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05T08:00:00Z", ("utc", 1767600000.0)),
        ("2026-01-05T08:00:00+01:00", ("utc", 1767596400.0)),
        ("2026-01-05T08:00:00", ("analyzer", 1767600000.0)),
        ("2026/01/05 08:00:00", ("analyzer", 1767600000.0)),
        (" 202601050800 ", ("analyzer", 1767600000.0)),
        ("20260105080000", ("analyzer", 1767600000.0)),
        ("20260105080000.123-0500", ("utc", 1767618000.0)),
        ("05-JAN-2026 08:00:00", ("analyzer", 1767600000.0)),
        ("20260105", None),
        ("2026-01-05", None),
        ("20261305080000", None),
        ("00000000000000", None),
        ("99991231235959-1400", None),
        ("rubbish", None),
        ("", None),
        (None, None),
    ],
)
def test_the_analyzers_time(text, expected):
    assert analyzer_time(text) == expected


@given(st.text(max_size=24))
def test_any_text_is_a_time_or_none(text):
    found = analyzer_time(text)
    assert found is None or found[0] in {"utc", "analyzer"}


@given(st.one_of(st.none(), st.text(st.sampled_from(" \t\r\nAaÄäZ0-ſ\u00a0K"), max_size=8)))
def test_the_key_of_a_sample_is_the_same_in_sql(text):
    query = "SELECT nullif(lower(trim(?, char(9, 10, 11, 12, 13, 32))), '')"
    with closing(sqlite3.connect(":memory:")) as db:
        assert db.execute(query, [text]).fetchone()[0] == sample_key(text)


def test_the_key_ignores_case_and_blanks():
    assert sample_key(" D-0001\r\n") == sample_key("d-0001") == "d-0001"
    assert sample_key("  ") is None


SYNC = {"received_clock": "synchronised"}
DAY_BEFORE = {"received_wall": "2026-11-21T10:00:00.000000Z"}


@pytest.mark.parametrize(
    ("one", "other", "gap"),
    [
        # The analyzer's own time before all, whatever the box says.
        ({"acquired_at": "20261122100000"}, {"acquired_at": "20261122110000", "at": 9e9}, H),
        # Only one knows it: the same boot's monotonic clock, trusted or not.
        ({"acquired_at": "20261122100000"}, {"at": 60.0}, 60.0),
        ({"acquired_at": "20261122"}, {"acquired_at": "20261122100000", "at": 60.0}, 60.0),
        # Another boot: wall time, if both say it is synchronised.
        (SYNC, {"received_boot": "b2"} | SYNC | DAY_BEFORE, 24 * H),
        (SYNC, {"received_boot": "b2"} | DAY_BEFORE, None),
        ({}, {"received_boot": "b2"}, None),
        ({}, {"received_boot": "b2", "received_clock": "unknown"}, None),
        # With a zone and without: nothing is known within the zones, the rest is.
        (
            {"acquired_at": "2026-11-22T10:00:00Z"},
            {"acquired_at": "20261122230000", "at": 5.0},
            5.0,
        ),
        (
            {"acquired_at": "2026-11-22T10:00:00Z"},
            {"acquired_at": "20261222100000", "at": 5.0},
            (30 * 24 - 14) * H,
        ),
    ],
)
def test_only_a_clock_both_share_decides(one, other, gap):
    assert gap_s(row(**one), report(**other)) == gap
    assert gap_s(report(**other), row(**one)) == gap


def test_the_window_is_closed_and_the_same_capture_needs_no_clock():
    assert is_of(row(), report(at=WINDOW_S))
    assert not is_of(row(), report(at=WINDOW_S + 0.001))
    assert not is_of(row(), report(received_boot="b2"))
    assert is_of(row(capture_id=5), report(capture_id=5, received_boot="b2"))
    assert is_of(row(capture_id=5, sample_key=None), report(capture_id=5))
    assert not is_of(row(capture_id=5, sample_key="a"), report(capture_id=5))
    assert not is_of(row(sample_key=None), report(sample_key=None))
    assert not is_of(row(simulated=1), report())


@pytest.mark.parametrize(
    ("run", "told", "expected"),
    [
        ({}, {}, None),
        ({"species": "dog"}, {"species": "cat"}, "species_differs"),
        ({"species": "dog"}, {"species": None}, None),
        ({"patient_id": "P-7 "}, {"patient_id": "p-7"}, None),
        ({"patient_id": "P-7"}, {"patient_id": "P-9"}, "patient_differs"),
        (
            {"patient_id": "P-7", "patient_name": "Rex"},
            {"patient_id": "p-7", "patient_name": "Tom"},
            None,
        ),
        ({"patient_name": "Bella Smith"}, {"patient_name": "SMITH^BELLA"}, None),
        ({"patient_name": "Bella"}, {"patient_name": "Rex"}, "patient_differs"),
        ({"patient_name": "Bella"}, {"patient_id": "P-7"}, None),
        ({"instrument_serial": "SN1"}, {"instrument_serial": "sn1"}, None),
        ({"instrument_serial": "SN1"}, {"instrument_serial": "SN2"}, "analyzer_differs"),
        ({}, {"kind": "control"}, "control_material"),
    ],
)
def test_contradictions(run, told, expected):
    assert contradiction(row(**run), report(**told)) == expected


def test_a_report_belongs_to_the_nearest_run_of_its_instrument():
    first, second = row(1), row(2, at=H)
    other = row(3, at=2 * H, instrument="cbc-2")
    told = report(1, at=2 * H)
    assert match(first, [told], [second, other]) == Match()
    assert match(second, [told], [first, other]).joined == (1,)
    assert match(other, [told], [first, second]) == Match()
    assert match(other, [told], []).joined == (1,)  # no other run: instruments are only names


def test_as_near_to_two_runs_it_is_of_both():
    runs = row(1), row(2, at=2 * H)
    told = report(1, at=H)
    assert [match(run, [told], runs).joined for run in runs] == [(1,), (1,)]


def test_a_run_that_contradicts_is_no_rival():
    cat, dog = row(1, species="cat", at=H), row(2, species="dog")
    told = report(1, species="dog", at=H)
    assert match(dog, [told], [cat]).joined == (1,)
    assert match(cat, [told], [dog]) == Match((), ((1, "species_differs"),))


def test_two_instruments_are_not_mixed():
    told = [report(1, instrument="cbc-2"), report(2, at=60.0), report(3, at=30.0)]
    assert match(row(), told) == Match((2, 3), ((1, "other_analyzer"),))
    assert match(row(instrument="x"), told) == Match(
        (1,), ((2, "other_analyzer"), (3, "other_analyzer"))
    )


def test_reports_that_contradict_each_other_are_not_put_together():
    told = [
        report(1, patient_id="P-7", at=60.0),
        report(2, at=90.0),
        report(3, patient_id="P-9", at=300.0),
        report(4, species="cat", patient_id="P-7", at=400.0),
    ]
    assert match(row(), told) == Match((1, 2, 4), ((3, "patient_differs"),))
    assert match(row(at=89.0), told).contradicted == ((3, "patient_differs"),)
    assert match(row(at=299.0), told) == Match(
        (2, 3), ((1, "patient_differs"), (4, "patient_differs"))
    )


times = st.sampled_from([0.0, 1.0, 5 * H, 12 * H, 13 * H, 25 * H, -3 * H])
items = st.fixed_dictionaries(
    {
        "sample_key": st.sampled_from(["1", "2", None]),
        "at": times,
        "received_boot": st.sampled_from(["b1", "b2"]),
        "received_clock": st.sampled_from(["synchronised", "unsynchronised"]),
        "acquired_at": st.sampled_from(
            [None, "20261122100000", "20261122230000", "2026-11-23T10:00:00Z", "20261124090000"]
        ),
        "species": st.sampled_from([None, "dog", "cat"]),
        "instrument": st.sampled_from(["a", "b"]),
        "simulated": st.sampled_from([0, 0, 0, 1]),
    }
)


@pytest.mark.parametrize("few", [0, 8])
@given(st.lists(items, max_size=8), st.lists(items, max_size=8), st.data())
def test_all_at_once_is_each_alone(few, run_rows, report_rows, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "_FEW", few)
        check_all_at_once(run_rows, report_rows, data)


def test_a_window_is_found_across_the_edge_of_its_box(monkeypatch):
    """Moments are laid into boxes of one window; near may be in the box beside."""
    monkeypatch.setattr(joining, "_FEW", 0)
    moments = [n * WINDOW_S + edge for n in range(5) for edge in (-60.0, 60.0)]
    runs = [row(i, at=at) for i, at in enumerate(moments)]
    reports = [report(i, at=-at) for i, at in enumerate(moments)]
    assert match_all(runs, reports) == {
        run.id: found for run in runs if (found := match(run, reports, runs)) != Match()
    }
    assert match_all(runs[:1], reports[1:2])[0].joined == (1,)
    assert match_all(runs[1:2], reports[1:2])[1].joined == (1,)


def check_all_at_once(run_rows, report_rows, data):
    runs = [row(i, **fields) for i, fields in enumerate(run_rows)]
    reports = [
        report(i, **fields)
        if data.draw(st.booleans())
        else report(i, **fields, capture_id=data.draw(st.integers(0, 7)))
        for i, fields in enumerate(report_rows)
    ]
    alone = {run.id: match(run, reports, runs) for run in runs}
    assert match_all(runs, reports) == {k: m for k, m in alone.items() if m != Match()}
    for run in runs:
        for key in alone[run.id].joined:
            assert reports[key].simulated == run.simulated
            assert contradiction(run, reports[key]) is None
