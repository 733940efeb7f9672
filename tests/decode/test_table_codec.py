"""``[codec] name = "table"``: the section, what it recognises, and when a file is whole."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edge_daemon.decode import DEFAULT_LIMITS, Registry, decode, load_profile
from edge_daemon.decode.codecs.table_codec import TableCodec
from edge_daemon.errors import Quarantine
from edge_daemon.parts import join

PROFILE = """
schema = 1
[profile]
title = "Test analyzer"
vendor = "acme"
model = "table9"
firmware = "1.0"
revision = 1
provenance = "generated"
[source]
kind = "folder"
patterns = ["*.csv"]
[file_name]
pattern = '(?P<SAMPLE>[^_]+)_run\\.csv'
[match]
format = "table"
keywords = { "MODEL" = "Table9", "SOFTWARE" = "1.0" }
[codec]
name = "table"
delimiter = ";"
names_row = 3
columns = ["FSC", "SFL"]
integer_bits = 8
[[channel]]
column = "FSC"
canonical = "LA.H"
gain = 0.5
unit = "1"
saturates_low = true
[[channel]]
column = "SFL"
canonical = "FL.H"
unit = "1"
[metadata]
sample_id = { keyword = "NAME.SAMPLE" }
firmware = { keyword = "SOFTWARE" }
"""
CAPTURE = b"Model;Table9\nSoftware;1.0\nSFL;FSC;T\n1;2;3\n0;255;4\n255;0;5\n"


@pytest.fixture
def registry(tmp_path):
    path = tmp_path / "acme_table9" / "1.0.toml"
    path.parent.mkdir()
    path.write_text(PROFILE, encoding="utf-8")
    registry = Registry.load([tmp_path])
    assert registry.problems == ()
    return registry


def codec(**settings):
    return TableCodec.model_validate({"name": "table", **settings}, strict=False)


def test_from_bytes_to_cells(registry):
    profile = registry.match(CAPTURE, "S-7_run.csv")
    batch = decode(CAPTURE, profile, name="S-7_run.csv")
    assert batch.signals.tolist() == [[1, 1], [127.5, 0], [0, 255]]
    assert batch.saturated.tolist() == [[False, False], [True, False], [True, True]]
    assert batch.sample.sample_id == "S-7"
    assert batch.sample.firmware == "1.0"


def test_another_software_version_is_named(registry):
    with pytest.raises(Quarantine) as caught:
        registry.match(CAPTURE.replace(b";1.0", b";1.1"), "S-7_run.csv")
    assert caught.value.code == "no_profile"
    assert caught.value.candidates == ("acme_table9/1.0",)
    assert "SOFTWARE '1.1'" in caught.value.message
    assert "a table of 3 columns (SFL, FSC, T)" in caught.value.message


def test_a_file_is_whole_when_its_last_line_ends(registry):
    assert registry.is_whole(CAPTURE)
    header = CAPTURE.index(b"1;2;3")
    for cut in range(header, len(CAPTURE)):
        assert registry.is_whole(CAPTURE[:cut]) is (CAPTURE[cut - 1 : cut] == b"\n")


@pytest.mark.parametrize(
    "data", [b"FCS3.0    ", b"A;B\n1;2", b"H|\\^&|||x\rP|1", b"\0\0", b"x", b"PK\x03\x04 torn"]
)
def test_files_of_other_formats_are_not_waited_for(data):
    assert codec(columns=["FSC"], delimiter=";").is_whole(data)


def test_trailer_and_full_parts_decide_too():
    ends = codec(columns=["A"], trailer="END")
    assert not ends.is_whole(b"A\n1\n")
    assert ends.is_whole(b"A\n1\nEND\n")
    parts = codec(columns=["A"], rows_per_part=2)
    assert parts.is_whole(b"A\n1\n")
    assert not parts.is_whole(b"A\n1\n2\n")
    assert parts.is_whole(join([("r.csv", b"A\n1\n2\n"), ("r(1).csv", b"A\n3\n")]))
    assert not parts.is_whole(join([("r.csv", b"A\n1\n2\n"), ("r(1).csv", b"A\n3\n4\n")]))


@pytest.mark.parametrize(
    "data",
    [b"", b"A", b"A,B", b"A,B\n", b"A,B\nC,D\n", b"1,2\n3,4\n", b"A,B\n1,2,3,4\n", b"A\n1\n",
     b"H|\\^&|||Analyzer, Inc.\rP|1\r", b"FCS3.1    \0\0,\n", b"\xff\xfe,\n1,2\n"],
)  # fmt: skip
def test_what_is_no_table_of_numbers_is_left_to_others(data):
    assert codec().identify(data) is None


def test_named_columns_identify_even_an_empty_table():
    found = codec(columns=["SFL", "FSC"]).identify(b"FSC,SFL,X\n")
    assert found.keywords["COLUMNS"] == "FSC,SFL,X"
    assert found.format == "delimited table"


def test_a_foreign_zip_file_is_named():
    with pytest.raises(Quarantine, match="ZIP file") as caught:
        codec().identify(b"PK\x03\x04" + b"\0" * 40)
    assert caught.value.code == "malformed"


def test_there_is_one_data_set(registry):
    profile = registry.match(CAPTURE, "x.csv")
    with pytest.raises(Quarantine, match="data set 2"):
        decode(CAPTURE, profile, dataset=2)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"delimiter": ",", "decimal": ","}, "must differ"),
        ({"delimiter": ";", "decimal": ",", "integer_bits": 8}, "decimal comma"),
        ({"names_row": 3, "data_row": 3}, "data_row below names_row"),
        ({"options": {"guess": True}}, "unknown leniency guess"),
        ({"delimiter": ":"}, "delimiter"),
        ({"encoding": "ebcdic"}, "encoding"),
        ({"integer_bits": 33}, "integer_bits"),
        ({"separator": ";"}, "separator"),
    ],
)
def test_a_contradictory_section_is_refused(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        codec(**settings)


def test_the_shipped_generic_profile_reads_common_tables(repository):
    profile = load_profile(repository / "firmware_profiles" / "generic_csv" / "any.toml")
    table = profile.codec.read(b"A,B,\n1,2,\n\n3,,\n4,5,", dataset=1, limits=DEFAULT_LIMITS)
    assert table.values.tolist() == [[1, 2], [4, 5]]
