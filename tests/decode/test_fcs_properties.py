"""Generated files: what was written is read, and FlowIO agrees wherever it can read at all."""

from __future__ import annotations

import io
import string

import flowio
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.decode.codecs.fcs import read_fcs

MODEST = settings(deadline=None, max_examples=60)

WORDS = st.text(string.ascii_letters + string.digits + " /|_µ$-", min_size=1, max_size=12).map(
    str.strip
)


@st.composite
def integer_files(draw, widths, *, same_width=False):
    columns = draw(st.integers(1, 6))
    if same_width:
        bits = [draw(st.sampled_from(widths))] * columns
    else:
        bits = [draw(st.sampled_from(widths)) for _ in range(columns)]
    exponents = [draw(st.integers(1, b)) for b in bits]
    events = draw(st.integers(1, 12))
    rows = [[draw(st.integers(0, (1 << b) - 1)) for b in bits] for _ in range(events)]
    expected = [[v & ((1 << e) - 1) for v, e in zip(row, exponents, strict=True)] for row in rows]
    return rows, bits, [1 << e for e in exponents], expected, draw(st.booleans())


@MODEST
@given(file=integer_files(list(range(1, 65))), packed=st.booleans())
def test_integers_of_any_width(fcs, file, packed):
    rows, bits, ranges, expected, big_endian = file
    whole = sum(-(-b // 8) for b in bits) * len(rows)
    if packed and -(-sum(bits) * len(rows) // 8) == whole and any(b % 8 for b in bits):
        return  # both packings fit this length: whole bytes are taken
    data = fcs(rows, bits=bits, ranges=ranges, big_endian=big_endian, packed=packed).build()
    assert read_fcs(data).values.tolist() == expected


@MODEST
@given(file=integer_files([8, 16, 32], same_width=True))
def test_flowio_reads_the_same_integers(fcs, file):
    rows, bits, ranges, expected, big_endian = file
    data = fcs(rows, bits=bits, ranges=ranges, big_endian=big_endian).build()
    oracle = flowio.FlowData(io.BytesIO(data)).as_array(preprocess=False)
    table = read_fcs(data)
    assert table.values.tolist() == expected
    # FlowIO leaves values alone where the range is that of the width.
    full = [j for j, (b, r) in enumerate(zip(bits, ranges, strict=True)) if r == 1 << b]
    assert np.array_equal(table.values[:, full], oracle[:, full])


@MODEST
@given(
    rows=st.integers(1, 5).flatmap(
        lambda columns: st.lists(
            st.lists(
                st.floats(width=32, allow_nan=False, allow_infinity=False),
                min_size=columns,
                max_size=columns,
            ),
            min_size=1,
            max_size=10,
        )
    ),
    names=st.lists(
        st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=8),
        min_size=5,
        max_size=5,
        unique_by=str.lower,
    ),
)
def test_what_flowio_writes_is_read(rows, names):
    columns = len(rows[0])
    stream = io.BytesIO()
    flat = [value for row in rows for value in row]
    flowio.create_fcs(stream, flat, names[:columns])
    table = read_fcs(stream.getvalue())
    assert np.array_equal(table.values, np.array(rows, np.float32))
    assert [column.name for column in table.columns] == names[:columns]
    assert table.notes == ()


@MODEST
@given(
    keywords=st.dictionaries(
        WORDS.filter(lambda w: w and not w.startswith("$")).map(str.upper), WORDS.filter(bool)
    ),
    delimiter=st.sampled_from("/|\\\x0c!"),
)
def test_keywords_survive_any_delimiter(fcs, keywords, delimiter):
    # By the standard neither begins with a delimiter, so that a doubled one is unambiguous.
    kept = {
        k: v
        for k, v in keywords.items()
        if not (k.startswith(delimiter) or v.startswith(delimiter) or delimiter in k)
    }
    table = read_fcs(fcs([[1]], keywords=kept, delimiter=delimiter).build())
    assert {k: table.keywords[k] for k in kept} == kept
