"""Named arrays: the same as numpy reads, and one error for everything else."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from edge_daemon.arrays import ArraysError, read_arrays

MOST = 1 << 20


def saved(compressed=False, **arrays):
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return stream.getvalue()


def archived(content, name="a.npy", **kind):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **kind) as archive:
        # A fixed date: every test process must make the same bytes, which name the tests.
        archive.writestr(zipfile.ZipInfo(name), content, compress_type=archive.compression)
    return stream.getvalue()


def header(descr="<f4", order="False", shape="(2,)", body=bytes(8)):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


kinds = st.one_of(
    nps.boolean_dtypes(),
    nps.integer_dtypes(endianness="<"),
    nps.unsigned_integer_dtypes(endianness="<"),
    nps.floating_dtypes(endianness="<", sizes=(16, 32, 64)),
)


@settings(deadline=None)
@given(
    values=nps.arrays(kinds, nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    compressed=st.booleans(),
    transposed=st.booleans(),
)
def test_it_reads_what_numpy_writes(values, compressed, transposed):
    values = values.T if transposed else values
    found = read_arrays(saved(compressed, one=values, two=values), MOST)
    assert list(found) == ["one", "two"]
    for name in found:
        assert found[name].dtype == values.dtype
        assert found[name].flags.writeable
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x05\x06",
        saved(a=np.zeros(3))[:-1],
        saved(a=np.array([{}], dtype=object)),
        saved(a=np.array(["text"])),
        saved(a=np.zeros(3, ">f4")),
        saved(a=np.zeros(3, [("x", "<f4")])),
        saved(a=np.zeros(MOST)),
        saved(compressed=True, a=np.zeros(MOST)),
        archived(b"not an array"),
        archived(header(descr="|O")),
        archived(header(descr="<f1")),
        archived(header(shape="(3,)")),
        archived(header(shape="(-2,)")),
        archived(header(shape="(1,) * 2")),
        archived(header(shape="(1000000000, 1000000000)")),
        archived(header(shape="(99999999999999999999,)")),
        archived(header(shape="(2,")),
        archived(header(order="0L")),
        archived(header(body=b"")),
        archived(header(shape="(1, 1, 1, 1, 1, 1, 1, 1, 2)")),
        archived(header(), compression=zipfile.ZIP_BZIP2),
        archived(b"\x93NUMPY\x03\x00" + header()[8:]),
    ],
    ids=lambda data: repr(data[30:90]),
)
def test_everything_else_is_one_error_and_takes_no_memory(data):
    tracemalloc.start()
    try:
        with pytest.raises(ArraysError):
            read_arrays(data, MOST)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
