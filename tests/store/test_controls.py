"""Control material in the store: lots, marks, and what is no patient's."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.store import controls, layout, queries, searching, visits
from edge_daemon.store.comparisons import Comparisons, Filters
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.store.searching import Wanted

RBC = LotTarget(6.5, 0.2)


@pytest.fixture
def db(store, data_dir):
    with closing(queries.connect(data_dir)) as reader:
        yield reader


def lot(**changes):
    given = {"lot": "4711", "level": "normal", "material": "Vet", "targets": {"RBC": RBC}}
    return Lot(**given | changes)


def keys(db):
    return [(one["key"], one["lot"], one["level"]) for one in controls.measured(db)]


def test_a_control_is_found_by_the_pattern_of_its_lot(store, analyse, db):
    store.add_lot(lot(pattern="QC-N*"), by="Ann")
    store.add_lot(lot(level="high", pattern="QC-H*"), by="Ann")
    analyse(1, sample_id="QC-N 1")
    analyse(2, sample_id="qc-h 1")
    analyse(3, sample_id="S-1")
    analyse(4, sample_id="X QC-N 1")
    assert keys(db) == [("run:1", "4711", "normal"), ("run:2", "4711", "high")]
    (one, _) = controls.measured(db)
    assert one["values"] == {"RBC": 6.6251, "HGB": 15.1}
    assert controls.no_patients(db) == {1, 2}


def test_a_mark_counts_before_the_pattern_and_the_newest_counts(store, analyse, db):
    store.add_lot(lot(pattern="QC-*"), by="Ann")
    analyse(1, sample_id="S-1")
    analyse(2, sample_id="QC-2")
    store.mark(1, "control", by="Ann", lot="4711", level="normal")
    store.mark(2, "patient", by="Ann")
    assert keys(db) == [("run:1", "4711", "normal")]
    store.mark(1, "patient", by="Bo")
    assert keys(db) == []
    assert controls.no_patients(db) == set()


def test_the_lot_that_was_in_use_counts(store, analyse, db, clock):
    clock.wall = "2026-01-01T00:00:00.000000Z"
    analyse(1, sample_id="QC-1")  # before any lot was added
    clock.wall = "2026-02-01T00:00:00.000000Z"
    store.add_lot(lot(lot="old", pattern="QC-*"), by="Ann")
    analyse(2, sample_id="QC-1")
    clock.wall = "2026-03-01T00:00:00.000000Z"
    store.add_lot(lot(lot="new", pattern="QC-*"), by="Ann")
    analyse(3, sample_id="QC-1")
    assert [found[1] for found in keys(db)] == ["old", "old", "new"]


def test_a_lot_added_again_takes_the_place_of_the_former(store, db):
    store.add_lot(lot(), by="Ann")
    store.add_lot(lot(targets={"RBC": LotTarget(7.0, 0.1)}), by="Bo")
    (found,) = controls.lots(db)
    assert (found["made_by"], found["targets"]) == ("Bo", {"RBC": {"mean": 7.0, "sd": 0.1}})


def test_a_lot_of_one_instrument_is_for_that_alone(store, analyse, db):
    store.add_lot(lot(pattern="QC-*", instrument="advia-2"), by="Ann")
    analyse(1, sample_id="QC-1")
    analyse(2, sample_id="QC-2", instrument="advia-2")
    assert keys(db) == [("run:2", "4711", "normal")]


def test_the_analyzers_own_controls_are_another_side(store, make, db):
    store.add_lot(lot(pattern="QC-*"), by="Ann")
    for content, sample in ((1, "QC-1"), (2, "XQ-1")):
        taken = store.accept(make.capture(content)).capture_id
        store.record_report(taken, make.reported(kind="control", sample_id=sample))
        store.finish_decoded(taken)
    first, second = controls.measured(db)
    assert (first["side"], first["key"], first["lot"]) == ("analyzer", "report:1", "4711")
    assert first["values"] == {"RBC": 6.5, "PLT": 240.0}
    assert (second["key"], second["lot"]) == ("report:2", None)


def test_a_replay_counts_once(store, analyse, make, db):
    store.add_lot(lot(pattern="QC-*"), by="Ann")
    analyse(1, sample_id="QC-1")
    store.requeue(1)
    step = make.decoded(sample_id="QC-1")
    store.record_decoded(1, step)
    store.record_run(1, step, make.classified())
    assert keys(db) == [("run:2", "4711", "normal")]


def test_what_is_no_patients_stays_out_of_averages(store, analyse, db):
    store.add_lot(lot(pattern="QC-*"), by="Ann")
    for content, sample in enumerate(("S-1", "QC-1", "BLANK", "S-2")):
        analyse(content, sample_id=sample)
    store.mark(4, "check", by="Ann")
    held = Comparisons(db, Filters())
    assert [point["patient"] for point in held.ours()] == ["s-1 2026-11-22"]
    assert held.left_out.control_runs == 3


def test_a_sample_id_of_another_day_is_another_animal(store, analyse, tell, clock, db):
    """Where an analyzer counts from 1 each day, a batch had never become full."""
    for content, day in enumerate(("22", "22", "23")):
        clock.wall = f"2026-11-{day}T10:00:00.000000Z"
        analyse(content, sample_id="1", patient_id=None)
        tell(100 + content, sample_id="1", patient_id=None)
    held = Comparisons(db, Filters())
    for points in (held.ours(), held.reported()):
        one, again, other = (point["patient"] for point in points)
        assert one == again != other


def test_the_newest_blank(store, analyse, db):
    assert controls.newest_blank(db) is None
    analyse(1, sample_id="Blank 1")
    assert controls.newest_blank(db) == 1
    analyse(2, sample_id="S-1")
    store.mark(2, "blank", by="Ann")
    assert controls.newest_blank(db) == 2
    analyse(3, sample_id="background")
    assert controls.newest_blank(db) == 3
    store.mark(3, "patient", by="Ann")
    assert controls.newest_blank(db) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lot": " "}, "the number of the lot is missing"),
        ({"level": ""}, "the level is missing"),
        ({"targets": {}}, "at least one value"),
        ({"targets": {"WBC": RBC}}, "'WBC' is no value"),
        ({"targets": {"HGB": LotTarget(141.0, 2.0)}}, "the target 141 of HGB cannot be"),
        ({"targets": {"RBC": LotTarget(6.5, 0.0)}}, "the standard deviation 0 of RBC"),
        ({"targets": {"RBC": LotTarget(6.5, 7.0)}}, "the standard deviation 7 of RBC"),
        ({"targets": {"RBC": LotTarget(float("nan"), 1.0)}}, "cannot be"),
        ({"expires": "31.3.2027"}, "'31.3.2027' is no date"),
        ({"pattern": "*"}, "would take patients for controls"),
        ({"pattern": "Q?"}, "would take patients for controls"),
    ],
)
def test_lots_that_cannot_be_are_refused(store, db, changes, message):
    with pytest.raises(EdgeError, match=message):
        store.add_lot(lot(**changes), by="Ann")
    assert controls.lots(db) == []


@pytest.mark.parametrize(
    ("run_id", "given", "message"),
    [
        (9, {"kind": "blank"}, "there is no run 9"),
        (1, {"kind": "rumour"}, "'rumour' is no kind"),
        (1, {"kind": "control", "lot": "x", "level": "y"}, "there is no lot 'x'"),
        (1, {"kind": "blank", "lot": "x"}, "only a control has a lot"),
        (1, {"kind": "blank", "by": " "}, "who marks it is missing"),
    ],
)
def test_marks_that_cannot_be_are_refused(store, analyse, db, run_id, given, message):
    analyse(1)
    with pytest.raises(EdgeError, match=message):
        store.mark(run_id, **{"by": "Ann"} | given)
    assert controls.marks(db) == {}


def test_what_people_wrote_is_never_changed(store, analyse, data_dir):
    store.add_lot(lot(), by="Ann")
    store.mark(analyse(1), "blank", by="Ann")
    with closing(sqlite3.connect(layout.database_path(data_dir))) as raw:
        for table in ("lots", "control_marks"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                raw.execute(f"UPDATE {table} SET made_by = 'other'")


@pytest.fixture
def tell(store, make):
    """Let the analyzer report a sample, in a message of its own."""

    def report(content, **sample):
        taken = store.accept(make.capture(content)).capture_id
        store.record_report(taken, make.reported(**sample))
        store.finish_decoded(taken)

    return report


def test_what_captures_are(store, analyse, tell, db):
    store.add_lot(lot(pattern="QC-*"), by="Ann")
    for content, sample in enumerate(("S-1", "QC-1", "Blank", "S-4", "S-5", "QC-6", "X-7")):
        analyse(content, sample_id=sample, patient_id=None, patient_name=None)
    store.mark(4, "check", by="Ann")
    store.mark(5, "control", by="Bo", lot="4711", level="normal")
    store.mark(6, "patient", by="Ann")
    tell(8, kind="control", sample_id="X-7")
    tell(9, sample_id="S-1")
    found = controls.kinds(db, range(1, 8))
    named = {key: (one["kind"], one["lot"], one["made_by"]) for key, one in found.items()}
    assert named == {
        2: ("control", "4711", None),
        3: ("blank", None, None),
        4: ("check", None, "Ann"),
        5: ("control", "4711", "Bo"),
        7: ("control", None, None),
    }
    assert found[2]["targets"] == found[5]["targets"] == {"RBC": {"mean": 6.5, "sd": 0.2}}
    assert controls.no_patients(db) == set(found)
    assert controls.kinds(db, [1]) == controls.kinds(db, []) == {}


def test_a_person_overrules_the_analyzer(store, analyse, tell, db):
    analyse(1, sample_id="X-1", patient_id=None, patient_name=None)
    tell(2, kind="control", sample_id="X-1")
    assert controls.no_patients(db) == {1}
    held = Comparisons(db, Filters())
    assert (list(held.ours()), held.left_out.control_runs) == ([], 1)
    store.mark(1, "patient", by="Ann")
    assert controls.no_patients(db) == set()
    assert controls.kinds(db, [1]) == {}
    assert len(list(Comparisons(db, Filters()).ours())) == 1


def test_runs_of_a_check_are_no_visits(store, analyse, db):
    for content in range(3):
        analyse(content, sample_id=f"S-{content}", patient_id="P-1")
    assert [run["id"] for run in visits.of_patient(db, queries.run(db, "run:3"))] == [3, 2, 1]
    store.mark(2, "check", by="Ann")
    assert [run["id"] for run in visits.of_patient(db, queries.run(db, "run:3"))] == [3, 1]
    assert visits.of_patient(db, queries.run(db, "run:2")) == []


@pytest.mark.parametrize(
    "ask",
    [
        controls.measured,
        controls.no_patients,
        lambda db: controls.kinds(db, range(1, 40)),
        lambda db: searching.find(db, Wanted(patients=False)),
        lambda db: searching.find(db, Wanted(patients=True)),
    ],
    ids=["measured", "no patients", "kinds", "controls", "patients"],
)
def test_controls_are_found_by_index(store, analyse, tell, db, ask):
    """Neither runs nor reports are walked through; the small tables that people fill may be."""
    store.add_lot(lot(pattern="QC-*"), by="Ann")
    analyse(1, sample_id="QC-1")
    tell(2, kind="control", sample_id="XQ-1")
    analyse(3, sample_id="S-1")
    asked = []
    db.set_trace_callback(asked.append)
    assert ask(db)
    db.set_trace_callback(None)
    plan = [row["detail"] for query in asked for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    scans = {line for line in plan if line.startswith("SCAN") and "json_each" not in line}
    small = ("SCAN l", "SCAN m", "SCAN r USING INDEX reports_of_controls", "SCAN j", "SCAN own")
    assert not {line for line in scans if line not in small}, plan
    assert any("reports_of_controls" in line for line in plan)
