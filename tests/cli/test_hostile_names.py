"""Names that want to be formulas or drive a terminal, through every command that shows them."""

from __future__ import annotations

import csv
import io
import json

import click
import pytest

from edge_daemon.cli import cli
from edge_daemon.clock import SystemClock
from edge_daemon.records import Flag, ReportedValue
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.store.writer import Store

FORMULAS = (
    "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1",
    "＝1", "＋1", "－1", "＠1", "S;=1+1", "S; @SUM(1)", 'S",=1+1', "S\n=1+1",
)  # fmt: skip
DRIVING = (
    "\x1b[2J\x1b]0;mine\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2066x",
    "a\rb",
    "\x7f\x08\x08",
    "\u2028",
)

CSV = {
    "results": ["results", "--csv"],
    "compare": ["compare", "run:2", "run:1", "--csv"],
    "agreement": ["agreement", "--csv"],
    "intervals": ["intervals", "dog", "--csv"],
    "export": ["export", "--csv"],
    "quarantine": ["quarantine", "--csv"],
    "reports": ["reports", "--csv"],
    "profile list": ["profile", "list", "--csv"],
    "qc lots list": ["qc", "lots", "list", "--csv"],
    "qc chart": ["qc", "chart", "RBC", "--csv"],
}
SHOWN = {
    "results": ["results"],
    "results --json": ["results", "--json"],
    "show": ["show", "run:1"],
    "show --json": ["show", "run:1", "--json"],
    "reports": ["reports"],
    "reports --json": ["reports", "--json"],
    "compare": ["compare", "run:2", "run:1"],
    "quarantine": ["quarantine"],
    "quarantine --json": ["quarantine", "--json"],
    "agreement": ["agreement"],
    "status": ["status"],
    "export": ["export"],
    "export --jsonl": ["export", "--jsonl"],
    "qc lots list": ["qc", "lots", "list"],
    "qc lots list --json": ["qc", "lots", "list", "--json"],
    "qc chart": ["qc", "chart", "RBC"],
}


@pytest.fixture
def named(clinic):
    """A box on which everything that has a name has this one."""

    def fill(text):
        sample = dict.fromkeys(
            ("sample_id", "patient_id", "patient_name", "breed", "instrument_model",
             "instrument_serial", "firmware", "acquired_at"), text,
        )  # fmt: skip
        flag = Flag("clumps", "review", text, text)
        value = ReportedValue(text, "RBC", 7.0, "10*6/uL", text, text, flags=(text,))
        other = ReportedValue(text, None, None, text, text, text)
        for _ in range(2):
            clinic.add(name=text, flags=(flag,), instrument=text, **sample)
        clinic.tell((value, other), instrument=text, **sample)
        clinic.set_aside(name=text)
        control = clinic.add(instrument=text, **sample)
        name = text.strip() or "lot"  # what somebody types loses the white space around it
        with Store.open(clinic.path, SystemClock()) as store:
            store.add_lot(Lot(name, name, name, {"RBC": LotTarget(7.0, 0.2)}), by=name)
            store.mark(control, "control", lot=name, level=name, by=name)
        return clinic.path

    return fill


def _commands(group, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_command_that_writes_csv_is_tried():
    writing = {
        name
        for name, command in _commands(cli)
        if any("--csv" in parameter.opts for parameter in command.params)
    }
    assert writing == set(CSV)


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_any_export_begins_a_formula(invoke, named, text):
    path = named(text)
    for command in CSV.values():
        done = invoke(*command, env={"EDGE_DAEMON_DATA": str(path)})
        assert done.out, done.err
        # A spreadsheet of another country parts cells at semicolons.
        for delimiter in ",;":
            for row in csv.reader(io.StringIO(done.out), delimiter=delimiter):
                for cell in row:
                    begins = cell.lstrip(' "')[:1]
                    assert begins not in set("=+-@\t\r＝＋－＠") or is_number(cell), cell


@pytest.mark.parametrize("text", DRIVING)
def test_no_name_drives_the_terminal(invoke, named, text):
    path = named(text)
    for command in SHOWN.values():
        done = invoke(*command, env={"EDGE_DAEMON_DATA": str(path)})
        assert done.out
        odd = {c for c in done.out + done.err if c != "\n" and not c.isprintable()}
        assert odd == set(), (command, odd)
        if command[-1] == "--json":
            assert json.loads(done.out)
