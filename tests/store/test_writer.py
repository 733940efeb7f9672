from __future__ import annotations

import json
import math
from contextlib import closing

import pytest

from edge_daemon.canonical import canonical, digest
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.records import CELL_CLASSES, Flag, Measurement
from edge_daemon.store import queries
from edge_daemon.store.writer import Acceptance, Store

REASON = Quarantine(
    "ambiguous_profile", "two fit", action="choose one", candidates=("acme_one/1.0", "acme_one/1.1")
)


@pytest.fixture
def db(store, data_dir):
    with closing(queries.connect(data_dir)) as reader:
        yield reader


def test_accepts_once_per_instrument_and_content(store, make):
    first = store.accept(make.capture(1))
    assert first == Acceptance(1, new=True, sighted=False)
    assert store.accept(make.capture(1)) == Acceptance(1, new=False, sighted=False)
    assert store.accept(make.capture(1, instrument="advia-2")) == Acceptance(2, new=True)
    assert store.accept(make.capture(2)).capture_id == 3  # no holes in the sequence


def test_other_names_of_known_bytes_are_sightings(store, make, db):
    store.accept(make.capture(1, name="a.fcs"))
    assert store.accept(make.capture(1, name="b.fcs")) == Acceptance(1, new=False, sighted=True)
    assert store.accept(make.capture(1, name="b.fcs")) == Acceptance(1, new=False, sighted=False)
    assert store.accept(make.capture(1, name="a.fcs", source="usb")).sighted
    store.sighting(1, "export", "a.fcs")
    store.sighting(1, "export", "c.fcs")
    [row] = queries.captures(db)
    assert (row["name"], row["sightings"]) == ("a.fcs", 3)


def test_refuses_bytes_under_a_wrong_digest(store, make, db):
    with pytest.raises(EdgeError, match="announced"):
        store.accept(make.capture(1, sha256="0" * 64))
    assert queries.captures(db) == []


def test_the_whole_path(store, make, db):
    taken = store.accept(make.capture(1))
    step = make.decoded(patient_name="Bella", volume_ul=0.5)
    store.record_decoded(taken.capture_id, step)
    [pending] = store.pending()
    assert (pending.capture_id, pending.state) == (1, "decoded")
    assert pending.path.read_bytes() == make.capture(1).data
    run_id = store.record_run(
        taken.capture_id, step, make.classified(Flag("clumps", "review", "4 %", "look at a smear"))
    )
    assert store.pending() == []
    found = queries.run(db, str(run_id))
    assert found["capture"]["state"] == "classified"
    assert found["status"] == "review"
    assert found["counts"] == dict(zip(CELL_CLASSES, (800, 20, 5, 150, 25), strict=True))
    assert found["measurements"][0] == {
        "code": "RBC", "value": 6.6251, "unit": "10*6/uL", "low": 6.4, "high": 6.85,
        "method": "counted", "flags": [],
    }  # fmt: skip
    assert found["measurements"][1]["value"] is None
    assert found["measurements"][1]["flags"] == ["no_fluorescence"]
    assert found["flags"][0]["action"] == "look at a smear"
    assert found["channels"] == ["LA.H", "HA.H"]
    assert found["notes"] == ["TEXT padded with blanks"]
    assert found["intact"]


def test_the_outbox_row_proves_itself_and_leaves_the_patients_name_out(store, analyse, db):
    analyse(1, patient_name="Bella", patient_id="P-7")
    analyse(2, patient_name="Bella", simulated=True)
    rows = db.execute("SELECT * FROM outbox ORDER BY seq").fetchall()
    assert [row["type"] for row in rows] == ["run.clinical", "run.simulated"]
    for row in rows:
        assert digest(row["body"]) == row["digest"]
        assert canonical(json.loads(row["body"])) == row["body"]
        assert "Bella" not in row["body"]
        assert (row["state"], row["attempts"], row["schema"]) == ("waiting", 0, 1)
        assert row["created_clock"] == "unsynchronised"
    body = json.loads(rows[0]["body"])
    assert body["sample"]["patient_id"] == "P-7"
    assert body["measurements"][0]["value"] == 6.6251


def test_a_replay_makes_the_next_run_and_keeps_the_first(store, make, analyse, db):
    first = analyse(1)
    store.requeue(1)
    assert [row.state for row in store.pending()] == ["received"]
    corrected = make.decoded(profile="acme_one/1.1")
    store.record_decoded(1, corrected)
    second = store.record_run(1, corrected, make.classified(model="canine@2.0.0"))
    assert [row["id"] for row in queries.results(db)] == [second]
    found = queries.run(db, f"run:{second}")
    assert (found["number"], found["profile"]) == (2, "acme_one/1.1")
    assert [row["id"] for row in found["other_runs"]] == [first]
    assert queries.run(db, f"run:{first}")["profile"] == "acme_one/1.0"
    assert queries.run(db, f"run:{first}")["intact"]


def test_an_equal_decoding_after_a_crash_is_not_stored_twice(store, make, db):
    store.accept(make.capture(1))
    for _ in range(2):
        store.record_decoded(1, make.decoded())
    store.record_run(1, make.decoded(), make.classified())
    assert db.execute("SELECT count(*) FROM decodings").fetchone()[0] == 1


def test_quarantine_keeps_the_reason_until_a_replay(store, make, db):
    store.accept(make.capture(1))
    store.quarantine(1, REASON)
    [row] = queries.quarantined(db)
    assert (row["reason_code"], row["reason_action"]) == ("ambiguous_profile", "choose one")
    assert row["reason_candidates"] == ["acme_one/1.0", "acme_one/1.1"]
    assert store.read_capture(1).data == make.capture(1).data
    assert store.pending() == []
    store.requeue(1)
    assert queries.quarantined(db) == []
    assert queries.captures(db)[0]["reason_code"] is None


def test_a_decode_only_capture_ends_without_a_run(store, make, db):
    store.accept(make.capture(1))
    store.record_decoded(1, make.decoded())
    store.finish_decoded(1)
    assert store.pending() == []
    [row] = queries.captures(db)
    assert (row["state"], row["finished"], row["run_id"]) == ("decoded", True, None)
    assert queries.results(db) == []


def test_refusals_are_counted_not_repeated(store, clock, db):
    store.refuse("export", "link.fcs", Quarantine("refused", "a symbolic link"))
    clock.wall = "2026-11-22T11:00:00.000000Z"
    store.refuse("export", "link.fcs", Quarantine("refused", "a link", action="copy the file"))
    store.refuse("export", "pipe", Quarantine("refused", "a FIFO"))
    pipe, link = queries.refused(db)
    assert (pipe["name"], pipe["times"]) == ("pipe", 1)
    assert (link["times"], link["message"], link["action"]) == (2, "a link", "copy the file")
    assert link["first_wall"] < link["last_wall"]


ENDED = ["classified", "quarantined", "decode_only"]


def end(store, make, how):
    store.accept(make.capture(1))
    if how == "quarantined":
        store.quarantine(1, REASON)
        return
    store.record_decoded(1, make.decoded())
    if how == "classified":
        store.record_run(1, make.decoded(), make.classified())
    else:
        store.finish_decoded(1)


STEPS = {
    "record_decoded": lambda store, make, key: store.record_decoded(key, make.decoded()),
    "record_run": lambda store, make, key: store.record_run(key, make.decoded(), make.classified()),
    "finish_decoded": lambda store, make, key: store.finish_decoded(key),
    "quarantine": lambda store, make, key: store.quarantine(key, REASON),
}


@pytest.mark.parametrize("how", ENDED)
@pytest.mark.parametrize("step", STEPS)
def test_an_ended_analysis_takes_no_step(store, make, db, how, step):
    end(store, make, how)
    before = queries.captures(db)
    with pytest.raises(EdgeError, match=r"capture 1 is .* ended") as caught:
        STEPS[step](store, make, 1)
    assert "replay" in caught.value.action
    assert queries.captures(db) == before


@pytest.mark.parametrize("step", ["record_run", "finish_decoded"])
def test_a_capture_must_be_decoded_first(store, make, step):
    store.accept(make.capture(1))
    with pytest.raises(EdgeError, match="capture 1 is received"):
        STEPS[step](store, make, 1)


@pytest.mark.parametrize("step", [*STEPS, "requeue", "read_capture", "sighting"])
def test_an_unknown_capture(store, make, step):
    others = {
        "requeue": lambda: store.requeue(99),
        "read_capture": lambda: store.read_capture(99),
        "sighting": lambda: store.sighting(99, "export", "x"),
    }
    take = others.get(step) or (lambda: STEPS[step](store, make, 99))
    with pytest.raises(EdgeError, match="no capture 99"):
        take()


def bad_results(make):
    one = Measurement("RBC", 1.0, "10*6/uL", 0.9, 1.1, "counted")
    nan = Measurement("RBC", math.nan, "10*6/uL", None, None, "counted")
    endless = Measurement("RBC", 1.0, "10*6/uL", None, math.inf, "counted")
    return {
        "is nan": make.classified(measurements=(nan,)),
        "high end of RBC is inf": make.classified(measurements=(endless,)),
        "UNIQUE": make.classified(measurements=(one, one)),
        "expected .*platelet": make.classified(counts={"platelet": 3}),
    }


@pytest.mark.parametrize("index", range(4))
def test_a_result_that_breaks_its_contract_leaves_no_trace(store, make, db, index):
    words, bad = list(bad_results(make).items())[index]
    store.accept(make.capture(1))
    store.record_decoded(1, make.decoded())
    with pytest.raises(EdgeError, match=words):
        store.record_run(1, make.decoded(), bad)
    for table in ("runs", "measurements", "flags", "outbox"):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0
    assert store.record_run(1, make.decoded(), make.classified()) == 1  # no hole left behind


def test_names_that_are_not_unicode_are_kept_readable(store, make, analyse, db):
    store.accept(make.capture(1, name="bl\udcfct.fcs"))
    store.refuse("export", "\udcff", Quarantine("refused", "name \udcff"))
    analyse(2, patient_name="Zo\udceb", sample_id="a\0b")
    assert queries.captures(db)[1]["name"] == "bl\\udcfct.fcs"
    found = queries.run(db, "a\0b")
    assert found["patient_name"] == "Zo\\udceb"
    assert found["intact"]


def test_a_damaged_archive_is_told_and_repaired_by_the_same_bytes(store, make):
    store.accept(make.capture(1))
    [pending] = store.pending()
    pending.path.write_bytes(b"rubbish")
    with pytest.raises(Quarantine, match="damaged"):
        store.read_capture(1)
    store.accept(make.capture(1))
    assert store.read_capture(1) == make.capture(1)


def test_what_was_pending_is_pending_after_a_restart_oldest_first(data_dir, clock, make):
    with Store.open(data_dir, clock) as first:
        for number in range(5):
            first.accept(make.capture(number))
        first.record_decoded(3, make.decoded())
        first.quarantine(2, REASON)
    with Store.open(data_dir, clock) as second:
        assert [(row.capture_id, row.state) for row in second.pending()] == [
            (1, "received"), (3, "decoded"), (4, "received"), (5, "received"),
        ]  # fmt: skip
        assert [row.capture_id for row in second.pending(limit=2)] == [1, 3]
        assert [row.capture_id for row in second.pending(after=3, limit=9)] == [4, 5]
        second.ping()


def test_close_twice_is_once(data_dir, clock):
    opened = Store.open(data_dir, clock)
    opened.close()
    opened.close()
    with pytest.raises(EdgeError, match="closed"):
        opened.ping()


def test_what_is_set_aside_on_arrival_never_waits_for_the_analysis(store, make):
    reason = Quarantine("truncated", "half of it came", action="send it again")
    first = store.accept(make.capture(1), reason=reason)
    assert first.new
    assert store.pending() == []
    again = store.accept(make.capture(1))
    assert (again.capture_id, again.new) == (first.capture_id, False)
    whole = store.accept(make.capture(2))
    assert not store.accept(make.capture(2), reason=reason).new
    assert [item.capture_id for item in store.pending()] == [whole.capture_id]
