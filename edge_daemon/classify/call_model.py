"""The calls of one run as a function of one cell's signals.

`Classifier.classify` calls a whole run: it finds the red-cell peak and the run's own class
frequencies from all events. Explanations ask what a *single* other cell would have been called in
the same run, so both are held here as they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.priors import SETTLED, rule_out
from edge_daemon.classify.runtime import BATCH_ROWS, RED_FLOOR, adapt_stage1, adapt_stage2
from edge_daemon.classify.session import Stages
from edge_daemon.classify.strata import Strata
from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.records import CellBatch, CellCalls

LEAST: Final = 1e-6
"""Probabilities are taken as at least this: odds beyond a million to one are all "certain"."""

MAX_DIFFERING: Final = 1e-3
"""Share of events whose call may differ from the stored calls (ties that rounding decides)."""


class CallModel:
    """What any cell would have been called in one run.

    Parameters
    ----------
    batch
        The run.
    calls
        Its calls, by this bundle.
    bundle
        The bundle; its own graphs are run.

    Attributes
    ----------
    signals
        float32 ``(events, channels)`` of the run, in the bundle's channel order.
    codes
        uint8 ``(events,)``: calls of this model on the run.

    Raises
    ------
    EdgeError
        A channel is missing, or the calls were not made by this bundle on this run.
    Quarantine
        The run has no red-cell peak.
    ModelError
        The runtime failed.
    """

    def __init__(self, batch: CellBatch, calls: CellCalls, bundle: Bundle) -> None:
        self.channels = bundle.channels
        missing = [channel for channel in self.channels if channel not in batch.channels]
        if missing:
            raise EdgeError(
                f"the run has no channel {', '.join(missing)}, which model {bundle.id} needs",
                action="explain the run with the model that called it",
            )
        columns = [batch.channels.index(channel) for channel in self.channels]
        self.signals = batch.signals[:, columns]
        manifest = bundle.manifest
        self._peak = red_cell_peak(self.signals, self.channels, manifest.input.anchor)
        self._stages = Stages(bundle.stage1, bundle.stage2, str(bundle.path))
        self._priors2 = np.array(manifest.stage2.priors)
        self._strata = Strata.of(self.channels, manifest.input.anchor)
        self._weights1, self._weights2 = self._run_weights(bundle, batch.sample.volume_ul)
        self.codes = self.posterior(self.signals).argmax(axis=1).astype(np.uint8)
        differing = _differing(self.codes, calls.codes)
        if differing > MAX_DIFFERING * len(self.codes):
            raise EdgeError(
                f"model {bundle.id} calls {differing} of {len(self.codes)} events otherwise than "
                "the calls that are to be explained",
                action="explain the calls with the bundle that made them",
            )

    def _run_weights(
        self, bundle: Bundle, volume_ul: float | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Find the run's class frequencies over those of training, for both stages."""
        stage1, stage2 = self._run(self.signals)
        stage1, shift1 = adapt_stage1(bundle, stage1, self.signals, self._peak, volume_ul)
        _, shift2 = adapt_stage2(bundle, stage2, stage1[:, 0])
        return shift1, shift2

    def posterior(self, signals: NDArray[np.float32]) -> NDArray[np.float64]:
        """Posterior of cells of this run.

        Parameters
        ----------
        signals
            float32 ``(cells, channels)``.

        Returns
        -------
        NDArray
            float64 ``(cells, 5)`` in the order of `CELL_CLASSES`; rows sum to 1.
        """
        several = len(self._weights1) > 1
        weights1 = self._weights1[self._strata.split(signals, self._peak) if several else 0]
        raw1, raw2 = self._run(signals)
        if several:
            raw1 = rule_out(raw1, self._strata.possible(signals, self._peak))
        stage1 = _weigh(raw1, weights1)
        stage2 = _weigh(raw2, self._weights2)
        stage2[stage1[:, 0] <= RED_FLOOR] = self._priors2
        posterior = np.empty((len(signals), len(CELL_CLASSES)))
        posterior[:, :3] = stage1[:, :1] * stage2
        posterior[:, 3:] = stage1[:, 1:]
        posterior /= posterior.sum(axis=1, keepdims=True)
        return posterior

    def log_odds(self, signals: NDArray[np.float32], code: int) -> NDArray[np.float64]:
        """Natural logarithm of p / (1 - p) of one class, within ±log(1 / `LEAST`)."""
        posterior = self.posterior(signals)
        others = np.delete(posterior, code, axis=1).sum(axis=1)
        odds: NDArray[np.float64] = np.log(np.maximum(posterior[:, code], LEAST)) - np.log(
            np.maximum(others, LEAST)
        )
        return odds

    def _run(self, signals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Posteriors of both stages, ``(2, cells, 3)``."""
        both = np.empty((2, len(signals), 3), dtype=np.float32)
        for start in range(0, len(signals), BATCH_ROWS):
            rows = slice(start, start + BATCH_ROWS)
            both[:, rows] = self._stages.posteriors(signals[rows], self._peak)
        return both


def _weigh(posterior: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift single cells to the run's class frequencies exactly as `reestimate` shifted the run."""
    result = posterior.astype(np.float64)
    open_rows = posterior.max(axis=1) < SETTLED
    result[open_rows] *= weights if weights.ndim == 1 else weights[open_rows]
    result /= result.sum(axis=1, keepdims=True)
    return result


def _differing(found: NDArray[np.uint8], called: NDArray[np.uint8]) -> int:
    if found.shape != called.shape:
        return max(len(found), len(called))
    return int((found != called).sum())
