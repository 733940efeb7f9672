"""A calibration is taken only if its table is the one that was meant, and whole."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import zipfile

import numpy as np
import pytest

from edge_daemon.decode import ProfileError, decode, load_profile
from edge_daemon.decode.calibration import MAX_TABLE_BYTES
from edge_daemon.resources import profiles_dir

SHIPPED = profiles_dir() / "sim_optical4"


@pytest.fixture
def profile(tmp_path):
    """Copy the shipped profile with its calibration."""
    return shutil.copytree(SHIPPED, tmp_path / "sim_optical4") / "1.0.toml"


@pytest.fixture
def problem(profile):
    """Return a function that says the one thing wrong with the copy."""

    def find():
        with pytest.raises(ProfileError) as caught:
            load_profile(profile)
        (message,) = caught.value.problems
        return message

    return find


@pytest.fixture
def put_table(profile):
    """Return a function that replaces the table, and its digest in the profile."""

    def put(data):
        table = profile.with_name("calibration.npz")
        old = hashlib.sha256(table.read_bytes()).hexdigest()
        table.write_bytes(data)
        text = profile.read_text(encoding="utf-8")
        assert old in text
        profile.write_text(text.replace(old, hashlib.sha256(data).hexdigest()), encoding="utf-8")

    return put


@pytest.fixture
def put_arrays(profile, put_table):
    """Return a function that changes arrays of the table; None removes one."""

    def put(**changes):
        with np.load(profile.with_name("calibration.npz"), allow_pickle=False) as shipped:
            arrays = {name: shipped[name] for name in shipped.files} | changes
        packed = io.BytesIO()
        np.savez(packed, **{name: values for name, values in arrays.items() if values is not None})
        put_table(packed.getvalue())

    return put


def edit(profile, old, new):
    text = profile.read_text(encoding="utf-8")
    assert old in text
    profile.write_text(text.replace(old, new), encoding="utf-8")


def test_a_calibrated_profile_hands_its_optics_to_the_batch(profile):
    loaded = load_profile(profile)
    batch = decode(profile.with_name("1.0.sample.fcs").read_bytes(), loaded)
    assert batch.calibration is loaded.optics
    assert batch.calibration.gain_uncertainty == (0.015, 0.015, 0.015)
    assert batch.calibration.red_cells.shape[2] == 3
    assert "optics" not in loaded.model_dump(mode="json")


def test_a_profile_without_one_is_as_good_as_before(profile):
    text = profile.read_text(encoding="utf-8")
    profile.write_text(text[: text.index("[calibration]")], encoding="utf-8")
    loaded = load_profile(profile)
    assert loaded.calibration is None
    batch = decode(profile.with_name("1.0.sample.fcs").read_bytes(), loaded)
    assert batch.calibration is None


def test_a_changed_table_is_refused(profile, problem):
    table = profile.with_name("calibration.npz")
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(bytes(data))
    said = problem()
    assert "calibration.table: calibration.npz has SHA-256" in said
    assert said.startswith("line ")


def test_a_missing_table_is_named(profile, problem):
    profile.with_name("calibration.npz").unlink()
    assert "calibration.npz cannot be read: No such file" in problem()


def test_a_table_elsewhere_cannot_be_named(profile, problem):
    edit(profile, 'table = "calibration.npz"', 'table = "../calibration.npz"')
    assert "calibration.table: should match pattern" in problem()


def test_a_huge_table_is_not_read(profile, problem, put_table):
    put_table(b"\0" * (MAX_TABLE_BYTES + 1))
    assert f"more than {MAX_TABLE_BYTES} bytes" in problem()


def single_array():
    packed = io.BytesIO()
    np.save(packed, np.zeros(3))
    return packed.getvalue()


def member():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("physics.npy", b"no array")
    return packed.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"text", b"PK\x03\x04torn", pickle.dumps({"physics": 1}), single_array(), member()],
    ids=["empty", "text", "torn zip", "pickle", "one array", "no array"],
)
def test_what_is_no_archive_of_arrays_is_refused(data, problem, put_table):
    put_table(data)
    assert "file of named arrays (npz)" in problem()


def test_arrays_of_objects_are_refused(problem, put_arrays):
    put_arrays(physics=np.array([{}], dtype=object))
    assert "not a file of named arrays" in problem()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("wavelength_nm = 632.8", "wavelength_nm = 660.0"),
        ("HA_angles = [5.0, 15.0]", "HA_angles = [5.5, 15.0]"),
        ("increment_ml_g = 0.19", "increment_ml_g = 0.2"),
    ],
)
def test_a_table_of_other_optics_is_refused(profile, problem, old, new):
    edit(profile, old, new)
    assert "was computed for [632.8, 1.333, 0.19, 2.0, 3.0, 5.0, 15.0], expected" in problem()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"volume_fl": None}, "lacks volume_fl"),
        ({"platelets": None}, "lacks platelets"),
        ({"hc_g_dl": np.ones((2, 2))}, "hc_g_dl: expected 2 to 500 values"),
        ({"hc_g_dl": np.arange(1.0, 600.0)}, "hc_g_dl: expected 2 to 500 values"),
        ({"index_step": np.array([0.05, 0.01])}, "index_step: expected ascending"),
        ({"index_step": np.array([0.0, 0.1])}, "index_step: expected ascending"),
        ({"volume_fl": np.array([1.0, np.nan])}, "volume_fl: expected ascending"),
        ({"volume_fl": np.array([10.0, 90.0])}, "red_cells: expected shape (2, 26, 3)"),
        ({"index_step": np.linspace(0.05, 0.09, 17)}, "platelet_index_step 0.04 lies outside"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(changes, said, problem, put_arrays):
    put_arrays(**changes)
    assert said in problem()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_heights_that_no_cell_has_are_refused(value, profile, problem, put_arrays):
    with np.load(profile.with_name("calibration.npz"), allow_pickle=False) as shipped:
        table = shipped["red_cells"]
    table[3, 4, 1] = value
    put_arrays(red_cells=table)
    assert "red_cells: expected positive numbers" in problem()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("light_cv = 0.015", "light_cv = 1.0", "light_cv: expected less than 1"),
        ("light_cv = 0.015", "light_cv = -0.1", "light_cv: expected greater than or equal to 0"),
        ("LA_angles = [2.0, 3.0]", "LA_angles = [3.0, 2.0]", "LA_angles: expected two angles"),
        ("noise_floor = 0.7,", "", "calibration.EXT.noise_floor: is missing"),
        ("noise_floor = 0.7,", "noise_floor = 0.7, hue = 1,", "calibration.EXT.hue: unknown key"),
        ('canonical = "EXT.H"', 'canonical = "SS.H"', "needs a [[channel]] that maps EXT.H"),
    ],
)
def test_a_section_with_a_fault_is_refused(profile, old, new, said):
    edit(profile, old, new)
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_a_decode_only_profile_has_none(profile):
    edit(profile, "classify = true", "classify = false")
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    assert any("calibration: a profile with classify = false" in p for p in caught.value.problems)
