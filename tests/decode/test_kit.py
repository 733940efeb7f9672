"""What authors of profiles use to write the expected arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_daemon.decode.kit import sample_path, write_expected
from edge_daemon.errors import EdgeError


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
        sample_path(path)
