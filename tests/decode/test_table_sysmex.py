"""The exports of Sysmex XN channels, as their documentation describes them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_daemon.decode import Registry, decode
from edge_daemon.decode.kit import read_sample
from edge_daemon.errors import Quarantine
from edge_daemon.parts import join
from edge_daemon.resources import profiles_dir

FULL = 65_535
NAME = "RET_[XN-10^11036][00-15_5][20150203_091038][           QC-1].116.csv"
SECOND = NAME.replace(".csv", "(1).csv")


@pytest.fixture(scope="module")
def registry():
    return Registry.load([profiles_dir()])


def rows(number):
    return b"SFL,FSC\r\n" + b"30,120\r\n" * number


def test_what_the_name_says(registry):
    data = rows(200)
    profile = registry.match(data, NAME)
    assert profile.id == "sysmex_xn_ret/00-15"
    sample = decode(data, profile, name=NAME).sample
    assert (sample.sample_id, sample.instrument_model) == ("QC-1", "XN-10")
    assert (sample.instrument_serial, sample.firmware) == ("11036", "00-15_5")
    assert sample.acquired_at == "20150203_091038"
    assert (sample.volume_ul, sample.dilution, sample.species) == (None, None, None)


@pytest.mark.parametrize(
    ("old", "new"), [("00-15_5", "00-16_1"), ("00-15_5", "00-22A (Build 7)"), ("00-15_5", "00-15")]
)
def test_another_software_version_is_quarantined_with_the_known_one(registry, old, new):
    with pytest.raises(Quarantine) as caught:
        registry.match(rows(200), NAME.replace(old, new))
    assert caught.value.code == "no_profile"
    assert caught.value.candidates == ("sysmex_xn_ret/00-15",)


@pytest.mark.parametrize("name", ["export.csv", SECOND, "WDF" + NAME[3:]])
def test_a_renamed_file_a_continuation_and_another_channel_are_no_run_of_this_one(registry, name):
    with pytest.raises(Quarantine) as caught:
        registry.match(rows(200), name)
    assert caught.value.code == "no_profile"


def test_a_long_run_needs_its_continuation(registry):
    first = rows(FULL)
    profile = registry.match(first, NAME)
    assert not registry.is_whole(first)
    with pytest.raises(Quarantine, match="its continuation is missing") as caught:
        decode(first, profile, name=NAME)
    assert caught.value.code == "truncated"
    run = join([(NAME, first), (SECOND, rows(1000))])
    assert registry.is_whole(run)
    assert registry.match(run, NAME).id == profile.id
    assert decode(run, profile, name=NAME).events == FULL + 1000


def test_both_ends_of_the_converter_are_saturated(registry):
    data = b"SFL,FSC\r\n0,255\r\n" + b"1,254\r\n" * 200
    batch = decode(data, registry.match(data, NAME), name=NAME)
    assert batch.channels == ("FL.H", "LA.H")
    assert batch.saturated[:2].tolist() == [[True, True], [False, False]]
    assert batch.signals[0].tolist() == [0, 255]


def test_repeated_measurements_are_left_out_where_they_are_marked(registry):
    data = b"SFL,FSC,RepeatCount\r\n" + b"1,2,0\r\n" * 150 + b"3,4,1\r\n" * 50
    batch = decode(data, registry.match(data, NAME), name=NAME)
    assert batch.events == 150
    assert batch.notes[0].startswith("keep: 50 of 200 rows left out")


def test_platelets_of_phase_a_have_no_pulse_width():
    path = profiles_dir() / "sysmex_xn_pltf" / "00-15.toml"
    sample = read_sample(path)
    profile = Registry.load([profiles_dir()]).match(sample.data, sample.name)
    batch = decode(sample.data, profile, name=sample.name)
    assert batch.channels == ("FL.H", "LA.H", "SS.H")
    assert batch.events == 360
    assert b",,A,0" in sample.data


def test_both_exports_of_a_channel_have_the_same_scale():
    for folder in ("sysmex_xn_ret", "sysmex_xn_pltf"):
        batches = []
        for firmware in ("00-15", "00-22A"):
            path = profiles_dir() / folder / f"{firmware}.toml"
            sample = read_sample(path)
            profile = Registry.load([profiles_dir()]).match(sample.data, sample.name)
            batches.append(decode(sample.data, profile, name=sample.name))
        text, fcs = batches
        assert text.channels[:2] == fcs.channels[:2] == ("FL.H", "LA.H")
        medians = [np.median(batch.signals[:, :2], axis=0) for batch in batches]
        assert np.abs(medians[0] - medians[1]).max() < 25
        assert not text.sample.simulated
        assert fcs.sample.simulated, "the FCS sample says that it is generated"
