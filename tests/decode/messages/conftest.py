"""Writers of our own for ASTM and HL7 messages, so that every legal and illegal one can be made."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest

from edge_daemon.decode import load_profile

FLOATLE = "FLOATLE-stream/deflate:base64"


def packed(numbers) -> str:
    """Pack floats as analyzers do in M records."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    raw = struct.pack(f"<{len(numbers)}f", *numbers)
    return f"{FLOATLE}^{base64.b64encode(squeeze.compress(raw) + squeeze.flush()).decode()}"


def matrix(columns, *, x=(0.0, 100.0), y=(0.0, 50.0), thresholds=()):
    """Return M.7 for columns of equal length."""
    shape = (0.0, len(columns), len(columns[0]))
    flat = [value for column in columns for value in column]
    return packed([*x, *y, len(thresholds), *thresholds, *shape, *flat])


def astm(*records, end="\r") -> bytes:
    """Join records; a header and a terminator stand around them unless they are given."""
    lines = list(records)
    if not lines or not lines[0].startswith("H"):
        lines.insert(0, "H|\\^&|||Cell9^4711^1.0|||||||P|LIS2-A2|20260102030405")
    if not lines[-1].startswith("L"):
        lines.append("L|1|N")
    return "".join(line + end for line in lines).encode()


def hl7(*segments, header="MSH|^~\\&|Cell9|Acme|||20260102030405||ORU^R01|7|P|2.3.1||||||UNICODE"):
    """Join segments below a header."""
    return "".join(line + "\r" for line in (header, *segments)).encode()


@pytest.fixture(scope="session")
def make():
    """Give the writers by name."""

    class Writers:
        packed = staticmethod(packed)
        matrix = staticmethod(matrix)
        astm = staticmethod(astm)
        hl7 = staticmethod(hl7)

    return Writers


PROFILE = """
schema = 1
[profile]
title = "Test analyzer"
vendor = "acme"
model = "cell9"
firmware = "1.0"
revision = 1
classify = false
reports = true
provenance = "generated"
[source]
kind = "tcp"
[match]
format = "{codec}"
keywords = {{ {match} }}
[codec]
name = "{codec}"
"""
MATCH = {
    "astm": '"H.5.1" = "Cell9", "H.5.3" = "1.0"',
    "hl7": '"MSH.3" = "Cell9", "VALUE.FIRMWARE" = "1.0"',
}


@pytest.fixture
def reporting(tmp_path):
    """Load a profile of the test analyzer; `more` follows its [codec] section."""

    def load(codec, more="", replace=("", "")):
        path = tmp_path / "acme_cell9" / "1.0.toml"
        path.parent.mkdir(exist_ok=True)
        text = PROFILE.format(codec=codec, match=MATCH[codec]) + more
        assert replace[0] in text
        path.write_text(text.replace(*replace), encoding="utf-8")
        return load_profile(path)

    return load
