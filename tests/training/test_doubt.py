import numpy as np
import pytest

from edge_daemon.classify.tally import Tally
from edge_daemon.training.data import Reference
from edge_daemon.training.doubt import (
    CLUMP_ODDS,
    CLUMP_SD,
    CLUMPS_MISSED,
    PLATELET_FLOOR,
    REFERENCE_SD,
    Residual,
    between_groups,
    fit_doubt,
    fit_factor,
    inherited,
    learn_doubt,
    platelet_precision,
    residuals,
)


def made(relative, odds, *, number=400, analyzer=0.06, seed=1):
    """Residuals of runs whose own error and whose analyzer's imprecision are known."""
    rng = np.random.default_rng(seed)
    leverage = np.exp(rng.uniform(np.log(0.01), np.log(0.4), number))
    known = np.full(number, analyzer**2)
    own = relative * rng.standard_normal(number) + odds * leverage * rng.standard_normal(number)
    error = own + analyzer * rng.standard_normal(number)
    return [Residual(*row) for row in zip(error, leverage, known, strict=True)]


@pytest.mark.parametrize(("relative", "odds"), [(0.0, 0.6), (0.05, 0.0), (0.05, 0.8), (0.15, 0.3)])
def test_the_bundles_own_error_is_told_from_the_analyzers(relative, odds):
    found = fit_doubt(made(relative, odds))
    assert found[0] == pytest.approx(relative, abs=0.02)
    assert found[1] == pytest.approx(odds, abs=0.25)


def test_a_bundle_better_than_its_analyzer_is_not_charged_with_the_analyzers_error():
    relative, odds = fit_doubt(made(0.0, 0.0, analyzer=0.12))
    assert relative < 0.03
    assert odds < 0.3


def test_single_runs_far_off_do_not_widen_every_interval():
    rows = made(0.03, 0.5)
    spoilt = [Residual(2.0, r.leverage, r.known) if i % 50 == 0 else r for i, r in enumerate(rows)]
    before, after = fit_doubt(rows), fit_doubt(spoilt)
    assert after[0] < 1.5 * before[0] + 0.03


def test_without_any_reported_value_nothing_is_promised():
    assert fit_doubt([]) == (1.0, 0.0)
    told, calibration = learn_doubt([])
    assert calibration.reticulocyte == 1.0
    assert told.rbc == told.platelet == told.reticulocyte == 1.0


def tally(clumps=0.0):
    return Tally(
        events=(18000.0, 200.0, clumps, 800.0, 400.0),
        spread=(0.0, 10.0, 5.0, 20.0, 5.0),
        leverage=(50.0, 20.0, 10.0, 40.0, 30.0),
        red_events=18500.0,
        red_spread=10.0,
        red_leverage=90.0,
        crowding=0.013,
        company=0.014,
        extra_cells=0.5 * clumps,
        extra_leverage=0.1 * clumps,
    )


def reference(**said):
    values = {"rbc": 7.0, "plt": 300.0, "retic_pct": 1.0} | said
    return Reference("a.fcs", "dog", **values, dilution=1000.0, volume_ul=2.5)


def test_what_was_not_reported_or_says_too_little_is_not_compared():
    found = {"RBC": 7.1, "PLT": 310.0, "RETIC%": 1.1}
    compared = residuals(tally(), found, reference())
    assert compared["PLT"].error == pytest.approx(np.log(310 / 300))
    assert compared["PLT"].leverage == pytest.approx(0.05)
    assert compared["PLT"].known > 0.06**2 + 1 / 800
    assert set(residuals(tally(), found, reference(plt=None, retic_pct=0.2))) == {"RBC"}
    assert "PLT" not in residuals(tally(), found, reference(plt=0.01))


def test_red_cells_are_compared_as_analyzers_count_them_a_clump_once():
    found = {"RBC": 9.9, "PLT": None, "RETIC%": None}
    compared = residuals(tally(clumps=900.0), found, reference())
    particles = 18500 * np.exp(0.013) / 2.5 * 1000 / 1e6
    assert compared["RBC"].error == pytest.approx(np.log(particles / 7.0))
    assert compared["RBC"].leverage == pytest.approx(90 / 18500)


def test_runs_that_gave_no_gradient_widen_the_doubt_where_they_are_further_off():
    """As of networks that learnt the reported values of their own runs by heart."""
    runs = [{"PLT": row} for row in made(0.05, 0.5)]
    held = [{"PLT": row} for row in made(0.05, 0.5, number=100, seed=2)]
    worse = [{"PLT": row._replace(error=2 * row.error)} for row in made(0.05, 0.5, seed=3)]
    alone, alike = (learn_doubt(*given).uncertainty for given in ((runs,), (runs, held)))
    assert alike.platelet == pytest.approx(alone.platelet, rel=0.1)
    spoilt = learn_doubt(runs, worse).uncertainty
    assert spoilt.platelet > 1.5 * alone.platelet
    assert spoilt.platelet_odds > 1.5 * alone.platelet_odds


def test_platelets_are_never_doubted_less_than_an_analyzer_can_show():
    told = learn_doubt([{"PLT": row, "RETIC%": row} for row in made(0.0, 0.0)]).uncertainty
    assert (told.platelet, told.platelet_odds) == PLATELET_FLOOR
    assert told.reticulocyte_odds < PLATELET_FLOOR[1]


def test_the_mean_of_a_species_is_known_as_surely_as_its_runs_are_many():
    runs = [Residual(0.0, 0.1, 0.06**2)] * 110
    many, few = ["dog"] * 100 + ["goat"] * 10, ["dog"] * 100 + [str(k) for k in range(10)]
    assert inherited(runs[:100], many[:100]) == pytest.approx(0.006)
    mean = np.sqrt((100 * 0.06**2 / 100 + 10 * 0.06**2 / 10) / 110)
    assert inherited(runs, many) == pytest.approx(mean)
    assert inherited(runs, few) > inherited(runs, many)
    assert inherited([], []) == 0.0


def test_platelets_of_few_runs_of_each_species_are_doubted_more():
    """No residual shows the error of the analyzer's means, which training has followed."""
    rows = [{"PLT": row} for row in made(0.0, 0.0, number=90)]
    kinds = [str(k % 30) for k in range(90)]
    assert learn_doubt(rows, (), kinds).uncertainty.platelet > 0.03
    assert learn_doubt(rows, (), ["dog"] * 90).uncertainty.platelet == PLATELET_FLOOR[0]


def test_a_reported_count_says_less_where_few_cells_were_counted():
    many = platelet_precision(reference(plt=300.0), 800.0)
    assert many == pytest.approx(1 / (0.06**2 + 1 / (300 / 7000 * 60_000) + 1 / 800))
    assert platelet_precision(reference(plt=10.0), 30.0) < many / 5
    assert platelet_precision(reference(plt=None), float("nan")) == 0.0


def test_clumps_that_nobody_reports_are_doubted_as_assumed():
    told = learn_doubt([{"PLT": row, "RETIC%": row} for row in made(0.15, 2.0)]).uncertainty
    assert (told.clumped_rbc, told.clumped_rbc_odds) == (CLUMP_SD, CLUMP_ODDS)
    assert told.clumped_rbc_missed == CLUMPS_MISSED
    assert told.platelet_odds > 1.0


def reported(recall, *, number=300, analyzer=0.12, seed=4):
    """Residuals of runs that find a part of the reticulocytes, as `residuals` gives them."""
    rng = np.random.default_rng(seed)
    found = recall * (1 + 0.05 * rng.standard_normal(number))
    said = 1 + analyzer * rng.standard_normal(number)
    return [Residual(float(e), 0.05, analyzer**2 + 1e-3) for e in np.log(found / said)]


@pytest.mark.parametrize("recall", [0.85, 1.0, 1.1])
def test_what_is_found_short_in_every_run_is_made_up_for(recall):
    factor, sd = fit_factor(reported(recall), REFERENCE_SD["RETIC%"])
    assert sd == pytest.approx(0.13 / np.sqrt(300), rel=0.3)
    assert factor == pytest.approx(1 / recall, abs=3 * sd)


def test_an_analyzers_errors_even_about_the_truth_are_no_error_of_the_bundle():
    """The mean logarithm of its values is low by half their variance: 0.7 %."""
    factor, sd = fit_factor(reported(1.0, number=40_000), REFERENCE_SD["RETIC%"])
    assert sd < 0.001
    assert factor == pytest.approx(1.0, abs=0.003)


def test_few_runs_calibrate_nothing():
    assert fit_factor(reported(0.5, number=49), 0.12) == (1.0, 0.0)


def test_runs_far_off_do_not_move_the_calibration():
    runs = reported(0.9)
    spoilt = [r._replace(error=-3.0) if i % 30 == 0 else r for i, r in enumerate(runs)]
    assert fit_factor(spoilt, 0.12)[0] == pytest.approx(fit_factor(runs, 0.12)[0], rel=0.02)


def test_doubt_is_that_of_calibrated_values():
    runs = [{"RETIC%": row} for row in reported(0.8)]
    learnt = learn_doubt(runs)
    assert learnt.calibration.reticulocyte == pytest.approx(1.25, abs=0.03)
    assert learnt.uncertainty.reticulocyte < 0.08


def grouped(spread, seed=6):
    """Platelets of nine species, each off by a few per cent in all its runs."""
    rng = np.random.default_rng(seed)
    names = [str(index % 9) for index in range(450)]
    offset = dict(zip(map(str, range(9)), spread * rng.standard_normal(9), strict=True))
    rows = made(0.0, 0.0, number=450, seed=seed)
    return [r._replace(error=r.error + offset[n]) for r, n in zip(rows, names, strict=True)], names


def test_what_species_have_in_common_widens_the_interval():
    """Six per cent of an analyzer hide it in every run; the means of species do not."""
    found = [between_groups(*grouped(0.04, seed), (0.0, 0.1)) for seed in range(20)]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(0.04, rel=0.25)
    none = [between_groups(*grouped(0.0, seed), (0.0, 0.1)) for seed in range(20)]
    assert np.median(none) < 0.006
    rows, names = grouped(0.08)
    runs = [{"PLT": row} for row in rows]
    assert learn_doubt(runs, species=names).uncertainty.platelet > 0.04


def test_too_few_groups_say_nothing_of_their_spread():
    rows, names = grouped(0.08)
    assert between_groups(rows, [n < "4" for n in names], (0.0, 0.1)) == 0.0
    assert between_groups(rows, [None] * len(rows), (0.0, 0.1)) == 0.0
    assert between_groups(rows[:49], names[:49], (0.0, 0.1)) == 0.0
