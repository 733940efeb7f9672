"""Suspect that another species was entered than the blood comes from.

The species never enters a count. But the size, content and number of red cells and the size of
platelets say whose blood it may be, and training runs say how they vary within a species, ill
animals included. A run far closer to another species than to the one entered is flagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.manifest import Kind, SpeciesHabits
from edge_daemon.classify.tally import PLATELET, PURE
from edge_daemon.records import SPECIES, Flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge_daemon.records import CellBatch, CellCalls

    Floats = NDArray[np.float64]

MIN_RUNS: Final = 15
"""Training runs of a species below which nothing is said about it."""
MARGIN: Final = 1.2
"""A run may look so much more like another species than any run of training did."""
MIN_PLATELETS: Final = 50
GAIN_SD: Final = 0.05
"""A detector's gain may have moved by so much since training, natural-log units (proposed)."""

_HEIGHTS = ("LA.H", "HA.H", "EXT.H")
_POOLED_RUNS = 30.0  # a species' covariance is shrunk to that of all as by so many runs
_RIDGE = 1e-3
_TRAITS = 8
_OF_PLATELETS = 5  # first of the traits that are heights of platelets


def species_traits(batch: CellBatch, calls: CellCalls) -> Floats:
    """Describe a run by what differs between species.

    Returns
    -------
    NDArray
        float64 ``(8,)``: logarithms of the median heights of single red cells, of their spread in
        extinction, of red-cell events per µL of blood, and of the median heights of platelets.
        NaN where the run does not say.
    """
    red, platelets = calls.codes == PURE, calls.codes == PLATELET
    heights = [
        batch.signals[:, batch.channels.index(name)] if name in batch.channels else None
        for name in _HEIGHTS
    ]
    traits = [_median(values, red) for values in heights]
    traits.append(_spread(heights[-1], red))
    volume, dilution = batch.sample.volume_ul, batch.sample.dilution
    traits.append(
        float(np.log(max(int(red.sum()), 1) * dilution / volume))
        if volume and dilution and volume > 0 and dilution > 0
        else np.nan
    )
    traits += [_median(values, platelets) for values in heights]
    return np.array(traits)


def _median(values: NDArray[np.float32] | None, cells: NDArray[np.bool_]) -> float:
    if values is None or cells.sum() < MIN_PLATELETS:
        return float("nan")
    return float(np.log(max(float(np.median(values[cells])), 1e-3)))


def _spread(values: NDArray[np.float32] | None, cells: NDArray[np.bool_]) -> float:
    if values is None or cells.sum() < MIN_PLATELETS:
        return float("nan")
    low, high = np.quantile(values[cells], [0.1587, 0.8413]).tolist()
    return float(np.log(np.log(high / low) + 1e-3)) if 0 < low < high else float("nan")


def learn_species(traits: Sequence[Floats], species: Sequence[str | None]) -> SpeciesHabits | None:
    """Find centre and precision of each species: content of the manifest's ``[species]``.

    Parameters
    ----------
    traits
        `species_traits` of every training run.
    species
        Of every training run.

    Returns
    -------
    SpeciesHabits or None
        None with fewer than two species of `MIN_RUNS` runs.
    """
    table, names = np.array(traits), np.array([s or "" for s in species])
    kinds = [kind for kind in SPECIES if (names == kind).sum() >= MIN_RUNS]
    if len(kinds) < 2:
        return None
    offsets, centres = {}, {}
    for kind in kinds:
        rows = table[names == kind]
        known = np.isfinite(rows)
        centre = np.array(
            [
                float(np.median(c[k])) if k.any() else 0.0
                for c, k in zip(rows.T, known.T, strict=True)
            ]
        )
        centres[kind] = np.round(centre, 5)
        offsets[kind] = np.where(known, rows - centre, 0.0)
    pooled = np.cov(np.concatenate(list(offsets.values())), rowvar=False)
    pooled += _RIDGE * np.eye(len(pooled))
    kinds_found: dict[str, Kind] = {}
    for kind in kinds:
        runs = len(offsets[kind])
        own = np.cov(offsets[kind], rowvar=False)
        mixed = (runs * own + _POOLED_RUNS * pooled) / (runs + _POOLED_RUNS)
        precision = np.round(np.linalg.inv(mixed + _moved_gains()), 5)
        kinds_found[kind] = Kind(centre=centres[kind].tolist(), precision=precision.tolist())
    gaps = []
    for row, name in zip(table, names.tolist(), strict=True):
        if name in kinds_found:
            distance = _distances(row, kinds_found)
            gaps.append(distance[name] - min(distance.values()))
    return SpeciesHabits(limit=round(max(MARGIN * max(gaps), 1.0), 3), kinds=kinds_found)


def _moved_gains() -> Floats:
    """Covariance that gains give the traits: a detector's moves red cells and platelets alike."""
    moved = np.zeros((_TRAITS, _TRAITS))
    for height in range(len(_HEIGHTS)):
        both = [height, _OF_PLATELETS + height]
        moved[np.ix_(both, both)] = GAIN_SD**2
    return moved


def suspect_species(batch: CellBatch, calls: CellCalls, habits: SpeciesHabits) -> Flag | None:
    """Compare the species entered with what the blood looks like.

    Returns
    -------
    Flag or None
        None where no species was entered, too little is known of it, or it fits.
    """
    entered = batch.sample.species
    if entered not in habits.kinds:
        return None
    distance = _distances(species_traits(batch, calls), habits.kinds)
    closest = min(distance, key=lambda kind: distance[kind])
    if distance[entered] - distance[closest] <= habits.limit:
        return None
    return Flag(
        "species_suspected",
        "review",
        f"Species? Entered as {entered}, but size and number of the cells are those of another "
        f"species, most like {closest}",
        "check that sample and patient belong together and the species entered; correct and replay",
    )


def _distances(traits: Floats, kinds: Mapping[str, Kind]) -> dict[str, float]:
    """Squared Mahalanobis distances; what is not known does not count."""
    found = {}
    for name, kind in kinds.items():
        offset = traits - np.array(kind.centre)
        offset = np.where(np.isfinite(offset), offset, 0.0)
        found[name] = float(offset @ np.array(kind.precision) @ offset)
    return found
