"""Classify a run's cells with a bundle's two graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.columns import called, channels_of, put_rows
from edge_daemon.classify.priors import reestimate, reestimate_strata
from edge_daemon.classify.session import ModelError, Stages
from edge_daemon.classify.strata import Strata
from edge_daemon.errors import Quarantine
from edge_daemon.records import CELL_CLASSES, CellCalls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edge_daemon.classify.bundle import Bundle
    from edge_daemon.records import CellBatch

    Singles = NDArray[np.float32]
    Reals = NDArray[np.float64]

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
        self._stages = Stages(bundle.stage1, bundle.stage2, str(bundle.path))

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
        stage1, stage2 = self._run(signals, peak)
        stage1, _ = adapt_stage1(self._bundle, stage1, signals, peak, batch.sample.volume_ul)
        stage2, _ = adapt_stage2(self._bundle, stage2, stage1[:, 0])
        columns = np.empty((len(CELL_CLASSES), len(signals)), dtype=np.float32)
        np.multiply(stage2.T, stage1[:, 0], out=columns[:3])
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

    def _run(self, signals: Singles, peak: Singles) -> tuple[Singles, Singles]:
        """Posteriors of both stages for all events.

        Nearly all events may be red cells, so stage 2 sees the others too: to leave them out
        costs more.
        """
        both = np.empty((2, 3, len(signals)), dtype=np.float32)
        for batch in _batches(len(signals)):
            try:
                found = self._stages.posteriors(signals[batch], peak)
            except ModelError as error:
                raise Quarantine(
                    "not_classified",
                    error.message,
                    action="run `edge-daemon model verify`; if it passes, report this capture",
                ) from error
            for posterior, new in zip(both, found, strict=True):
                posterior[:, batch] = new.T
        for posterior in both:
            self._check(posterior)
        stage1, stage2 = both
        return stage1.T, stage2.T

    def _check(self, posterior: Singles) -> None:
        sums = posterior.sum(axis=0)
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


def adapt_stage2(bundle: Bundle, posterior: Singles, red: Singles) -> tuple[Singles, Reals]:
    """Adapt stage 2's posterior to the run's own class frequencies.

    Parameters
    ----------
    bundle
        Whose stage 2 it is.
    posterior
        float32 ``(events, 3)`` under the training priors.
    red
        float32 ``(events,)``: adapted probability that an event is a red cell at all.

    Returns
    -------
    tuple
        The adapted posterior, and how much commoner each class is than in training, ``(3,)``.
    """
    priors = np.array(bundle.manifest.stage2.priors)
    asked = red > RED_FLOOR
    adapted, found = reestimate(posterior, priors, weight=red * asked)
    others = np.flatnonzero(~asked)
    put_rows(adapted, others, np.broadcast_to(priors, (len(others), len(priors))))
    return adapted, found / priors


def _batches(events: int) -> Iterator[slice]:
    for start in range(0, events, BATCH_ROWS):
        yield slice(start, min(start + BATCH_ROWS, events))
