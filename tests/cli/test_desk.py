"""correct and note, where no service runs, and how `show` tells of them."""

import json

import pytest

from edge_daemon import errors
from edge_daemon.simulator.cohort import simulate

WHO = ("--by", "Ann", "--reason", "typed wrongly")


def test_a_patient_is_corrected_and_show_says_by_whom(invoke, clinic):
    clinic.add()
    where = ("--data-dir", clinic.path)
    done = invoke("correct", "D-0001", "--patient-name", "Rex", "--breed", "", *WHO, *where)
    assert done.code == 0
    assert done.out == "patient's name: Bello → Rex\nbreed: Labrador → not given\n"
    assert "show run:2" in done.err
    shown = invoke("show", "D-0001", *where).out
    assert "Patient    Rex (P-7)" in shown
    assert "breed: Labrador → not given; patient name: Bello → Rex (Ann, " in shown
    assert ": typed wrongly)" in shown
    assert "Patient    Bello (P-7)" in invoke("show", "run:1", *where).out
    assert [r["patient_name"] for r in invoke("results", *where, "--json").json] == ["Rex"]


def test_what_is_missing_or_wrong_is_said(invoke, clinic):
    clinic.add()
    where = ("--data-dir", clinic.path)
    assert invoke("correct", "1", *WHO, *where).code == errors.EXIT_USAGE
    assert invoke("correct", "1", "--breed", "x", "--by", "A", *where).code == errors.EXIT_USAGE
    assert invoke("correct", "9", "--breed", "x", *WHO, *where).code == errors.EXIT_NOT_FOUND
    assert invoke("note", "9", "x", "--by", "A", *where).code == errors.EXIT_NOT_FOUND
    same = invoke("correct", "1", "--species", "dog", *WHO, *where)
    assert same.code == errors.EXIT_FAILED
    assert "nothing would change" in same.err
    both = ("--confirms", "PLT", "--refutes", "RBC")
    assert invoke("note", "1", "x", "--by", "A", *both, *where).code == errors.EXIT_USAGE


def test_notes_are_shown(invoke, clinic):
    clinic.add()
    where = ("--data-dir", clinic.path)
    done = invoke("note", "1", "no clumps", "--by", "Ann", "--refutes", "clumps", *where, "--json")
    assert done.json == {"note_id": 1}
    invoke("note", "1", "told\x1b the owner", "--by", "Bo", *where)
    shown = invoke("show", "1", *where).out
    assert "Notes\nsmear refutes clumps: no clumps (Ann, " in shown
    assert "told\\x1b the owner (Bo, " in shown
    wrong = invoke("note", "1", "x", "--by", "A", "--confirms", "unicorns", *where)
    assert wrong.code == errors.EXIT_FAILED
    assert "'unicorns' is no cell class, value or flag of run 1" in wrong.err


@pytest.mark.parametrize("species", ["cat"])
def test_another_species_is_analysed_at_once_where_no_service_runs(invoke, tmp_path, species):
    simulate(tmp_path / "in", samples=1, events=600, seed=5, firmware="1.0", species=("dog",))
    where = ("--data-dir", tmp_path / "data")
    assert invoke("process", tmp_path / "in", *where, "--json").code == 0
    done = invoke("correct", "run:1", "--species", species, *WHO, *where, "--json")
    assert done.json["analysed_again"]
    assert done.json["result_id"] == 3
    (found,) = invoke("results", *where, "--json").json
    assert (found["id"], found["species"], found["corrected"]) == (3, "cat", ["species"])
    assert "species_corrected" not in json.dumps(found["flags"])
    explained = invoke("explain", "run:3", *where, "--json")
    assert explained.json["reproduced"]
