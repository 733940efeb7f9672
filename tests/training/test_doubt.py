import numpy as np
import pytest

from edge_daemon.classify.tally import Tally
from edge_daemon.training.data import Reference
from edge_daemon.training.doubt import (
    CLUMP_ODDS,
    CLUMP_SD,
    PLATELET_FLOOR,
    Residual,
    fit_doubt,
    fit_uncertainty,
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
    told = fit_uncertainty([])
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
    assert set(residuals(tally(), found, reference(plt=None, retic_pct=0.3))) == {"RBC"}
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
    alone, alike = fit_uncertainty(runs), fit_uncertainty(runs, held)
    assert alike.platelet == pytest.approx(alone.platelet, rel=0.1)
    spoilt = fit_uncertainty(runs, worse)
    assert spoilt.platelet > 1.5 * alone.platelet
    assert spoilt.platelet_odds > 1.5 * alone.platelet_odds


def test_platelets_are_never_doubted_less_than_an_analyzer_can_show():
    told = fit_uncertainty([{"PLT": row, "RETIC%": row} for row in made(0.0, 0.0)])
    assert (told.platelet, told.platelet_odds) == PLATELET_FLOOR
    assert told.reticulocyte_odds < PLATELET_FLOOR[1]


def test_clumps_that_nobody_reports_are_doubted_as_assumed():
    told = fit_uncertainty([{"PLT": row, "RETIC%": row} for row in made(0.15, 2.0)])
    assert (told.clumped_rbc, told.clumped_rbc_odds) == (CLUMP_SD, CLUMP_ODDS)
    assert told.platelet_odds > 1.0
