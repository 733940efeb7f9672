"""reports, and the analyzer's column of show, on databases written by the real store."""

from __future__ import annotations

import csv
import io
import sqlite3

import pytest

from edge_daemon import errors
from edge_daemon.records import ReportedValue


def words(line):
    return " ".join(line.split())


def test_show_has_the_analyzers_value_beside_ours(invoke, clinic):
    clinic.add()
    clinic.tell()
    shown = invoke("show", 1, "--data-dir", clinic.path).out
    lines = [words(line) for line in shown.splitlines()]
    assert "RBC 7.12 M/µL 6.98 to 7.27 5.65 to 8.87 a counted 7.00 +0.12 +1.8 %" in lines
    assert "PLT 255 K/µL 236 to 274 148 to 484 a counted clumps 180 +75 +41.4 % L *" in lines
    assert "RETIC% not reported counted no_fluorescence ----" in lines
    assert "CLUMP% 1.2 % 1.1 to 1.4 counted" in lines
    assert "The analyzer's own report (report:1 2026-01-05T08:00:00Z)" in lines
    assert "WBC 8.14 10^9/L H" in lines
    assert "It says: PLT Clumps?" in lines


def test_show_without_a_report_is_as_before(invoke, clinic):
    clinic.add()
    shown = invoke("show", 1, "--data-dir", clinic.path).out
    assert "nalyzer's" not in shown.replace("(analyzer's clock)", "")
    assert "Difference" not in shown


def test_show_says_what_contradicts_and_what_to_do(invoke, clinic):
    clinic.add()
    clinic.tell(species="cat")
    shown = invoke("show", 1, "--data-dir", clinic.path).out
    assert "species_differs: the analyzer's report 1 of this sample says cat, this run dog" in shown
    assert "→ Check the species on the analyzer and the sample" in shown
    assert "Difference" not in shown


def test_show_json_holds_both_sides_unrounded(invoke, clinic):
    clinic.add()
    clinic.tell()
    told = invoke("show", 1, "--data-dir", clinic.path, "--json").json["analyzer"]
    assert [d["code"] for d in told["differences"]] == ["RBC", "RETIC%", "PLT"]
    assert told["differences"][0]["difference"] == pytest.approx(0.123456)
    assert told["reports"][0]["values"][3]["text"] == "8.14"
    assert told["remarks"] == []


def test_one_report_in_full(invoke, clinic):
    clinic.add()
    clinic.tell()
    clinic.tell()  # the same in another message: sent again
    shown = invoke("show", "report:1", "--data-dir", clinic.path).out
    lines = [words(line) for line in shown.splitlines()]
    assert lines[0] == "The analyzer's own report 1 (sample)"
    assert "SIMULATED: not a patient's result" in lines
    assert "Our run 1" in lines
    assert "RBC RBC 7.00 M/µL 5.65 to 8.87 7.00 10^12/L" in lines
    assert "PLT PLT 180 K/µL 180 10^9/L L *" in lines
    assert "Histogram RBC: 2 bins, 0 to 250 fL" in lines
    assert "Sent again 0003.hl7 through lis," in shown.replace("  ", " ")
    assert "0002.hl7 sha256" in words(shown)


def test_a_sample_without_a_run_shows_its_newest_report(invoke, clinic):
    clinic.tell(sample_id="L-1")
    clinic.tell(sample_id="L-1", amends=True, acquired_at="2026-01-05T09:00:00Z")
    for key in ("l-1", "sample:L-1", "report:2"):
        shown = invoke("show", key, "--data-dir", clinic.path).out
        assert shown.startswith("The analyzer's own report 2 (sample, corrects or completes")
        assert "none of this sample within 12 hours" in shown
    found = invoke("show", "L-1", "--data-dir", clinic.path, "--json").json
    assert (found["id"], found["amends"], found["intact"]) == (2, True, True)


@pytest.mark.parametrize("key", ["report:9", "report:x", "run:1", "nobody", "report:" + "9" * 30])
def test_what_is_not_there_is_not_found(invoke, clinic, key):
    clinic.tell()
    done = invoke("show", key, "--data-dir", clinic.path)
    assert (done.code, done.out) == (errors.EXIT_NOT_FOUND, "")
    assert key in done.err
    assert "`reports`" in done.err


def test_a_changed_report_is_called_so(invoke, clinic):
    clinic.tell()
    with sqlite3.connect(clinic.path / "edge.sqlite3") as db:
        db.execute("UPDATE reported_values SET value = 9 WHERE code = 'RBC'")
    db.close()
    done = invoke("show", "report:1", "--data-dir", clinic.path)
    assert "was changed after it was stored" in done.out


def test_listing_names_the_run_or_why_there_is_none(invoke, clinic):
    clinic.add(simulated=False)
    clinic.tell(simulated=False)
    clinic.tell(simulated=False, patient_id="P-9", patient_name="Rex")
    clinic.tell(simulated=False, sample_id="QC-1", kind="control", species=None)
    done = invoke("reports", "--data-dir", clinic.path)
    assert done.code == 0
    head, control, other, same = (words(line) for line in done.out.splitlines())
    assert head.split()[:2] == ["Report", "Received"]
    assert control.endswith("QC-1 Bello (P-7) control 7.00 ---- 180 none")
    assert other.endswith("D-0001 Rex (P-9) dog 7.00 ---- 180 1, not compared: patient differs")
    assert same.endswith("D-0001 Bello (P-7) dog 7.00 ---- 180 1")
    unmatched = invoke("reports", "--unmatched", "--data-dir", clinic.path, "--json").json
    assert [r["id"] for r in unmatched] == [3, 2]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--sample", "l-2"], [2]),
        (["--species", "cat"], [2]),
        (["--patient", "Mieze"], [2]),
        (["--instrument", "cbc-2"], [3]),
        (["--kind", "control"], [3]),
        (["--since", "1h"], [3, 2, 1]),
        (["--until", "2001-01-01"], []),
        (["--limit", "1"], [3]),
    ],
)
def test_filters(invoke, clinic, options, ids):
    clinic.tell()
    clinic.tell(sample_id="L-2", species="cat", patient_name="Mieze")
    clinic.tell(instrument="cbc-2", kind="control")
    done = invoke("reports", "--data-dir", clinic.path, "--json", *options)
    assert [r["id"] for r in done.json] == ids


def test_runs_without_a_report(invoke, clinic):
    clinic.add()
    clinic.add(species="cat")
    clinic.tell()
    done = invoke("reports", "--missing", "--data-dir", clinic.path, "--json")
    assert [r["id"] for r in done.json] == [2]
    listed = invoke("reports", "--missing", "--data-dir", clinic.path).out.splitlines()
    assert words(listed[1]).startswith("2 ")
    assert invoke("reports", "--missing", "--species", "dog", "--data-dir", clinic.path).out == ""
    for option in (["--unmatched"], ["--kind", "sample"]):
        done = invoke("reports", "--missing", *option, "--data-dir", clinic.path)
        assert done.code == errors.EXIT_USAGE


def test_csv_is_marked_and_safe(invoke, clinic):
    clinic.tell(
        (ReportedValue("RBC", "RBC", None, "10*6/uL", "=1+1"),),
        patient_name="=cmd",
        patient_id=None,
    )
    done = invoke("reports", "--data-dir", clinic.path, "--csv")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert (row["patient"], row["RBC"], row["simulated"]) == ("'=cmd", "'=1+1", "SIMULATED")
    assert row["messages"] == "PLT Clumps?"


def test_hostile_words_do_not_reach_the_terminal(invoke, clinic):
    clinic.add()
    evil = ReportedValue("W\x1b[2J", None, None, "x\x1b", "\x1b[31m", flags=("\x1b",))
    clinic.tell((evil, ReportedValue("RBC", "RBC", None, "fL", "\x1b]0;")))
    for command in (["reports"], ["show", "1"], ["show", "report:1"], ["reports", "--csv"]):
        done = invoke(*command, "--data-dir", clinic.path)
        assert done.code == 0
        assert "\x1b" not in done.out


def test_nothing_reported_is_said_in_words(invoke, empty):
    assert invoke("reports", "--data-dir", empty).err == "No analyzer has reported anything yet.\n"
    done = invoke("reports", "--sample", "x", "--data-dir", empty)
    assert done.err == "No report matches.\n"
    assert invoke("reports", "--data-dir", empty, "--json").json == []
