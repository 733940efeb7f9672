"""What becomes of single cells over a cohort: confusion, calibration, density.

Runs are added one by one and forgotten, so memory does not grow with the cohort.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_daemon.records import CellBatch, CellCalls

K: Final = len(CELL_CLASSES)
EDGES: Final = np.array(
    [0.0, 0.002, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99, 0.998, 1.0]
)
"""Posterior bins, finer towards 0 and 1 where most cells lie."""

VIEWS: Final = (("EXT.A", "HA.A"), ("EXT.A", "FL.A"), ("EXT.W", "EXT.A"))
"""Pairs of channels worth looking at, horizontal first."""
GRID: Final = 72
DECADES: Final = 4
"""Longest logarithmic axis of a scattergram; what lies below is drawn at its edge."""


class Confusion:
    """True against called class, and how often a posterior is right.

    Attributes
    ----------
    matrix
        int64 ``(true, called)``.
    expected
        float64 ``(true, called)``: sums of posteriors instead of calls.
    bins
        float64 ``(classes, bins, 3)``: cells, sum of posterior, cells truly of the class.
    """

    def __init__(self) -> None:
        self.matrix = np.zeros((K, K), dtype=np.int64)
        self.expected = np.zeros((K, K), dtype=np.float64)
        self.bins = np.zeros((K, len(EDGES) - 1, 3), dtype=np.float64)

    def add(self, calls: CellCalls, codes: NDArray[np.uint8]) -> None:
        """Add a run whose cells' classes are known."""
        joint = codes.astype(np.intp) * K + calls.codes
        self.matrix += np.bincount(joint, minlength=K * K).reshape(K, K)
        for true in range(K):
            self.expected[true] += calls.posterior[codes == true].sum(axis=0, dtype=np.float64)
        bins = len(EDGES) - 1
        for k in range(K):
            column = calls.posterior[:, k]
            place = np.clip(np.searchsorted(EDGES, column, side="right") - 1, 0, bins - 1)
            self.bins[k, :, 0] += np.bincount(place, minlength=bins)
            self.bins[k, :, 1] += np.bincount(place, weights=column, minlength=bins)
            self.bins[k, :, 2] += np.bincount(place[codes == k], minlength=bins)

    def classes(self) -> list[dict[str, Any]]:
        """Recall, precision and calibration of each class."""
        true, called = self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        return [
            {
                "class": name,
                "cells": int(true[k]),
                "recall": _share(self.matrix[k, k], true[k]),
                "precision": _share(self.matrix[k, k], called[k]),
                "calibration": [
                    {"cells": int(n), "posterior": p / n, "true": t / n}
                    for n, p, t in self.bins[k].tolist()
                    if n
                ],
            }
            for k, name in enumerate(CELL_CLASSES)
        ]


@dataclass(frozen=True, slots=True)
class Density:
    """Events on a grid of two log channels, with the class most of them are called.

    Attributes
    ----------
    title
        What is shown.
    x, y
        Channels.
    spans
        ``((x low, x high), (y low, y high))`` in canonical units, logarithmic axes.
    counts
        int64 ``(classes, GRID, GRID)``, y first.
    """

    title: str
    x: str
    y: str
    spans: tuple[tuple[float, float], tuple[float, float]]
    counts: NDArray[np.int64]


def densities(title: str, batch: CellBatch, codes: NDArray[np.uint8]) -> list[Density]:
    """Density of one run in every view whose channels it has."""
    found = []
    for x, y in VIEWS:
        if x not in batch.channels or y not in batch.channels:
            continue
        logs = [np.log(np.maximum(batch.signals[:, batch.channels.index(c)], 1e-6)) for c in (x, y)]
        spans, places = [], []
        for values in logs:
            low, high = (float(v) for v in np.quantile(values, [0.0005, 0.9995]))
            # Noise about zero would stretch a logarithmic axis without end.
            low = max(low, high - DECADES * math.log(10))
            high = max(high, low + 0.1)
            place = ((values - low) / (high - low) * GRID).astype(np.intp)
            places.append(np.clip(place, 0, GRID - 1))
            spans.append((float(np.exp(low)), float(np.exp(high))))
        flat = (codes.astype(np.intp) * GRID + places[1]) * GRID + places[0]
        counts = np.bincount(flat, minlength=K * GRID * GRID).reshape(K, GRID, GRID)
        found.append(Density(title, x, y, (spans[0], spans[1]), counts))
    return found


def _share(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None
