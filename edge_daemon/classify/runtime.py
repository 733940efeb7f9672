"""Classify a run's cells with a bundle's two graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.columns import called, channels_of, put_rows, rows_of
from edge_daemon.classify.priors import reestimate, reestimate_strata
from edge_daemon.classify.session import ModelError, StageSession
from edge_daemon.classify.strata import Strata
from edge_daemon.errors import Quarantine
from edge_daemon.records import CELL_CLASSES, CellCalls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.records import CellBatch

BATCH_ROWS: Final = 8192
"""Rows a graph sees at once: what lies between its nodes then stays in the second-level cache."""

RED_FLOOR: Final = 1e-3
"""Red-cell posterior below which stage 2 is not asked; its priors share out the remainder."""

_ROW_SUM_TOLERANCE = 1e-3


class Classifier:
    """Both stages of one bundle, ready to run.

    Parameters
    ----------
    bundle
        A verified bundle.

    Raises
    ------
    ModelError
        The runtime cannot open a graph (a verified bundle opens).
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._stage1 = StageSession(bundle.stage1, f"{bundle.path}/stage1.onnx")
        self._stage2 = StageSession(bundle.stage2, f"{bundle.path}/stage2.onnx")
        self._priors2 = np.array(bundle.manifest.stage2.priors)

    def classify(self, batch: CellBatch) -> CellCalls:
        """Call every event of one run.

        Parameters
        ----------
        batch
            One whole run: its red-cell peak and class frequencies are estimated from it.

        Returns
        -------
        CellCalls
            Five-column posterior, rows summing to 1, and the called classes.

        Raises
        ------
        Quarantine
            ``not_classified``: a channel is missing, a signal is not finite, there is no red-cell
            peak, or a graph's output failed its checks.
        """
        signals = self._inputs(batch)
        peak = red_cell_peak(signals, self._bundle.channels, self._bundle.manifest.input.anchor)
        stage1 = self._run(self._stage1, signals, peak)
        stage1, _ = adapt_stage1(self._bundle, stage1, signals, peak, batch.sample.volume_ul)
        red = np.flatnonzero(stage1[:, 0] > RED_FLOOR)
        stage2 = self._run(self._stage2, signals, peak, red)
        stage2, _ = reestimate(stage2, self._priors2, weight=stage1[:, 0].take(red))
        columns = np.empty((len(CELL_CLASSES), len(signals)), dtype=np.float32)
        columns[:3] = self._priors2[:, None]
        put_rows(columns[:3].T, red, stage2)
        columns[:3] *= stage1[:, 0]
        columns[3:] = stage1[:, 1:].T
        columns /= columns.sum(axis=0)
        posterior = columns.T
        return CellCalls(posterior=posterior, codes=called(posterior), peak=peak)

    def _inputs(self, batch: CellBatch) -> NDArray[np.float32]:
        wanted = self._bundle.channels
        missing = [channel for channel in wanted if channel not in batch.channels]
        if missing:
            raise Quarantine(
                "not_classified",
                f"profile {batch.profile} gives no channel {', '.join(missing)}, which model "
                f"{self._bundle.id} needs",
                action="use a bundle trained for this instrument's channels",
            )
        signals = channels_of(batch, wanted)
        for name, column in zip(wanted, signals.T, strict=True):
            # Both ends say so of all between; NaN is either.
            if not np.isfinite([column.min(initial=0.0), column.max(initial=0.0)]).all():
                raise Quarantine(
                    "not_classified",
                    f"channel {name} holds a value that is not finite",
                    action="check the file and the profile's scaling of this channel",
                )
        return signals

    def _run(
        self,
        session: StageSession,
        signals: NDArray[np.float32],
        peak: NDArray[np.float32],
        rows: NDArray[np.intp] | None = None,
    ) -> NDArray[np.float32]:
        """Posterior of all events, or of some; these are picked out a batch at a time."""
        posterior = np.empty((3, len(signals) if rows is None else len(rows)), dtype=np.float32).T
        for batch in _batches(len(posterior)):
            some = signals[batch] if rows is None else rows_of(signals, rows[batch])
            try:
                posterior[batch] = session.posterior(some, peak)
            except ModelError as error:
                raise Quarantine(
                    "not_classified",
                    error.message,
                    action="run `edge-daemon model verify`; if it passes, report this capture",
                ) from error
        self._check(posterior)
        return posterior

    def _check(self, posterior: NDArray[np.float32]) -> None:
        sums = posterior.T.sum(axis=0)
        # Written so that NaN fails.
        good = (posterior.min(initial=0.0) >= 0.0) and (
            sums.max(initial=1.0) - 1.0 <= _ROW_SUM_TOLERANCE
            and 1.0 - sums.min(initial=1.0) <= _ROW_SUM_TOLERANCE
        )
        if not good:
            bad = int(np.sum(~(np.abs(sums - 1.0) <= _ROW_SUM_TOLERANCE)))
            raise Quarantine(
                "not_classified",
                f"model {self._bundle.id} gave posteriors outside [0, 1] or not summing to 1 "
                f"({bad} of {len(sums)} events)",
                action="run `edge-daemon model verify`; if it passes, report this capture",
            )


def adapt_stage1(
    bundle: Bundle,
    posterior: NDArray[np.float32],
    signals: NDArray[np.float32],
    peak: NDArray[np.float32],
    volume_ul: float | None,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Adapt stage 1's posterior to the run's own class frequencies.

    Parameters
    ----------
    bundle
        Whose stage 1 it is.
    posterior
        float32 ``(events, 3)`` under the training priors.
    signals
        float32 ``(events, channels)`` of the whole run, in the bundle's order.
    peak
        float32 ``(channels,)``.
    volume_ul
        Metered volume of diluted sample; None where not known.

    Returns
    -------
    tuple
        The adapted posterior and how much commoner each class is than in training,
        ``(strata, 3)``; one row when the bundle does not part its events.
    """
    manifest = bundle.manifest
    priors = np.array(manifest.stage1.by_stratum)
    if len(priors) == 1:
        adapted, found = reestimate(posterior, priors[0])
        return adapted, found / priors
    strata = Strata.of(bundle.channels, manifest.input.anchor)
    coincidence = (volume_ul, manifest.coincidence.window_ul)
    return reestimate_strata(posterior, signals, peak, strata, priors, coincidence)


def _batches(events: int) -> Iterator[slice]:
    for start in range(0, events, BATCH_ROWS):
        yield slice(start, min(start + BATCH_ROWS, events))
