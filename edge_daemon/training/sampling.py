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
_BULK_LIMIT = 2.5  # SDs of the peak, in every channel
_FAR = 0.35  # log anchor over the peak, either way, beyond which an event may be anything

Group = tuple["NDArray[np.bool_]", float]
"""Events of a kind, and the share of the cells wanted that they get first."""


def stage1_groups(logs: Floats, anchor: int) -> list[Group]:
    """Part a run for stage 1: what is in doubt is small or large, and kept nearly whole.

    Parameters
    ----------
    logs
        float32 ``(events, channels)``, log over the peak.
    anchor
        Column whose peak marks the red cells.
    """
    size, bulk = logs[:, anchor], _bulk(logs)
    single = np.abs(size) <= _FAR
    return [
        (size < -_FAR, 0.55),
        (size > _FAR, 0.23),
        (single & ~bulk, 0.1),
        (single & bulk, 0.12),
    ]


def stage2_groups(logs: Floats) -> list[Group]:
    """Part a run for stage 2: reticulocytes and clumps lie outside the bulk."""
    bulk = _bulk(logs)
    return [(~bulk, 0.65), (bulk, 0.35)]


def _bulk(logs: Floats) -> NDArray[np.bool_]:
    """Mark events within the red-cell peak in every channel."""
    deviation = np.median(np.abs(logs), axis=0) * 1.4826 + 1e-6
    bulk: NDArray[np.bool_] = np.all(np.abs(logs) < _BULK_LIMIT * deviation, axis=1)
    return bulk


def thin(
    groups: Sequence[Group], number: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Floats]:
    """Choose cells of one run, with the number of events that each stands for.

    Rare populations are kept nearly whole, so that a run's sums are steady although few cells
    are stepped over.

    Parameters
    ----------
    groups
        Disjoint, together all events; what one leaves of its share goes to the others, the
        first ones before.
    number
        Cells wanted.

    Returns
    -------
    tuple
        Indices ``(cells,)`` and weights ``(cells,)``; the weights sum to the events.
    """
    members = [np.flatnonzero(mask) for mask, _ in groups]
    wanted = [
        min(len(rows), round(share * number))
        for rows, (_, share) in zip(members, groups, strict=True)
    ]
    for group, rows in enumerate(members):
        wanted[group] += min(len(rows) - wanted[group], max(number - sum(wanted), 0))
    index, weight = [], []
    for rows, count in zip(members, wanted, strict=True):
        if count:
            index.append(rng.choice(rows, count, replace=False))
            weight.append(np.full(count, len(rows) / count, dtype=np.float32))
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


def stack(  # noqa: PLR0913 - each is a field of `Cells`
    x: Sequence[Floats],
    weight: Sequence[Floats],
    start: Sequence[Floats],
    target: Sequence[Sequence[float]],
    *,
    strata: Sequence[Floats] | None = None,
    doublets: Sequence[float] | None = None,
    sure: Sequence[Floats] | None = None,
    possible: Sequence[Floats] | None = None,
    groups: Sequence[object] | None = None,
    precision: Sequence[Sequence[float]] | None = None,
) -> Cells:
    """Pad runs to one length; padding weighs nothing.

    Without `strata`, all cells are in one and `doublets` are not used; without `sure`, no start
    is beyond doubt; without `possible`, no class is ruled out; runs of one of `groups` are peers;
    without `precision`, all targets are known equally well.
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
    groups = groups or [None] * len(x)
    names = list(dict.fromkeys(groups))
    return Cells(
        x=np.stack([padded(rows) for rows in x]),
        weight=weights,
        start=starts,
        target=np.array(target, dtype=np.float32),
        strata=parted,
        doublets=np.array(doublets or np.zeros(len(x)), dtype=np.float32),
        sure=np.stack([padded(rows) for rows in sure or [np.zeros_like(w) for w in weight]]),
        possible=np.stack([padded(rows) for rows in possible or [np.ones_like(p) for p in start]]),
        share=share,
        peers=_peers(share, groups),
        precision=np.array(precision or np.ones_like(target), dtype=np.float32),
        group=np.array([names.index(group) for group in groups], dtype=np.int32),
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
