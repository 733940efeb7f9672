"""`edge-daemon compare`: the right earlier result, honest changes, the trend."""

import csv
import io

import pytest

from edge_daemon import errors
from edge_daemon.records import Flag, Measurement
from edge_daemon.store import visits

REVIEW = Flag("clumps", "review", "Red cell clumps 1.3 %", "Look at a smear.")
INVALID = Flag("no_rbc_peak", "invalid", "No red cell peak found", "Repeat the run.")


def values(rbc=7.0, plt=250.0, **more):
    """Measurements with the given values; intervals of ±2 % and ±8 %."""
    return (
        Measurement("RBC", rbc, "10*6/uL", rbc * 0.98, rbc * 1.02, "counted"),
        Measurement("PLT", plt, "10*3/uL", plt * 0.92, plt * 1.08, "counted"),
        *(Measurement(code, value, "fL", None, None, "calculated") for code, value in more.items()),
    )


@pytest.fixture
def history(clinic):
    """Three visits of one dog, one failed, one of another, and a repeat of the last sample."""
    clinic.add(measurements=values(5.0, 90.0), acquired_at="2026-01-05T08:00:00Z")
    clinic.add(measurements=values(6.0), acquired_at="2026-02-05T08:00:00Z")
    clinic.add(measurements=values(1.0), flags=(INVALID,))
    clinic.add(measurements=values(9.9), patient_id="P-8")
    clinic.add(measurements=values(7.1), acquired_at="2026-03-05T09:00:00Z", sample_id="again")
    clinic.add(
        measurements=values(7.0, 260.0), acquired_at="2026-03-05T08:00:00Z", sample_id="AGAIN "
    )
    return clinic


def test_the_last_visit_is_neither_a_repeat_nor_failed_nor_anothers(invoke, history):
    found = invoke("compare", "run:6", "--json", "--data-dir", history.path).json
    assert (found["now"]["id"], found["before"]["id"]) == (6, 2)
    assert [visit["id"] for visit in found["visits"]] == [6, 2, 1]
    assert found["visits"][2]["values"] == {"RBC": 5.0, "PLT": 90.0}
    assert found["patient_known_by"] == "patient_id"
    assert found["doubts"] == []


def test_a_sample_id_that_is_used_again_weeks_later_is_another_visit(invoke, clinic):
    """Analyzers count from 1 each day: the last visit had passed for a repeat of this one."""
    clinic.add(measurements=values(5.0), acquired_at="2026-01-05T08:00:00Z", sample_id="1")
    clinic.add(measurements=values(6.0), acquired_at="2026-02-05T08:00:00Z", sample_id="1")
    clinic.add(measurements=values(6.1), acquired_at="2026-02-05T09:00:00Z", sample_id="1")
    found = invoke("compare", "run:3", "--json", "--data-dir", clinic.path).json
    assert [visit["id"] for visit in found["visits"]] == [3, 1]


def test_changes_are_of_the_earlier_value_and_beyond_both_doubts_or_not(invoke, history):
    rows = invoke("compare", "run:6", "--json", "--data-dir", history.path).json["values"]
    rbc, plt = rows
    assert rbc["change"] == pytest.approx(1.0)
    assert rbc["percent"] == pytest.approx(100 / 6)
    assert rbc["exceeds"] is True
    assert plt["change"] == pytest.approx(10.0)
    assert plt["exceeds"] is False
    assert plt["now"] == {"value": 260.0, "low": 260.0 * 0.92, "high": 260.0 * 1.08}


@pytest.mark.parametrize(
    ("before", "now", "exceeds"),
    [
        # Intervals that overlap a little may still leave a change that both cannot explain.
        ((100.0, 90.0, 110.0), (120.0, 112.0, 128.0), True),
        ((100.0, 90.0, 110.0), (112.0, 104.0, 120.0), False),
        # Only the ends that face each other count.
        ((100.0, 10.0, 101.0), (110.0, 109.0, 300.0), True),
        ((110.0, 109.0, 300.0), (100.0, 10.0, 101.0), True),
        ((100.0, 99.0, 300.0), (110.0, 10.0, 111.0), False),
        ((0.0, 0.0, 4.0), (3.0, 1.0, 6.0), False),
    ],
)
def test_what_two_intervals_explain(before, now, exceeds):
    def run(numbers):
        keys = dict(zip(("value", "low", "high"), numbers, strict=True))
        return {"measurements": [{"code": "PLT", "unit": "10*3/uL", **keys}]}

    [row] = visits.changes(run(now), run(before))
    assert row["exceeds"] is exceeds
    assert (row["percent"] is None) == (before[0] == 0.0)


def test_nothing_is_said_of_what_is_not_known(invoke, clinic):
    absent = Measurement("RETIC%", None, "%", None, None, "counted")
    retic = Measurement("RETIC%", 1.0, "%", 0.9, 1.1, "counted")
    elsewhere = Measurement("MCV", 70.0, "um3", 69.0, 71.0, "calculated")
    clinic.add(measurements=(*values(MPV=11.0, MCV=70.0), absent))
    clinic.add(measurements=(*values(MPV=11.0, PDW=9.0), elsewhere, retic))
    found = invoke("compare", "2", "1", "--json", "--data-dir", clinic.path).json
    rows = {row["code"]: row for row in found["values"]}
    assert "PDW" not in rows
    for code, change in (("RETIC%", None), ("MPV", 0.0), ("MCV", None)):
        assert (rows[code]["change"], rows[code]["exceeds"]) == (change, None), code


def test_people_read_both_visits_the_changes_and_the_trend(invoke, history):
    done = invoke("compare", "run:6", "--data-dir", history.path)
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == "Bello (P-7), dog"
    assert "SIMULATED: not a patient's result" in lines
    assert "Before run 2, 2026-02-05T08:00:00Z, sample D-0002, Review (28 days earlier)" in lines
    assert "RBC 7.00 6.00 M/µL +1.00 +16.7 % yes" in lines
    assert "PLT 260 250 K/µL +10 +4.0 % no" in lines
    assert "Changed by more than the uncertainty of both results: RBC." in lines
    assert "The last 3 visits, newest first" in lines
    assert "Measurement 2026-03-05 2026-02-05 2026-01-05" in lines
    assert "RBC 7.00 6.00 5.00" in lines


def test_marks_of_the_intervals_stand_beside_the_value(invoke, clinic):
    clinic.add(measurements=values())
    clinic.add(measurements=values(3.0))
    found = invoke("compare", "2", "--json", "--data-dir", clinic.path).json
    assert {row["code"]: row["mark"] for row in found["values"]}["RBC"] == "L"


def test_an_old_run_is_compared_with_what_was_before_it(invoke, history):
    found = invoke("compare", "run:2", "--json", "--data-dir", history.path).json
    assert (found["now"]["id"], found["before"]["id"]) == (2, 1)


def test_a_replay_of_an_old_visit_does_not_become_the_last(invoke, history):
    history.replay(1)
    found = invoke("compare", "run:6", "--json", "--data-dir", history.path).json
    assert found["before"]["id"] == 2
    assert [visit["id"] for visit in found["visits"]] == [6, 2, 7]


def test_visits_are_limited_and_can_be_left_out(invoke, history):
    def trend(count):
        done = invoke("compare", "6", "--visits", count, "--json", "--data-dir", history.path)
        return [visit["id"] for visit in done.json["visits"]]

    assert trend(2) == [6, 2]
    assert trend(0) == []


def test_csv_has_a_row_for_each_value(invoke, history):
    out = invoke("compare", "run:6", "--csv", "--data-dir", history.path).out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert rows[0]["code"] == "RBC"
    assert rows[0]["exceeds_intervals"] == "yes"
    assert rows[0]["before_value"] == "6.00"


def test_a_patient_without_id_is_known_by_name_and_it_says_so(invoke, clinic):
    for _ in range(2):
        clinic.add(patient_id=None, measurements=values())
    done = invoke("compare", "2", "--data-dir", clinic.path)
    assert done.code == 0
    assert "Known by name only: two animals may share it." in done.out
    assert "No value changed by more than the uncertainty of both results." in done.out


def test_without_an_earlier_visit_it_says_what_to_do(invoke, clinic):
    clinic.add()
    clinic.add(patient_id=None, patient_name=None)
    done = invoke("compare", "1", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_NOT_FOUND
    assert "no earlier visit of the patient of run 1" in done.err
    done = invoke("compare", "2", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_NOT_FOUND
    assert "The analyzer named no patient" in done.err
    assert invoke("compare", "99", "--data-dir", clinic.path).code == errors.EXIT_NOT_FOUND


def test_what_may_not_be_comparable_is_said(invoke, clinic):
    clinic.add(species="cat", patient_id="P-1", flags=(INVALID,))
    clinic.add(flags=(REVIEW, Flag("x", "info", "x")))
    done = invoke("compare", "2", "1", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_WARNINGS
    assert done.err.splitlines() == [
        "Run 1 failed: its values say nothing reliable.",
        "The two runs name different species: dog and cat.",
        "The two runs name different patients: P-7 and P-1.",
    ]


def test_simulated_and_real_are_never_compared(invoke, clinic):
    clinic.add()
    clinic.add(simulated=False)
    done = invoke("compare", "2", "1", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_FAILED
    assert "never compared" in done.err
    assert invoke("compare", "2", "--data-dir", clinic.path).code == errors.EXIT_NOT_FOUND
