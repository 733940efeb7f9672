"""results, show, export, quarantine on databases written by the real store."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import pytest

from edge_daemon import errors
from edge_daemon.records import CELL_CLASSES

HEAVY = ("numpy", "sqlalchemy", "alembic", "structlog", "pydantic", "rich", "onnxruntime")


def test_listing_is_newest_first_and_reads_aloud(invoke, clinic):
    clinic.add()
    clinic.add(species="cat", patient_name="Mieze", simulated=False, flags=())
    done = invoke("results", "--data-dir", clinic.path)
    assert done.code == 0
    head, newest, oldest = done.out.splitlines()
    assert head.split()[:3] == ["Run", "Analysed", "Sample"]
    assert newest.split()[4:8] == ["D-0002", "Mieze", "(P-7)", "cat"]
    assert "OK" in newest
    assert "SIMULATED" not in newest
    assert "Review  SIMULATED      7.12  not reported       255" in oldest
    assert oldest.endswith("clumps")


def test_json_is_unrounded_and_marked(invoke, clinic):
    clinic.add()
    (found,) = invoke("results", "--data-dir", clinic.path, "--json").json
    assert found["simulated"] is True
    assert found["measurements"][0]["value"] == 7.123456
    assert found["counts"] == dict(zip(CELL_CLASSES, (900, 10, 20, 50, 20), strict=True))


def test_csv_is_marked_and_safe_in_a_spreadsheet(invoke, clinic):
    clinic.add(patient_name='=HYPERLINK("http://x")')
    done = invoke("results", "--data-dir", clinic.path, "--csv")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["patient"].startswith("'=HYPERLINK")
    assert row["simulated"] == "SIMULATED"
    assert row["RETIC%"] == "not reported"
    assert row["RBC"] == "7.12"


@pytest.mark.parametrize(
    ("option", "value", "runs"),
    [
        ("--sample", "d-0002", [2]),
        ("--patient", "Rex", [2]),
        ("--species", "horse", [3]),
        ("--flag", "no_rbc_peak", [3]),
        ("--status", "failed", [3]),
        ("--status", "review", [1]),
        ("--status", "ok", [2]),
        ("--since", "1h", [3, 2, 1]),
        ("--until", "2001-01-01", []),
        ("--limit", "1", [3]),
    ],
)
def test_filters(invoke, clinic, option, value, runs):
    from_conftest = clinic.add()
    assert from_conftest == 1
    clinic.add(patient_name="Rex", flags=())
    clinic.add(species="horse", flags=(invalid_flag(),))
    done = invoke("results", "--data-dir", clinic.path, "--json", option, value)
    assert [r["id"] for r in done.json] == runs


def invalid_flag():
    from edge_daemon.records import Flag

    return Flag("no_rbc_peak", "invalid", "No red cell peak found", "Repeat the run.")


def test_replaced_runs_only_on_request(invoke, clinic):
    clinic.add()
    clinic.replay(1)
    shown = invoke("results", "--data-dir", clinic.path, "--json").json
    assert [r["id"] for r in shown] == [2]
    every = invoke("results", "--data-dir", clinic.path, "--json", "--all-runs").json
    assert [r["id"] for r in every] == [2, 1]


def test_full_page_says_that_there_may_be_more(invoke, clinic):
    clinic.add()
    assert "--limit" in invoke("results", "--data-dir", clinic.path, "--limit", 1).err


def test_wrong_time_lists_what_is_understood(invoke, empty):
    done = invoke("results", "--data-dir", empty, "--since", "last week")
    assert done.code == errors.EXIT_USAGE
    assert "yesterday" in done.err
    assert "7d" in done.err


def test_wrong_species_lists_the_known(invoke, empty):
    done = invoke("results", "--data-dir", empty, "--species", "dgo")
    assert done.code == errors.EXIT_USAGE
    assert "horse" in done.err


def test_show_reads_from_verdict_to_provenance(invoke, clinic):
    clinic.add(flags=(invalid_flag(),))
    clinic.see_again(1, "copy of it.fcs")
    shown = invoke("show", "d-0001", "--data-dir", clinic.path).out
    lines = shown.splitlines()
    assert lines[0] == "Failed: No red cell peak found"
    assert lines[1] == "SIMULATED: not a patient's result"
    for text in (
        "Bello (P-7)",
        "dog, Labrador",
        "SimOptical4 serial SN1 firmware 1.0",
        "6.98 to 7.27",
        "not reported",
        "→ Repeat the run.",
        "red cells               900   90.00 %",
        "sim_optical4/1.0  sha256 abab",
        "sim@0.1.0  sha256 cdcd",
        "0001.fcs  sha256 ",
        "copy of it.fcs through export",
        "a note",
        "clock",
    ):
        assert text in shown


def test_show_names_the_other_runs_of_the_capture(invoke, clinic):
    clinic.add()
    clinic.replay(1)
    assert "(the same capture also has run 1)" in invoke("show", 2, "--data-dir", clinic.path).out


def test_show_json_is_one_document(invoke, clinic):
    clinic.add()
    found = invoke("show", 1, "--data-dir", clinic.path, "--json").json
    assert found["sample_id"] == "D-0001"
    assert found["intact"] is True


def test_show_warns_of_a_changed_result(invoke, clinic):
    import sqlite3

    clinic.add()
    with sqlite3.connect(clinic.path / "edge.sqlite3") as db:
        db.execute("UPDATE measurements SET value = 9 WHERE code = 'RBC'")
    db.close()
    assert "was changed after it was stored" in invoke("show", 1, "--data-dir", clinic.path).out


def test_show_of_nothing_is_not_found(invoke, empty):
    done = invoke("show", "nobody", "--data-dir", empty)
    assert (done.code, done.out) == (errors.EXIT_NOT_FOUND, "")
    assert "'nobody'" in done.err


def test_export_csv_has_a_row_per_result_and_fixed_columns(invoke, clinic, tmp_path):
    for _ in range(3):
        clinic.add(patient_name="@x")
    target = tmp_path / "all.csv"
    done = invoke("export", "-o", target, "--data-dir", clinic.path)
    assert (done.code, done.out) == (0, "")
    assert "Wrote 3 results" in done.err
    rows = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8"))))
    assert [r["sample_id"] for r in rows] == ["D-0003", "D-0002", "D-0001"]
    assert rows[0]["patient_name"] == "'@x"
    assert rows[0]["simulated"] == "SIMULATED"
    assert (rows[0]["RBC"], rows[0]["RBC_unit"]) == ("7.12", "10*6/uL")
    assert rows[0]["HCT"] == ""
    assert list(tmp_path.glob(".*")) == []


def test_export_jsonl_by_ending_and_by_option(invoke, clinic, tmp_path):
    clinic.add()
    target = tmp_path / "all.jsonl"
    invoke("export", "-o", target, "--data-dir", clinic.path)
    in_file = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    on_stdout = invoke("export", "--jsonl", "--data-dir", clinic.path).lines
    assert in_file == on_stdout
    assert in_file[0]["measurements"][0]["value"] == 7.123456


def test_export_into_a_missing_folder_says_so(invoke, clinic, tmp_path):
    clinic.add()
    done = invoke("export", "-o", tmp_path / "no" / "x.csv", "--data-dir", clinic.path)
    assert done.code == errors.EXIT_FAILED
    assert "No such file" in done.err
    assert "Traceback" not in done.err


def test_quarantine_says_why_and_what_to_do(invoke, clinic):
    clinic.set_aside()
    done = invoke("quarantine", "--data-dir", clinic.path)
    assert done.code == 0
    assert "broken.fcs  [no_profile]" in done.out
    assert "→ Add a profile for this firmware." in done.out
    assert "Near: x/1.0" in done.out
    assert "link.fcs: a symbolic link" in done.out


def test_quarantine_as_data(invoke, clinic):
    clinic.set_aside("=evil.fcs")
    found = invoke("quarantine", "--data-dir", clinic.path, "--json").json
    assert [r["kind"] for r in found] == ["capture", "refusal"]
    assert found[0]["reason"]["candidates"] == ["x/1.0"]
    rows = list(
        csv.DictReader(io.StringIO(invoke("quarantine", "--data-dir", clinic.path, "--csv").out))
    )
    assert rows[0]["name"] == "'=evil.fcs"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["results"], "No results yet."),
        (["results", "--species", "cat"], "No result matches."),
        (["quarantine"], "Nothing is in quarantine."),
    ],
)
def test_empty_database_is_said_in_words(invoke, empty, command, words):
    done = invoke(*command, "--data-dir", empty)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{words}\n"


@pytest.mark.parametrize("command", [["results"], ["quarantine"]])
def test_empty_database_as_json(invoke, empty, command):
    assert invoke(*command, "--data-dir", empty, "--json").json == []


@pytest.mark.parametrize("command", [["results"], ["show", "1"], ["export"], ["quarantine"]])
def test_no_database_is_not_found_and_says_what_to_do(invoke, tmp_path, command):
    done = invoke(*command, "--data-dir", tmp_path)
    assert done.code == errors.EXIT_NOT_FOUND
    assert str(tmp_path) in done.err
    assert "\n→ " in done.err
    assert not done.out


def test_data_folder_from_the_environment(invoke, clinic):
    clinic.add()
    env = {"EDGE_DAEMON_DATA": str(clinic.path)}
    assert len(invoke("results", "--json", env=env).json) == 1


@pytest.mark.parametrize("name", ["Žluťoučký kůň 🐎", "猫" * 40, "x" * 200, "[bold]Rex[/bold]"])
def test_any_name_is_listed_and_shown(invoke, clinic, name):
    clinic.add(patient_name=name, patient_id=None)
    for command in (["results"], ["show", "1"], ["results", "--csv"]):
        done = invoke(*command, "--data-dir", clinic.path)
        assert done.code == 0
        assert name in done.out


def test_hostile_name_does_not_reach_the_terminal(invoke, clinic):
    clinic.add(patient_name="a\x1b[2Jb")
    for command in (["results"], ["show", "1"], ["results", "--csv"], ["export"]):
        assert "\x1b" not in invoke(*command, "--data-dir", clinic.path).out


def test_latin_1_terminal_loses_no_result(spawn, clinic):
    clinic.add(patient_name="Mieze 猫")
    env = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = spawn("results", "--data-dir", clinic.path, "--json", env=env)
    assert done.json[0]["patient_name"] == "Mieze 猫"
    shown = subprocess.run(
        [sys.executable, "-m", "edge_daemon.cli", "results", "--data-dir", clinic.path],
        capture_output=True,
        check=True,
        env={**os.environ, **env},
    ).stdout.decode("latin-1")
    assert "Mieze \\u732b" in shown
    assert "M/µL" in shown


@pytest.mark.parametrize(
    "command",
    [
        ["results"], ["show", "1"], ["compare", "1", "1"], ["reports"], ["status"],
        ["export"], ["export", "--hl7"], ["export", "--fhir"],
    ],
)  # fmt: skip
def test_queries_import_no_stage_and_nothing_heavy(clinic, command):
    clinic.add()
    probe = (
        "import sys; from edge_daemon.cli import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *command, "--data-dir", clinic.path],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & set(HEAVY)
    stages = ("sources", "decode", "classify", "pipeline", "service", "workers", "config", "log")
    assert not loaded & {f"edge_daemon.{stage}" for stage in stages}
    assert "edge_daemon.store.writer" not in loaded


def in_terminal(*args, env):
    """Run with stdout and stderr on a pseudo-terminal and return what it shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_daemon.cli", *map(str, args)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", **env},
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert process.wait(60) == 0
    return b"".join(parts).decode("utf-8")


def test_terminal_has_colour_and_no_color_takes_it_away(clinic):
    clinic.add()
    for command in (["results"], ["show", "1"]):
        args = [*command, "--data-dir", clinic.path]
        coloured = in_terminal(*args, env={"NO_COLOR": ""})
        assert "\x1b[" in coloured
        plain = in_terminal(*args, env={"NO_COLOR": "1"})
        assert "\x1b[3" not in plain
        assert "SIMULATED" in plain


@pytest.mark.parametrize("columns", ["40", "80", "100", "160"])
def test_narrow_terminal_cuts_no_value(clinic, columns):
    clinic.add(patient_name="x" * 100)
    env = {"NO_COLOR": "1", "COLUMNS": columns}
    shown = in_terminal("results", "--data-dir", clinic.path, env=env)
    for value in ("7.12", "255", "SIMULATED", "Review", "D-0001", "reported"):
        assert value in shown


def test_year_is_said_when_it_is_not_this_one():
    from edge_daemon.cli.report import short_time

    assert short_time("2001-05-06T12:00:00.000000Z").endswith("May 2001")


def test_pipe_has_no_colour(spawn, clinic):
    clinic.add()
    assert "\x1b" not in spawn("results", "--data-dir", clinic.path).out


def test_completion_offers_sample_ids(spawn, clinic):
    clinic.add()
    clinic.add()
    env = {
        "_EDGE_DAEMON_COMPLETE": "bash_complete",
        "COMP_WORDS": "edge-daemon show D-0",
        "COMP_CWORD": "2",
        "EDGE_DAEMON_DATA": str(clinic.path),
    }
    assert spawn(env=env).out.split() == ["plain,D-0002", "plain,D-0001"]


def test_completion_without_a_database_is_silent(spawn, tmp_path):
    env = {
        "_EDGE_DAEMON_COMPLETE": "bash_complete",
        "COMP_WORDS": "edge-daemon show D",
        "COMP_CWORD": "2",
        "EDGE_DAEMON_DATA": str(tmp_path),
    }
    done = spawn(env=env)
    assert (done.out.strip(), done.err) == ("", "")
