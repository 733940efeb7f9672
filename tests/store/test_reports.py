"""The analyzer's own reports: kept once, joined at query time, merged, and found by index."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from edge_daemon.canonical import canonical, digest
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.records import Flag, ReportedHistogram, ReportedValue
from edge_daemon.store import layout, queries, reports
from edge_daemon.store.writer import ReportReceipt

AT = "20261122100000"
LATER = "20261122103000"


@pytest.fixture
def db(store, data_dir):
    with closing(queries.connect(data_dir)) as reader:
        yield reader


def outbox(db):
    return db.execute("SELECT * FROM outbox ORDER BY seq").fetchall()


def test_a_results_only_capture_ends_as_decoded_with_its_report(store, make, db):
    store.accept(make.capture(1))
    receipt = store.record_report(1, make.reported(patient_name="Bella", acquired_at=AT))
    assert receipt == ReportReceipt(1, new=True)
    assert [p.state for p in store.pending()] == ["decoded"]
    store.finish_decoded(1)
    [row] = queries.captures(db)
    assert (row["state"], row["finished"], row["run_id"]) == ("decoded", True, None)
    assert (row["profile"], row["species"], row["report_ids"]) == ("acme_lis/1.0", "dog", [1])
    assert queries.notes(db, 1) == ["OBX-8 cut"]
    found = reports.report(db, 1)
    assert (found["kind"], found["message_id"], found["amends"]) == ("sample", "M-1", False)
    assert [(v["name"], v["code"], v["value"]) for v in found["values"]] == [
        ("RBC", "RBC", 6.5), ("PLT", "PLT", 240.0), ("WBC", None, 8.1),
    ]  # fmt: skip
    assert found["values"][2]["flags"] == ["H"]
    assert found["histograms"] == [
        {"name": "RBC", "unit": "fL", "low": 0.0, "high": 250.0, "counts": [0.0, 3.0, 1.0]}
    ]
    assert (found["messages"], found["notes"]) == (["PLT Clumps?"], ["OBX-8 cut"])
    assert found["intact"]
    assert (found["run_id"], found["reason"]) == (None, None)


def test_the_outbox_row_of_a_report(store, make, tell, db):
    named = make.reported(patient_name="Bella", patient_id="P-7")
    owner = ReportedValue("Master Name", None, None, "", "Bella's owner")
    lines = (*named.report.values, owner)
    named = replace(named, report=replace(named.report, values=lines))
    store.accept(make.capture(1))
    store.record_report(1, named)
    tell(2, simulated=True)
    rows = outbox(db)
    assert [(r["type"], r["run_id"], r["report_id"]) for r in rows] == [
        ("report.clinical", None, 1), ("report.simulated", None, 2),
    ]  # fmt: skip
    for row in rows:
        assert digest(row["body"]) == row["digest"]
        assert "Bella" not in row["body"]
        assert (row["state"], row["attempts"], row["schema"]) == ("waiting", 0, 1)
    assert reports.report(db, 1)["values"][-1]["text"] == "Bella's owner"
    body = json.loads(rows[0]["body"])
    assert [v["name"] for v in body["values"]] == ["RBC", "PLT", "WBC"]
    assert canonical(body) == rows[0]["body"]
    assert body["sample"]["patient_id"] == "P-7"
    assert body["values"][0] == {
        "name": "RBC", "code": "RBC", "value": 6.5, "unit": "10*6/uL", "text": "6.5",
        "written_unit": "", "low": None, "high": None, "flags": [],
    }  # fmt: skip


def test_a_capture_may_hold_cells_and_a_report(store, make, db):
    store.accept(make.capture(1))
    store.record_decoded(1, make.decoded())
    store.record_report(1, make.reported())
    store.record_run(1, make.decoded(), make.classified())
    found = queries.run(db, "1")
    assert [r["id"] for r in found["analyzer"]["reports"]] == [1]
    first = found["analyzer"]["differences"][0]
    assert (first["code"], first["analyzer"]) == ("RBC", 6.5)
    assert first["difference"] == pytest.approx(0.1251)
    assert first["percent"] == pytest.approx(100 * 0.1251 / 6.5)
    assert found["analyzer"]["remarks"] == []


def test_one_capture_may_hold_several_samples(store, make, db):
    store.accept(make.capture(1))
    for sample in ("A", "B"):
        store.record_report(1, make.reported(sample_id=sample))
    store.finish_decoded(1)
    assert queries.captures(db)[0]["report_ids"] == [1, 2]
    assert [r["position"] for r in reports.listing(db)] == [1, 0]


def test_a_report_recorded_before_a_crash_is_not_kept_twice(store, make, db):
    store.accept(make.capture(1))
    assert store.record_report(1, make.reported()).new
    assert store.record_report(1, make.reported()) == ReportReceipt(1, new=False)
    assert len(outbox(db)) == 1


def test_the_same_report_in_another_message_is_a_sighting(store, make, tell, db):
    first = tell(1, acquired_at=AT)
    again = tell(2, acquired_at=AT, message_id="M-2")
    assert again == first
    assert len(outbox(db)) == 1
    [seen] = reports.report(db, first)["sightings"]
    assert (seen["capture_id"], seen["message_id"]) == (2, "M-2")
    assert queries.captures(db)[0]["report_ids"] == [first]
    assert queries.captures(db)[0]["profile"] == "acme_lis/1.0"
    store.requeue(2)  # and is one again when that message is analysed again
    assert store.record_report(2, make.reported(acquired_at=AT)) == ReportReceipt(1, new=False)
    assert len(reports.report(db, first)["sightings"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"acquired_at": LATER},
        {"acquired_at": AT, "instrument": "advia-2"},
        {"acquired_at": AT, "species": "cat"},
        {"acquired_at": AT, "simulated": True},
        {"acquired_at": AT, "kind": "control"},
        {"acquired_at": AT, "messages": ()},
        {"acquired_at": AT, "histograms": ()},
    ],
)
def test_what_says_something_else_is_another_report(tell, change):
    assert tell(1, acquired_at=AT) == 1
    assert tell(2, **change) == 2


def test_without_a_time_of_its_own_equal_content_may_be_another_day(tell, db):
    assert [tell(1), tell(2)] == [1, 2]
    assert len(outbox(db)) == 2


def test_a_replay_reads_the_report_again_and_the_newest_counts(store, make, tell, db):
    tell(1, {"RBC": 65.0}, acquired_at=AT)
    store.requeue(1)
    assert [r["id"] for r in reports.listing(db)] == [1]  # until it is read again
    store.record_report(1, make.reported({"RBC": 6.5}, profile="acme_lis/1.1", acquired_at=AT))
    store.finish_decoded(1)
    assert [(r["id"], r["number"]) for r in reports.listing(db)] == [(2, 2)]
    assert reports.report(db, 1)["values"][0]["value"] == 65.0
    # Sent again, it is read with the corrected profile too, and is the corrected one again.
    assert tell(2, {"RBC": 6.5}, profile="acme_lis/1.1", acquired_at=AT) == 2
    # What only a superseded reading said is no repetition of anything.
    assert tell(3, {"RBC": 65.0}, acquired_at=AT) == 3


def test_a_report_is_kept_when_the_cells_beside_it_are_quarantined(store, make, db):
    store.accept(make.capture(1))
    store.record_report(1, make.reported())
    store.quarantine(1, Quarantine("malformed", "the list mode ends at byte 12"))
    assert [r["id"] for r in reports.listing(db)] == [1]
    assert queries.captures(db)[0]["report_ids"] == [1]


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("RBC is nan", {"values": {"RBC": math.nan}}),
        (
            "upper edge of histogram PLT is inf",
            {"histograms": (ReportedHistogram("PLT", "fL", 0.0, math.inf, ()),)},
        ),
        (
            "histogram PLT is nan",
            {"histograms": (ReportedHistogram("PLT", "", 0, 1, (math.nan,)),)},
        ),
    ],
)
def test_a_report_that_breaks_its_contract_leaves_no_trace(store, make, db, words, change):
    store.accept(make.capture(1))
    with pytest.raises(EdgeError, match=words):
        store.record_report(1, make.reported(**change))
    for table in ("reports", "reported_values", "outbox"):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0
    assert [p.state for p in store.pending()] == ["received"]


def test_an_ended_or_unknown_capture_takes_no_report(store, make, tell):
    tell(1)
    with pytest.raises(EdgeError, match="capture 1 is decoded, its analysis has ended"):
        store.record_report(1, make.reported())
    with pytest.raises(EdgeError, match="no capture 9"):
        store.record_report(9, make.reported())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE reported_values SET value = value + 1e-9 WHERE code = 'RBC'",
        "UPDATE reported_values SET flags = '{broken'",
        "UPDATE reported_histograms SET counts = '[1, 2, 3]'",
        "UPDATE reports SET messages = '[]'",
        "UPDATE reports SET patient_name = 'Rex'",
        "UPDATE reports SET amends = 1",
        "DELETE FROM reported_values WHERE position = 0",
    ],
)
def test_a_changed_report_is_not_intact(store, tell, data_dir, change):
    tell(1, patient_name="Bella")
    store.close()
    with closing(sqlite3.connect(layout.database_path(data_dir))) as raw:
        raw.execute(change)
        raw.commit()
    with closing(queries.connect(data_dir)) as db:
        assert reports.report(db, 1)["intact"] is False


# --- which run a report belongs to


def test_late_repeated_and_amended_reports_are_merged_and_all_are_listed(analyse, tell, db):
    analyse(1, acquired_at="2026-11-22T09:58:00")
    tell(2, {"RBC": 6.5, "PLT": 88.0, "HGB": 15.0}, acquired_at=AT)
    tell(3, {"RBC": 6.5, "PLT": 88.0, "HGB": 15.0}, acquired_at=AT, message_id="again")
    tell(4, {"RETIC%": 1.2, "RBC": None}, acquired_at=LATER)  # a second transmission
    tell(5, {"PLT": 240.0, "HGB": None}, acquired_at=LATER, amends=True)
    told = queries.run(db, "1")["analyzer"]
    assert [r["id"] for r in told["reports"]] == [1, 2, 3]
    values = {v["code"] or v["name"]: (v["value"], v["report_id"]) for v in told["values"]}
    assert values == {
        "RBC": (6.5, 1), "PLT": (240.0, 3), "HGB": (None, 3), "RETIC%": (1.2, 2), "WBC": (8.1, 3),
    }  # fmt: skip
    assert [(d["code"], d["analyzer"]) for d in told["differences"]] == [
        ("RBC", 6.5), ("RETIC%", 1.2), ("HGB", None),
    ]  # fmt: skip
    assert told["differences"][1]["difference"] is None  # ours is not reported
    assert [r["run_id"] for r in reports.listing(db)] == [1, 1, 1]
    assert reports.report(db, 2)["other_reports"] == [1, 3]


def test_a_report_may_come_before_its_run(analyse, tell, db):
    tell(1)
    assert analyse(2, sample_id=" s-1 ") == 1
    assert [r["id"] for r in queries.run(db, "1")["analyzer"]["reports"]] == [1]


def test_a_sample_id_of_another_day_does_not_join(analyse, tell, db):
    analyse(1, sample_id="1", acquired_at="2026-11-22T09:58:00")
    tell(2, sample_id="1", acquired_at="20261121100000")
    told = queries.run(db, "1")["analyzer"]
    assert told == {"reports": [], "values": [], "differences": [], "remarks": []}
    assert [r["id"] for r in reports.listing(db, unmatched=True)] == [1]
    assert reports.unmatched_runs(db) == {1}


def test_of_a_sample_measured_twice_each_report_has_its_own_run(analyse, tell, db):
    analyse(1, acquired_at="2026-11-22T10:00:00")
    analyse(2, acquired_at="2026-11-22T10:30:00")
    tell(3, {"RBC": 6.1}, acquired_at="20261122100100")
    tell(4, {"RBC": 6.9}, acquired_at="20261122103100")
    assert [r["id"] for r in queries.run(db, "1")["analyzer"]["reports"]] == [1]
    assert [r["id"] for r in queries.run(db, "2")["analyzer"]["reports"]] == [2]


REMARKS = [
    ({"species": "cat"}, "species_differs", "review", "says cat, this run dog"),
    ({"patient_id": "P-9"}, "patient_differs", "review", "for patient P-9, this run for P-7"),
    ({"kind": "control"}, "control_material", "info", "control material"),
    ({"instrument_serial": "SN2"}, "analyzer_differs", "info", "serial number SN2"),
]


@pytest.mark.parametrize(("change", "code", "severity", "words"), REMARKS)
def test_what_contradicts_is_said_and_not_compared(
    analyse, tell, db, change, code, severity, words
):
    analyse(1, patient_id="P-7", instrument_serial="SN1")
    tell(2, **change)
    told = queries.run(db, "1")["analyzer"]
    assert (told["reports"], told["values"], told["differences"]) == ([], [], [])
    [remark] = told["remarks"]
    assert (remark["code"], remark["severity"], remark["report_id"]) == (code, severity, 1)
    assert words in remark["message"]
    assert remark["action"]
    [listed] = reports.listing(db, unmatched=True)
    assert (listed["run_id"], listed["reason"]) == (1, code)
    assert reports.unmatched_runs(db) == {1}


def test_what_contradicts_a_report_that_is_compared_is_said(analyse, tell, db):
    analyse(1, species=None)
    tell(2, {"RBC": 6.5}, patient_id="P-7")
    tell(3, {"RBC": 9.9}, patient_id="P-9")
    tell(4, {"RBC": 9.8}, species="cat")
    told = queries.run(db, "1")["analyzer"]
    assert [d["analyzer"] for d in told["differences"]] == [6.5]
    assert [r["message"].partition("this sample ")[2] for r in told["remarks"]] == [
        "is for patient P-9, its report 1 for P-7",
        "says cat, its report 1 dog",
    ]


def test_our_suspicion_of_the_species_is_held_against_the_report(analyse, tell, db):
    suspected = Flag("species_suspected", "review", "Species? Entered as dog, most like cat", "x")
    analyse(1, suspected)
    tell(2)
    [remark] = queries.run(db, "1")["analyzer"]["remarks"]
    assert remark["code"] == "species_differs"
    assert "report 1 says dog too" in remark["message"]


def test_simulated_and_clinical_never_join(analyse, tell, db):
    analyse(1, simulated=True)
    tell(2)
    assert queries.run(db, "1")["analyzer"]["remarks"] == []
    assert [r["run_id"] for r in reports.listing(db)] == [None]


def test_reports_of_a_second_instrument_are_listed_not_merged(analyse, tell, db):
    analyse(1)
    tell(2, {"RBC": 6.5})
    tell(3, {"RBC": 7.7}, instrument="cbc-2")
    told = queries.run(db, "1")["analyzer"]
    assert [v["value"] for v in told["values"] if v["code"] == "RBC"] == [6.5]
    assert [r["code"] for r in told["remarks"]] == ["other_analyzer"]
    assert "through instrument cbc-2, this run through advia-1" in told["remarks"][0]["message"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [4, 3, 2, 1]),
        ({"limit": 2}, [4, 3]),
        ({"sample": "a-1"}, [1]),
        ({"patient": "bella"}, [1]),
        ({"species": "cat"}, [2]),
        ({"kind": "control"}, [3]),
        ({"instrument": "cbc-2"}, [4]),
        ({"since": "2026-11-22"}, [4, 3]),
        ({"until": "2026-11-22"}, [2, 1]),
        ({"unmatched": True}, [4, 3, 2]),
        ({"unmatched": True, "limit": 1}, [4]),
    ],
)
def test_filters(monkeypatch, analyse, tell, clock, db, filters, expected):
    monkeypatch.setattr(reports, "_PAGE", 2)
    clock.wall = "2026-11-21T08:00:00.000000Z"
    tell(1, sample_id="A-1", patient_name="Bella")
    tell(2, sample_id="A-2", species="cat")
    clock.wall = "2026-11-22T08:00:00.000000Z"
    tell(3, sample_id="QC", kind="control", species=None)
    tell(4, instrument="cbc-2", sample_id="A-4")
    analyse(5, sample_id="A-1")
    assert [row["id"] for row in reports.listing(db, **filters)] == expected


PLANS = {
    "SEARCH r USING INDEX sqlite_autoindex_reports_1 (capture_id=?)",
    "SEARCH r USING INDEX reports_by_sample_key (sample_key=?)",
    "SEARCH r USING INDEX runs_by_sample_key (sample_key=?)",
}


def test_the_join_of_a_run_walks_no_table(analyse, tell, db):
    analyse(1)
    tell(2)
    asked = []
    db.set_trace_callback(asked.append)
    reports.of_run(db, {**queries.run(db, "1")})
    db.set_trace_callback(None)
    plan = {r["detail"] for q in asked for r in db.execute(f"EXPLAIN QUERY PLAN {q}")}
    assert plan >= PLANS
    assert not [line for line in plan if line.startswith("SCAN") and "json_each" not in line]


def test_what_captures_hold_is_found_by_index(tell, db):
    tell(1, acquired_at=AT)
    tell(2, acquired_at=AT, message_id="M-2")
    asked = []
    db.set_trace_callback(asked.append)
    queries.captures(db)
    db.set_trace_callback(None)
    plan = [r["detail"] for q in asked for r in db.execute(f"EXPLAIN QUERY PLAN {q}")]
    assert not [line for line in plan if line.startswith("SCAN") and "json_each" not in line], plan


def test_no_report_is_none(db):
    assert reports.report(db, 1) is None
    assert reports.listing(db) == []
