"""Re-estimate a run's own class frequencies (prior shift).

A model learns the class frequencies of its training cohort; a thrombocytopenic patient has
others. Expectation-maximisation over the run's posteriors finds the frequencies that explain
them best (Saerens, Latinne and Decaestecker 2002) and re-weights every event accordingly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_RISE: Final = 30.0
"""How much commoner than in training, relative to the commonest class, a class may get.

No cell class of blood is more than this much commoner than usual; beyond it the re-estimate
chases errors of the model.
"""
MAX_FALL: Final = 1000.0
"""How much rarer: ruminants have practically no reticulocytes."""

_ITERATIONS = 60
_TOLERANCE = 1e-6
_CERTAIN = 0.999  # above this, no admissible shift moves an event's mass noticeably


def reestimate(
    posterior: NDArray[np.float32], training_priors: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Adapt posteriors to the run's own class frequencies.

    Parameters
    ----------
    posterior
        float32 ``(events, classes)`` under the training priors; rows sum to 1.
    training_priors
        float64 ``(classes,)``, all positive.

    Returns
    -------
    tuple
        The adapted posterior (same shape, rows sum to 1) and the frequencies found.
    """
    events = len(posterior)
    if events == 0:
        return posterior, training_priors
    open_rows = np.flatnonzero(posterior.max(axis=1) < _CERTAIN)
    # One contiguous row a class: the inner loop then runs over events, not over three classes.
    uncertain = np.ascontiguousarray(posterior[open_rows].T)
    settled = posterior.sum(axis=0, dtype=np.float64) - uncertain.sum(axis=1, dtype=np.float64)
    priors = _bounded(posterior.mean(axis=0, dtype=np.float64), training_priors)
    adapted = uncertain
    for _ in range(_ITERATIONS):
        adapted = uncertain * (priors / training_priors).astype(np.float32)[:, None]
        adapted /= adapted.sum(axis=0)
        found = adapted.sum(axis=1, dtype=np.float64)
        updated = _bounded((settled + found) / events, training_priors)
        change = float(np.abs(updated - priors).max())
        priors = updated
        if change < _TOLERANCE:
            break
    result = posterior.copy()
    result[open_rows] = adapted.T
    return result, priors


def _bounded(
    priors: NDArray[np.float64], training_priors: NDArray[np.float64]
) -> NDArray[np.float64]:
    common = int(np.argmax(training_priors))
    shift = priors / training_priors
    shift = np.clip(shift / max(shift[common], 1e-12), 1 / MAX_FALL, MAX_RISE)
    bounded = training_priors * shift
    result: NDArray[np.float64] = bounded / bounded.sum()
    return result
