"""Re-estimate a run's own class frequencies (prior shift).

A model learns the class frequencies of its training cohort; a thrombocytopenic patient has
others. Expectation-maximisation over the run's posteriors finds the frequencies that explain
them best (Saerens, Latinne and Decaestecker 2002) and re-weights every event accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.columns import put_rows
from edge_daemon.classify.strata import LARGE, Strata, expected_doublets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Singles = NDArray[np.float32]
    Reals = NDArray[np.float64]

OTHER: Final = 2
"""Column of stage 1 that chance doublets belong to."""

DOUBLET_SD: Final = 0.05
"""Relative SD of the expected chance doublets beyond their counting noise (proposed)."""

MAX_RISE: Final = 30.0
"""How much commoner than in training, relative to the commonest class, a class may get.

No cell class of blood is more than this much commoner than usual; beyond it the re-estimate
chases errors of the model.
"""
MAX_FALL: Final = 1000.0
"""How much rarer: ruminants have practically no reticulocytes."""
NEVER: Final = 1e-4
"""Frequency in training below which a class gets no commoner: there were none to learn from."""
RULED_FLOOR: Final = 1e-6
"""Least posterior of a class that the size of an event allows, when others are ruled out."""

SETTLED: Final = 0.9999
"""Posterior from which no admissible shift moves an event noticeably: it stays as it is."""

_ITERATIONS = 60
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of one class's frequency before the cells are seen: a beta distribution.

    Attributes
    ----------
    column
        The class.
    share
        Its expected share of the events.
    strength
        Events that this knowledge is worth.
    """

    column: int
    share: float
    strength: float

    @classmethod
    def doublets(cls, number: float, events: int) -> Expected:
        """Chance doublets among the large events; their number is Poisson about what is known."""
        share = min(max(number / max(events, 1), 1e-4), 0.97)
        variance = 1 / max(number, 1.0) + DOUBLET_SD**2
        return cls(OTHER, share, max((1 - share) / (share * variance) - 1, 0.0))

    def pull(self, priors: NDArray[np.float64], events: float) -> NDArray[np.float64]:
        """Draw the class's frequency, as counted, towards what was known."""
        counted = priors[self.column]
        wanted = (counted * events + self.share * self.strength) / (events + self.strength)
        pulled: NDArray[np.float64] = priors * ((1 - wanted) / max(1 - counted, 1e-12))
        pulled[self.column] = wanted
        return pulled


def reestimate_strata(
    posterior: NDArray[np.float32],
    signals: NDArray[np.float32],
    peak: NDArray[np.float32],
    strata: Strata,
    training_priors: NDArray[np.float64],
    coincidence: tuple[float | None, float],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Adapt stage 1 to the run, each stratum by itself.

    Parameters
    ----------
    posterior
        float32 ``(events, classes)`` under the training priors.
    signals, peak
        float32 ``(events, channels)`` and ``(channels,)``.
    strata
        How the events divide.
    training_priors
        float64 ``(strata, classes)``.
    coincidence
        Metered volume and coincidence window, µL of diluted sample.

    Returns
    -------
    tuple
        The adapted posterior and, ``(strata, classes)``, how much commoner each class is than in
        training.
    """
    columns = np.ascontiguousarray(rule_out(posterior, strata.possible(signals, peak)).T)
    stratum = strata.split(signals, peak)
    number = expected_doublets(strata.red_events(signals, peak), *coincidence)
    totals = _totals(columns, stratum, len(training_priors))
    open_rows = _open_rows(columns)
    uncertain, light = columns.take(open_rows, axis=1), stratum.take(open_rows)
    shift = np.ones(training_priors.shape)
    for index, priors in enumerate(training_priors):
        events = round(totals[index].sum())
        if not events:
            continue
        known = None
        if index == LARGE and number is not None:
            known = Expected.doublets(number, events)
        here = np.flatnonzero(light == index)
        own = uncertain.take(here, axis=1)
        found = _frequencies(own, None, totals[index], priors, known)
        shift[index] = found / priors
        put_rows(uncertain.T, here, _shifted(own, shift[index]).T)
    put_rows(columns.T, open_rows, uncertain.T)
    return columns.T, shift


def _totals(columns: Singles, stratum: NDArray[np.uint8], strata: int) -> Reals:
    """Sum the classes ``(strata, classes)``; only the rare strata are picked out."""
    totals = np.zeros((strata, len(columns)))
    totals[0] = columns.sum(axis=1, dtype=np.float64)
    for index in range(1, strata):
        totals[index] = columns.take(np.flatnonzero(stratum == index), axis=1).sum(
            axis=1, dtype=np.float64
        )
        totals[0] -= totals[index]
    return totals


def _open_rows(columns: Singles) -> NDArray[np.intp]:
    """Events that an admissible shift moves."""
    return np.flatnonzero(columns.max(axis=0) < SETTLED)


def rule_out(posterior: NDArray[np.float32], possible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Share the posterior of impossible classes out among the possible ones.

    Parameters
    ----------
    posterior
        float32 ``(events, classes)``.
    possible
        bool ``(events, classes)``, one in every row at least.

    Returns
    -------
    NDArray
        float32 ``(events, classes)``, rows sum to 1.
    """
    kept: NDArray[np.float32] = posterior + np.float32(RULED_FLOOR)
    kept *= possible
    kept /= kept.sum(axis=1, keepdims=True)
    return kept


def reestimate(
    posterior: NDArray[np.float32],
    training_priors: NDArray[np.float64],
    known: Expected | None = None,
    weight: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Adapt posteriors to the run's own class frequencies.

    Parameters
    ----------
    posterior
        float32 ``(events, classes)`` under the training priors; rows sum to 1.
    training_priors
        float64 ``(classes,)``, all positive.
    known
        What is known of one class's frequency beforehand.
    weight
        float32 ``(events,)``: probability that each event is of these classes at all; without it
        all are. A chance doublet that is a red cell with a chance of one in a hundred must not
        count as a whole clump.

    Returns
    -------
    tuple
        The adapted posterior (same shape, rows sum to 1) and the frequencies found.
    """
    columns = np.array(posterior.T, order="C")
    weighted = columns if weight is None else columns * weight
    total = weighted.sum(axis=1, dtype=np.float64)
    if total.sum() <= 0:
        return posterior, training_priors
    open_rows = _open_rows(columns)
    uncertain = columns.take(open_rows, axis=1)
    light = None if weight is None else weight.take(open_rows)
    priors = _frequencies(uncertain, light, total, training_priors, known)
    put_rows(columns.T, open_rows, _shifted(uncertain, priors / training_priors).T)
    return columns.T, priors


def _frequencies(
    uncertain: Singles,
    weight: Singles | None,
    total: Reals,
    training_priors: Reals,
    known: Expected | None,
) -> Reals:
    """Find the frequencies that explain the events best.

    Parameters
    ----------
    uncertain
        float32 ``(classes, open events)``: posteriors that a shift moves.
    weight
        float32 ``(open events,)``, or None for 1 each.
    total
        float64 ``(classes,)``: weighted posteriors of all events, settled ones included.
    training_priors, known
        As in `reestimate`.
    """
    events = float(total.sum())
    light = np.ones(uncertain.shape[1], dtype=np.float32) if weight is None else weight
    settled = total - (uncertain * light).sum(axis=1, dtype=np.float64)
    bounded = _Bounds.of(training_priors).apply
    counted = total / events
    priors = bounded(known.pull(counted, events) if known else counted)
    for _ in range(_ITERATIONS):
        rise = (priors / training_priors).astype(np.float32)
        # What all classes of an event come to together; its share of each follows from it.
        counted = (settled + rise * (uncertain @ (light / (rise @ uncertain)))) / events
        updated = bounded(known.pull(counted, events) if known else counted)
        change = float(np.abs(updated - priors).max())
        priors = updated
        if change < _TOLERANCE:
            break
    return priors


def _shifted(uncertain: Singles, shift: Reals) -> Singles:
    """Posteriors ``(classes, events)`` where each class is so many times as common."""
    shifted: Singles = uncertain * shift.astype(np.float32)[:, None]
    shifted /= shifted.sum(axis=0)
    return shifted


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How far frequencies may move from those of training."""

    training: Reals
    common: int
    rise: Reals

    @classmethod
    def of(cls, training: Reals) -> _Bounds:
        rise = np.where(training < NEVER, 1.0, MAX_RISE)
        return cls(training, int(np.argmax(training)), rise)

    def apply(self, priors: Reals) -> Reals:
        shift = priors / self.training
        shift = np.minimum(
            np.maximum(shift / max(shift[self.common], 1e-12), 1 / MAX_FALL), self.rise
        )
        bounded: Reals = self.training * shift
        bounded /= bounded.sum()
        return bounded
