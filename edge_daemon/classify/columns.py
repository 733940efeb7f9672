"""Work on whole columns: channels and classes lie one after the other in memory.

A reduction over the five classes of an event runs twenty times as fast when it goes over five long
rows than over a hundred thousand short ones, and so does picking a channel. Every function takes
arrays of either order and gives the same; only the time differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_daemon.records import CellBatch

    Singles = NDArray[np.float32]


def channels_of(batch: CellBatch, wanted: Sequence[str]) -> Singles:
    """Signals of these channels, in this order, ``(events, channels)``; a view where they all are.

    Raises
    ------
    ValueError
        The batch has no such channel.
    """
    if tuple(wanted) == batch.channels:
        return batch.signals
    return batch.signals.T[[batch.channels.index(channel) for channel in wanted]].T


def rows_of(values: Singles, rows: NDArray[np.intp]) -> Singles:
    """Pick rows, laid out column by column."""
    return values.T.take(rows, axis=1).T


def put_rows(values: Singles, rows: NDArray[np.intp], found: Singles) -> None:
    """Set rows, one column after the other: six times as fast as all columns at once."""
    for column, new in zip(values.T, found.T, strict=True):
        column[rows] = new


def called(posterior: Singles) -> NDArray[np.uint8]:
    """Most probable class of each event, uint8 ``(events,)``; the first of equals."""
    codes = np.zeros(len(posterior), dtype=np.uint8)
    if not posterior.shape[1]:
        return codes
    most = posterior[:, 0].copy()
    for code in range(1, posterior.shape[1]):
        column = posterior[:, code]
        np.copyto(codes, np.uint8(code), where=column > most)
        np.maximum(most, column, out=most)
    return codes


def quantiles(values: NDArray[Any], at: Sequence[float]) -> list[float]:
    """Quantiles as `numpy.quantile` has them, from one sort: several times as fast."""
    ordered = np.sort(values)
    found = []
    for share in at:
        place = share * (len(ordered) - 1)
        below = int(place)
        low = float(ordered[below])
        high = float(ordered[min(below + 1, len(ordered) - 1)])
        found.append(low + (high - low) * (place - below))
    return found


def median(values: NDArray[Any]) -> float:
    """Median of one or more values."""
    return quantiles(values, (0.5,))[0]
