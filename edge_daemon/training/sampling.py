"""Fewer cells that say as much: the bulk of the red cells is thinned and weighted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.training.network import Cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

CELLS_PER_RUN: Final = 2560
_BULK_SHARE = 0.35
_BULK_LIMIT = 2.5  # SDs of the peak, in every channel


def thin(logs: Floats, number: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], Floats]:
    """Choose cells of one run, with the number of events that each stands for.

    Events within the red-cell peak in every channel are thinned most; rare populations are kept
    nearly whole, so that a run's sums are steady although few cells are stepped over.

    Parameters
    ----------
    logs
        float32 ``(events, channels)``, log over the peak.
    number
        Cells wanted.

    Returns
    -------
    tuple
        Indices ``(cells,)`` and weights ``(cells,)``; the weights sum to the events.
    """
    deviation = np.median(np.abs(logs), axis=0) * 1.4826 + 1e-6
    bulk = (np.abs(logs) < _BULK_LIMIT * deviation).all(axis=1)
    groups = [np.flatnonzero(~bulk), np.flatnonzero(bulk)]
    wanted_bulk = min(len(groups[1]), max(int(_BULK_SHARE * number), number - len(groups[0])))
    wanted = [min(len(groups[0]), number - wanted_bulk), wanted_bulk]
    index, weight = [], []
    for group, count in zip(groups, wanted, strict=True):
        if count:
            index.append(rng.choice(group, count, replace=False))
            weight.append(np.full(count, len(group) / count, dtype=np.float32))
    return np.concatenate(index), np.concatenate(weight)


def scaling(logs: Sequence[Floats], weights: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Shift and scale that bring thinned cells to mean 0 and SD 1 in every channel."""
    stacked = np.concatenate(logs)
    tempered = np.sqrt(np.concatenate(weights))[:, None]
    total = tempered.sum()
    shift = (stacked * tempered).sum(axis=0) / total
    variance = ((stacked - shift) ** 2 * tempered).sum(axis=0) / total
    scale = 1 / np.sqrt(np.maximum(variance, 1e-4))
    return shift.astype(np.float32), scale.astype(np.float32)


def stack(
    x: Sequence[Floats],
    weight: Sequence[Floats],
    start: Sequence[Floats],
    target: Sequence[Sequence[float]],
    *,
    strata: Sequence[Floats] | None = None,
    doublets: Sequence[float] | None = None,
    sure: Sequence[Floats] | None = None,
    groups: Sequence[object] | None = None,
) -> Cells:
    """Pad runs to one length; padding weighs nothing.

    Without `strata`, all cells are in one and `doublets` are not used; without `sure`, no start
    is beyond doubt; runs of one of `groups` are peers.
    """
    longest = max(len(w) for w in weight)

    def padded(rows: Floats) -> Floats:
        missing = [(0, longest - len(rows))] + [(0, 0)] * (rows.ndim - 1)
        return np.pad(rows, missing).astype(np.float32)

    weights = np.stack([padded(rows) for rows in weight])
    starts = np.stack([padded(rows) for rows in start])
    parted = np.stack(
        [padded(rows) for rows in strata or [np.ones_like(w)[:, None] for w in weight]]
    )
    share = _shares(weights, starts, parted)
    return Cells(
        x=np.stack([padded(rows) for rows in x]),
        weight=weights,
        start=starts,
        target=np.array(target, dtype=np.float32),
        strata=parted,
        doublets=np.array(doublets or np.zeros(len(x)), dtype=np.float32),
        sure=np.stack([padded(rows) for rows in sure or [np.zeros_like(w) for w in weight]]),
        share=share,
        peers=_peers(share, groups or [None] * len(x)),
    )


def _shares(weight: Floats, start: Floats, strata: Floats) -> Floats:
    """Class frequencies of each run's start, ``(runs, strata, classes)``; none is quite zero."""
    sums = np.einsum("rcs,rck->rsk", weight[..., None] * strata, start) + 1e-3
    share: Floats = (sums / sums.sum(axis=2, keepdims=True)).astype(np.float32)
    return share


def _peers(share: Floats, groups: Sequence[object]) -> Floats:
    """Mean frequencies over the runs of the same group."""
    peers = np.empty_like(share)
    for group in set(groups):
        rows = [index for index, other in enumerate(groups) if other == group]
        peers[rows] = share[rows].mean(axis=0)
    return peers
