"""What authors of profiles use to write the expected arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_daemon.decode.kit import differences, read_sample, write_expected
from edge_daemon.errors import EdgeError
from edge_daemon.parts import split


def test_expected_arrays(write_profile, capture):
    path = write_profile()
    path.with_name("1.0.sample.fcs").write_bytes(capture())
    target = write_expected(path)
    assert target == path.with_name("1.0.expected.npz")
    with np.load(target, allow_pickle=False) as arrays:
        assert arrays["signals"].dtype == np.float32
        assert arrays["signals"].shape == (3, 2)
        assert arrays["saturated"].dtype == np.bool_
        assert arrays["channels"].tolist() == ["LA.H", "FL.H"]
        assert arrays["time_s"].tolist() == [1.0, 2.0, 3.0]
        assert json.loads(str(arrays["sample"]))["species"] == "dog"
    first = target.read_bytes()
    assert write_expected(path).read_bytes() == first


def test_exactly_one_sample(write_profile, capture):
    path = write_profile()
    with pytest.raises(EdgeError, match="found 0"):
        write_expected(path)
    for extension in ("fcs", "lmd"):
        path.with_name(f"1.0.sample.{extension}").write_bytes(capture())
    with pytest.raises(EdgeError, match="found 2"):
        read_sample(path)


def test_a_sample_may_keep_the_name_that_the_analyzer_gave_it(write_profile, capture):
    path = write_profile()
    path.with_name("1.0.sample.[X-1][S 7].fcs").write_bytes(capture())
    assert read_sample(path).name == "[X-1][S 7].fcs"
    path.with_name("1.0.sample.[X-1][S 7].fcs").rename(path.with_name("1.0.sample.fcs"))
    assert read_sample(path).name == "sample.fcs"


def test_differences_are_named(write_profile, capture):
    path = write_profile()
    sample = path.with_name("1.0.sample.fcs")
    sample.write_bytes(capture())
    target = write_expected(path)
    assert differences(path) == []
    sample.write_bytes(capture([[101, 0, 4], [1023, 512, 8], [0, 1023, 12]]))
    assert differences(path) == ["signals"]
    with np.load(target) as stored:
        arrays = dict(stored)
    del arrays["time_s"]
    arrays["signals"] = arrays["signals"].astype(np.float64)
    np.savez(target, **arrays)
    sample.write_bytes(capture())
    assert differences(path) == ["signals", "time_s"]
    target.write_bytes(b"PK\x03\x04")
    with pytest.raises(EdgeError, match=r"cannot be read.*"):
        differences(path)


def test_the_files_of_one_run_are_one_sample(write_profile, capture):
    parts = r"""patterns = ["*.fcs"]
parts = 'X(?P<PART>\(\d\))?\.fcs'"""
    path = write_profile(replace=[('patterns = ["*.fcs"]', parts)])
    for name in ("X.fcs", "X(1).fcs"):
        path.with_name(f"1.0.sample.{name}").write_bytes(name.encode())
    sample = read_sample(path)
    assert sample.name == "X.fcs"
    assert split(sample.data) == [("X.fcs", b"X.fcs"), ("X(1).fcs", b"X(1).fcs")]
    path.with_name("1.0.sample.X(1).fcs").rename(path.with_name("1.0.sample.X(2).fcs"))
    with pytest.raises(EdgeError, match="found 2"):
        read_sample(path)
