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
_SLOWEST = 0.95  # by which steps are taken to shrink at least


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
    columns = rule_out(posterior, strata.possible(signals, peak)).T
    stratum = strata.split(signals, peak)
    number = expected_doublets(strata.red_events(signals, peak), *coincidence)
    shift = np.ones(training_priors.shape)
    # Nearly all events are of the first stratum: only those of the others are picked out.
    first = (stratum == 0).astype(np.float32)
    adapted, shift[0] = _adapt(columns, first, training_priors[0], None)
    for index, priors in enumerate(training_priors[1:], start=1):
        here = np.flatnonzero(stratum == index)
        known = None
        if index == LARGE and number is not None:
            known = Expected.doublets(number, len(here))
        own, shift[index] = _adapt(columns.take(here, axis=1), None, priors, known)
        put_rows(adapted.T, here, own.T)
    return adapted.T, shift


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
    adapted, shift = _adapt(np.ascontiguousarray(posterior.T), weight, training_priors, known)
    return adapted.T, training_priors * shift


def _adapt(
    columns: Singles, weight: Singles | None, priors: Reals, known: Expected | None
) -> tuple[Singles, Reals]:
    """Adapt posteriors ``(classes, events)``; also how much commoner each class is."""
    light = np.ones(columns.shape[1], dtype=np.float32) if weight is None else weight
    total = (columns * light).sum(axis=1, dtype=np.float64)
    if total.sum() <= 0:
        return columns, np.ones(len(priors))
    most = columns.max(axis=0)
    moved = np.flatnonzero(most < SETTLED)
    found = _frequencies(columns.take(moved, axis=1), light.take(moved), total, priors, known)
    shift = found / priors
    # By arithmetic, 1 for what is settled: ten times as fast as leaving out some events.
    settled = (most >= SETTLED).astype(np.float32)
    shifted = shift.astype(np.float32)[:, None] * (1 - settled)
    shifted += settled
    shifted *= columns
    shifted /= shifted.sum(axis=0)
    return shifted, shift


def _frequencies(
    uncertain: Singles,
    light: Singles,
    total: Reals,
    training_priors: Reals,
    known: Expected | None,
) -> Reals:
    """Find the frequencies that explain the events best.

    Parameters
    ----------
    uncertain
        float32 ``(classes, open events)``: posteriors that a shift moves.
    light
        float32 ``(open events,)``: weights.
    total
        float64 ``(classes,)``: weighted posteriors of all events, settled ones included.
    training_priors, known
        As in `reestimate`.
    """
    events = float(total.sum())
    settled = total - (uncertain * light).sum(axis=1, dtype=np.float64)
    bounded = _Bounds.of(training_priors).apply
    counted = total / events
    priors = bounded(known.pull(counted, events) if known else counted)
    before: Reals | None = None
    for _ in range(_ITERATIONS):
        rise = (priors / training_priors).astype(np.float32)
        # What all classes of an event come to together; its share of each follows from it.
        counted = (settled + rise * (uncertain @ (light / (rise @ uncertain)))) / events
        updated = bounded(known.pull(counted, events) if known else counted)
        step = updated - priors
        priors = updated
        if float(np.abs(step).max()) < _TOLERANCE:
            break
        if before is None:
            before = step
            continue
        # Steps shrink by about the same factor each time: go at once where they would end.
        shrink = min(max(float(before @ step) / float(before @ before), 0.0), _SLOWEST)
        ahead = updated + step * (shrink / (1.0 - shrink))
        if (ahead > 0.0).all():
            priors = ahead
        before = None
    return priors


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
