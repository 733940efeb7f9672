"""Names leave a capture, the cells stay; what cannot be parted is refused."""

from __future__ import annotations

import numpy as np
import pytest

from edge_daemon.decode import Registry, decode, decode_raw
from edge_daemon.parts import join
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.cohort import sample
from edge_daemon.unnamed import StillNamedError, without_names


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """The simulated analyzer, with a keyword for the patient's name."""
    folder = tmp_path_factory.mktemp("profiles")
    for source in (profiles_dir() / "sim_optical4").iterdir():
        place = folder / "sim_optical4" / source.name
        place.parent.mkdir(exist_ok=True)
        if source.suffix == ".toml":
            named = source.read_text().replace(
                "[metadata]\n", '[metadata]\npatient_name = { keyword = "PATIENT" }\n'
            )
            place.write_text(named)
        elif source.name.startswith("calibration"):
            place.write_bytes(source.read_bytes())
    found = Registry.load([folder])
    assert not found.problems
    return found


def named(**keywords):
    """A capture with further keywords in the place of one that nobody reads."""
    data = sample(0, events=600, seed=3, firmware="2.0").data
    begin = data.index(b"$COM")
    delimiter = data[begin - 1 : begin]
    old = data[begin : data.index(b"$SMNO")]
    told = delimiter.join(f"{k}".encode() + delimiter + v for k, v in keywords.items()) + delimiter
    filler = len(old) - len(told) - len(b"PAD") - 2 * len(delimiter)
    assert filler > 0
    new = told + b"PAD" + delimiter + b"." * filler + delimiter
    return data.replace(old, new)


def opened(registry, data):
    profile = registry.match(data, "")
    return profile, decode(data, profile)


def test_a_capture_without_names_stays_as_it_is(registry):
    data = sample(0, events=600, seed=3, firmware="2.0").data
    profile, batch = opened(registry, data)
    assert without_names(data, profile, batch) == (data, 0)


@pytest.mark.parametrize("name", ["Rex Ü", "Bo"])
def test_names_are_overwritten_and_the_cells_are_the_same(registry, name):
    raw = name.encode("latin-1")
    data = named(PATIENT=raw, OWNER=b"A Lee")
    profile, batch = opened(registry, data)
    assert batch.sample.patient_name is not None
    blank, count = without_names(data, profile, batch)
    assert count == 2
    assert len(blank) == len(data)
    assert b"A Lee" not in blank
    again = decode(blank, profile)
    assert np.array_equal(again.signals, batch.signals)
    assert again.sample.patient_name == "x" * len(name)
    assert again.sample.sample_id == batch.sample.sample_id


@pytest.mark.parametrize("name", ["SIM3-0001", "7"])
def test_a_name_that_something_else_needs_is_refused(registry, name):
    """An animal that is called like its sample: one cannot be taken out without the other."""
    data = named(PATIENT=name.encode())
    profile, batch = opened(registry, data)
    assert batch.sample.sample_id == "SIM3-0001"
    with pytest.raises(StillNamedError, match="cannot be taken out"):
        without_names(data, profile, batch)


def test_files_that_belong_together_are_refused_for_their_names(registry):
    data = sample(0, events=600, seed=3, firmware="2.0").data
    profile, batch = opened(registry, data)
    with pytest.raises(StillNamedError, match="names of its files"):
        without_names(join([("Rex.1.fcs", data), ("Rex.2.fcs", data)]), profile, batch)


def test_keywords_that_identify_the_analyzer_stay(registry):
    data = named(PATIENT=b"Rex")
    profile, batch = opened(registry, data)
    blank, _ = without_names(data, profile, batch)
    assert registry.match(blank, "").id == profile.id
    assert decode_raw(blank, profile).keywords["$CYT"] == "SimOptical4"
