"""Shapley values of a function of signals, by detector (exactly) and by channel (sampled).

The value of a coalition is the function at the cell with the signals outside the coalition taken
from a background cell. Each background cell is a game of its own: the results keep the axis, so
that the spread over cells and background cells gives the sampling error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Function = Callable[[NDArray[np.float32]], NDArray[np.float64]]
    """Signals ``(rows, channels)`` → one value for each row."""


def by_group(
    function: Function,
    cells: NDArray[np.float32],
    background: NDArray[np.float32],
    groups: Sequence[Sequence[int]],
) -> NDArray[np.float64]:
    """Shapley values of groups of channels, every coalition enumerated.

    Parameters
    ----------
    function
        What is explained.
    cells
        float32 ``(cells, channels)``.
    background
        float32 ``(background, channels)``.
    groups
        Channel indices of each group; together all channels, each once.

    Returns
    -------
    NDArray
        float64 ``(cells, background, groups)``; the last axis sums to
        ``function(cell) - function(background cell)``.
    """
    players = len(groups)
    member = np.zeros((players, cells.shape[1]), dtype=bool)
    for player, columns in enumerate(groups):
        member[player, list(columns)] = True
    subsets = np.arange(2**players)
    chosen = (subsets[:, None] >> np.arange(players)) & 1 == 1
    inner = chosen[1:-1] @ member
    values = np.empty((2**players, len(cells), len(background)))
    values[0] = function(background)[None, :]
    values[-1] = function(cells)[:, None]
    values[1:-1] = _mixed(function, cells, background, inner)
    result = np.zeros((len(cells), len(background), players))
    for player in range(players):
        without = subsets[~chosen[:, player]]
        sizes = chosen[without].sum(axis=1)
        weights = np.array([1.0 / (players * math.comb(players - 1, int(size))) for size in sizes])
        gains = values[without | (1 << player)] - values[without]
        result[:, :, player] = np.tensordot(weights, gains, axes=1)
    return result


def by_channel(
    function: Function,
    cells: NDArray[np.float32],
    background: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Shapley values of single channels, estimated over random orders in antithetic pairs.

    Every pair of cell and background cell gets one random order and its reverse; using every
    background cell equally often keeps the sum exact whatever the orders.

    Parameters
    ----------
    function, cells, background
        As in `by_group`.
    rng
        Draws the orders.

    Returns
    -------
    NDArray
        float64 ``(cells, background, channels)``, an unbiased estimate; the last axis sums to
        ``function(cell) - function(background cell)``.
    """
    channels = cells.shape[1]
    shape = (len(cells), len(background))
    order = np.argsort(rng.random((*shape, channels)), axis=2)
    rank = np.argsort(order, axis=2)
    steps = np.arange(1, channels)
    # Prefix of length k of the order; its complement is a prefix of the reversed order.
    inner = rank[:, :, None, :] < steps[:, None]
    ends = (function(background)[None, :], function(cells)[:, None])
    total = np.zeros((*shape, channels))
    for masks in (inner, ~inner[:, :, ::-1]):
        chain = np.empty((*shape, channels + 1))
        chain[:, :, 0], chain[:, :, -1] = ends
        rows = np.where(masks, cells[:, None, None, :], background[None, :, None, :])
        chain[:, :, 1:-1] = function(rows.reshape(-1, channels)).reshape(*shape, channels - 1)
        gains = np.diff(chain, axis=2)
        position = rank if masks is inner else channels - 1 - rank
        total += np.take_along_axis(gains, position, axis=2)
    return total / 2


def mean_and_error(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average over cells and background cells, with the standard error of the average.

    Both were drawn at random, so both contribute; what is left of sampled orders is contained in
    either, which makes the error slightly too large rather than too small. One cell alone is not
    a sample, so only the background counts.

    Parameters
    ----------
    values
        float64 ``(cells, background, players)``.
    """
    error = np.zeros(values.shape[2])
    for axis in (0, 1):
        count = values.shape[axis]
        if count > 1:
            error += values.mean(axis=1 - axis).var(axis=0, ddof=1) / count
    return values.mean(axis=(0, 1)), np.sqrt(error)


def _mixed(
    function: Function,
    cells: NDArray[np.float32],
    background: NDArray[np.float32],
    masks: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Evaluate every cell with every background cell under every mask ``(masks, channels)``."""
    shape = (len(masks), len(cells), len(background))
    rows = np.where(masks[:, None, None, :], cells[None, :, None, :], background[None, None])
    return function(rows.reshape(-1, cells.shape[1])).reshape(shape)
