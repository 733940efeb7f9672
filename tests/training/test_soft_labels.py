import numpy as np
import pytest

from edge_daemon.training.data import Cohort, Reference, Run
from edge_daemon.training.soft_labels import (
    beyond_doubt,
    chance_rate,
    expected_platelets,
    holds_several,
    pairs_with_small,
    soften,
    start_stage1,
    start_stage2,
)

CHANNELS = ("EXT.A", "EXT.W", "FL.A")


def make_run(*, red=8000, platelets=300, debris=100, clumps=60, plt=None, retic=None, seed=0):
    """One run whose populations are far apart; 1 µL of a 1:1000 dilution."""
    rng = np.random.default_rng(seed)
    groups = [
        (red, 0.0, 0.0, 0.0),
        (platelets, -3.0, 0.0, -0.5),
        (debris, -5.0, 0.0, -2.0),
        (clumps, 0.9, 0.3, 0.7),
    ]
    logs = np.concatenate(
        [rng.normal([a, w, f], [0.15, 0.02, 0.2], (n, 3)) for n, a, w, f in groups]
    )
    codes = np.repeat(np.arange(4), [g[0] for g in groups])
    reference = Reference("x.fcs", "dog", red / 1e3, plt, retic, 1000.0, 1.0)
    run = Run(reference, np.exp(logs).astype(np.float32), np.ones(3, np.float32))
    return run, codes


def test_the_reported_count_says_how_many_platelets_to_expect():
    run, _ = make_run(plt=310.0)
    assert expected_platelets(run, 0.0) == pytest.approx(310.0 * 1e3 / 1000.0)
    hidden = expected_platelets(run, 1e-6)
    assert hidden == pytest.approx(310.0 * np.exp(-2e-6 * run.events), rel=1e-6)
    assert np.isnan(expected_platelets(make_run()[0], 0.0))


def test_ranking_puts_debris_below_platelets_below_red_cells():
    run, codes = make_run(plt=300.0)
    start = start_stage1(run, CHANNELS, 0.0).argmax(axis=1)
    assert (start[codes == 0] == 0).mean() > 0.99
    assert (start[codes == 1] == 1).mean() > 0.97
    assert (start[codes == 2] == 2).mean() > 0.97
    np.testing.assert_array_equal(start[codes == 3], 0)


def test_of_small_events_the_brightest_are_platelets_whatever_their_size():
    """Fragments of red cells are larger than platelets; without a dye nothing tells them."""
    run, codes = make_run(plt=300.0)
    signals = run.signals.copy()
    fragments = np.flatnonzero(codes == 2)[:40]
    signals[fragments, 0] = np.exp(-1.5)
    run = Run(run.reference, signals, run.peak)
    with_dye = start_stage1(run, CHANNELS, 0.0).argmax(axis=1)
    assert (with_dye[codes == 1] == 1).mean() > 0.97
    np.testing.assert_array_equal(with_dye[fragments], 2)
    undyed = Run(run.reference, signals[:, :2], run.peak[:2])
    by_size = start_stage1(undyed, CHANNELS[:2], 0.0).argmax(axis=1)
    np.testing.assert_array_equal(by_size[fragments], 1)


def test_a_bright_event_that_scatters_like_a_whole_red_cell_is_a_ghost():
    """Its haemoglobin is gone, its size is not: the ratio of low to high angle scatter stays."""
    run, codes = make_run(plt=300.0)
    rng = np.random.default_rng(5)
    ratio = rng.normal(0.0, 0.2, run.events)
    ratio[codes == 1] -= 1.8
    ratio[codes == 2] -= 2.2
    ghosts = np.flatnonzero(codes == 2)[:60]
    ratio[ghosts] += 2.2
    signals = run.signals.copy()
    signals[ghosts, 2] = signals[codes == 1, 2][:60]
    signals = np.column_stack([signals, np.exp(ratio), np.ones(run.events)]).astype(np.float32)
    run = Run(run.reference, signals, np.ones(5, np.float32))
    start = start_stage1(run, (*CHANNELS, "LA.A", "HA.A"), 0.0).argmax(axis=1)
    assert (start[ghosts] == 2).mean() > 0.95
    assert (start[codes == 1] == 1).mean() > 0.97
    by_dye = start_stage1(run, (*CHANNELS, "LA", "HA"), 0.0).argmax(axis=1)
    assert (by_dye[ghosts] == 2).mean() < 0.9


def test_the_widest_large_events_are_chance_doublets():
    run, codes = make_run(plt=300.0)
    red = (run.logs[:, 0] > np.log(0.4)).sum()
    per_event = 20 / red**2
    start = start_stage1(run, CHANNELS, per_event).argmax(axis=1)
    large = np.flatnonzero(codes == 3)
    widest = large[np.argsort(-run.logs[large, 1])[:20]]
    assert set(np.flatnonzero((start == 2) & (codes == 3))) == set(widest)


def test_the_widest_events_of_one_cells_size_hold_a_small_one_too():
    run, codes = make_run(plt=300.0)
    small = run.events - (run.logs[:, 0] > np.log(0.4)).sum()
    red = run.events - small
    window = 25 / (2 * red * small)
    signals = run.signals.copy()
    pairs = np.flatnonzero((codes == 0) & (np.abs(run.logs[:, 0]) < 0.3))[:25]
    signals[pairs, 1] *= np.float32(1.3)
    run = Run(run.reference, signals, run.peak)
    assert set(pairs_with_small(run, CHANNELS, window)) == set(pairs)
    start = start_stage1(run, CHANNELS, window).argmax(axis=1)
    np.testing.assert_array_equal(np.flatnonzero((start == 2) & (codes == 0)), np.sort(pairs))
    assert len(pairs_with_small(run, CHANNELS, 0.0)) == 0


def test_very_bright_large_events_are_white_cells():
    run, codes = make_run(plt=300.0)
    signals = run.signals.copy()
    signals[np.flatnonzero(codes == 3)[:5], 2] = 40.0
    start = start_stage1(Run(run.reference, signals, run.peak), CHANNELS, 0.0).argmax(axis=1)
    assert (start[codes == 3] == 2).sum() == 5


def test_the_brightest_single_cells_are_reticulocytes():
    run, codes = make_run(plt=300.0, retic=1.0)
    weight = np.ones(run.events, np.float32)
    several = holds_several(run.logs, CHANNELS)
    assert several[codes == 3].mean() > 0.9
    assert not several[codes != 3].any()
    start = start_stage2(run.logs, CHANNELS, weight, several, 80.0).argmax(axis=1)
    bright = np.flatnonzero(~several)[np.argsort(-run.logs[~several, 2])[:80]]
    assert set(np.flatnonzero(start == 1)) == set(bright)
    np.testing.assert_array_equal(start[several], 2)


def test_without_a_report_a_fixed_brightness_starts():
    run, _ = make_run()
    logs = np.minimum(run.logs, 1.0)
    logs[:7, 2] = np.log(5.0)
    several = np.zeros(len(logs), bool)
    start = start_stage2(logs, CHANNELS, np.ones(len(logs), np.float32), several, np.nan)
    np.testing.assert_array_equal(np.flatnonzero(start.argmax(axis=1) == 1), np.arange(7))


def test_chance_rate_is_that_of_the_runs_with_fewest_large_events():
    made = [make_run(clumps=c, seed=c) for c in (40, 40, 40, 400, 500)]
    runs = [run for run, _ in made]
    cohort = Cohort(tuple(runs), CHANNELS, ("p/1",), ("dog",), (), "0" * 64, simulated=True)
    assert chance_rate(cohort) == pytest.approx(40 / 8040**2, rel=0.15)


def test_only_events_of_the_size_of_one_red_cell_are_beyond_doubt():
    run, codes = make_run()
    sure = beyond_doubt(run, CHANNELS)
    assert sure[codes == 0].mean() > 0.95
    assert not sure[codes != 0].any()


def test_soft_probabilities_sum_to_one():
    soft = soften(np.array([0, 2, 1]))
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(soft.argmax(axis=1), [0, 2, 1])


def test_runs_in_which_two_cells_need_not_stand_out_say_nothing_of_the_chance_rate():
    """As goats, of which some would pass for runs with neither clumps nor doublets."""
    runs = [make_run(clumps=40, seed=k)[0] for k in range(14)]
    rng = np.random.default_rng(1)
    for k in range(6):
        run, codes = make_run(clumps=0, seed=k)
        signals = run.signals.copy()
        signals[codes == 0, 0] = np.exp(rng.normal(0, 0.3, (codes == 0).sum()))
        runs.append(Run(run.reference, signals, run.peak))
    cohort = Cohort(tuple(runs), CHANNELS, ("p/1",), ("dog",), (), "0" * 64, simulated=True)
    assert chance_rate(cohort) == pytest.approx(40 / 8040**2, rel=0.15)
