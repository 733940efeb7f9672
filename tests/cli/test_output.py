"""Rounding, units, escaping and the four forms."""

import csv
import io
import json

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.cli import output
from edge_daemon.cli.output import Column, form, listing, number
from edge_daemon.records import MEASUREMENT_CODES

COLUMNS = (
    Column("name", "Name", lambda r: r["name"]),
    Column("n", "N", lambda r: r["n"], right=True),
    Column("hidden", "", lambda r: r["n"]),
)


def test_every_measurand_has_its_decimals():
    assert set(output.DECIMALS) == set(MEASUREMENT_CODES)


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        ("RBC", 7.126, "7.13"),
        ("PLT", 254.5001, "255"),
        ("RETIC%", 0.04, "0.0"),
        ("PCT", 0.215, "0.21"),
        ("RBC", -0.001, "0.00"),
        ("MCV", None, ""),
        ("MCV", float("nan"), ""),
    ],
)
def test_rounding(code, value, text):
    assert number(code, value) == text


def test_units_are_those_clinics_read():
    assert output.unit("10*6/uL") == "M/µL"
    assert output.unit("10*3/uL") == "K/µL"
    assert output.unit("fL") == "fL"


def test_interval_needs_both_ends():
    assert output.interval("RBC", 6.984, 7.266) == "6.98 to 7.27"
    assert output.interval("RBC", None, 7.0) == ""


def test_missing_value_is_said_in_words():
    assert output.measurement({"code": "RETIC", "value": None}) == "not reported"
    assert output.measurement(None) == ""


def test_json_and_csv_exclude_each_other():
    with pytest.raises(click.UsageError):
        form(as_json=True, as_csv=True)


def test_form_without_terminal_is_plain(capsys):
    assert form(as_json=False) == "plain"
    assert form(as_json=True) == "json"
    assert form(as_json=False, as_csv=True) == "csv"


def test_plain_table_aligns_also_wide_and_combining_characters(capsys):
    rows = [
        {"name": "Bello", "n": 1},
        {"name": "猫ちゃん", "n": 22},
        {"name": "Zoe\u0308", "n": 333},
    ]
    listing(COLUMNS, rows, "plain", empty="none")
    assert capsys.readouterr().out.splitlines() == [
        "Name        N",
        "Bello       1",
        "猫ちゃん   22",
        "Zoe\u0308       333",
    ]


def test_very_long_name_is_whole_and_does_not_widen_other_rows(capsys):
    listing(COLUMNS, [{"name": "x" * 200, "n": 1}, {"name": "y", "n": 2}], "plain", empty="")
    lines = capsys.readouterr().out.splitlines()
    assert "x" * 200 in lines[1]
    assert len(lines[2]) < 80


def test_empty_listing_is_said_on_stderr(capsys):
    listing(COLUMNS, [], "plain", empty="Nothing yet.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Nothing yet.\n")


def test_terminal_table_takes_brackets_literally(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    listing(COLUMNS, [{"name": "[red]Rex[/red]", "n": 1}], "terminal", empty="")
    assert "[red]Rex[/red]" in capsys.readouterr().out


def test_no_color(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    listing(COLUMNS, [{"name": "Review", "n": 1}], "terminal", empty="")
    assert "\x1b[3" not in capsys.readouterr().out


def test_control_characters_cannot_drive_the_terminal(capsys):
    listing(COLUMNS, [{"name": "a\x1b]0;x\x07\nb", "n": 1}], "plain", empty="")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_csv_text_never_starts_a_formula(start):
    assert output.csv_cell(f"{start}1+1").startswith("'")


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_csv_cell_property(text):
    stream = io.StringIO()
    output.write_csv((Column("t", "T", lambda r: r["t"]),), [{"t": text}], stream)
    rows = list(csv.reader(io.StringIO(stream.getvalue())))
    cell = rows[1][0] if text else ""
    assert len(rows) == 2
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.isprintable()


def test_csv_numbers_stay_numbers():
    assert output.csv_cell(-1.5) == -1.5
    assert output.csv_cell(None) == ""


@settings(deadline=None, max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_json_always_parses(value):
    json.loads(output.dumps(value), parse_constant=pytest.fail)


def test_json_keeps_values_unrounded():
    assert json.loads(output.dumps({"value": 7.123456789})) == {"value": 7.123456789}


def test_progress_is_silent_when_piped(capsys):
    with output.progress("Working", "plain") as advance:
        advance(1, 2)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
