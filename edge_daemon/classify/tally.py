"""Expected numbers of cells under the posterior of one run, and how sure each is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.coincidence import crowding, passed
from edge_daemon.classify.columns import median, quantiles
from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.classify.manifest import Coincidence
    from edge_daemon.records import CellBatch, CellCalls

PURE, RETIC, CLUMP, PLATELET, OTHER = range(len(CELL_CLASSES))
HOLDS_RATIO: Final = 0.7
"""Extinction area over that of a single red cell from which an `other` event holds a red cell.

Two red cells that passed together do, and so does one that passed with a platelet or a speck, as
large as a single one: these are as many as 0.5 % of the red cells where there is much debris.
Between 0.4 and 0.8 the ratio makes no difference; only aggregates of platelets lie there.
"""
WHITE_CELL_DYE: Final = 15.0
"""Dye of an event over the median red cell from which it is a nucleated cell, not red cells."""
MAX_CELLS_PER_EVENT: Final = 100.0

_RIDGE = 1e-6  # events²; keeps the information of an absent class invertible


@dataclass(frozen=True, slots=True)
class Tally:
    """Expected numbers under the posterior.

    Attributes
    ----------
    events
        Expected events per class, in the order of `CELL_CLASSES`.
    spread
        Variance of each from the estimation of class frequencies by maximum likelihood, beyond
        the Poisson variance of the events themselves, events².
    leverage
        Change of each per unit of error in the log-odds of its calls, events.
    red_events, red_spread, red_leverage
        The same of events that hold at least one red cell, chance doublets of them included.
    crowding, company
        Red cells, and particles of any kind, within one coincidence window.
    extra_cells, extra_leverage
        Red cells inside clumps beyond one a clump, from their extinction, and their change per
        unit of error in the log-odds of clumps.
    """

    events: tuple[float, ...]
    spread: tuple[float, ...]
    leverage: tuple[float, ...]
    red_events: float
    red_spread: float
    red_leverage: float
    crowding: float
    company: float
    extra_cells: float
    extra_leverage: float

    @property
    def singles(self) -> float:
        """Single red cells."""
        return self.events[PURE] + self.events[RETIC]

    @property
    def red_cells(self) -> float:
        """All red cells that passed, also those in clumps and in chance doublets."""
        return self.red_events * passed(self.crowding) + self.extra_cells

    @property
    def hidden_cells(self) -> float:
        """Red cells that no event of their own was recorded for."""
        return self.red_cells - self.red_events


def tally_cells(batch: CellBatch, calls: CellCalls, coincidence: Coincidence) -> Tally:
    """Sum posteriors, and find the red cells that share an event with others.

    Parameters
    ----------
    batch, calls
        The run and its cells.
    coincidence
        What training learnt about chance doublets.
    """
    p = calls.posterior
    gram, events = _gram(p)
    singles = np.flatnonzero(calls.codes == PURE)
    several = _cells_per_event(batch, singles)
    red = p.T[: CLUMP + 1].sum(axis=0)
    red += _holds_red_cells(batch, singles, several) * p[:, OTHER]
    np.minimum(red, np.float32(1.0), out=red)
    either, red_events = _gram(np.stack([red, 1.0 - red]).T)
    window = coincidence.window_ul
    clumps, beyond_one = p[:, CLUMP], np.maximum(several - 1.0, 0.0)
    return Tally(
        events=tuple(events.tolist()),
        spread=_spread(gram, events),
        leverage=_leverage(gram, events),
        red_events=float(red_events[0]),
        red_spread=_spread(either, red_events)[0],
        red_leverage=_leverage(either, red_events)[0],
        crowding=crowding(float(red_events[0]), batch.sample, window),
        company=crowding(batch.events, batch.sample, window),
        extra_cells=float(clumps @ beyond_one),
        extra_leverage=float((clumps * (1 - clumps)) @ beyond_one),
    )


def _gram(p: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Products of the columns with each other, and their sums.

    A row sums to 1, so a column's product with itself is its sum less what it shares with the
    others. That small part is summed by itself: it is what doubt rests on.
    """
    columns = p.T
    events = columns.sum(axis=1, dtype=np.float64)
    gram = np.zeros((len(columns), len(columns)))
    for one, other in itertools.combinations(range(len(columns)), 2):
        gram[one, other] = gram[other, one] = columns[one] @ columns[other]
    np.fill_diagonal(gram, events - gram.sum(axis=1))
    return gram, events


def _leverage(gram: NDArray[np.float64], events: NDArray[np.float64]) -> tuple[float, ...]:
    """Sum of p (1 - p) of each class."""
    return tuple(np.maximum(events - np.diag(gram), 0.0).tolist())


def _spread(gram: NDArray[np.float64], events: NDArray[np.float64]) -> tuple[float, ...]:
    """Curvature of the mixture's likelihood at the class frequencies found.

    With r = p / π the information about the expected numbers is the sum of r rᵀ over the events,
    so their covariance is D G⁻¹ D with G = pᵀp and D the expected numbers. Calls without doubt
    make G diagonal and leave the Poisson variance alone.
    """
    variance = events**2 * np.diag(np.linalg.inv(gram + _RIDGE * np.eye(len(events))))
    return tuple(np.maximum(variance - events, 0.0).tolist())


def _cells_per_event(batch: CellBatch, singles: NDArray[np.intp]) -> NDArray[np.float32]:
    """Extinction area of each event over the mean single red cell: its number of red cells.

    0 where nothing says what a single red cell is.
    """
    channel = "EXT.A" if "EXT.A" in batch.channels else "EXT.H"
    if channel not in batch.channels or not len(singles):
        return np.zeros(batch.events, dtype=np.float32)
    area = batch.signals[:, batch.channels.index(channel)]
    low, middle = quantiles(area.take(singles), (0.1587, 0.5))
    if low <= 0:
        return np.zeros(batch.events, dtype=np.float32)
    # The lower half says how wide single cells are: doublets called single lie in the upper one.
    mean = middle * np.exp(0.5 * np.log(middle / low) ** 2)
    ratio: NDArray[np.float32] = np.clip(area / np.float32(mean), 0.0, MAX_CELLS_PER_EVENT)
    return ratio


def _holds_red_cells(
    batch: CellBatch, singles: NDArray[np.intp], several: NDArray[np.float32]
) -> NDArray[np.bool_]:
    holds: NDArray[np.bool_] = several >= HOLDS_RATIO
    if "FL.A" in batch.channels and len(singles):
        dye = batch.signals[:, batch.channels.index("FL.A")]
        holds &= dye < WHITE_CELL_DYE * median(dye.take(singles))
    return holds
