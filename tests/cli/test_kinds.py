"""Controls, blanks and runs of checks in lists, reports and exports: never a patient's."""

import csv
import io
import json

import pytest

from edge_daemon import errors
from edge_daemon.clock import SystemClock
from edge_daemon.records import Flag
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.store.writer import Store


def opened(clinic):
    return Store.open(clinic.path, SystemClock())


@pytest.fixture
def mixed(clinic):
    """A patient, a control by its pattern, a blank by its name, a check by a mark; all of a dog."""
    target = {"RBC": LotTarget(7.0, 0.2)}
    with opened(clinic) as store:
        store.add_lot(Lot("4711", "normal", "Vet", target, pattern="QC-N*"), by="Ann")
    clinic.add()
    clinic.add(sample_id="QC-N1", flags=(Flag("clumps", "review", "Clumps", "Smear."),))
    clinic.add(sample_id="Blank 3")
    clinic.add(sample_id="C-1")
    with opened(clinic) as store:
        store.mark(4, "check", by="Bo")
    return clinic


def test_json_says_of_every_result_whose_it_is(invoke, mixed):
    found = invoke("results", "--json", "--data-dir", mixed.path).json
    told = [(r["id"], r["kind"], r["headline"], r["lot"], r["kind_by"]) for r in found]
    assert told == [
        (4, "check", "Check", None, "Bo"),
        (3, "blank", "Blank", None, None),
        (2, "control", "Control", "4711", None),
        (1, "patient", "Review", None, None),
    ]
    assert [r["status"] for r in found] == ["review"] * 4  # as stored


@pytest.mark.parametrize(
    ("kind", "runs"), [("patient", [1]), ("control", [2]), ("blank", [3]), ("check", [4])]
)
def test_one_kind_can_be_asked_for(invoke, mixed, kind, runs):
    found = invoke("results", "--json", "--kind", kind, "--data-dir", mixed.path).json
    assert [r["id"] for r in found] == runs
    done = invoke("export", "--jsonl", "--kind", kind, "--data-dir", mixed.path)
    assert [r["id"] for r in done.lines] == runs


def test_a_list_names_lot_and_level_and_no_flag_of_an_animal(invoke, mixed):
    lines = invoke("results", "--data-dir", mixed.path).out.splitlines()
    assert "Kind" in lines[0]
    assert "Control 4711 normal" in lines[3]
    assert ["dog" in line for line in lines[1:]] == [True, False, False, True]
    assert [line.endswith("clumps") for line in lines[1:]] == [False, False, False, True]


def test_a_list_of_patients_alone_has_no_such_column(invoke, clinic):
    clinic.add()
    assert "Kind" not in invoke("results", "--data-dir", clinic.path).out


def test_csv_has_the_kind_last(invoke, mixed):
    for command in ("results", "export"):
        out = invoke(command, "--csv", "--data-dir", mixed.path).out
        rows = list(csv.DictReader(io.StringIO(out)))
        assert list(rows[0])[-3:] == ["kind", "lot", "level"]
        assert [r["kind"] for r in rows] == ["check", "blank", "control", "patient"]
        assert (rows[2]["lot"], rows[2]["level"]) == ("4711", "normal")


def test_a_control_is_shown_without_a_word_of_animals(invoke, mixed):
    out = invoke("show", "run:2", "--no-plot", "--data-dir", mixed.path).out
    assert out.startswith("Control: no patient's sample; `edge-daemon qc chart`")
    assert "Kind       Control 4711 normal" in out
    assert "Species" not in out
    assert "regeneration" not in out.casefold()
    assert "Reference" in out  # the column, empty
    assert "version" not in out  # of no table of intervals
    found = invoke("show", "run:2", "--json", "--data-dir", mixed.path).json
    assert (found["kind"], found["lot"], found["level"]) == ("control", "4711", "normal")
    assert found["interpretation"]["regeneration"] is None
    assert {value["mark"] for value in found["interpretation"]["values"]} == {None}
    assert {value["reference"] is None for value in found["interpretation"]["values"]} == {True}


def test_a_failed_control_still_says_failed(invoke, mixed):
    mixed.add(sample_id="QC-N2", flags=(Flag("no_rbc_peak", "invalid", "No peak", "Repeat."),))
    found = invoke("show", "run:5", "--json", "--data-dir", mixed.path).json
    assert (found["headline"], found["reason"]) == ("Failed", "No peak")


def test_a_mark_that_it_is_a_patient_after_all_counts(invoke, mixed):
    with opened(mixed) as store:
        store.mark(2, "patient", by="Ann")
    found = invoke("show", "run:2", "--json", "--data-dir", mixed.path).json
    assert (found["kind"], found["headline"]) == ("patient", "Review")


@pytest.mark.parametrize("form", ["hl7", "fhir"])
def test_no_control_is_written_as_a_patients_report(invoke, mixed, form, tmp_path):
    done = invoke("export", f"--{form}", "--data-dir", mixed.path)
    assert done.code == 0
    assert done.err.startswith("Left out: 1 control, 1 blank, 1 check.")
    assert "D-0001" in done.out
    assert not any(name in done.out for name in ("QC-N1", "Blank 3", "C-1"))
    named = invoke("export", "2", f"--{form}", "-o", tmp_path / "out", "--data-dir", mixed.path)
    assert named.code == errors.EXIT_WARNINGS
    assert "Left out: 1 control." in named.err
    assert list((tmp_path / "out").iterdir()) == []
    refused = invoke("export", f"--{form}", "--kind", "control", "--data-dir", mixed.path)
    assert refused.code == errors.EXIT_USAGE


def test_a_control_and_a_patient_are_never_compared(invoke, mixed):
    done = invoke("compare", "run:2", "run:1", "--data-dir", mixed.path)
    assert done.code == errors.EXIT_FAILED
    assert "run 2 is of a control, run 1 a patient's" in done.err
    mixed.add(sample_id="QC-N2")
    found = invoke("compare", "run:5", "run:2", "--json", "--data-dir", mixed.path)
    assert json.loads(found.out)["now"]["kind"] == "control"
    assert {row["mark"] for row in found.json["values"]} == {None}
