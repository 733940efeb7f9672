"""Any table that is written is read back; anything else is refused by an error of ours."""

from __future__ import annotations

import csv
import io
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.decode.codecs.table import read_table
from edge_daemon.decode.codecs.table_codec import TableCodec
from edge_daemon.decode.codecs.table_layout import LENIENCIES, Layout
from edge_daemon.decode.limits import DEFAULT_LIMITS
from edge_daemon.errors import Quarantine
from edge_daemon.parts import join, split

FINITE = st.floats(allow_nan=False, allow_infinity=False)
DELIMITERS = st.sampled_from([",", ";", "\t", "|"])
NAMES = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=1, max_size=8)


def written(rows, names, delimiter, quoting, end):
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(names)
    writer.writerows(rows)
    return stream.getvalue()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_floating_point_numbers_come_back_exactly(data):
    width = data.draw(st.integers(1, 5))
    rows = data.draw(st.lists(st.lists(FINITE, min_size=width, max_size=width), max_size=8))
    delimiter = data.draw(DELIMITERS)
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    names = data.draw(st.lists(NAMES, min_size=width, max_size=width))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16"]))
    text = written(rows, names, delimiter, quoting, data.draw(st.sampled_from(["\n", "\r\n"])))
    layout = Layout(delimiter=delimiter, encoding=encoding)
    found = read_table(text.encode(encoding), layout, DEFAULT_LIMITS)
    assert [column.name for column in found.columns] == names
    assert found.values.tolist() == rows


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3), max_size=20))
@settings(deadline=None)
def test_whole_numbers_come_back_exactly(rows):
    text = written(rows, "ABC", ";", csv.QUOTE_MINIMAL, "\n")
    found = read_table(text.encode(), Layout(delimiter=";", integer_bits=32), DEFAULT_LIMITS)
    assert found.values.tolist() == rows


@given(st.lists(FINITE, min_size=1, max_size=20))
@settings(deadline=None)
def test_a_decimal_comma_is_a_decimal_point(values):
    text = "A;B\n" + "".join(f"{v!r};0\n" for v in values)
    comma = text.replace(".", ",").encode()
    found = read_table(comma, Layout(delimiter=";", decimal=","), DEFAULT_LIMITS)
    assert found.values[:, 0].tolist() == values


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_run_in_parts_is_the_run(sizes, seed):
    values = np.random.default_rng(seed).integers(0, 256, (sum(sizes), 2))
    rows = [f"{a},{b}\n" for a, b in values]
    ends = np.cumsum(sizes)
    parts = [
        (f"run({k}).csv", ("A,B\n" + "".join(rows[end - size : end])).encode())
        for k, (end, size) in enumerate(zip(ends, sizes, strict=True))
    ]
    capture = join(parts)
    assert [content for _, content in split(capture)] == [content for _, content in parts]
    layout = Layout(integer_bits=8)
    whole = read_table(("A,B\n" + "".join(rows)).encode(), layout, DEFAULT_LIMITS)
    assert np.array_equal(read_table(capture, layout, DEFAULT_LIMITS).values, whole.values)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_every_cut_table_is_refused_or_ends_with_a_row(data):
    rows = data.draw(st.lists(st.lists(FINITE, min_size=2, max_size=2), min_size=1, max_size=5))
    text = written(rows, "AB", ",", csv.QUOTE_MINIMAL, "\n").encode()
    cut = data.draw(st.integers(4, len(text)))
    if text[cut - 1 : cut] == b"\n":
        assert (
            read_table(text[:cut], Layout(), DEFAULT_LIMITS).values.tolist()
            == (rows[: text.count(b"\n", 0, cut) - 1])
        )
    else:
        with pytest.raises(Quarantine) as caught:
            read_table(text[:cut], Layout(), DEFAULT_LIMITS)
        assert caught.value.code == "truncated"


@given(
    st.lists(st.text(st.sampled_from('ab"\n,;# '), max_size=6), min_size=1, max_size=6),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@settings(deadline=None)
def test_texts_that_are_not_read_never_cost_a_row(texts, quoting):
    """Quotes, delimiters and line ends in a column that is skipped; also where none are escaped."""
    rows = [[text, k] for k, text in enumerate(texts)]
    layout = Layout(skip_columns=("T",))
    good = written(rows, "TA", ",", quoting, "\n").encode()
    assert read_table(good, layout, DEFAULT_LIMITS).values[:, 0].tolist() == list(range(len(rows)))
    careless = "T,A\n" + "".join(f"{text},{k}\n" for text, k in rows)
    try:
        found = read_table(careless.encode(), layout, DEFAULT_LIMITS).values[:, 0].tolist()
    except Quarantine:
        return
    strictly = csv.reader(io.StringIO(careless, newline=""), strict=True)
    assert found == [float(row[1]) for row in list(strictly)[1:]]


LAYOUTS = st.builds(
    TableCodec,
    name=st.just("table"),
    encoding=st.sampled_from(["utf-8", "utf-16", "cp1252", "latin-1"]),
    delimiter=st.sampled_from([";", "\t", "|", "whitespace"]),
    decimal=st.sampled_from([".", ","]),
    quote=st.sampled_from(['"', "'"]),
    comment=st.sampled_from(["", "#"]),
    names_row=st.integers(1, 3),
    columns=st.sampled_from([(), ("A",)]),
    skip_columns=st.sampled_from([(), ("A",)]),
    keep=st.sampled_from([{}, {"A": "1"}]),
    count_keyword=st.sampled_from([None, "A"]),
    trailer=st.sampled_from([None, "1"]),
    rows_per_part=st.sampled_from([None, 1]),
    options=st.dictionaries(st.sampled_from(LENIENCIES), st.booleans()),
)
PIECES = st.sampled_from(
    ["A", "B", "1", "-2.5", "3,5", "1e9", "nan", ";", ";", "\t", "|", " ", "\n", "\n", "\r\n", '"',
     '""', "'", "#", "\0", "é", "٣", "9" * 50, "PK\x03\x04", "\x0b", "\x1c", "\x85"]
)  # fmt: skip


@given(LAYOUTS, st.lists(PIECES, max_size=60).map("".join), st.data())
@settings(max_examples=400, deadline=None)
def test_nothing_but_our_own_errors_comes_out(codec, text, data):
    encoding = data.draw(st.sampled_from([codec.encoding, "utf-8"]))
    capture = text.encode(encoding, "replace")
    if data.draw(st.booleans()):
        capture = join([("a", capture), ("b", data.draw(st.binary(max_size=40)))])
    assert codec.is_whole(capture) in {True, False}
    for look in (codec.identify, lambda d: codec.read(d, dataset=1, limits=DEFAULT_LIMITS)):
        try:
            found = look(capture)
        except Quarantine as refusal:
            found = refusal.action
        assert found is None or found


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes(data):
    codec = TableCodec(name="table")
    assert codec.is_whole(data)
    try:
        values = codec.read(data, dataset=1, limits=DEFAULT_LIMITS).values
    except Quarantine:
        return
    assert np.isfinite(values).all()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=50)), max_size=4), st.data())
@settings(deadline=None)
def test_only_containers_of_our_own_are_opened(parts, data):
    names = [name for name, _ in parts]
    if len(parts) < 2 or len(set(names)) < len(names):
        return
    capture = bytearray(join(parts))
    assert split(bytes(capture)) == parts
    at = data.draw(st.integers(4, len(capture) - 1))
    capture[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Quarantine):
        split(bytes(capture))


HUGE = {
    "columns": b"," * 3_000_000 + b"\n",
    "header": b"A" * 3_000_000 + b"\n",
    "no line end": b"A,B\n" + b"1," * 1_500_000,
    "field": b"A,B\n" + b"1" * 3_000_000 + b",2\n",
    "blanks": b"A,B\n" + b" " * 3_000_000 + b"1,2\n",
    "quotes": b"A,B\n" + b'"' * 3_000_001 + b",2\n",
    "rows": b"A,B\n" + b"1,2\n" * 1_001_001,
    "lines": b"A,B\n" + b"\n" * 3_000_000,
    "preamble": b"k,v\n" * 700_000,
    "wide row": b"A,B\n" + b"," * 900_000 + b"\n",
}


@pytest.mark.parametrize("name", HUGE)
def test_a_hostile_table_is_refused_in_bounded_memory(name):
    lenient = Layout(leniencies=frozenset(LENIENCIES))
    for layout in (Layout(), lenient, replace(lenient, names_row=1000, data_row=1001)):
        tracemalloc.start()
        try:
            with pytest.raises(Quarantine):
                read_table(HUGE[name], layout, DEFAULT_LIMITS)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 64 << 20, f"{peak / 2**20:.0f} MiB"


def test_reading_takes_little_beside_text_and_values():
    rows = b"".join(b"%d,%d,%d\n" % (i % 256, i * 7 % 256, i * 13 % 256) for i in range(300_000))
    data = b"A,B,C\n" + rows
    tracemalloc.start()
    try:
        table = read_table(data, Layout(integer_bits=8), DEFAULT_LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert table.values.nbytes == 900_000
    assert peak - table.values.nbytes < 64 << 20
