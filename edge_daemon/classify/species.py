"""Suspect that another species was entered than the blood comes from.

The species never enters a count. But the size, content and number of red cells and the size of
platelets say whose blood it may be, and training runs say how they vary within a species, ill
animals included. A run far closer to another species than to the one entered is flagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.classify.columns import median, quantiles
from edge_daemon.classify.kinds import distances, learn_kinds
from edge_daemon.classify.manifest import SPECIES_TRAITS, SpeciesHabits
from edge_daemon.classify.outlier import GAIN_TOLERANCE
from edge_daemon.classify.tally import PLATELET, PURE
from edge_daemon.records import SPECIES, Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_daemon.records import CellBatch, CellCalls

    Floats = NDArray[np.float64]

MIN_RUNS: Final = 15
"""Training runs of a species below which nothing is said about it."""
MARGIN: Final = 1.2
"""A run may look so much more like another species than any run of training did."""
MIN_PLATELETS: Final = 50
_HEIGHTS = ("LA.H", "HA.H", "EXT.H")
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
    red, platelets = (np.flatnonzero(calls.codes == code) for code in (PURE, PLATELET))
    heights = [
        batch.signals[:, batch.channels.index(name)] if name in batch.channels else None
        for name in _HEIGHTS
    ]
    traits = [_median(values, red) for values in heights[:-1]]
    traits += _median_and_spread(heights[-1], red)
    volume, dilution = batch.sample.volume_ul, batch.sample.dilution
    traits.append(
        float(np.log(max(len(red), 1) * dilution / volume))
        if volume and dilution and volume > 0 and dilution > 0
        else np.nan
    )
    traits += [_median(values, platelets) for values in heights]
    return np.array(traits)


def _median(values: NDArray[np.float32] | None, cells: NDArray[np.intp]) -> float:
    if values is None or len(cells) < MIN_PLATELETS:
        return float("nan")
    return float(np.log(max(median(values.take(cells)), 1e-3)))


def _median_and_spread(
    values: NDArray[np.float32] | None, cells: NDArray[np.intp]
) -> tuple[float, float]:
    """Logarithms of the median of a height and of its spread."""
    if values is None or len(cells) < MIN_PLATELETS:
        return float("nan"), float("nan")
    low, middle, high = quantiles(values.take(cells), (0.1587, 0.5, 0.8413))
    spread = np.log(np.log(high / low) + 1e-3) if 0 < low < high else np.nan
    return float(np.log(max(middle, 1e-3))), float(spread)


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
    names = [s or "" for s in species]
    known = {kind for kind in SPECIES if names.count(kind) >= MIN_RUNS}
    if len(known) < 2:
        return None
    rows = [(run, name) for run, name in zip(traits, names, strict=True) if name in known]
    table = np.array([run for run, _ in rows])
    kinds = learn_kinds(table, [name for _, name in rows], _moved_gains())
    gaps = []
    for run, name in rows:
        distance = distances(run, kinds)
        gaps.append(distance[name] - min(distance.values()))
    return SpeciesHabits(limit=round(max(MARGIN * max(gaps), 1.0), 3), kinds=kinds)


def _moved_gains() -> Floats:
    """Covariance that gains give the traits: a detector's moves red cells and platelets alike.

    As much as is allowed before a run is not classified: a gain that is let pass there must not be
    taken for another species here.
    """
    moved = np.zeros((SPECIES_TRAITS, SPECIES_TRAITS))
    for height in range(len(_HEIGHTS)):
        both = [height, _OF_PLATELETS + height]
        moved[np.ix_(both, both)] = GAIN_TOLERANCE**2
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
    distance = distances(species_traits(batch, calls), habits.kinds)
    closest = min(distance, key=lambda kind: distance[kind])
    if distance[entered] - distance[closest] <= habits.limit:
        return None
    return Flag(
        "species_suspected",
        "review",
        f"Species? Entered as {entered}, but size and number of the cells are those of another "
        f"species, most like {closest}",
        "check that sample and patient belong together; correct the species if it is wrong",
    )
