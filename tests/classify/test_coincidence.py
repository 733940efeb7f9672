import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.classify.coincidence import alone, crowding, passed, together
from edge_daemon.records import SampleInfo


@pytest.mark.parametrize("per_window", [0.003, 0.02, 0.08, 0.2])
def test_particles_that_arrive_at_random_are_counted_back(per_window):
    rng = np.random.default_rng(3)
    particles, window = 400_000, 1.7e-6
    place = np.cumsum(rng.exponential(window / per_window, particles))
    starts = np.diff(place, prepend=-1.0) > window
    size = np.bincount(np.cumsum(starts) - 1)
    x = crowding(len(size), SampleInfo(volume_ul=float(place[-1])), window)
    assert x == pytest.approx(per_window, rel=0.01)
    assert len(size) * passed(x) == pytest.approx(particles, rel=2e-3)
    assert together(x) == pytest.approx(np.mean(size > 1), rel=0.03)
    assert alone(x) == pytest.approx(np.sum(size == 1) / particles, rel=5e-3)


@pytest.mark.parametrize("volume", [None, 0.0, -1.0, math.nan, math.inf])
def test_without_a_volume_nothing_is_corrected(volume):
    assert crowding(20_000, SampleInfo(volume_ul=volume), 1.7e-6) == 0.0


@given(events=st.floats(0, 1e6), volume=st.floats(1e-6, 10.0), window=st.floats(0, 1.0))
@settings(deadline=None, max_examples=100)
def test_any_run_gives_a_bounded_correction(events, volume, window):
    x = crowding(events, SampleInfo(volume_ul=volume), window)
    assert 0 <= x <= 0.3
