"""Exports read back by other programs: pyarrow, csv, fhir.resources, hl7apy."""

import csv
import json
import tracemalloc

import pyarrow as pa
import pytest
from fhir.resources.R4B.bundle import Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from pyarrow import parquet

from edge_daemon.central.feeds import tables
from edge_daemon.central.feeds.columns import RESULTS
from edge_daemon.central.feeds.export import Order, export
from edge_daemon.central.feeds.reach import Reach, scope_of
from edge_daemon.central.feeds.tables import TableWriter
from edge_daemon.central.reading import EVERYTHING
from tests.central.feeds.conftest import report_body, run_body, said_body

CLINICAL = frozenset({"clinical"})
ALL = frozenset({"clinical", "simulated"})


def write(centre, form, out, *, scope=EVERYTHING, kinds=CLINICAL, **changes):
    order = Order(form, out, scope, kinds, **changes)
    return export(centre.reader, order, lambda _done, _total: None)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def filled(centre):
    """A result with two versions, a note, a report, and a simulated result."""
    box = centre.box()
    centre.send(box, ("run", run_body(1)), ("report", report_body(9)))
    centre.send(box, ("note", said_body("note", concerns="PLT")))
    corrected = run_body(1, number=2, species="cat", corrected=["species"])
    centre.send(box, ("run", corrected), ("correction", said_body("correction")))
    centre.send(box, ("run", run_body(2, simulated=True)))
    return centre


def test_tables_say_the_kind_last_and_messages_leave_controls_out(centre, tmp_path):
    box = centre.box()
    bodies = [run_body(1, kind="control"), run_body(2), run_body(3), run_body(4, kind="blank")]
    centre.send(box, *(("run", body) for body in bodies))
    centre.send(box, ("mark", said_body("mark", 3, kind="check", lot=None, level=None)))
    patient = said_body("mark", 4, kind="patient", lot=None, level=None)
    centre.send(box, ("mark", patient))
    write(centre, "parquet", tmp_path / "out")
    table = parquet.read_table(tmp_path / "out" / "results.parquet")
    assert table.schema.names[-1] == "kind"
    assert table["kind"].to_pylist() == ["control", "patient", "check", "patient"]
    done = write(centre, "hl7", tmp_path / "hl7")
    texts = [path.read_text() for path in (tmp_path / "hl7").glob("*.hl7")]
    assert done.counts["messages"] == len(texts) == 4  # two results; one withdrawn; one after all
    assert not any("|S-1" in text for text in texts)


def test_parquet_has_types_units_and_a_row_for_each_version(filled, tmp_path):
    done = write(filled, "parquet", tmp_path / "out")
    assert done.counts == {"results": 2, "reports": 1, "said": 2}
    table = parquet.read_table(tmp_path / "out" / "results.parquet")
    kinds = {
        "rbc": pa.float64(), "document_id": pa.int64(), "simulated": pa.bool_(),
        "received_at": pa.timestamp("us", tz="UTC"), "species": pa.string(),
    }  # fmt: skip
    assert {name: table.schema.field(name).type for name in kinds} == kinds
    rbc = table.schema.field("rbc").metadata
    assert (rbc[b"unit"], rbc[b"loinc"]) == (b"10*6/uL", b"789-8")
    assert table.schema.field("plt_low").metadata[b"unit"] == b"10*3/uL"
    assert table.schema.metadata[b"kinds"] == b"clinical"
    rows = table.to_pylist()
    assert [row["version"] for row in rows] == [1, 2]
    assert [row["newest"] for row in rows] == [False, True]
    assert [row["species"] for row in rows] == ["dog", "cat"]
    assert (rows[0]["rbc"], rows[0]["rbc_low"], rows[0]["rbc_method"]) == (6.6251, 6.4, "counted")
    assert (rows[0]["retic_pct"], rows[0]["retic_pct_flags"]) == (None, "no_dye")
    assert rows[0]["hgb"] is None
    assert rows[0]["clump_pct"] is None
    (report,) = parquet.read_table(tmp_path / "out" / "reports.parquet").to_pylist()
    assert (report["rbc"], report["plt"], report["messages"]) == (6.5, 240.0, "PLT Clumps?")
    assert json.loads(report["other_values"])[0]["name"] == "WBC"
    said = parquet.read_table(tmp_path / "out" / "said.parquet").to_pylist()
    assert [(row["type"], row["concerns"], row["by"]) for row in said] == [
        ("note", "PLT", "Ann"), ("correction", None, "Ann"),
    ]  # fmt: skip


def test_the_manifest_proves_the_files_and_says_how_to_go_on(filled, tmp_path):
    import hashlib

    out = tmp_path / "out"
    done = write(filled, "csv", out)
    told = json.loads((out / "export.json").read_text())
    for file in told["files"]:
        assert hashlib.sha256((out / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert told["through"] == filled.highest() == done.through
    assert not list(out.glob(".*"))
    again = write(filled, "csv", tmp_path / "more", after=told["through"])
    assert sum(again.counts.values()) == 0
    assert (tmp_path / "more" / "results.csv").read_text().startswith("document_id,received_at")


def test_simulated_results_come_only_when_asked_for_and_are_marked(filled, tmp_path):
    for form, name in (("csv", "all.csv"), ("parquet", "all.parquet")):
        write(filled, form, tmp_path / name, kinds=ALL)
    rows = rows_of(tmp_path / "all.csv")
    assert [row["simulated"] for row in rows] == ["false", "false", "true"]
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.column("simulated").to_pylist() == [False, False, True]
    assert table.schema.metadata[b"kinds"] == b"clinical simulated"
    write(filled, "fhir", tmp_path / "sim.ndjson", kinds=frozenset({"simulated"}))
    (bundle,) = map(json.loads, (tmp_path / "sim.ndjson").read_text().splitlines())
    marks = [entry["resource"]["meta"]["security"][0]["code"] for entry in bundle["entry"]]
    assert set(marks) == {"HTEST"}
    write(filled, "hl7", tmp_path / "sim.hl7", kinds=frozenset({"simulated"}))
    header = (tmp_path / "sim.hl7").read_bytes().decode().split("\r")[0].split("|")
    assert header[10] == "T"


def test_csv_is_safe_in_a_spreadsheet(centre, tmp_path):
    box = centre.box("=HYPERLINK(1)")
    centre.send(box, ("run", run_body(1, sample_id="=cmd|' /C calc'!A0", breed='x";=1+1')))
    write(centre, "csv", tmp_path / "one.csv")
    (row,) = rows_of(tmp_path / "one.csv")
    assert row["clinic"] == "'=HYPERLINK(1)"
    assert row["sample_id"].startswith("'=")
    assert row["breed"] == "x\";'=1+1"
    assert row["rbc [10*6/uL]"] == "6.6251"


def test_fhir_bundles_say_that_a_result_was_corrected(filled, tmp_path):
    done = write(filled, "fhir", tmp_path / "all.ndjson")
    bundles = [json.loads(line) for line in (tmp_path / "all.ndjson").read_text().splitlines()]
    for bundle in bundles:
        Bundle.model_validate(bundle)
    reports = [bundle["entry"][0]["resource"] for bundle in bundles]
    assert [report["status"] for report in reports] == ["final", "appended", "corrected"]
    assert [report["meta"]["versionId"] for report in reports] == ["1", "1", "2"]
    assert len({bundle["entry"][0]["fullUrl"] for bundle in bundles}) == 1
    assert len({bundle["identifier"]["value"] for bundle in bundles}) == 3
    assert "Corrected by Ann" in reports[2]["conclusion"]
    assert "Note by Ann (2026-01-06) on platelets: fasted" in reports[2]["conclusion"]
    patient = next(
        e["resource"] for e in bundles[2]["entry"] if e["resource"]["resourceType"] == "Patient"
    )
    assert "name" not in patient
    assert patient["extension"][0]["url"].endswith("patient-animal")
    assert (done.counts["messages"], done.left_out) == (3, 1)


def test_hl7_messages_are_sound_and_follow_each_other(filled, tmp_path):
    write(filled, "hl7", tmp_path / "out")
    files = sorted((tmp_path / "out").glob("*.hl7"))
    statuses = []
    for file in files:
        text = file.read_bytes().decode("utf-8")
        message = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
        assert message.validate()
        obr = next(s for s in text.split("\r") if s.startswith("OBR|")).split("|")
        statuses.append(obr[25])
    assert statuses == ["F", "F", "C"]
    assert len({file.name for file in files}) == 3


def test_pages_go_on_where_the_last_one_ended(centre, tmp_path):
    box = centre.box()
    for number in range(7):
        centre.send(box, ("run", run_body(number)))
    write(centre, "fhir", tmp_path / "whole", page=3)
    pages = sorted((tmp_path / "whole").glob("bundles-*.ndjson"))
    assert [len(page.read_text().splitlines()) for page in pages] == [3, 3, 1]
    after, seen = 0, []
    while True:
        out = tmp_path / f"after-{after}.ndjson"
        done = write(centre, "fhir", out, after=after, limit=3)
        seen += out.read_text().splitlines()
        if not done.counts["messages"]:
            break
        after = done.through
    assert seen == [line for page in pages for line in page.read_text().splitlines()]


def test_a_chain_sees_its_clinics_and_no_other(centre, tmp_path):
    from edge_daemon.central.audit import Actor
    from edge_daemon.central.roster import Roster

    chain = Roster(centre.store.engine, Actor("ann", "command")).add_chain("Chain")
    for name, of in (("A", chain), ("B", chain), ("C", None)):
        centre.send(centre.box(name, of), ("run", run_body(1)))
    write(centre, "csv", tmp_path / "c.csv", scope=scope_of(centre.reader, Reach(chain=chain)))
    rows = rows_of(tmp_path / "c.csv")
    assert [row["clinic"] for row in rows] == ["A", "B"]


def test_months_are_files_of_their_own(centre, tmp_path):
    from sqlalchemy import text

    box = centre.box()
    for number in range(3):
        centre.send(box, ("run", run_body(number)))
    with centre.store.engine.begin() as db:
        moment = "CAST('2026-01-31 23:59:59+00' AS timestamptz)"
        if db.dialect.name == "sqlite":
            moment = "'2026-01-31 23:59:59.000000'"
        db.execute(text(f"UPDATE documents SET received_at = {moment} WHERE id = 1"))
    done = write(centre, "parquet", tmp_path / "out", by_month=True)
    months = sorted(path.name for path in (tmp_path / "out" / "results").iterdir())
    assert months[0] == "month=2026-01"
    assert len(months) == 2
    assert [f.rows for f in done.files] == [1, 2]
    assert parquet.read_table(tmp_path / "out" / "results").num_rows == 3


def test_a_value_in_another_unit_is_left_out_and_said(centre, tmp_path):
    body = run_body(1)
    body["measurements"][0]["unit"] = "10*12/L"
    centre.send(centre.box(), ("run", body))
    done = write(centre, "csv", tmp_path / "one.csv")
    assert done.other_units == {"RBC in 10*12/L": 1}
    (row,) = rows_of(tmp_path / "one.csv")
    assert row["rbc [10*6/uL]"] == ""


def test_what_breaks_off_leaves_nothing(centre, tmp_path, monkeypatch):
    box = centre.box()
    centre.send(box, ("run", run_body(1)))
    target = tmp_path / "one.csv"
    target.write_text("what was there")

    def full(hidden, _path):
        assert hidden.exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables, "publish", full)
    with pytest.raises(OSError, match="No space"):
        write(centre, "csv", target)
    assert target.read_text() == "what was there"
    assert [path.name for path in tmp_path.glob(".*part")] == []


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_memory_does_not_grow_with_rows(form, tmp_path, monkeypatch):
    """Ten times the rows, the same peak: a group of rows is all that is held."""
    import datetime as dt

    from edge_daemon.central.feeds.columns import Entry
    from edge_daemon.central.feeds.documents import Told

    monkeypatch.setattr(tables, "GROUP", 100)
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    body = run_body(1)
    device = "00000000-0000-4000-8000-000000000001"
    entry = Entry(
        Told(1, 1, "C", device, "B", "d", "run", False, "", "synchronised", at, body, "", 1)
    )

    def peak(rows):
        pool = pa.default_memory_pool()
        tracemalloc.start()
        with TableWriter(tmp_path / f"{rows}.{form}", RESULTS, form, {}) as writer:
            most = 0
            for _ in range(rows // 50):
                writer.write([entry] * 50)
                most = max(most, pool.bytes_allocated())
            writer.finish()
        found = tracemalloc.get_traced_memory()[1] + most
        tracemalloc.stop()
        return found

    peak(100)  # whatever is made once
    assert peak(3000) < 1.5 * peak(300)
