"""What a bundle must beat: rules and mixtures that learn nothing from a cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.records import CELL_CLASSES, CellCalls
from edge_daemon.training.scores import CLUMP, CLUMPS, OTHER, PLATELET, PURE, RETIC, RETICULOCYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.records import CellBatch

PLATELET_EXTINCTION: Final = (1.0, 16.0)
"""Extinction heights, µm², between which an event is a platelet; below is debris.

Fixed for all species, as an instrument set up once on dogs would have it (domain: dog platelets
near 2 µm², cat platelets near 7, goat red cells near 14, dog red cells near 57).
"""
RETICULOCYTE_DYE: Final = 3.0
"""A red cell brighter than this is a reticulocyte; a mature dog cell is 1."""

ANCHOR: Final = "EXT.A"
COMPONENTS: Final = 6
MIXTURE_EVENTS: Final = 6000
"""Events a mixture is fitted to; all are then called."""
# Limits of a component's mean, natural logarithm over the red-cell peak.
_SMALL, _TINY, _SEVERAL = np.log(0.45), np.log(0.02), np.log(1.5)
_BRIGHT, _WHITE = np.log(3.0), np.log(15.0)


class Threshold:
    """Fixed limits on extinction and dye."""

    name = "threshold"
    tells = frozenset({RETICULOCYTES})

    def classify(self, batch: CellBatch) -> CellCalls:
        """Call every event by its extinction height and dye height."""
        extinction = batch.signals[:, batch.channels.index("EXT.H")]
        low, high = PLATELET_EXTINCTION
        codes = np.full(batch.events, OTHER, dtype=np.uint8)
        codes[extinction >= low] = PLATELET
        codes[extinction >= high] = PURE
        if "FL.H" in batch.channels:
            dye = batch.signals[:, batch.channels.index("FL.H")]
            codes[(extinction >= high) & (dye > RETICULOCYTE_DYE)] = RETIC
        return CellCalls(np.eye(len(CELL_CLASSES), dtype=np.float32)[codes], codes)


class Mixture:
    """A Gaussian mixture fitted to each run, its components named by where they lie."""

    name = "mixture"
    tells = frozenset({RETICULOCYTES, CLUMPS})

    def classify(self, batch: CellBatch) -> CellCalls:
        """Fit the run's log signals over its red-cell peak, then name the components."""
        from sklearn.mixture import GaussianMixture  # noqa: PLC0415 - a box has none

        peak = red_cell_peak(batch.signals, batch.channels, ANCHOR)
        logs = np.log(np.maximum(batch.signals / peak, 1e-3)).astype(np.float64)
        step = -(-len(logs) // MIXTURE_EVENTS)
        mixture = GaussianMixture(
            COMPONENTS, reg_covar=1e-4, random_state=0, max_iter=100, tol=1e-2
        ).fit(logs[::step])
        shares = mixture.predict_proba(logs)
        names = [name_component(mean, batch.channels) for mean in mixture.means_]
        posterior = np.zeros((len(logs), len(CELL_CLASSES)), dtype=np.float32)
        for component, code in enumerate(names):
            posterior[:, code] += shares[:, component]
        posterior /= posterior.sum(axis=1, keepdims=True)
        return CellCalls(posterior, posterior.argmax(axis=1).astype(np.uint8))


def name_component(mean: NDArray[np.float64], channels: tuple[str, ...]) -> int:
    """Name a population by its mean log signals over the red-cell peak, ``(channels,)``."""
    size = mean[channels.index(ANCHOR)]
    dye = mean[channels.index("FL.A")] if "FL.A" in channels else 0.0
    if size < _SMALL:
        return OTHER if size < _TINY else PLATELET
    if dye > _WHITE:
        return OTHER
    if size > _SEVERAL:
        return CLUMP
    return RETIC if dye > _BRIGHT else PURE
