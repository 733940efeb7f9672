"""Delimited tables: what is read, and what is refused with line and column."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_daemon.decode.codecs import table
from edge_daemon.decode.codecs.table import read_table
from edge_daemon.decode.codecs.table_layout import Layout
from edge_daemon.decode.limits import DEFAULT_LIMITS
from edge_daemon.errors import Quarantine
from edge_daemon.parts import join

BYTES = Layout(integer_bits=8)


def read(text, layout=None, limits=DEFAULT_LIMITS, **changes):
    data = text.encode() if isinstance(text, str) else text
    return read_table(data, replace(layout or Layout(), **changes), limits)


def refused(text, layout=None, limits=DEFAULT_LIMITS, **changes):
    with pytest.raises(Quarantine) as caught:
        read(text, layout, limits, **changes)
    assert caught.value.action
    return caught.value.code, caught.value.message


def test_floating_point_numbers():
    found = read("A,B\n1,2.5\n-3e2,+.5\n 7. , 1E-3 \r\n")
    assert [c.name for c in found.columns] == ["A", "B"]
    assert found.values.dtype == np.float64
    assert found.values.tolist() == [[1, 2.5], [-300, 0.5], [7, 0.001]]
    assert not found.values.flags.writeable
    assert found.columns[0].maximum is None
    assert found.keywords == {"COLUMNS": "A,B"}
    assert (found.datasets, found.notes) == (1, ())


@pytest.mark.parametrize(
    ("bits", "dtype"), [(1, np.uint8), (8, np.uint8), (10, np.uint16), (32, np.uint32)]
)
def test_whole_numbers(bits, dtype):
    largest = (1 << bits) - 1
    found = read(
        f"A,B\n0,{largest}\n1,007\n" if bits > 2 else "A,B\n0,1\n1,01\n", integer_bits=bits
    )
    assert found.values.dtype == dtype
    assert found.values[0].tolist() == [0, largest]
    assert found.columns[1].maximum == largest
    assert found.columns[1].bits == bits


@pytest.mark.parametrize(
    "written", ["256", "-1", "+1", "1.0", "1e2", "0x1", "1_0", "١", "1 2", "12345678901234567890"]
)
def test_what_is_no_whole_number_is_named_with_line_and_column(written):
    code, message = refused(f"A,B\n1,2\n3,{written}\n", BYTES)
    assert code == "malformed"
    assert message.startswith("line 3, column 2 (B): expected a ")
    assert repr(written) in message


@pytest.mark.parametrize(
    "written",
    ["nan", "inf", "-Infinity", "1_0", "0x1", "1e", "--1", "1.2.3", "1e999", "1 2", "A", "1" * 41],
)
def test_what_is_no_number_is_named_with_line_and_column(written):
    code, message = refused(f"A,B\n1,2\n{written},3\n")
    assert code == "malformed"
    assert message.startswith("line 3, column 1 (A): expected a number")


def test_decimal_comma():
    found = read("A;B\n1,5;-0,25\n3;,5\n", delimiter=";", decimal=",")
    assert found.values.tolist() == [[1.5, -0.25], [3, 0.5]]


@pytest.mark.parametrize("written", ["1.5", "1.234,5", "1,2,3", "1 234,5"])
def test_thousands_separators_are_refused(written):
    message = refused(f"A;B\n1;{written}\n", delimiter=";", decimal=",")[1]
    assert "line 2, column 2 (B): expected a number with a decimal comma" in message


def test_thousands_separators_in_quotes_are_refused():
    assert "'1,234'" in refused('A,B\n1,"1,234"\n')[1]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(delimiter):
    text = "A,B\n1,2\n".replace(",", delimiter)
    assert read(text, delimiter=delimiter).values.tolist() == [[1, 2]]


def test_whitespace():
    found = read("  A \t B\n1   2\n \t3 4  \r\n", delimiter="whitespace")
    assert [c.name for c in found.columns] == ["A", "B"]
    assert found.values.tolist() == [[1, 2], [3, 4]]
    message = refused("A B\n1   2\n3\n", delimiter="whitespace")[1]
    assert message == "line 3: expected 2 fields, found 1"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("utf-8", "utf-8"), ("utf-8", "utf-8-sig"), ("utf-16", "utf-16"), ("cp1252", "cp1252"),
     ("latin-1", "latin-1")],
)  # fmt: skip
def test_encodings(encoding, written):
    data = "Größe;µ\n1,5;2\n".encode(written)
    found = read(data, encoding=encoding, delimiter=";", decimal=",")
    assert [c.name for c in found.columns] == ["Größe", "µ"]
    assert found.values.tolist() == [[1.5, 2]]


def test_another_encoding_is_refused_with_the_byte():
    code, message = refused("Größe,B\n1,2\n".encode("latin-1"))
    assert code == "malformed"
    assert message.startswith("byte 2: expected text in utf-8")
    assert "byte order mark" in refused("A,B\n1,2\n".encode("utf-16-le"), encoding="utf-16")[1]
    assert "byte 1 is 0" in refused("A,B\n1,2\n".encode("utf-16-le"))[1]
    assert "character 4" in refused("A,B\n\0,2\n".encode("utf-16"), encoding="utf-16")[1]


def test_quotes():
    found = read('"A","B; x"\n"1","2"\n" 3 ",4\n')
    assert [c.name for c in found.columns] == ["A", "B; x"]
    assert found.values.tolist() == [[1, 2], [3, 4]]
    note = '"a, ""b""\nc"'
    found = read(f"N,A\n{note},1\n{note},2\n", skip_columns=("N",))
    assert found.values.tolist() == [[1], [2]]


def test_an_unclosed_quote_is_refused_with_its_line():
    assert refused('A,B\n1,2\n"3,4\n5,6\n')[1] == "a quotation mark of line 3 is not closed"
    assert "cannot be split" in refused('"A,B\n1,2\n')[1]


@pytest.mark.parametrize(
    "rows",
    [
        'x"y,1\nz"w,2',
        '"x"y,1\nz"w",2',
        ' "x",1',
        '"x" ,1',
        'a""b,1',
    ],
)
def test_a_quote_inside_of_a_field_never_joins_rows(rows):
    """Two of them would take a line end for part of a field that nobody reads."""
    code, message = refused(f"T,A\n0,0\n{rows}\n", skip_columns=("T",))
    assert code == "malformed"
    assert message == "line 3: a quotation mark stands inside of a field"


@pytest.mark.parametrize("rows", ['x",1\n"y",2', '"""x,1\ny"z",2'])
def test_an_odd_quote_inside_of_a_field_is_not_closed(rows):
    message = refused(f"T,A\n0,0\n{rows}\n", skip_columns=("T",))[1]
    assert message == "a quotation mark of line 3 is not closed"


def test_quotes_in_comments_mean_nothing():
    text = 'A,B\n# 5" tube\n1,2\n#"\n"3",4\n'
    assert read(text, comment="#").values.tolist() == [[1, 2], [3, 4]]


def test_rows_above_the_names_become_keywords():
    text = "XN Export\nSample;123\n;\nOperator:;A;B\nA;B\n1;2\n"
    found = read(text, delimiter=";", names_row=5, data_row=6)
    assert found.keywords == {
        "ROW 1": "XN Export", "SAMPLE": "123", "OPERATOR": "A B", "COLUMNS": "A,B",
    }  # fmt: skip
    code, message = refused("S;1\nS;2\nA;B\n1;2\n", delimiter=";", names_row=3, data_row=4)
    assert code == "malformed"
    assert message.startswith("row 2: 'S' is '2', and was '1'")


def test_the_row_below_the_names_becomes_labels():
    found = read("A,B\nfL,\n---,\n1,2\n", data_row=4)
    assert [c.label for c in found.columns] == ["fL", None]
    assert found.values.tolist() == [[1, 2]]


def test_comments_are_passed_over():
    found = read("# x\nA,B\n#,,,\n1,2\n# y", names_row=1, comment="#",
                 leniencies=frozenset({"no_final_newline"}))  # fmt: skip
    assert found.values.tolist() == [[1, 2]]
    assert refused("A,B\n# x\n1,x\n", comment="#")[1].startswith("line 3, column 2 (B)")


@pytest.mark.parametrize("row", ["1", "1,2,3", "1,2,"])
def test_a_row_of_other_length_is_refused_with_its_line(row):
    code, message = refused(f"A,B\n1,2\n{row}\n4,5\n")
    assert code == "malformed"
    assert message == f"line 3: expected 2 fields, found {row.count(',') + 1}"


def test_missing_values():
    text = 'A,B\n1,2\n3, \n"",4\n5,6\n'
    code, message = refused(text)
    assert (code, message) == ("malformed", "line 3, column 2 (B): the value is missing")
    found = read(text, leniencies=frozenset({"missing_values"}))
    assert found.values.tolist() == [[1, 2], [5, 6]]
    assert found.notes == ("missing_values: 2 of 4 rows left out, the first in line 3",)


def test_blank_lines():
    text = "A,B\n1,2\n\n3,4\n\r\n"
    assert refused(text)[1] == "line 3: expected 2 fields, found an empty line"
    found = read(text, leniencies=frozenset({"blank_lines"}))
    assert found.values.tolist() == [[1, 2], [3, 4]]
    assert found.notes[0].startswith("blank_lines: ")


def test_trailing_delimiter():
    text = "A,B,\n1,2,\n3,4,\r\n"
    assert "row 1: expected a name for column 3" in refused(text)[1]
    lenient = frozenset({"trailing_delimiter"})
    found = read(text, leniencies=lenient)
    assert found.values.tolist() == [[1, 2], [3, 4]]
    assert found.notes == ("trailing_delimiter: rows end with a delimiter",)
    assert read("A,B\n1,2\n3,4,\n", leniencies=lenient).values.tolist() == [[1, 2], [3, 4]]
    assert read("A,B\n1,2\n", leniencies=lenient).notes == ()
    for row in ("1,2,3", "1,2,,", "1"):
        assert refused(f"A,B\n{row}\n", leniencies=lenient)[1].startswith("line 2: expected 2")


def test_no_final_newline():
    code, message = refused("A,B\n1,2\n3,4")
    assert (code, message) == ("truncated", "line 3 has no end: the file was cut off")
    found = read("A,B\n1,2\n3,4", leniencies=frozenset({"no_final_newline"}))
    assert found.values.tolist() == [[1, 2], [3, 4]]
    assert found.notes[0].startswith("no_final_newline: ")


def test_trailer():
    whole = "A,B\n1,2\nEND\n"
    for text in (whole, whole.replace("\n", "\r\n"), whole + "\n"):
        assert read(text, trailer="END").values.tolist() == [[1, 2]]
    for text in ("A,B\n1,2\n", "A,B\n1,2\nEN\n", "A,B\nEND"[:3]):
        assert refused(text, trailer="END")[0] == "truncated"


def test_count():
    text = "Events,{}\nA,B\n1,2\n3,4\n"
    counted = Layout(names_row=2, data_row=3, count_keyword="Events")
    assert len(read(text.format(2), counted).values) == 2
    code, message = refused(text.format(3), counted)
    assert (code, message) == ("truncated", "keyword Events says 3 rows, the table has 2")
    assert refused(text.format(1), counted)[0] == "malformed"
    assert "found 'many'" in refused(text.format("many"), counted)[1]


def test_only_rows_with_the_wanted_text_are_events():
    text = "A,Phase,Repeat\n1,A,0\nx,B,1\n2,A, 0 \n3,A,00\n"
    found = read(text, keep={"Repeat": "0"}, skip_columns=("Phase", "Repeat"))
    assert found.values.tolist() == [[1], [2]]
    assert found.notes == ("keep: 2 of 4 rows left out, which have not Repeat '0'",)
    assert len(read("A,B\n1,2\n", keep={"Repeat": "0"}).values) == 1, "no such column"


def test_skipped_columns():
    found = read("A,T,B\n1,x,2\n", skip_columns=("T",))
    assert [c.name for c in found.columns] == ["A", "B"]
    assert found.values.tolist() == [[1, 2]]
    message = refused("A,T,B\n1,x,y\n", skip_columns=("T",))[1]
    assert message.startswith("line 2, column 3 (B)")
    assert "every column is skipped" in refused("T\nx\n", skip_columns=("T",))[1]


@pytest.mark.parametrize("names", ["A,", ",A", "A,\x07", "A," + "b" * 201])
def test_columns_need_names(names):
    code, message = refused(f"{names}\n1,2\n")
    assert code == "malformed"
    assert "expected a name for column" in message


@pytest.mark.parametrize("text", ["", "A", "A,B"])
def test_what_ends_within_its_header_is_cut_off(text):
    assert refused(text)[0] == "truncated"


def test_a_table_without_events():
    assert read("A,B\n").values.shape == (0, 2)


def test_rows_are_read_alike_in_blocks_of_any_size(monkeypatch):
    rows = [f'{i},"{i % 7}"\r' if i % 3 else f"{i}, {i % 7} " for i in range(200)]
    text = "A,B\n" + "\n".join(rows) + "\n"
    whole = read(text).values
    for size in (40, 41, 64, 100, 333):
        monkeypatch.setattr(table, "_BLOCK", size)
        assert np.array_equal(read(text).values, whole)
        broken = text.replace("150,", "1x0,")
        assert refused(broken)[1].startswith("line 152, column 1 (A)")
    monkeypatch.setattr(table, "_BLOCK", 8)
    assert "longer than 8 bytes" in refused("A,B\n1,2\n12345,67890\n")[1]


def test_parts_of_one_run():
    first, second = b"A,B\n1,2\n3,4\n", b"A,B\n5,6\n"
    data = join([("r.csv", first), ("r(1).csv", second)])
    assert read(data, BYTES).values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert len(read(data, BYTES, rows_per_part=2).values) == 3
    other = join([("r.csv", first), ("r(1).csv", b"A,C\n5,6\n")])
    assert refused(other)[1].startswith("r(1).csv: expected the columns of the first part, A, B")
    torn = join([("r.csv", first), ("r(1).csv", b"A,B\n5,x\n")])
    assert refused(torn)[1].startswith("r(1).csv: line 2, column 2 (B)")


def test_a_full_part_needs_its_continuation():
    code, message = refused("A,B\n1,2\n3,4\n", rows_per_part=2)
    assert code == "truncated"
    assert message.startswith("the only part has 2 rows")
    data = join([("r.csv", b"A\n1\n2\n"), ("r(1).csv", b"A\n1\n2\n")])
    assert refused(data, rows_per_part=2)[1].startswith("the last part has 2 rows")


def test_limits_are_checked_before_anything_is_allocated():
    few = replace(DEFAULT_LIMITS, max_events=2, max_channels=2, max_bytes=100)
    assert refused("A,B\n1,2\n1,2\n1,2\n", limits=few)[:2] == (
        "too_large", "3 rows; the limit is 2",
    )  # fmt: skip
    assert refused("A,B,C\n1,2,3\n", limits=few)[0] == "too_large"
    assert refused("A,B\n" + "1,2\n" * 30, limits=few)[0] == "too_large"
    tight = replace(DEFAULT_LIMITS, max_expansion=31)
    assert refused("A,B\n1,2\n1,2\n", limits=tight)[0] == "too_large"
    assert len(read("A,B\n1,2\n1,2\n", BYTES, limits=tight).values) == 2
