"""Cell indices: right on cells of known volume, honest about doubt, silent where they must be."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from edge_daemon.classify.indices import MIN_PLATELETS, MIN_RED_CELLS, cell_indices
from edge_daemon.classify.optics import HA, LA, invert
from edge_daemon.decode import load_profile
from edge_daemon.records import CellBatch, CellCalls, Measurement, SampleInfo
from edge_daemon.resources import profiles_dir

CALIBRATION = load_profile(profiles_dir() / "sim_optical4" / "1.0.toml").optics
CHANNELS = ("FL.H", "LA.H", "HA.H", "EXT.H")
PURE, RETIC, CLUMP, PLATELET, OTHER = range(5)
RBC = Measurement("RBC", 7.0, "10*6/uL", 6.86, 7.14, "counted", ("clumps",))
PLT = Measurement("PLT", 300.0, "10*3/uL", 270.0, 330.0, "counted", ("few",))


def interpolated(table, axes, first, second):
    u = np.interp(np.log(first), np.log(axes[0]), np.arange(len(axes[0])))
    v = np.interp(second, axes[1], np.arange(len(axes[1])))
    i, j = np.minimum(u.astype(int), len(axes[0]) - 2), np.minimum(v.astype(int), len(axes[1]) - 2)
    a, b = (u - i)[:, None], (v - j)[:, None]
    near = table[i, j] * (1 - b) + table[i, j + 1] * b
    return near * (1 - a) + (table[i + 1, j] * (1 - b) + table[i + 1, j + 1] * b) * a


def noisy(rng, heights):
    floor, shot = np.array(CALIBRATION.noise_floor), np.array(CALIBRATION.noise_shot)
    heights = heights * (1 + CALIBRATION.light_cv * rng.standard_normal((len(heights), 1)))
    return heights + np.sqrt(floor**2 + shot * heights) * rng.standard_normal(heights.shape)


class Blood:
    """Cells with their truth, and the run that shows them."""

    def __init__(self, seed=0, *, red=8000, platelets=1500, mcv=60.0, cv=0.15, noise=True):
        rng = np.random.default_rng(seed)
        sigma = np.sqrt(np.log1p(cv**2))
        self.volume = mcv * np.exp(sigma * rng.standard_normal(red) - sigma**2 / 2)
        self.hc = 33 + 2 * rng.standard_normal(red) - 4 * np.log(self.volume / mcv)
        self.platelet = 9 * np.exp(0.4 * rng.standard_normal(platelets))
        step = 0.04 * (1 + CALIBRATION.platelet_index_cv * rng.standard_normal(platelets))
        axes = CALIBRATION.volume_fl, CALIBRATION.hc_g_dl
        self.red = interpolated(CALIBRATION.red_cells, axes, self.volume, self.hc)
        axes = CALIBRATION.platelet_fl, CALIBRATION.index_step
        self.small = interpolated(CALIBRATION.platelets, axes, self.platelet, step)
        if noise:
            self.red, self.small = noisy(rng, self.red), noisy(rng, self.small)
        retic = np.where(np.arange(red) % 50 == 0, RETIC, PURE)
        self.codes = np.concatenate([retic, np.full(platelets, PLATELET)]).astype(np.uint8)

    def batch(self, gains=(1.0, 1.0, 1.0), **changes):
        heights = np.concatenate([self.red, self.small]) * gains
        signals = np.column_stack([np.ones(len(heights)), heights]).astype(np.float32)
        settings = {
            "signals": signals,
            "channels": CHANNELS,
            "saturated": np.zeros(signals.shape, dtype=bool),
            "sample": SampleInfo(species="dog"),
            "profile": "sim_optical4/1.0",
            "calibration": CALIBRATION,
        }
        return CellBatch(**settings | changes)

    def calls(self, codes=None):
        codes = self.codes if codes is None else codes
        return CellCalls(np.eye(5, dtype=np.float32)[codes], codes)

    def indices(self, counted=(RBC, PLT), codes=None, **changes):
        found = cell_indices(self.batch(**changes), self.calls(codes), counted)
        return {m.code: m for m in found.measurements}, {f.code: f for f in found.flags}

    def truth(self):
        hb = self.volume * self.hc / 100
        return {
            "MCV": self.volume.mean(),
            "RDW": 100 * self.volume.std() / self.volume.mean(),
            "MCH": hb.mean(),
            "MCHC": 100 * hb.sum() / self.volume.sum(),
            "MPV": self.platelet.mean(),
        }


@pytest.mark.parametrize("mcv", [18.0, 25.0, 45.0, 70.0, 95.0])
def test_values_are_those_of_the_cells(mcv):
    blood = Blood(1, mcv=mcv)
    found, flags = blood.indices()
    assert flags == {}
    tolerance = {"MCV": 0.004, "RDW": 0.012, "MCH": 0.004, "MCHC": 0.003, "MPV": 0.03}
    for code, true in blood.truth().items():
        assert found[code].value == pytest.approx(true, rel=tolerance[code]), code
        assert found[code].low < true < found[code].high, code


def test_values_are_bound_to_each_other_and_all_calculated():
    found, _ = Blood(2).indices()
    value = {code: m.value for code, m in found.items()}
    assert list(found) == ["HCT", "HGB", "MCV", "MCH", "MCHC", "RDW", "MPV", "PDW", "PCT"]
    assert value["HCT"] == pytest.approx(7.0 * value["MCV"] / 10)
    assert value["HGB"] == pytest.approx(value["MCHC"] * value["HCT"] / 100)
    assert value["MCH"] == pytest.approx(value["HGB"] / 7.0 * 10)
    assert value["PCT"] == pytest.approx(300.0 * value["MPV"] / 10_000)
    assert {m.method for m in found.values()} == {"calculated"}
    for m in found.values():
        assert m.low < m.value < m.high
    json.dumps([asdict(m) for m in found.values()])  # no numpy scalar is left


def test_derived_values_carry_the_doubt_and_the_flags_of_their_count():
    found, _ = Blood(2).indices()
    for code, mean in (("HCT", "MCV"), ("HGB", "MCH")):
        both = np.log(found[code].high / found[code].low)
        alone = np.log(found[mean].high / found[mean].low)
        assert both == pytest.approx(np.hypot(alone, 0.04), rel=0.02)
    assert found["HCT"].flags == found["HGB"].flags == ("clumps",)
    assert found["PCT"].flags == ("few",)
    assert found["MCV"].flags == found["MPV"].flags == ()


def test_noise_is_taken_off_the_width():
    blood = Blood(3, mcv=20.0, cv=0.04)
    found, _ = blood.indices()
    quiet, _ = Blood(3, mcv=20.0, cv=0.04, noise=False).indices(
        calibration=replace(
            CALIBRATION, noise_floor=(0.0,) * 3, noise_shot=(0.0,) * 3, light_cv=0.0
        )
    )
    assert quiet["RDW"].value == pytest.approx(4.0, rel=0.03)
    assert found["RDW"].value == pytest.approx(4.0, rel=0.08)
    raw, _ = blood.indices(
        calibration=replace(
            CALIBRATION, noise_floor=(0.0,) * 3, noise_shot=(0.0,) * 3, light_cv=0.0
        )
    )
    assert raw["RDW"].value > 4.7  # so much would have been shown without


def test_a_noise_wider_than_the_cells_leaves_a_width_of_zero():
    found, _ = Blood(3, cv=0.02).indices(calibration=replace(CALIBRATION, light_cv=0.2))
    assert found["RDW"].value == 0.0
    assert found["RDW"].low == 0.0


@pytest.mark.parametrize("detector", [LA, HA])
def test_the_interval_is_as_wide_as_a_gain_error_moves_the_value(detector):
    """One standard error of one gain, against an interval made of that one alone."""
    error = 0.015
    gains = [1.0, 1.0, 1.0]
    gains[detector] += error
    alone = tuple(error if k == detector else 0.0 for k in range(3))
    calibration = replace(
        CALIBRATION, gain_uncertainty=alone, light_uncertainty=0.0, platelet_index_uncertainty=0.0
    )
    blood = Blood(4, red=60_000)
    before, _ = blood.indices(calibration=calibration)
    after, _ = blood.indices(gains=tuple(gains))
    for code in ("MCV", "MCH", "MCHC"):
        moved = abs(np.log(after[code].value / before[code].value))
        stated = np.log(before[code].high / before[code].value) / 1.96
        assert stated == pytest.approx(moved, rel=0.15, abs=6e-4), code


def test_more_cells_and_surer_gains_narrow_the_interval():
    sure = replace(CALIBRATION, gain_uncertainty=(0.0,) * 3, light_uncertainty=0.0)
    widths = []
    for red, calibration in ((2000, CALIBRATION), (2000, sure), (32_000, sure)):
        found, _ = Blood(5, red=red).indices(calibration=calibration)
        widths.append(np.log(found["MCV"].high / found["MCV"].low))
    assert widths[0] > 2 * widths[1] > 2 * widths[2]
    assert widths[1] / widths[2] == pytest.approx(4.0, rel=0.1)
    assert widths[1] == pytest.approx(2 * 1.96 * 0.15 / np.sqrt(2000), rel=0.1)


def test_an_uncertain_increment_concerns_haemoglobin_only():
    found, _ = Blood(6).indices()
    doubted, _ = Blood(6).indices(calibration=replace(CALIBRATION, increment_uncertainty=0.1))
    for code in ("MCH", "MCHC", "HGB"):
        assert doubted[code].high / doubted[code].value > 1.2
    for code in ("MCV", "RDW", "HCT", "MPV"):
        assert doubted[code] == found[code]


def test_doubt_which_particles_are_platelets_widens_their_values():
    vague = replace(PLT, low=150.0, high=450.0)
    found, _ = Blood(6).indices()
    doubted, _ = Blood(6).indices(counted=(RBC, vague))
    for code in ("MPV", "PDW"):
        assert doubted[code].value == found[code].value
        assert doubted[code].high > 1.3 * found[code].high


def test_clumps_and_others_are_left_out():
    blood = Blood(7)
    found, _ = blood.indices()
    more = Blood(7)
    more.red = np.concatenate([blood.red, 2.2 * blood.red[:3000]])
    codes = np.concatenate(
        [blood.codes[:8000], np.full(1500, CLUMP), np.full(1500, OTHER), blood.codes[8000:]]
    ).astype(np.uint8)
    assert more.indices(codes=codes)[0] == found


def test_a_few_wrong_calls_do_not_move_red_cell_values():
    """One per cent of doublets and one of small fragments, called red cells."""
    blood = Blood(8)
    found, _ = blood.indices()
    wrong = Blood(8)
    wrong.red[:80] *= 1.9
    wrong.red[80:160] *= [[0.05, 0.2, 0.1]]
    changed, _ = wrong.indices()
    assert changed["MCV"].value == pytest.approx(found["MCV"].value, rel=0.003)
    assert changed["RDW"].value == pytest.approx(found["RDW"].value, rel=0.03)


def test_species_changes_nothing():
    blood = Blood(9, mcv=40.0)
    results = [
        blood.indices(sample=SampleInfo(species=species)) for species in ("cat", "goat", None)
    ]
    assert results[0] == results[1] == results[2]


def test_without_calibration_nothing_is_reported():
    found, flags = Blood(1).indices(calibration=None)
    assert list(flags) == ["optics_not_calibrated"]
    assert "sim_optical4/1.0" in flags["optics_not_calibrated"].message
    assert all(m.value is m.low is m.high is None for m in found.values())
    assert {m.flags for m in found.values()} == {("optics_not_calibrated",)}


def test_without_a_count_only_what_rests_on_it_is_missing():
    rbc = replace(RBC, value=None, low=None, high=None, flags=("no_volume",))
    plt = replace(PLT, value=None, low=None, high=None, flags=("no_volume",))
    found, flags = Blood(1).indices(counted=(rbc, plt))
    missing = {code for code, m in found.items() if m.value is None}
    assert missing == {"HCT", "HGB", "PCT"}
    assert all(found[code].flags == ("no_volume",) for code in missing)
    assert flags == {}


def test_too_few_cells():
    found, flags = Blood(1, red=MIN_RED_CELLS - 1, platelets=MIN_PLATELETS - 1).indices()
    assert set(flags) == {"red_cells_too_few", "platelets_too_few"}
    assert found["MCV"].value is None
    assert found["MCV"].flags == ("red_cells_too_few",)
    assert found["PCT"].flags == ("platelets_too_few",)
    found, flags = Blood(1, red=MIN_RED_CELLS, platelets=MIN_PLATELETS).indices()
    assert flags == {}
    assert all(m.value is not None for m in found.values())


def test_no_cells_at_all():
    blood = Blood(1, red=300)
    _, flags = blood.indices(codes=np.full(len(blood.codes), OTHER, dtype=np.uint8))
    assert set(flags) == {"red_cells_too_few", "platelets_too_few"}


def test_too_many_cells_off_the_grid():
    blood = Blood(1)
    blood.red[::10, LA] *= 0.1
    blood.small[::10, LA] = 1e4
    found, flags = blood.indices()
    assert "10 % of the red cells" in flags["red_cells_off_grid"].message
    assert "10 % of the platelets" in flags["platelets_off_grid"].message
    assert {m.value for m in found.values()} == {None}


def test_saturated_heights_are_not_taken_for_values():
    blood = Blood(1)
    signals = blood.batch().signals.copy()
    saturated = np.zeros(signals.shape, dtype=bool)
    signals[:160, 2] = 400.0
    saturated[:160, 2] = True
    found, flags = blood.indices(signals=signals, saturated=saturated)
    assert flags == {}
    assert found["MCV"].value == pytest.approx(blood.volume[160:].mean(), rel=0.004)


def test_a_third_height_that_disagrees_is_flagged_then_refused():
    blood = Blood(1)
    found, flags = blood.indices(gains=(1.0, 1.0, 1.07))
    assert flags["extinction_disagrees"].severity == "review"
    assert "+7 %" in flags["extinction_disagrees"].message
    assert found["MCV"].value is not None
    assert found["MCV"].flags == ("extinction_disagrees",)
    assert found["HCT"].flags == ("extinction_disagrees", "clumps")
    found, flags = blood.indices(gains=(1.0, 1.0, 1.15))
    assert flags["extinction_disagrees"].severity == "invalid"
    assert {m.value for m in found.values()} == {None}
    assert {m.flags for m in found.values()} == {("extinction_disagrees",)}


def test_platelets_of_another_index_are_flagged():
    blood = Blood(1)
    blood.small *= [1.0, 1.15, 1.0]
    found, flags = blood.indices()
    assert set(flags) == {"platelet_scatter_disagrees"}
    assert "+16 %" in flags["platelet_scatter_disagrees"].message
    assert found["MPV"].flags == ("platelet_scatter_disagrees",)
    assert found["MCV"].flags == ()


def test_identical_cells_have_no_width():
    blood = Blood(1, cv=0.0, noise=False)
    blood.red[:] = blood.red[0]
    blood.small[:] = blood.small[0]
    found, _ = blood.indices(counted=(RBC, replace(PLT, low=299.0, high=301.0)))
    assert found["RDW"].value == 0.0
    assert found["PDW"].value < 0.01


def test_cells_at_the_very_edge_of_the_tables():
    """They can be looked up but not probed: nothing can be said of their uncertainty."""
    blood = Blood(1, noise=False)
    mids = np.float32(np.linspace(5.0, 60.0, 4000))
    found = invert(CALIBRATION).red_cells(np.full(4000, 12.0, dtype=np.float32), mids)
    edge = mids[np.flatnonzero(np.isfinite(found.volume_fl))[-1]]
    blood.red[:] = [12.0, edge, 50.0]
    blood.small[:] = np.append(CALIBRATION.platelets[-1, 7, :2], 50.0) * 0.999
    found, flags = blood.indices()
    assert set(flags) == {"red_cells_off_grid", "platelets_off_grid"}
    assert {m.value for m in found.values()} == {None}
