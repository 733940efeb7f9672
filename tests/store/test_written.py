"""What people wrote comes back after the database was lost, as they wrote it."""

from __future__ import annotations

import json
import shutil
from contextlib import closing

import pytest

from edge_daemon.store import controls, layout, queries
from edge_daemon.store.amendments import history, notes
from edge_daemon.store.backup import back_up
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.store.replace import repair
from edge_daemon.store.rowlog import read_rows
from edge_daemon.store.writer import Store


def told(data_dir):
    """Corrections and notes of each capture, without the ids of their rows."""
    found = {}
    with closing(queries.connect(data_dir)) as db:
        for capture in queries.captures(db):
            run = {"capture_id": capture["id"]}
            rows = [*history(db, run), *notes(db, run)]
            for row in rows:
                del row["id"], row["run_id"]
            found[capture["sha256"]] = rows
        newest = {r["sha256"]: (r["sample_id"], r["species"]) for r in queries.results(db)}
    return found, newest


def analyse_pending(store, make):
    while pending := store.pending():
        for item in pending:
            store.record_decoded(item.capture_id, make.decoded())
            species = item.species
            store.record_run(item.capture_id, make.decoded(), make.classified(), species=species)


@pytest.fixture
def box(store, analyse, make, data_dir):
    """Three results, all corrected or noted upon; a backup before the last of it."""
    for number in range(3):
        analyse(number)
    store.note(1, "haemolysed", by="Ada")
    store.correct(1, {"sample_id": "S-1a"}, by="Ada", reason="tubes exchanged")
    back_up(data_dir)
    newest = store.correct(2, {"patient_id": "P-7"}, by="Bob", reason="mistyped").run_id
    store.correct(newest, {"patient_id": "P-8", "sample_id": "S-2"}, by="Bob", reason="again")
    store.note(3, "clumps seen", by="Cy", kind="smear", concerns="clumped_rbc", verdict="confirms")
    store.correct(3, {"species": "cat"}, by="Cy", reason="it meows")
    analyse_pending(store, make)
    store.close()
    return data_dir


@pytest.mark.parametrize("backups", [True, False], ids=["backup", "archive only"])
def test_corrections_and_notes_come_back_as_they_were_written(box, clock, make, backups):
    before = told(box)
    if not backups:
        shutil.rmtree(box / layout.BACKUPS_NAME)
    layout.database_path(box).write_bytes(b"")
    with Store.open(box, clock, prepare=repair) as store:
        assert store.put_back == (4 if backups else 6)
        analyse_pending(store, make)
    assert told(box) == before
    lines = list(read_rows(box / layout.WRITTEN_NAME))
    with Store.open(box, clock, prepare=repair) as store:
        assert store.put_back == 0
        store.note(1, "one more", by="Ada")
    assert len(list(read_rows(box / layout.WRITTEN_NAME))) == len(lines) + 1
    assert told(box) != before


def test_what_waits_for_a_result_survives_another_start_and_another_loss(box, clock, make):
    before = told(box)
    shutil.rmtree(box / layout.BACKUPS_NAME)
    for _ in range(2):
        layout.database_path(box).write_bytes(b"")
        Store.open(box, clock, prepare=repair).close()
        Store.open(box, clock, prepare=repair).close()
    with Store.open(box, clock) as store:
        analyse_pending(store, make)
    assert told(box) == before


def test_it_is_on_the_disk_before_whoever_wrote_is_answered(store, analyse, data_dir, monkeypatch):
    import os

    from edge_daemon.errors import Retryable

    analyse(1)
    store.note(1, "first", by="Ada")
    (row,) = read_rows(data_dir / layout.WRITTEN_NAME)
    assert (row["text"], row["made_by"], row["what"]) == ("first", "Ada", "note")
    real = os.fdatasync

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(Retryable, match="No space"):
        store.note(1, "second", by="Ada")
    monkeypatch.setattr(os, "fdatasync", real)
    store.correct(1, {"sample_id": "X"}, by="Bob", reason="r")
    rows = list(read_rows(data_dir / layout.WRITTEN_NAME))
    texts = {row.get("text") or json.loads(row["changes"])["sample_id"][1] for row in rows}
    assert texts == {"first", "second", "X"}


@pytest.mark.parametrize("backups", [True, False], ids=["backup", "archive only"])
def test_lots_and_marks_come_back(store, analyse, data_dir, clock, backups):
    for number in range(2):
        analyse(number)
    first = Lot("1", "normal", "Vet", {"RBC": LotTarget(6.5, 0.2)}, "2027-01-31", "QC-*", "advia-1")
    store.add_lot(first, by="Ada")
    store.mark(1, "blank", by="Ada")
    if backups:
        back_up(data_dir)
    store.add_lot(Lot("1", "normal", "Vet", {"RBC": LotTarget(6.6, 0.2)}), by="Bob")
    store.mark(1, "patient", by="Bob")
    store.mark(2, "control", by="Bob", lot="1", level="normal")
    store.close()

    def known():
        with closing(queries.connect(data_dir)) as db:
            found = [{k: v for k, v in lot.items() if k != "id"} for lot in controls.lots(db)]
            names = {row["id"]: row["sha256"] for row in queries.captures(db)}
            return found, {names[key]: mark for key, mark in controls.marks(db).items()}

    before = known()
    assert [mark["kind"] for mark in before[1].values()] == ["patient", "control"]
    layout.database_path(data_dir).write_bytes(b"")
    with Store.open(data_dir, clock, prepare=repair) as again:
        assert again.put_back == (3 if backups else 5)
    assert known() == before
