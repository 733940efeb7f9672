"""What the document of a run says of a control, a blank or a check when it is written."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from edge_daemon.store import controls, layout, queries
from edge_daemon.store.lots import Lot, LotTarget


def lot(**changes):
    given = {"lot": "4711", "level": "normal", "material": "Vet", "pattern": "QC-*"}
    return Lot(**given | {"targets": {"RBC": LotTarget(6.5, 0.2)}} | changes)


@pytest.fixture
def told(store, data_dir):
    """Kinds of the runs' documents in the order they were written, as the centre gets them."""

    def kinds():
        with closing(sqlite3.connect(layout.database_path(data_dir))) as db:
            query = "SELECT body FROM outbox WHERE run_id IS NOT NULL ORDER BY seq"
            return [json.loads(body).get("kind") for (body,) in db.execute(query)]

    return kinds


def test_a_document_says_what_is_no_patients(store, analyse, make, told, data_dir):
    store.add_lot(lot(), by="Ann")
    heard = store.accept(make.capture(9)).capture_id
    store.record_report(heard, make.reported(kind="control", sample_id="X-7"))
    store.finish_decoded(heard)
    for content, sample in enumerate(("S-1", "QC-1", "Blank 2", "X-7", "X-8")):
        analyse(content, sample_id=sample, patient_id=None, patient_name=None)
    assert told() == [None, "control", "blank", "control", None]
    with closing(queries.connect(data_dir)) as db:
        found = controls.kinds(db, range(1, 7))
        assert [found[key]["kind"] for key in sorted(found)] == ["control", "blank", "control"]
        assert all(queries.run(db, f"run:{run}")["intact"] for run in range(1, 6))


def test_a_lot_of_another_instrument_or_that_was_added_again_says_nothing(store, analyse, told):
    store.add_lot(lot(instrument="other"), by="Ann")
    store.add_lot(lot(level="high", pattern="H-*"), by="Ann")
    store.add_lot(lot(level="high", pattern=None), by="Ann")
    analyse(1, sample_id="QC-1")
    analyse(2, sample_id="H-1")
    assert told() == [None, None]


def test_a_correction_is_told_by_its_new_sample_id_and_marks_by_themselves(store, analyse, told):
    store.add_lot(lot(), by="Ann")
    why = {"by": "Ann", "reason": "typed wrongly"}
    run = analyse(1, sample_id="S-1")
    store.correct(run, {"sample_id": "QC-1"}, **why)
    other = analyse(2, sample_id="S-2")
    store.mark(other, "check", by="Bo")
    store.correct(other, {"sample_id": "S-3"}, **why)
    assert told() == [None, "control", None, None]


def test_a_capture_that_is_analysed_again_is_told_as_it_was(store, analyse, make, told):
    """After a restored backup, marks are put back before their captures are analysed."""
    store.add_lot(lot(), by="Ann")
    for capture, sample, mark in ((1, "QC-1", "patient"), (2, "S-2", "blank")):
        store.mark(analyse(capture, sample_id=sample), mark, by="Bo")
        store.requeue(capture)
        again = make.decoded(sample_id=sample)
        store.record_decoded(capture, again)
        store.record_run(capture, again, make.classified())
    assert told() == ["control", "control", None, None]
