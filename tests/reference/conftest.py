"""Fixtures of the tests of intervals and rules."""

import pytest

from edge_daemon.records import Flag, Measurement
from edge_daemon.reference.interpret import interpret
from edge_daemon.reference.loading import load_tables
from edge_daemon.units import UNITS


@pytest.fixture(scope="session")
def shipped():
    """Read the shipped tables of every species."""
    return load_tables()


@pytest.fixture
def said(shipped):
    """Interpret values given as ``HCT=20`` or ``PLT=(value, low, high)`` for a species."""

    def run(species="dog", breed=None, *, flags=(), tables=shipped, **values):
        measured = []
        for code, given in values.items():
            value, low, high = given if isinstance(given, tuple) else (given, None, None)
            name = "RETIC%" if code == "RETIC_" else code
            flagged = tuple(flag.code for flag in flags)
            measured.append(Measurement(name, value, UNITS[name], low, high, "calculated", flagged))
        return interpret(measured, list(flags), species, breed, tables)

    return run


@pytest.fixture
def flag():
    return lambda code, severity="review": Flag(code, severity, f"{code} holds", "look")


SITE = """
kind = "intervals"
species = "dog"
version = "clinic-1"

[site]
by = "Dr A. Example"
reason = "our own dogs"

[sources.ours]
text = "120 dogs"

[intervals]
"""


@pytest.fixture
def site_file(tmp_path):
    """Write a file of a site: the lines of ``[intervals]``, or the whole text."""

    def write(lines, *, name="ours.toml", whole=False):
        path = tmp_path / name
        path.write_text(lines if whole else SITE + lines, encoding="utf-8")
        return path

    return write
