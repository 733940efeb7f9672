"""How runs of one kind lie about their centre: a normal distribution for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_daemon.classify.manifest import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_POOLED_RUNS = 30.0  # a kind's covariance is shrunk to that of all as by so many runs
_RIDGE = 1e-3
_DECIMALS = 5


def learn_kinds(table: Floats, names: Sequence[str], doubt: Floats) -> dict[str, Kind]:
    """Find centre and precision of each kind.

    Parameters
    ----------
    table
        float64 ``(runs, traits)``; NaN where a run does not say.
    names
        Kind of each run.
    doubt
        Covariance ``(traits, traits)`` added to that of every kind: what may have changed since.
    """
    kinds, of = dict.fromkeys(names), np.array(names)
    centres = {kind: np.round(_centre(table[of == kind]), _DECIMALS) for kind in kinds}
    offsets = {kind: _offset(table[of == kind], centres[kind]) for kind in kinds}
    pooled = np.cov(np.concatenate(list(offsets.values())), rowvar=False)
    pooled += _RIDGE * np.eye(len(pooled))
    learnt = {}
    for kind, rows in offsets.items():
        own = np.cov(rows, rowvar=False) if len(rows) > 1 else pooled
        mixed = (len(rows) * own + _POOLED_RUNS * pooled) / (len(rows) + _POOLED_RUNS)
        precision = np.round(np.linalg.inv(mixed + doubt), _DECIMALS)
        learnt[kind] = Kind(centre=centres[kind].tolist(), precision=precision.tolist())
    return learnt


def _centre(rows: Floats) -> Floats:
    known = np.isfinite(rows)
    medians = [
        float(np.median(column[told])) if told.any() else 0.0
        for column, told in zip(rows.T, known.T, strict=True)
    ]
    return np.array(medians)


def _offset(rows: Floats, centre: Floats) -> Floats:
    return np.where(np.isfinite(rows), rows - centre, 0.0)


def distances(traits: Floats, kinds: Mapping[str, Kind]) -> dict[str, float]:
    """Squared Mahalanobis distance to each kind by what is known of the run.

    What is not known is left out as if it had never been looked at. Were it taken for usual
    instead, a run whose platelets are too few to say so would seem to deny that a gain has moved.
    """
    known = np.isfinite(traits)
    found = {}
    for name, kind in kinds.items():
        offset = (traits - np.array(kind.centre))[known]
        found[name] = float(offset @ _of_known(np.array(kind.precision), known) @ offset)
    return found


def _of_known(precision: Floats, known: NDArray[np.bool_]) -> Floats:
    """Precision of some traits by themselves, whatever the others are."""
    kept = precision[np.ix_(known, known)]
    if known.all():
        return kept
    across = precision[np.ix_(known, ~known)]
    alone: Floats = kept - across @ np.linalg.solve(precision[np.ix_(~known, ~known)], across.T)
    return alone
