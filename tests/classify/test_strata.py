import numpy as np
import pytest

from edge_daemon.classify.priors import Expected, reestimate, reestimate_strata
from edge_daemon.classify.strata import BRIGHT, LARGE, SINGLE, Strata, expected_doublets

PEAK = np.float32([100.0, 2.0])


def test_size_and_dye_part_the_events_whatever_the_gain():
    strata = Strata.of(("EXT.A", "FL.A"), "EXT.A")
    signals = np.float32([[100, 2], [144, 900], [146, 2], [146, 29], [146, 31], [3, 40]])
    expected = [SINGLE, SINGLE, LARGE, LARGE, BRIGHT, SINGLE]
    for gain in (0.5, 1.0, 3.0):
        found = strata.split(signals * np.float32(gain), PEAK * np.float32(gain))
        np.testing.assert_array_equal(found, expected)
    assert strata.red_events(signals, PEAK) == 5


def test_size_rules_classes_out_whatever_the_gain():
    strata = Strata.of(("EXT.A", "FL.A"), "EXT.A")
    signals = np.float32([[26, 2], [28, 2], [100, 2], [144, 2], [146, 90]])
    expected = [[0, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 1]]
    for gain in (0.5, 1.0, 3.0):
        found = strata.possible(signals * np.float32(gain), PEAK * np.float32(gain))
        np.testing.assert_array_equal(found, np.array(expected, bool))


def test_a_run_of_tiny_events_holds_no_red_cell_and_of_large_ones_no_platelet():
    strata = Strata.of(("EXT.A", "FL.A"), "EXT.A")
    rng = np.random.default_rng(0)
    raw = rng.dirichlet([1, 1, 1], 3000).astype(np.float32)
    raw[::7] = [1, 0, 0]  # sure, and wrong where red cells are ruled out
    signals = np.repeat(np.float32([[10, 2], [100, 2], [190, 2]]), 1000, axis=0)
    priors = np.array([[0.9, 0.05, 0.05], [0.7, 0.01, 0.29], [0.1, 0.1, 0.8]])
    adapted, _ = reestimate_strata(raw, signals, PEAK, strata, priors, (None, 0.0))
    assert adapted[:1000, 0].max() == 0
    assert adapted[1000:2000].min() > 0
    assert adapted[2000:, 1].max() == 0
    np.testing.assert_allclose(adapted.sum(axis=1), 1, atol=1e-5)


def test_without_the_dye_no_event_is_bright():
    strata = Strata.of(("EXT.A",), "EXT.A")
    found = strata.split(np.float32([[1e6], [100]]), PEAK[:1])
    np.testing.assert_array_equal(found, [LARGE, SINGLE])


def test_doublets_grow_with_the_square_of_the_concentration():
    one = expected_doublets(10_000, 2.0, 1.75e-6)
    assert one == pytest.approx(1e8 / 2 * 1.75e-6)
    assert expected_doublets(20_000, 2.0, 1.75e-6) == pytest.approx(4 * one)
    for volume in (None, 0.0, -1.0, float("nan")):
        assert expected_doublets(10_000, volume, 1.75e-6) is None
    assert expected_doublets(10_000, 2.0, 0.0) is None


def test_known_doublets_decide_where_the_cells_do_not():
    flat = np.full((600, 3), [0.5, 0.0, 0.5], np.float32)
    priors = np.array([0.495, 0.01, 0.495])
    for number in (50, 200, 450):
        _, found = reestimate(flat, priors, Expected.doublets(number, len(flat)))
        assert found[2] * len(flat) == pytest.approx(number, rel=0.05)


def test_clear_cells_outweigh_what_was_known():
    clear = np.repeat(np.float32([[1, 0, 0], [0, 0, 1]]), [3000, 1000], axis=0)
    priors = np.array([0.495, 0.01, 0.495])
    adapted, _ = reestimate(clear, priors, Expected.doublets(20, len(clear)))
    assert adapted[:, 2].sum() == pytest.approx(1000)
