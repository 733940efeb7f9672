"""The writer, read back by FlowIO."""

from __future__ import annotations

import io

import flowio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.decode.codecs.fcs import read_fcs
from edge_daemon.exchange.fcs_writer import FcsColumn, write_fcs


def read(data):
    return flowio.FlowData(io.BytesIO(data))


@st.composite
def tables(draw):
    bits = draw(st.lists(st.sampled_from([8, 16, 32]), min_size=1, max_size=6))
    # FlowIO masks to a power of two, which every range of a converter is.
    limits = [2 ** draw(st.integers(1, width)) for width in bits]
    rows = draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = np.column_stack([rng.integers(0, limit, rows, dtype=np.uint32) for limit in limits])
    columns = [
        FcsColumn(f"C{i}", "", width, limit)
        for i, (width, limit) in enumerate(zip(bits, limits, strict=True))
    ]
    return columns, values, draw(st.sampled_from(["big", "little"]))


@settings(deadline=None, max_examples=40)
@given(tables())
def test_flowio_reads_what_was_written(table):
    columns, values, order = table
    flow = read(write_fcs(columns, values, {"$CYT": "X"}, byte_order=order))
    assert np.array_equal(flow.as_array(preprocess=False), values)
    assert flow.pnn_labels == [c.name for c in columns]


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=30))
def test_any_value_survives_the_delimiter(value):
    column = FcsColumn("A", "", 16, 1024)
    value = f"x{value}"
    data = write_fcs([column], np.zeros((2, 1), np.uint16), {"NOTE": value}, byte_order="big")
    # FlowIO leaves escaped delimiters doubled; our own reader does not.
    assert read_fcs(data).keywords["NOTE"].strip() == value.strip()


def test_log_scale_is_declared_with_its_decades():
    column = FcsColumn("FL-H", "dye", 16, 2**16, decades=4.0)
    values = np.array([[0], [16384], [65535]])
    flow = read(write_fcs([column], values, {}, byte_order="big"))
    assert flow.text["p1e"] == "4.0,1.0"
    assert flow.as_array(preprocess=True)[1, 0] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("columns", "values", "keywords", "message"),
    [
        ([FcsColumn("A", "", 16, 1024)], [[1024]], {}, "not in 0..1023"),
        ([FcsColumn("A", "", 16, 1024)], [[-1]], {}, "not in 0..1023"),
        ([FcsColumn("A", "", 8, 512)], [[1]], {}, "over 8 bits"),
        ([FcsColumn("A", "", 8, 8), FcsColumn("A", "", 8, 8)], [[1, 1]], {}, "unique"),
        ([FcsColumn("A,B", "", 8, 8)], [[1]], {}, "without comma"),
        ([FcsColumn("A", "", 8, 8)], [[1, 1]], {}, "for 1 parameters"),
        ([FcsColumn("A", "", 8, 8)], [[1]], {"$tot": "3"}, "computes"),
        ([FcsColumn("A", "", 8, 8)], [[1]], {"NOTE": "|x"}, "begin with the delimiter"),
    ],
)
def test_what_fcs_cannot_hold_is_refused(columns, values, keywords, message):
    with pytest.raises(ValueError, match=message):
        write_fcs(columns, np.array(values), keywords, byte_order="big")
