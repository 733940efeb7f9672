import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.errors import Quarantine

CHANNELS = ("EXT.A", "LA.H")


def cells(n=5000, platelets=400, seed=0):
    rng = np.random.default_rng(seed)
    red = np.exp(rng.normal([np.log(120), np.log(12)], [0.18, 0.15], (n, 2)))
    small = np.exp(rng.normal([np.log(5), np.log(0.2)], [0.7, 0.7], (platelets, 2)))
    return np.concatenate([red, small]).astype(np.float32)


@given(gain=st.floats(0.05, 20))
@settings(deadline=None, max_examples=30)
def test_the_peak_follows_the_gain(gain):
    signals = cells()
    peak = red_cell_peak(signals * np.float32(gain), CHANNELS, "EXT.A")
    np.testing.assert_allclose(peak / gain, [120, 12], rtol=0.03)


def test_a_third_of_platelets_does_not_move_the_peak():
    few, many = (red_cell_peak(cells(platelets=p), CHANNELS, "EXT.A") for p in (50, 2500))
    np.testing.assert_allclose(few, many, rtol=0.02)


def test_values_without_a_logarithm_are_passed_over():
    signals = np.concatenate([cells(), np.float32([[0, 1], [-5, 1], [np.nan, 1]])])
    np.testing.assert_allclose(red_cell_peak(signals, CHANNELS, "EXT.A"), [120, 12], rtol=0.03)


@pytest.mark.parametrize("signals", [np.zeros((500, 2)), np.empty((0, 2)), np.ones((199, 2))])
def test_no_peak_is_said_with_its_figure(signals):
    with pytest.raises(Quarantine, match="expected at least 200") as caught:
        red_cell_peak(signals.astype(np.float32), CHANNELS, "EXT.A")
    assert caught.value.code == "not_classified"


def test_a_dead_detector_is_named():
    signals = cells()
    signals[:, 1] = 0
    with pytest.raises(Quarantine, match=r"LA\.H"):
        red_cell_peak(signals, CHANNELS, "EXT.A")
