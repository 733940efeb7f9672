"""Corrections and notes: nothing is overwritten, everything says who and why."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing

import pytest

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.records import Flag
from edge_daemon.store import amendments, layout, pictures, queries, reports, visits
from edge_daemon.store.deleting import mark_deleted

HEADER = {"format": 1, "simulated": False, "events": 3, "scattergrams": [], "histograms": []}
TEXT = json.dumps(HEADER).encode()
PICTURES = zlib.compress(len(TEXT).to_bytes(4, "little") + TEXT)
WHO = {"by": "Ann", "reason": "typed wrongly"}


@pytest.fixture
def db(store, data_dir):
    with closing(queries.connect(data_dir)) as reader:
        yield reader


def run(db, run_id):
    return queries.run(db, f"run:{run_id}")


def test_lists_and_searches_use_what_is_in_force_and_the_original_stays(store, analyse, db):
    first = analyse(1, sample_id="S-1", patient_id="P-1", patient_name="Bello")
    done = store.correct(first, {"patient_id": "P-2", "patient_name": " Rex "}, **WHO)
    assert (done.run_id, done.analysed_again) == (2, False)
    assert [r["id"] for r in queries.results(db)] == [2]
    assert [r["id"] for r in queries.results(db, patient="p-2")] == [2]
    assert queries.results(db, patient="P-1") == []
    assert [r["id"] for r in queries.results(db, all_runs=True)] == [2, 1]
    found = run(db, 2)
    assert (found["patient_id"], found["patient_name"]) == ("P-2", "Rex")
    assert found["corrected"] == ["patient_id", "patient_name"]
    assert found["sample_id"] == "S-1"
    assert found["intact"]
    original = run(db, 1)
    assert (original["patient_id"], original["corrected"]) == ("P-1", [])
    assert original["intact"]
    (entry,) = found["corrections"]
    assert entry["made_by"] == "Ann"
    assert entry["reason"] == "typed wrongly"
    assert entry["run_id"] == 2
    assert {"field": "patient_id", "before": "P-1", "after": "P-2"} in entry["changes"]


def test_cells_flags_and_time_of_the_analysis_are_the_same(store, analyse, db, clock):
    first = analyse(1, Flag("clumps", "review", "4 %", "look"))
    clock.wall = "2026-12-24T10:00:00.000000Z"
    store.correct(first, {"patient_name": "Rex"}, **WHO)
    before, after = run(db, 1), run(db, 2)
    for key in ("counts", "measurements", "flags", "status", "model", "created_wall", "events"):
        assert after[key] == before[key]
    assert after["corrections"][0]["made_wall"] == "2026-12-24T10:00:00.000000Z"


def test_the_outbox_gets_a_new_version_without_the_name(store, analyse, db):
    first = analyse(1, patient_name="Bello")
    store.correct(first, {"patient_name": "Rex", "sample_id": "S-9"}, **WHO)
    query = "SELECT body FROM outbox WHERE run_id IS NOT NULL ORDER BY seq"
    one, two = (json.loads(row["body"]) for row in db.execute(query))
    assert "corrected" not in one
    assert two["corrected"] == ["sample_id", "patient_name"]
    assert two["sample"]["sample_id"] == "S-9"
    assert "patient_name" not in two["sample"]
    assert two["number"] == one["number"] + 1


def test_another_species_is_analysed_again(store, analyse, make, db):
    first = analyse(1, species="dog")
    done = store.correct(first, {"species": "cat"}, **WHO)
    assert done.analysed_again
    doubtful = run(db, done.run_id)
    assert (doubtful["species"], doubtful["status"]) == ("cat", "review")
    assert [f["code"] for f in doubtful["flags"]] == ["species_corrected"]
    assert "from dog to cat" in doubtful["flags"][0]["message"]
    (waiting,) = store.pending()
    assert (waiting.species, waiting.profile) == ("cat", "acme_one/1.0")
    assert waiting.notes == ("TEXT padded with blanks",)
    step = make.decoded(species="dog")
    store.record_decoded(1, step)
    last = store.record_run(1, step, make.classified(model="feline@1"), species="cat")
    found = run(db, last)
    assert (found["species"], found["status"], found["corrected"]) == ("cat", "ok", ["species"])
    assert found["intact"]
    assert [r["id"] for r in queries.results(db)] == [last]


def test_the_doubt_about_another_species_stands_until_an_analysis_answers_it(store, analyse, db):
    """A corrected name had taken it away, and with the raw bytes gone no analysis follows."""
    first = analyse(1, species="dog", patient_name="Bello")
    mark_deleted(store, [1], "2026-11-22T10:00:00Z")
    run_id = store.correct(first, {"species": "cat"}, **WHO).run_id
    for changes, name in (({"patient_name": "Rex"}, "cat"), ({"species": "horse"}, "horse")):
        run_id = store.correct(run_id, changes, **WHO).run_id
        found = run(db, run_id)
        assert (found["species"], found["status"]) == (name, "review")
        (doubt,) = found["flags"]
        assert f"from dog to {name}" in doubt["message"]
    found = run(db, store.correct(run_id, {"species": "dog"}, **WHO).run_id)
    assert (found["species"], found["flags"], found["status"]) == ("dog", [], "ok")


def test_a_result_for_the_former_species_is_refused(store, analyse, make, db):
    """The correction came while a worker had the capture."""
    first = analyse(1, species="dog")
    store.requeue(1)
    step = make.decoded(species="dog")
    store.record_decoded(1, step)
    store.correct(first, {"species": "cat"}, **WHO)
    store.record_decoded(1, step)
    with pytest.raises(Retryable, match="species was corrected"):
        store.record_run(1, step, make.classified())
    assert len(store.pending()) == 1
    assert len(queries.results(db, all_runs=True)) == 2


def test_a_replay_applies_what_is_in_force(store, analyse, make, db):
    first = analyse(1, sample_id="S-1", patient_name="Bello")
    second = store.correct(first, {"patient_name": "Rex"}, **WHO).run_id
    store.correct(second, {"patient_name": "Max", "breed": "Whippet"}, **WHO)
    store.requeue(1)
    step = make.decoded(sample_id="S-1", patient_name="Bello")
    store.record_decoded(1, step)
    last = store.record_run(1, step, make.classified())
    found = run(db, last)
    assert (found["patient_name"], found["breed"]) == ("Max", "Whippet")
    assert found["corrected"] == ["patient_name", "breed"]
    assert len(found["corrections"]) == 2


def test_back_to_what_the_instrument_said_is_no_longer_corrected(store, analyse, db):
    second = store.correct(analyse(1, patient_name="Bello"), {"patient_name": "Rex"}, **WHO)
    third = store.correct(second.run_id, {"patient_name": "Bello"}, **WHO)
    assert run(db, third.run_id)["corrected"] == []
    assert len(amendments.history(db, run(db, 1))) == 2


def test_an_entry_can_be_taken_away(store, analyse, db):
    done = store.correct(analyse(1, patient_id="P-1"), {"patient_id": None}, **WHO)
    assert run(db, done.run_id)["patient_id"] is None


@pytest.mark.parametrize(
    ("changes", "who", "message"),
    [
        ({"species": "dragon"}, {}, "'dragon' is no species"),
        ({"species": None}, {}, "None is no species"),
        ({"firmware": "2"}, {}, "'firmware' cannot be corrected"),
        ({"sample_id": "S-1"}, {}, "nothing would change"),
        ({}, {}, "nothing would change"),
        ({"breed": "x" * 2001}, {}, "breed is longer than 2000"),
        ({"breed": "x"}, {"by": " "}, "who corrects is missing"),
        ({"breed": "x"}, {"reason": ""}, "the reason for the correction is missing"),
    ],
)
def test_what_cannot_be_corrected_is_explained_and_nothing_is_written(
    store, analyse, db, changes, who, message
):
    first = analyse(1, sample_id="S-1")
    with pytest.raises(EdgeError, match=message):
        store.correct(first, changes, **WHO | who)
    assert len(queries.results(db, all_runs=True)) == 1
    assert amendments.history(db, run(db, 1)) == []


def test_only_the_newest_run_can_be_corrected(store, analyse):
    first = analyse(1)
    store.correct(first, {"breed": "x"}, **WHO)
    with pytest.raises(EdgeError, match="run 1 was replaced by run 2"):
        store.correct(first, {"breed": "y"}, **WHO)
    with pytest.raises(EdgeError, match="there is no run 99"):
        store.correct(99, {"breed": "y"}, **WHO)


def test_what_people_wrote_is_never_changed(store, analyse, data_dir):
    store.correct(analyse(1), {"breed": "x"}, **WHO)
    store.note(2, "looked", by="Ann")
    with closing(sqlite3.connect(layout.database_path(data_dir))) as raw:
        for table, column in (("corrections", "reason"), ("run_notes", "text")):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                raw.execute(f"UPDATE {table} SET {column} = 'other'")


def test_pictures_go_with_the_corrected_run(store, make, db):
    capture_id = store.accept(make.capture(1)).capture_id
    step = make.decoded()
    store.record_decoded(capture_id, step)
    store.record_run(capture_id, step, make.classified(pictures=PICTURES))
    before = pictures.of_run(db, 1)
    store.correct(1, {"breed": "x"}, **WHO)
    assert pictures.of_run(db, 2) == before


def test_the_analyzers_report_still_finds_its_run(store, analyse, make, db):
    """It repeats what was typed at the analyzer, right or wrong."""
    first = analyse(1, sample_id="S-1", patient_id="P-1", species="dog")
    capture_id = store.accept(make.capture(2)).capture_id
    store.record_report(capture_id, make.reported(sample_id="S-1", patient_id="P-1", species="dog"))
    store.finish_decoded(capture_id)
    done = store.correct(first, {"sample_id": "S-2", "patient_id": "P-2", "species": "cat"}, **WHO)
    found = run(db, done.run_id)
    assert [r["id"] for r in found["analyzer"]["reports"]] == [1]
    assert found["analyzer"]["remarks"] == []
    assert reports.report(db, 1)["run_id"] == done.run_id


def test_a_report_that_agrees_with_the_correction_no_longer_contradicts(store, analyse, make, db):
    first = analyse(1, sample_id="S-1", patient_id="P-1")
    capture_id = store.accept(make.capture(2)).capture_id
    store.record_report(capture_id, make.reported(sample_id="S-1", patient_id="P-2"))
    store.finish_decoded(capture_id)
    assert run(db, first)["analyzer"]["reports"] == []
    done = store.correct(first, {"patient_id": "P-2"}, **WHO)
    assert [r["id"] for r in run(db, done.run_id)["analyzer"]["reports"]] == [1]
    third = store.correct(done.run_id, {"patient_id": "P-3"}, **WHO)
    (remark,) = run(db, third.run_id)["analyzer"]["remarks"]
    assert remark["code"] == "patient_differs"


def test_a_corrected_visit_of_long_ago_stays_in_its_place(store, analyse, db):
    for number in (1, 2, 3):
        analyse(number, patient_id="P-1", patient_name="Bello")
    done = store.correct(1, {"patient_name": "Rex"}, **WHO)
    order = [r["id"] for r in visits.of_patient(db, run(db, 3))]
    assert order == [3, 2, done.run_id]


def test_notes_are_kept_in_order_and_belong_to_every_run_of_the_capture(store, analyse, db):
    first = analyse(1, Flag("clumps", "review", "4 %", "look"))
    assert store.note(first, " seen by phone ", by="Ann") == 1
    store.note(first, "none", by="Bo", kind="smear", concerns="clumps", verdict="refutes")
    second = store.correct(first, {"breed": "x"}, **WHO).run_id
    store.note(second, "many", by="Bo", kind="smear", concerns="platelet", verdict="confirms")
    found = run(db, second)["remarks"]
    assert [(n["run_id"], n["kind"], n["concerns"], n["verdict"], n["text"]) for n in found] == [
        (1, "note", None, None, "seen by phone"),
        (1, "smear", "clumps", "refutes", "none"),
        (2, "smear", "platelet", "confirms", "many"),
    ]
    assert amendments.notes(db, run(db, 1)) == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "  "}, "the text of the note is missing"),
        ({"by": ""}, "who writes is missing"),
        ({"kind": "rumour"}, "'rumour' is no kind of note"),
        ({"kind": "smear"}, "a smear confirms or refutes"),
        ({"verdict": "confirms"}, "a smear confirms or refutes"),
        ({"kind": "smear", "verdict": "maybe", "concerns": "PLT"}, "a smear confirms or refutes"),
        ({"kind": "smear", "verdict": "confirms"}, "what the smear confirms or refutes is missing"),
        ({"concerns": "clumps"}, "'clumps' is no cell class, value or flag of run 1"),
    ],
)
def test_notes_that_say_too_little_are_refused(store, analyse, db, given, message):
    first = analyse(1)
    note = {"text": "x", "by": "Ann"} | given
    with pytest.raises(EdgeError, match=message):
        store.note(first, note.pop("text"), **note)
    assert amendments.notes(db, run(db, first)) == []


def test_a_damaged_entry_does_not_hide_the_others(store, analyse, db, data_dir):
    store.correct(analyse(1), {"breed": "x"}, **WHO)
    with closing(sqlite3.connect(layout.database_path(data_dir), isolation_level=None)) as raw:
        raw.execute("DROP TRIGGER corrections_stay")
        raw.execute("UPDATE corrections SET changes = '{'")
    (entry,) = run(db, 2)["corrections"]
    assert entry["changes"][0]["field"] == "unreadable"
