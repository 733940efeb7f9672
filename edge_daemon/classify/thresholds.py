"""How far one signal would have to move for a cell to be called something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_daemon.classify.call_model import CallModel

FLOOR: Final = 1e-3
"""Multiple of the red-cell median below which a signal counts as this much."""

_HIGH, _STEPS = 1e2, 67  # four steps to a factor of two
_BISECTIONS = 12  # 1.19 ** (1 / 2 ** 12): far below what is printed


@dataclass(frozen=True, slots=True)
class Turns:
    """Where the calls of some cells change as one signal is scaled; NaN and -1: nowhere.

    Attributes
    ----------
    start
        float64 ``(cells,)``: the signal's own level, in red-cell medians.
    multiple
        float64 ``(cells, 2)``: nearest level below and above at which the call changes.
    becomes
        int64 ``(cells, 2)``: what the cell is called beyond it.
    """

    start: NDArray[np.float64]
    multiple: NDArray[np.float64]
    becomes: NDArray[np.int64]


def over_reference(
    signals: NDArray[np.float32], reference: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Signals over the red-cell median, at least `FLOOR`."""
    result: NDArray[np.float64] = np.maximum(signals.astype(np.float64) / reference, FLOOR)
    return result


def find_turns(
    model: CallModel,
    cells: NDArray[np.float32],
    reference: NDArray[np.float32],
    columns: Sequence[int],
) -> Turns:
    """Search along one signal, up and down from each cell, from `FLOOR` to a hundredfold.

    Parameters
    ----------
    model
        Calls the changed cells.
    cells
        float32 ``(cells, channels)``.
    reference
        float32 ``(channels,)``: the run's red-cell median.
    columns
        Channels that are scaled together; the first one gives the level. Height and area of a
        detector belong together and width to neither: a brighter cell gives a higher pulse of
        the same length.
    """
    columns = list(columns)
    own = over_reference(cells, reference)[:, columns]
    start = own[:, 0]

    def called(index: NDArray[np.int64], level: NDArray[np.float64]) -> NDArray[np.int64]:
        changed = cells[index].copy()
        changed[:, columns] = own[index] * (level / start[index])[:, None] * reference[columns]
        codes: NDArray[np.int64] = model.posterior(changed).argmax(axis=1)
        return codes

    grid = np.geomspace(FLOOR, _HIGH, _STEPS)
    everyone = np.arange(len(cells))
    present = model.posterior(cells).argmax(axis=1)
    codes = called(np.repeat(everyone, _STEPS), np.tile(grid, len(cells)))
    differs = codes.reshape(-1, _STEPS) != present[:, None]
    multiple = np.full((len(cells), 2), np.nan)
    becomes = np.full((len(cells), 2), -1)
    for side, beyond in enumerate((grid < start[:, None], grid > start[:, None])):
        turned = differs & beyond
        index = np.flatnonzero(turned.any(axis=1))
        # Going up the first turned level is the nearest, going down the last.
        last = _STEPS - 1 - turned[:, ::-1].argmax(axis=1)
        nearest = (last if side == 0 else turned.argmax(axis=1))[index]
        far = grid[nearest]
        inner = np.clip(nearest + (1 if side == 0 else -1), 0, _STEPS - 1)
        bound = np.maximum if side else np.minimum
        near = bound(grid[inner], start[index])
        for _ in range(_BISECTIONS):
            middle = np.sqrt(near * far)
            changed = called(index, middle) != present[index]
            near, far = np.where(changed, near, middle), np.where(changed, middle, far)
        multiple[index, side] = far
        becomes[index, side] = called(index, far)
    return Turns(start, multiple, becomes)
