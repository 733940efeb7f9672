"""Re-estimate a run's own class frequencies (prior shift).

A model learns the class frequencies of its training cohort; a thrombocytopenic patient has
others. Expectation-maximisation over the run's posteriors finds the frequencies that explain
them best (Saerens, Latinne and Decaestecker 2002) and re-weights every event accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.columns import put_rows, rows_of
from edge_daemon.classify.strata import LARGE, Strata, expected_doublets

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    posterior = rule_out(posterior, strata.possible(signals, peak))
    stratum = strata.split(signals, peak)
    number = expected_doublets(strata.red_events(signals, peak), *coincidence)
    result = np.empty(posterior.shape[::-1], dtype=np.float32).T
    shift = np.ones(training_priors.shape)
    for index, priors in enumerate(training_priors):
        rows = np.flatnonzero(stratum == index)
        if not len(rows):
            continue
        known = None
        if index == LARGE and number is not None:
            known = Expected.doublets(number, len(rows))
        adapted, found = reestimate(rows_of(posterior, rows), priors, known)
        put_rows(result, rows, adapted)
        shift[index] = found / priors
    return result, shift


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
    if weight is None:
        weight = np.ones(len(posterior), dtype=np.float32)
    heavy = weight.astype(np.float64)
    events = float(heavy.sum())
    if events <= 0:
        return posterior, training_priors
    open_rows = np.flatnonzero(posterior.max(axis=1) < SETTLED)
    uncertain = posterior.T.take(open_rows, axis=1)
    total = posterior.T.astype(np.float64) @ heavy
    settled = total - uncertain.astype(np.float64) @ heavy.take(open_rows)
    light = weight.take(open_rows)
    counted = total / events
    priors = _bounded(known.pull(counted, events) if known else counted, training_priors)
    for _ in range(_ITERATIONS):
        rise = (priors / training_priors).astype(np.float32)
        # What all classes of an event come to together; its share of each follows from it.
        counted = (settled + rise * (uncertain @ (light / (rise @ uncertain)))) / events
        updated = _bounded(known.pull(counted, events) if known else counted, training_priors)
        change = float(np.abs(updated - priors).max())
        priors = updated
        if change < _TOLERANCE:
            break
    uncertain *= (priors / training_priors).astype(np.float32)[:, None]
    uncertain /= uncertain.sum(axis=0)
    result = np.array(posterior.T, order="C").T
    put_rows(result, open_rows, uncertain.T)
    return result, priors


def _bounded(
    priors: NDArray[np.float64], training_priors: NDArray[np.float64]
) -> NDArray[np.float64]:
    common = int(np.argmax(training_priors))
    shift = priors / training_priors
    rise = np.where(training_priors < NEVER, 1.0, MAX_RISE)
    shift = np.clip(shift / max(shift[common], 1e-12), 1 / MAX_FALL, rise)
    bounded = training_priors * shift
    result: NDArray[np.float64] = bounded / bounded.sum()
    return result
