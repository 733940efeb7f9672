"""What people said reaches the outbox: once, in its own transaction, without patients' names."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from edge_daemon.canonical import digest
from edge_daemon.store import layout, queries, verify
from edge_daemon.store.documents import said_document
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.store.writer import Store

WHO = {"by": "Ann", "reason": "Bello was typed for Rex"}


@pytest.fixture
def db(store, data_dir):
    with closing(queries.connect(data_dir)) as reader:
        yield reader


def sent(db, what):
    query = "SELECT * FROM outbox WHERE type LIKE ? ORDER BY seq"
    return [dict(row) for row in db.execute(query, (f"{what}.%",))]


def body(item):
    assert digest(item["body"]) == item["digest"]
    return json.loads(item["body"])


def test_a_smear_goes_out_as_an_item_of_its_own(store, analyse, db):
    run = analyse(1, patient_name="Bello Huber")
    number = store.note(
        run, "Bello: platelets in clumps, huber agrees", by="Ann", kind="smear",
        concerns="PLT", verdict="refutes",
    )  # fmt: skip
    (item,) = sent(db, "note")
    assert (item["type"], item["note_id"], item["state"]) == ("note.clinical", number, "waiting")
    told = body(item)
    assert told["text"] == "…: platelets in clumps, huber agrees"
    assert (told["kind"], told["concerns"], told["verdict"]) == ("smear", "PLT", "refutes")
    assert (told["by"], told["number"], told["simulated"]) == ("Ann", 1, False)
    assert told["capture"] == queries.run(db, f"run:{run}")["sha256"]
    assert told["made_at"] == item["created_wall"]


def test_a_correction_says_who_and_why_and_no_name(store, analyse, db):
    run = analyse(1, patient_name="Bello", species="dog")
    store.correct(run, {"patient_name": "Rex", "breed": "Whippet"}, **WHO)
    told = body(sent(db, "correction")[0])
    assert told["changes"] == {"breed": [None, "Whippet"], "patient_name": [None, None]}
    assert (told["reason"], told["number"]) == ("… was typed for …", 2)
    assert "Bello" not in json.dumps(told)
    assert "Rex" not in json.dumps(told)


def test_a_mark_says_what_the_capture_is(store, analyse, db):
    run = analyse(1, simulated=True)
    lot = Lot("L1", "normal", "ExampleCheck", {"RBC": LotTarget(4.5, 0.1)})
    store.add_lot(lot, by="Ann")
    store.mark(run, "control", by="Ann", lot="L1", level="normal")
    (item,) = sent(db, "mark")
    assert item["type"] == "mark.simulated"
    told = body(item)
    assert (told["kind"], told["lot"], told["level"]) == ("control", "L1", "normal")
    assert told["simulated"] is True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red cells pale, Red was fasted", "red cells pale, … was fasted"),
        ("RED!", "…!"),
        ("nothing of note", "nothing of note"),
    ],
)
def test_words_that_are_also_names_stay_where_they_are_words(text, shown):
    row = {
        "instrument": "a", "sha256": "b", "simulated": 0, "number": 1, "kind": "note",
        "concerns": None, "verdict": None, "made_by": "Ann", "made_wall": "", "made_clock": "",
        "text": text, "patient_name": "Red",
    }  # fmt: skip
    assert said_document("note", row)["text"] == shown


def test_what_an_earlier_release_wrote_is_caught_up_once(store, analyse, data_dir, clock):
    run = analyse(1)
    store.note(run, "seen", by="Ann")
    store.close()
    with closing(sqlite3.connect(layout.database_path(data_dir))) as raw, raw:
        before = raw.execute("SELECT digest FROM outbox WHERE note_id = 1").fetchone()
        raw.execute("DELETE FROM outbox WHERE note_id IS NOT NULL")
    for _ in range(2):
        with Store.open(data_dir, clock), closing(queries.connect(data_dir)) as db:
            (item,) = sent(db, "note")
            assert (item["digest"],) == before
            assert body(item)["text"] == "seen"


def test_what_a_lost_database_held_goes_out_again_as_the_same(store, analyse, data_dir, clock):
    run = analyse(1)
    store.note(run, "seen", by="Ann")
    store.close()
    with closing(sqlite3.connect(layout.database_path(data_dir))) as raw, raw:
        before = raw.execute("SELECT digest FROM outbox WHERE note_id = 1").fetchone()
        raw.execute("DELETE FROM outbox WHERE note_id = 1")
        raw.execute("DELETE FROM run_notes")
    with Store.open(data_dir, clock) as again, closing(queries.connect(data_dir)) as db:
        assert again.put_back == 1
        assert [(item["digest"],) for item in sent(db, "note")] == [before]


def test_a_note_that_was_changed_on_the_disk_is_seen(store, analyse, data_dir, clock):
    store.note(analyse(1), "seen", by="Ann")
    store.close()
    with closing(sqlite3.connect(layout.database_path(data_dir))) as raw, raw:
        raw.execute("DROP TRIGGER run_notes_stay")
        raw.execute("UPDATE run_notes SET text = 'sewn'")
    with closing(queries.connect(data_dir)) as db:
        turn = verify.verify_results(db, 0)
        (item,) = sent(db, "note")
        assert (turn.damaged, turn.looked_at) == ((item["seq"],), 2)
