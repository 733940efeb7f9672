"""Rules that every shipped profile keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_daemon.decode import Registry, decode, load_profile
from edge_daemon.decode.codecs.fcs import read_header
from edge_daemon.decode.kit import describe_sample, expected_path, sample_path
from edge_daemon.errors import Quarantine
from edge_daemon.resources import profiles_dir

PATHS = sorted(profiles_dir().glob("*/*.toml"))
CLINICAL = [path for path in PATHS if load_profile(path).classify]


def name(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(scope="module")
def registry():
    return Registry.load([profiles_dir()])


def test_all_load_together(registry):
    assert [problem.message for problem in registry.problems] == []
    assert len(registry.profiles) == len(PATHS) >= 1


def test_nothing_else_lies_about():
    """Every file belongs to a profile."""
    tables = {
        path.with_name(load_profile(path).calibration.table)
        for path in CLINICAL
        if load_profile(path).calibration
    }
    for path in profiles_dir().glob("*/*"):
        if path.name == "README.md" or path in tables:
            continue
        stem = path.name.split(".sample.")[0].removesuffix(".expected.npz").removesuffix(".toml")
        assert path.with_name(f"{stem}.toml") in PATHS, path


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_only_our_own_profiles_are_simulated(path):
    profile = load_profile(path)
    ours = profile.model.startswith("sim_")
    assert profile.simulated is ours
    assert (profile.provenance == "generated") is ours


@pytest.mark.parametrize("path", CLINICAL, ids=name)
def test_the_sample_decodes_to_what_is_expected(path):
    profile = load_profile(path)
    batch = decode(sample_path(path).read_bytes(), profile)
    with np.load(expected_path(path), allow_pickle=False) as expected:
        assert batch.signals.dtype == expected["signals"].dtype == np.float32
        np.testing.assert_array_equal(batch.signals, expected["signals"])
        np.testing.assert_array_equal(batch.saturated, expected["saturated"])
        assert batch.channels == tuple(expected["channels"].tolist())
        assert json.loads(describe_sample(batch)) == json.loads(str(expected["sample"]))
        assert ("time_s" in expected) is (batch.time_s is not None)
        if batch.time_s is not None:
            np.testing.assert_array_equal(batch.time_s, expected["time_s"])


@pytest.mark.parametrize("path", CLINICAL, ids=name)
def test_the_sample_fits_this_profile_and_no_other(path, registry):
    data = sample_path(path).read_bytes()
    assert registry.match(data, path.name).id == name(path)
    for other in registry.profiles.values():
        if other.classify and other.id != name(path):
            assert not any(d.matched for d in registry.detect(data, "") if d.profile == other.id)


@pytest.mark.parametrize("path", CLINICAL, ids=name)
def test_the_sample_needs_no_more_than_the_named_leniencies(path):
    profile = load_profile(path)
    notes = decode(sample_path(path).read_bytes(), profile).notes
    used = {note.split(":")[0] for note in notes}
    assert used == set(profile.codec.leniencies)


@pytest.mark.parametrize("path", CLINICAL, ids=name)
def test_another_firmware_is_never_decoded_with_this_layout(path, registry):
    profile = load_profile(path)
    data = sample_path(path).read_bytes()
    assert len(profile.firmware) <= 8
    for keyword in profile.firmware_keywords:
        key = keyword.encode()
        at = data.index(key) + len(key) + 1
        updated = data[:at] + b"?" * len(profile.firmware) + data[at + len(profile.firmware) :]
        with pytest.raises(Quarantine) as caught:
            registry.match(updated, "updated.fcs")
        assert caught.value.code == "no_profile"
        assert profile.id in caught.value.candidates


@pytest.mark.parametrize("path", CLINICAL, ids=name)
def test_a_torn_sample_is_refused(path):
    profile = load_profile(path)
    data = sample_path(path).read_bytes()
    last = read_header(data).data[1]  # behind it may stand the file's checksum field
    assert decode(data[: last + 1], profile).events
    for length in (0, 3, 57, last // 2, last):
        with pytest.raises(Quarantine):
            decode(data[:length], profile)
