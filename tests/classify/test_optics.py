"""The inverse of a calibration: right for one cell, silent where there is none or two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_daemon.classify.optics import EXT, HA, LA, invert
from edge_daemon.decode import load_profile
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.build_calibration import build
from edge_daemon.simulator.instruments import find_instrument

PROFILE = profiles_dir() / "sim_optical4" / "1.0.toml"
CALIBRATION = load_profile(PROFILE).optics
INVERSE = invert(CALIBRATION)


def between(table, axes, first, second):
    """Interpolate in log-volume and linearly in the other axis: ``(cells, signals)``."""
    u = np.interp(np.log(first), np.log(axes[0]), np.arange(len(axes[0])))
    v = np.interp(second, axes[1], np.arange(len(axes[1])))
    i, j = np.minimum(u.astype(int), len(axes[0]) - 2), np.minimum(v.astype(int), len(axes[1]) - 2)
    a, b = (u - i)[:, None], (v - j)[:, None]
    near = table[i, j] * (1 - b) + table[i, j + 1] * b
    far = table[i + 1, j] * (1 - b) + table[i + 1, j + 1] * b
    return (near * (1 - a) + far * a).astype(np.float32)


def red_heights(volume, hc):
    volume, hc = np.broadcast_arrays(np.atleast_1d(volume).astype(float), hc)
    axes = CALIBRATION.volume_fl, CALIBRATION.hc_g_dl
    return between(CALIBRATION.red_cells, axes, volume, hc).T


def platelet_heights(volume, step):
    volume, step = np.broadcast_arrays(np.atleast_1d(volume).astype(float), step)
    axes = CALIBRATION.platelet_fl, CALIBRATION.index_step
    return between(CALIBRATION.platelets, axes, volume, step).T


@given(volume=st.floats(8.0, 110.0), hc=st.floats(12.0, 38.0))
@example(volume=110.0, hc=30.0)
@example(volume=104.0, hc=38.0)
@settings(deadline=None, max_examples=200)
def test_red_cells_of_every_species_are_recovered(volume, hc):
    heights = red_heights(volume, hc)
    found = INVERSE.red_cells(heights[LA], heights[HA])
    assert found.volume_fl[0] == pytest.approx(volume, rel=3e-3)
    assert found.hc_g_dl[0] == pytest.approx(hc, abs=0.15)
    expected = INVERSE.expected_extinction(heights[LA], heights[HA])
    assert expected[0] == pytest.approx(heights[EXT][0], rel=2e-3)


def test_the_error_of_a_whole_population_is_far_below_that_of_its_noise():
    rng = np.random.default_rng(3)
    for mcv, hc in ((68, 33), (45, 32), (43, 36), (20, 33), (50, 24), (24.5, 42)):
        volume = mcv * np.exp(0.15 * rng.standard_normal(5000))
        heights = red_heights(volume, hc + 2 * rng.standard_normal(5000))
        found = INVERSE.red_cells(heights[LA], heights[HA]).volume_fl
        assert np.isnan(found).mean() < 0.01
        assert np.nanmean(found / volume) == pytest.approx(1.0, abs=1e-3)


@given(st.lists(st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 2)))
@settings(deadline=None, max_examples=100)
def test_any_heights_give_a_cell_of_the_table_or_none(pairs):
    low, mid = np.array(pairs, dtype=np.float32).reshape(-1, 2).T
    found = INVERSE.red_cells(low, mid)
    off = np.isnan(found.volume_fl)
    assert (off == np.isnan(found.hc_g_dl)).all()
    assert (off == np.isnan(INVERSE.expected_extinction(low, mid))).all()
    edge = 1e-4
    assert (found.volume_fl[~off] >= CALIBRATION.volume_fl[0] * (1 - edge)).all()
    assert (found.volume_fl[~off] <= CALIBRATION.volume_fl[-1] * (1 + edge)).all()
    assert (found.hc_g_dl[~off] <= CALIBRATION.hc_g_dl[-1] + edge).all()


@pytest.mark.parametrize(
    ("low", "mid"), [(0.0, 0.0), (-1.0, 5.0), (12.0, -0.3), (1e6, 9.0), (12.0, 1e6), (1.9, 30.0)]
)
def test_heights_of_no_cell_are_off_the_grid(low, mid):
    found = INVERSE.red_cells(np.float32([low]), np.float32([mid]))
    assert np.isnan(found.volume_fl[0])


def test_where_two_cells_scatter_alike_neither_is_chosen():
    """Low-angle scatter that falls again with volume must not be followed past its maximum."""
    volume = np.geomspace(10.0, 100.0, 40)
    hc = np.linspace(10.0, 40.0, 10)
    folded = np.empty((40, 10, 3))
    folded[:, :, LA] = np.where(volume < 50, volume, 2500 / volume)[:, None]
    folded[:, :, HA] = hc
    folded[:, :, EXT] = volume[:, None] * hc
    calibration = replace(CALIBRATION, volume_fl=volume, hc_g_dl=hc, red_cells=folded)
    low = np.float32(np.linspace(26.0, 60.0, 30))
    found = invert(calibration).red_cells(low, np.full(30, 20.0, dtype=np.float32)).volume_fl
    assert np.nanmax(found) < 51.0
    np.testing.assert_allclose(found[low < 47.0], low[low < 47.0], rtol=0.01)
    assert np.isnan(found[low > 52.0]).all()


@given(volume=st.floats(2.0, 90.0), step=st.floats(0.025, 0.055))
@settings(deadline=None, max_examples=100)
def test_platelets_are_recovered_at_their_own_index(volume, step):
    heights = platelet_heights(volume, step)
    found = INVERSE.platelet_volumes(heights[LA], step)
    assert found[0] == pytest.approx(volume, rel=0.02)
    assert INVERSE.expected_mid_angle(found, step)[0] == pytest.approx(heights[HA][0], rel=0.02)


def test_a_platelet_of_higher_index_than_assumed_looks_larger():
    heights = platelet_heights(9.0, 0.044)
    assert INVERSE.platelet_volumes(heights[LA], 0.040)[0] == pytest.approx(9.9, rel=0.03)


def test_platelets_below_and_above_the_table():
    found = INVERSE.platelet_volumes(np.float32([-0.1, 0.0, 1e4]), 0.04)
    np.testing.assert_allclose(found[:2], CALIBRATION.platelet_fl[0], rtol=1e-5)
    assert np.isnan(found[2])


def test_an_inverse_is_made_once_for_a_profile():
    assert invert(CALIBRATION) is invert(CALIBRATION)


def test_the_shipped_table_is_that_of_the_simulated_optics():
    with np.load(PROFILE.with_name("calibration.npz"), allow_pickle=False) as shipped:
        made = build(find_instrument("sim_optical4"))
        assert set(shipped.files) == set(made)
        for name, values in made.items():
            np.testing.assert_array_equal(shipped[name], values, err_msg=name)
