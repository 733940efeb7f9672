"""How far a finished bundle errs from run to run, learnt without truth.

What an analyzer reported differs from what the bundle found for three reasons: the analyzer's own
imprecision, counting, and the bundle. The first is taken as published, the second follows from the
counts, and what is left is the bundle's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from edge_daemon.classify.coincidence import passed
from edge_daemon.classify.manifest import Calibration, Uncertainty
from edge_daemon.classify.quantify import METERING_SD
from edge_daemon.classify.tally import PLATELET, RETIC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_daemon.classify.tally import Tally
    from edge_daemon.training.data import Reference

    Floats = NDArray[np.float64]

REFERENCE_SD: Final[Mapping[str, float]] = {"RBC": 0.02, "PLT": 0.06, "RETIC%": 0.12}
"""Relative SD of an analyzer's own values between runs, as published for veterinary analyzers."""
REFERENCE_CELLS: Final = 60_000
"""Red cells that an analyzer counts for its values (proposed); half for reticulocytes."""
MIN_COUNTED: Final = 20
"""Cells, here or there, below which a ratio says nothing but that they are few."""
CLUMP_SD: Final = 0.1
"""Relative SD of clumps between runs, which no reported value can check (proposed)."""
CLUMP_ODDS: Final = 1.0
CLUMPS_MISSED: Final = 0.002
"""SD of the log-odds of clumps, natural logarithm, and of the share of red-cell events that are
clumps taken for single cells (proposed): with them intervals of two bundles of simulated runs hold
truth in 95 and 96 %. No reported value can check it."""
PLATELET_FLOOR: Final = (0.02, 0.4)
"""Least relative SD and SD of log-odds of platelets. Simulated runs were off by 0.015 and 0.3 to
0.5; an analyzer that errs by 6 % itself cannot show so little in some hundred runs, and the fit
then says by chance that there is none."""
MIN_RETIC_PCT: Final = 0.5
"""Geometric mean of found and reported reticulocytes below which they are not compared: neither
alone may choose the runs, or its own errors upwards would be chosen with them."""
MIN_CALIBRATION: Final = 50
"""Runs below which values are not calibrated to the reported ones."""

_LARGEST = math.log(1.5)  # a bundle further off is not mended by a factor
_FEWEST_GROUPS = 3  # of which the spread of means can be estimated
_OUTLYING = 3.0  # robust statistics: a residual beyond so many SDs counts no more than one there
_RELATIVE: Final = np.array([0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2])
_ODDS: Final = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0])


class Residual(NamedTuple):
    """One run's found value against the reported one.

    Attributes
    ----------
    error
        Natural logarithm of found over reported.
    leverage
        Relative change of the found value per unit of error in the log-odds of its calls.
    known
        Relative variance from counting, mixture curvature and the analyzer.
    """

    error: float
    leverage: float
    known: float


def fit_doubt(residuals: Sequence[Residual]) -> tuple[float, float]:
    """Relative SD and SD of log-odds that make the residuals most likely.

    Parameters
    ----------
    residuals
        Of runs; without any, nothing is known and the relative SD is 1.

    Returns
    -------
    tuple
        Relative SD from run to run, SD of the error in log-odds.
    """
    if not residuals:
        return 1.0, 0.0
    relative, odds = (grid.ravel() for grid in np.meshgrid(_RELATIVE, _ODDS, indexing="ij"))
    variance, squared = _standardised(residuals, relative[:, None], odds[:, None])
    cost = (np.log(variance) + squared).sum(axis=1)
    # Of what fits about as well, the average: a best fit at zero would promise too much.
    weight = np.exp(-0.5 * (cost - cost.min()))
    weight /= weight.sum()
    return float(np.sqrt(weight @ relative**2)), float(np.sqrt(weight @ odds**2))


def _standardised(
    residuals: Sequence[Residual], relative: Floats, odds: Floats
) -> tuple[Floats, Floats]:
    """Give the variance expected of residuals, and their squares over it as far as they count."""
    error, leverage, known = np.array(residuals).T
    variance = known + relative**2 + (odds * leverage) ** 2
    return variance, np.minimum(error**2 / variance, _OUTLYING**2)


def _overfitted(residuals: Sequence[Residual], relative: float, odds: float) -> float:
    """How much further off than fitted these runs are in the mean, beyond chance; at least 1."""
    if not residuals:
        return 1.0
    _, squared = _standardised(residuals, np.array(relative), np.array(odds))
    return math.sqrt(max(1.0, float(squared.mean()) - math.sqrt(2.0 / len(residuals))))


def residuals(
    tally: Tally, found: Mapping[str, float | None], said: Reference
) -> dict[str, Residual]:
    """Compare one run's values with the reported ones, where those say enough.

    Analyzers count a clump of red cells once, so that is what their RBC is compared with.

    Parameters
    ----------
    tally
        What the found values rest on.
    found
        Values by measurement code.
    said
        The reported values.
    """
    compared: dict[str, Residual] = {}
    platelets, retics = tally.events[PLATELET], tally.events[RETIC]
    counted = {"RBC": REFERENCE_CELLS, "PLT": 0.0, "RETIC%": 0.0}
    if said.plt:
        counted["PLT"] = said.plt / (1000 * said.rbc) * REFERENCE_CELLS
    if said.retic_pct and said.retic_pct * (found.get("RETIC%") or 0.0) > MIN_RETIC_PCT**2:
        counted["RETIC%"] = said.retic_pct / 100 * REFERENCE_CELLS / 2
    reported = {"RBC": said.rbc, "PLT": said.plt, "RETIC%": said.retic_pct}
    particles = tally.red_events * passed(tally.crowding) / said.blood_ul / 1e6
    own = {
        "RBC": (particles, tally.red_events, tally.red_spread, tally.red_leverage),
        "PLT": (found.get("PLT"), platelets, tally.spread[PLATELET], tally.leverage[PLATELET]),
        "RETIC%": (found.get("RETIC%"), retics, tally.spread[RETIC], tally.leverage[RETIC]),
    }
    for code, (value, events, spread, leverage) in own.items():
        reference = reported[code]
        if not value or not reference or counted[code] < MIN_COUNTED or events < MIN_COUNTED:
            continue
        metering = 0.0 if code == "RETIC%" else METERING_SD**2
        known = (events + spread) / events**2 + 1 / counted[code]
        known += REFERENCE_SD[code] ** 2 + metering
        compared[code] = Residual(float(np.log(value / reference)), leverage / events, known)
    return compared


def platelet_precision(said: Reference, expected: float) -> float:
    """How surely a reported count says how many platelets were recorded.

    Parameters
    ----------
    said
        The reported values.
    expected
        Events that they predict, NaN where none was reported.

    Returns
    -------
    float
        One over the variance of its logarithm: the analyzer's imprecision, what it counted, and
        what was recorded; 0 where nothing is known.
    """
    if not said.plt or not expected > 0:
        return 0.0
    counted = said.plt / (1000 * said.rbc) * REFERENCE_CELLS
    return 1 / (REFERENCE_SD["PLT"] ** 2 + 1 / counted + 1 / expected)


def fit_factor(residuals: Sequence[Residual], analyzer: float) -> tuple[float, float]:
    """Find by what found values must be multiplied to agree with the reported ones in the mean.

    Parameters
    ----------
    residuals
        Of runs.
    analyzer
        Relative SD of a reported value. Its errors are even about the truth, those of its
        logarithm are low by half the variance.

    Returns
    -------
    tuple
        The factor and the relative SD with which it is known; 1 and 0 where there are fewer than
        `MIN_CALIBRATION` runs.
    """
    if len(residuals) < MIN_CALIBRATION:
        return 1.0, 0.0
    error, leverage, known = np.array(residuals).T
    centre = float(np.median(error))
    for _ in range(3):
        relative, odds = fit_doubt(_moved(residuals, -centre))
        sd = np.sqrt(known + relative**2 + (odds * leverage) ** 2)
        near = np.clip(error - centre, -_OUTLYING * sd, _OUTLYING * sd)
        centre += float((near / sd**2).sum() / (1 / sd**2).sum())
    log_factor = float(np.clip(analyzer**2 / 2 - centre, -_LARGEST, _LARGEST))
    return math.exp(log_factor), float(1 / np.sqrt((1 / sd**2).sum()))


def _moved(residuals: Sequence[Residual], by: float) -> list[Residual]:
    return [run._replace(error=run.error + by) for run in residuals]


def between_groups(
    residuals: Sequence[Residual], groups: Sequence[object], doubt: tuple[float, float]
) -> float:
    """Relative SD with which groups of runs are off as a whole, by the method of moments.

    What runs of a species have in common does not average out over its runs, as what each has by
    itself does: a few per cent, which a single run's residual hides, show in the means of species.

    Parameters
    ----------
    residuals
        Of runs.
    groups
        The species of each.
    doubt
        Relative SD and SD of log-odds of a run by itself (`fit_doubt`).
    """
    if len(residuals) < MIN_CALIBRATION:
        return 0.0
    error, _, _ = np.array(residuals).T
    variance, _ = _standardised(residuals, np.array(doubt[0]), np.array(doubt[1]))
    names = [name for name in set(groups) if name is not None]
    members = [np.array([group == name for group in groups]) for name in names]
    weight = np.array([(1 / variance[rows]).sum() for rows in members])
    means = np.array([np.average(error[rows], weights=1 / variance[rows]) for rows in members])
    if len(names) < _FEWEST_GROUPS:
        return 0.0
    centre = np.average(means, weights=weight)
    excess = float((weight * (means - centre) ** 2).sum()) - (len(names) - 1)
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    return math.sqrt(max(excess, 0.0) / scale)


def inherited(residuals: Sequence[Residual], groups: Sequence[object]) -> float:
    """Relative SD with which the reported values fix the mean of a species.

    Stage 1 is drawn to where a species is right in the mean of its runs (`network.common_loss`), so
    what the analyzer's errors leave of that mean is the network's own, and no residual shows it.

    Parameters
    ----------
    residuals
        Of runs.
    groups
        The species of each.

    Returns
    -------
    float
        Root of the mean variance over runs, each having that of its species.
    """
    if not residuals:
        return 0.0
    precision = 1 / np.array([run.known for run in residuals])
    of_mean = [
        1 / sum(p for p, other in zip(precision, groups, strict=True) if other == group)
        for group in groups
    ]
    return math.sqrt(float(np.mean(of_mean)))


class Learnt(NamedTuple):
    """What the reported values teach about the finished bundle."""

    uncertainty: Uncertainty
    calibration: Calibration


def learn_doubt(
    compared: Sequence[Mapping[str, Residual]],
    held: Sequence[Mapping[str, Residual]] = (),
    species: Sequence[object] = (),
) -> Learnt:
    """Learn the bundle's calibration and its own errors from what was reported.

    Parameters
    ----------
    compared
        `residuals` of the runs of training, found values as they are before calibration.
    held
        Of those among them that gave no gradient. Where they are further off than the others,
        the doubt is theirs.
    species
        Of each of `compared`.
    """
    factor, factor_sd = fit_factor(_of(compared, "RETIC%"), REFERENCE_SD["RETIC%"])
    fitted = {}
    for code in REFERENCE_SD:
        shift = math.log(factor) if code == "RETIC%" else 0.0
        runs = _moved(_of(compared, code), shift)
        found = fit_doubt(runs)
        groups = [s for run, s in zip(compared, species, strict=False) if code in run]
        common = between_groups(runs, groups, found) if groups else 0.0
        if code == "PLT" and groups:
            common = math.hypot(common, inherited(runs, groups))
        worse = _overfitted(_moved(_of(held, code), shift), *found)
        relative = max(worse * found[0], common)
        if code == "RETIC%":
            relative = math.hypot(relative, factor_sd)
        fitted[code] = min(relative, 1.0), worse * found[1]
    (rbc, rbc_odds), retic = fitted["RBC"], fitted["RETIC%"]
    platelet = [max(pair) for pair in zip(fitted["PLT"], PLATELET_FLOOR, strict=True)]
    uncertainty = Uncertainty(
        rbc=round(rbc, 4),
        platelet=round(platelet[0], 4),
        reticulocyte=round(retic[0], 4),
        clumped_rbc=CLUMP_SD,
        rbc_odds=round(rbc_odds, 3),
        platelet_odds=round(platelet[1], 3),
        reticulocyte_odds=round(retic[1], 3),
        clumped_rbc_odds=CLUMP_ODDS,
        clumped_rbc_missed=CLUMPS_MISSED,
    )
    return Learnt(uncertainty, Calibration(reticulocyte=round(factor, 4)))


def _of(compared: Sequence[Mapping[str, Residual]], code: str) -> list[Residual]:
    return [run[code] for run in compared if code in run]
