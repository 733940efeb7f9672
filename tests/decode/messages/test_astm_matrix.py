"""Matrices in M records: what they expand to, and what they may not."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.decode.codecs.astm import AstmCodec
from edge_daemon.decode.limits import DEFAULT_LIMITS, Limits
from edge_daemon.errors import Quarantine

EVENTS = [[10.0, 20.0, 30.0], [1.5, 2.5, 3.5], [0.0, 1.0, 0.0]]
BINS = [[0.5, 1.5, 2.5, 3.5], [0.0, 7.0, 3.0, 1.0]]


def codec(**section):
    return AstmCodec.model_validate_json(
        json.dumps({"name": "astm", "histogram_unit": "fL", **section})
    )


@pytest.fixture(scope="module")
def message(make):
    def build(*payloads, kind="MATRIX"):
        records = [f"M|{i}|{kind}|G|N{i}|-|{p}" for i, p in enumerate(payloads, start=1)]
        return make.astm("P|1", "O|1|S", *records)

    return build


def read(data, *, dataset=1, limits=DEFAULT_LIMITS, **section):
    return codec(**section).read(data, dataset=dataset, limits=limits)


def refusal(data, limits=DEFAULT_LIMITS):
    with pytest.raises(Quarantine) as caught:
        read(data, limits=limits)
    return caught.value


def deflated(raw):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = base64.b64encode(squeeze.compress(raw) + squeeze.flush()).decode()
    return f"FLOATLE-stream/deflate:base64^{packed}"


def test_list_mode(message, make):
    table = read(message(make.matrix(EVENTS, thresholds=(5.0, 6.0))))
    assert table.values.dtype == np.float32
    np.testing.assert_array_equal(table.values, np.array(EVENTS, np.float32).T)
    assert not table.values.flags.writeable
    assert [column.name for column in table.columns] == ["C1", "C2", "C3"]
    assert table.keywords["MATRIX"] == "N1"


def test_data_sets_and_named_columns(message, make):
    data = message(make.matrix(EVENTS), make.matrix(BINS))
    columns = {"N2": ["POSITION", "HEIGHT"]}
    table = read(data, dataset=2, columns=columns)
    assert table.datasets == 2
    assert [column.name for column in table.columns] == ["POSITION", "HEIGHT"]
    with pytest.raises(Quarantine, match="names 2 columns, the capture has 3") as caught:
        read(data, columns={"N1": ["A", "B"]})
    assert caught.value.code == "profile_mismatch"


def test_histogram(message, make):
    data = message(make.matrix(BINS, thresholds=(1.0,)), kind="HISTOGRAM")
    (found,) = codec().messages(data, limits=DEFAULT_LIMITS)
    (histogram,) = found.histograms
    assert (histogram.name, histogram.unit) == ("N1", "fL")
    assert (histogram.low, histogram.high) == (0.0, 4.0)
    assert histogram.counts == (0.0, 7.0, 3.0, 1.0)
    assert read(data).values.size == 0


@pytest.mark.parametrize(
    "columns",
    [[[0.0, 1.0, 5.0], [1.0, 1.0, 1.0]], [[2.0, 1.0, 0.0], [1.0, 1.0, 1.0]], EVENTS],
    ids=["uneven", "falling", "three columns"],
)
def test_what_is_no_histogram_is_left_out_and_noted(message, make, columns):
    data = message(make.matrix(columns), kind="HISTOGRAM")
    (found,) = codec().messages(data, limits=DEFAULT_LIMITS)
    assert found.histograms == ()
    assert any("N1" in note and "left out" in note for note in found.notes)


@given(
    rows=st.integers(1, 30),
    columns=st.integers(1, 6),
    thresholds=st.lists(st.floats(0, 100, width=32), max_size=5),
    data=st.data(),
)
def test_any_matrix_comes_back(make, message, rows, columns, thresholds, data):
    numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=rows, max_size=rows)
    written = [data.draw(numbers) for _ in range(columns)]
    table = read(message(make.matrix(written, thresholds=tuple(thresholds))))
    np.testing.assert_array_equal(table.values, np.array(written, np.float32).T)


@pytest.mark.parametrize(
    ("numbers", "code", "words"),
    [
        ([0, 1, 0, 1], "malformed", "8 numbers or more"),
        ([0, 1, 0, 1, 3, 1, 2, 3], "malformed", "within its 3 thresholds"),
        ([0, 1, 0, 1, 0.5, 0, 2, 2, 1, 2, 3, 4], "malformed", "number of thresholds"),
        ([0, 1, 0, 1, -1, 0, 2, 2, 1, 2, 3, 4], "malformed", "number of thresholds"),
        ([0, 1, 0, 1, float("nan"), 0, 2, 2], "malformed", "number of thresholds"),
        ([0, 1, 0, 1, 0, 0, float("inf"), 2], "malformed", "number of columns"),
        ([0, 1, 0, 1, 0, 7, 2, 2, 1, 2, 3, 4], "unsupported", "variant"),
        ([0, 1, 0, 1, 0, 0, 2, 2, 1, 2, 3], "malformed", "2 rows × 2 columns and holds 3"),
        ([0, 1, 0, 1, 0, 0, 2, 2, 1, 2, 3, 4, 5], "malformed", "holds 5"),
        ([0, 1, 0, 1, 0, 0, 65, 0], "too_large", "columns"),
        ([0, 1, 0, 1, 0, 0, 1, 2e6], "too_large", "rows"),
        ([0, 1, 0, 1, 65, 0, 1, 1], "too_large", "thresholds"),
    ],
)
def test_a_header_that_contradicts_itself(message, make, numbers, code, words):
    error = refusal(message(make.packed([float(n) for n in numbers])))
    assert error.code == code
    assert words in error.message
    assert "record 4" in error.message


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("FLOATLE-stream/deflate:base64^***", "not base64"),
        ("FLOATLE-stream/deflate:base64^AAAA", "deflate"),
        (deflated(b"abc"), "float32 values"),
        ("FLOATLE-stream/deflate:base64^Y2Ag=DgAA", "base64"),
    ],
)
def test_broken_payloads(message, payload, words):
    error = refusal(message(payload))
    assert error.code == "malformed"
    assert words in error.message


def test_torn_and_trailing_streams(message):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    raw = squeeze.compress(np.arange(200, dtype="<f4").tobytes()) + squeeze.flush()
    for packed in (raw[:-3], raw + b"more"):
        text = base64.b64encode(packed).decode()
        assert "does not end" in refusal(message(f"FLOATLE-stream/deflate:base64^{text}")).message


def test_another_encoding_is_left_alone(message):
    assert read(message("text^12 34")).values.shape == (0, 0)


def test_limits_themselves_are_allowed(message, make):
    limits = Limits(max_events=3, max_channels=3)
    assert read(message(make.matrix(EVENTS)), limits=limits).values.shape == (3, 3)
    for tighter in (Limits(max_events=2), Limits(max_channels=2)):
        assert refusal(message(make.matrix(EVENTS)), tighter).code == "too_large"
    table = read(message(make.matrix(EVENTS)), limits=Limits(max_channels=2), max_channels=3)
    assert table.values.shape == (3, 3)


def test_expansion_is_bounded(message):
    bomb = deflated(b"\0" * 40_000_000)
    assert len(bomb) < 60_000
    error = refusal(message(bomb))
    assert (error.code, "100:1" in error.message) == ("too_large", True)


def test_all_matrices_of_a_capture_share_one_allowance(message, make):
    columns = [[float(i) for i in range(500)]]
    data = message(*[make.matrix(columns)] * 4)
    assert read(data, limits=Limits(max_expansion=9_000)).datasets == 4
    assert refusal(data, Limits(max_expansion=8_000)).code == "too_large"
