"""Particles of one sample: what flows through the cell, before any instrument sees it.

A particle is what travels as one: a single cell, an antibody clump, a platelet aggregate, a
speck. It is made of one or more parts, each a sphere with its optical signals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.records import CELL_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

    from edge_daemon.simulator.biology import SamplePlan
    from edge_daemon.simulator.optics import OpticalTable

    Floats = NDArray[np.float64]

SIGNALS: Final = ("LA", "HA", "SS", "EXT", "FL")
"""Columns of `Particles.signals`: µm² for the first four, mature dog red cells for FL."""

_CLASS_OF_KIND: Final = {
    "mature": "pure_rbc",
    "reticulocyte": "reticulocyte",
    "clump": "clumped_rbc",
    "platelet": "platelet",
    "aggregate": "other",
    "fragment": "other",
    "ghost": "other",
    "debris": "other",
    "wbc": "other",
    "nrbc": "other",
}
_KINDS: Final = tuple(_CLASS_OF_KIND)
_CODE_OF_KIND: Final = np.array(
    [CELL_CLASSES.index(name) for name in _CLASS_OF_KIND.values()],
    dtype=np.uint8,
)

# Sizes of platelet aggregates fall with the square, from pairs to a hundred platelets.
_AGGREGATE_SIZES: Final = np.arange(2, 101)
_AGGREGATE_P: Final = _AGGREGATE_SIZES**-2.0 / np.sum(_AGGREGATE_SIZES**-2.0)
_AGGREGATE_MEAN: Final = float(np.sum(_AGGREGATE_SIZES * _AGGREGATE_P))


@dataclass(frozen=True, slots=True)
class Particles:
    """Structure of arrays; parts are sorted by their particle.

    Attributes
    ----------
    code
        uint8 ``(particles,)``: class of the particle if it passes alone (`CELL_CLASSES` order).
    owner
        ``(parts,)``: particle each part belongs to, ascending.
    signals
        ``(parts, 5)`` in the order of `SIGNALS`.
    diameter_um
        ``(parts,)``.
    offset_um
        ``(parts,)``: position along the stream, relative to the particle's first part.
    """

    code: NDArray[np.uint8]
    owner: NDArray[np.intp]
    signals: Floats
    diameter_um: Floats
    offset_um: Floats


def concentrations(plan: SamplePlan) -> Mapping[str, float]:
    """Particles of every kind in undiluted blood, 10³/µL.

    A clump or an aggregate is one particle, so that red cells and platelets inside them are
    taken out of the free ones.
    """
    per_particle = 1.0 + plan.clump_share * (1.0 + plan.clump_extra)
    red = 1000.0 * plan.rbc / per_particle
    free = red * (1.0 - plan.clump_share)
    return {
        "mature": free * (1.0 - plan.retic),
        "reticulocyte": free * plan.retic,
        "clump": red * plan.clump_share,
        "platelet": plan.plt * (1.0 - plan.aggregated),
        "aggregate": plan.plt * plan.aggregated / _AGGREGATE_MEAN,
        "fragment": 1000.0 * plan.rbc * plan.fragments,
        "ghost": 1000.0 * plan.rbc * plan.ghosts,
        "debris": plan.debris,
        "wbc": plan.wbc,
        "nrbc": plan.wbc * plan.nrbc,
    }


def draw_particles(rng: Generator, plan: SamplePlan, table: OpticalTable, count: int) -> Particles:
    """Draw `count` particles in the order in which they flow."""
    shares = np.array(list(concentrations(plan).values()))
    kind = rng.choice(len(_KINDS), size=count, p=shares / shares.sum()).astype(np.intp)
    size = np.ones(count, dtype=np.intp)
    clumps = kind == _KINDS.index("clump")
    size[clumps] = 1 + rng.geometric(1.0 / (1.0 + plan.clump_extra), clumps.sum())
    aggregates = kind == _KINDS.index("aggregate")
    size[aggregates] = rng.choice(_AGGREGATE_SIZES, aggregates.sum(), p=_AGGREGATE_P)
    owner = np.repeat(np.arange(count), size)
    signals, diameter = _draw_parts(rng, plan, table, kind[owner])
    return Particles(
        code=_CODE_OF_KIND[kind],
        owner=owner,
        signals=signals,
        diameter_um=diameter,
        offset_um=_place(rng, size, diameter),
    )


def _draw_parts(
    rng: Generator, plan: SamplePlan, table: OpticalTable, kind: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Signals ``(parts, 5)`` and diameters of single cells, given the kind of their particle."""
    name = np.array(_KINDS)[kind]
    in_clump = name == "clump"
    retic = (name == "reticulocyte") | (in_clump & (rng.random(len(kind)) < plan.retic))
    mature = (name == "mature") | (in_clump & ~retic)
    draws = (
        (mature, _mature),
        (retic, _reticulocytes),
        ((name == "platelet") | (name == "aggregate"), _platelets),
        (name == "fragment", _fragments),
        (name == "ghost", _ghosts),
        (name == "debris", _debris),
        (name == "wbc", _white_cells),
        (name == "nrbc", _nucleated_red_cells),
    )
    signals = np.empty((len(kind), len(SIGNALS)))
    volume = np.empty(len(kind))
    for mask, draw in draws:
        number = int(mask.sum())
        if number:
            volume[mask], signals[mask] = draw(rng, plan, table, number)
    return signals, np.cbrt(6.0 * volume / np.pi)


def _place(rng: Generator, size: NDArray[np.intp], diameter: Floats) -> Floats:
    """Positions of parts along the stream: a chain that folds as it gets longer."""
    first = np.cumsum(size) - size
    fold = rng.uniform(0.35, 0.95, len(size)) * size**-0.3
    along = np.cumsum(diameter)
    places: Floats = (along - np.repeat(along[first], size)) * np.repeat(fold, size)
    return places


def _red_geometry(rng: Generator, plan: SamplePlan, number: int) -> tuple[Floats, Floats]:
    """Volumes, fL, and haemoglobin concentrations, g/dL, of mature red cells."""
    z_volume = rng.standard_normal(number)
    z_own = rng.standard_normal(number)
    sigma = np.sqrt(np.log1p(plan.volume_cv**2))
    volume = plan.mcv * np.exp(sigma * z_volume - 0.5 * sigma**2)
    z_hc = plan.correlation * z_volume + np.sqrt(1.0 - plan.correlation**2) * z_own
    return volume, plan.hc + plan.hc_sd * z_hc


def _red_signals(
    rng: Generator, plan: SamplePlan, table: OpticalTable, volume: Floats, hc: Floats
) -> Floats:
    """Optical signals of red cells, with the background stain of a cell without RNA."""
    optical = table.red_cells(volume, hc)
    orientation = 1.0 + plan.orientation_cv * rng.standard_normal((len(volume), 2))
    optical[:, :2] *= np.clip(orientation, 0.5, 1.5)
    stain = (volume / 70.0) ** 0.67 * np.exp(0.22 * rng.standard_normal(len(volume)))
    return np.column_stack([optical, stain])


def _mature(
    rng: Generator, plan: SamplePlan, table: OpticalTable, number: int
) -> tuple[Floats, Floats]:
    volume, hc = _red_geometry(rng, plan, number)
    signals = _red_signals(rng, plan, table, volume, hc)
    punctate = rng.random(number) < plan.punctate
    signals[punctate, 4] *= rng.uniform(1.4, 2.8, punctate.sum())
    return volume, signals


def _reticulocytes(
    rng: Generator, plan: SamplePlan, table: OpticalTable, number: int
) -> tuple[Floats, Floats]:
    volume, hc = _red_geometry(rng, plan, number)
    volume = volume * rng.uniform(1.10, 1.25, number)
    hc = np.maximum(hc - rng.uniform(2.0, 5.0, number), 10.0)
    signals = _red_signals(rng, plan, table, volume, hc)
    rna = np.exp(rng.normal(np.log(8.0), np.log(2.0), number))
    signals[:, 4] *= np.clip(rna, 3.0, 30.0)
    return volume, signals


def _platelets(
    rng: Generator, plan: SamplePlan, table: OpticalTable, number: int
) -> tuple[Floats, Floats]:
    volume = plan.plt_volume * np.exp(plan.plt_sigma * rng.standard_normal(number))
    step = np.clip(rng.normal(0.040, 0.004, number), 0.025, 0.055)
    giant = rng.random(number) < plan.giant_share
    volume[giant] = 36.0 * np.exp(0.28 * rng.standard_normal(giant.sum()))
    step[giant] += 0.005
    volume = np.clip(volume, 1.0, 120.0)
    stain = 0.9 * (volume / 9.0) ** 0.8 * np.exp(0.4 * rng.standard_normal(number))
    return volume, np.column_stack([table.plain_cells(volume, step), stain])


def _fragments(
    rng: Generator, plan: SamplePlan, table: OpticalTable, number: int
) -> tuple[Floats, Floats]:
    volume = np.exp(rng.uniform(np.log(2.0), np.log(min(20.0, 0.4 * plan.mcv)), number))
    hc = np.clip(plan.hc + rng.normal(0.0, 5.0, number), 5.0, 50.0)
    return volume, _red_signals(rng, plan, table, volume, hc)


def _ghosts(
    rng: Generator, plan: SamplePlan, table: OpticalTable, number: int
) -> tuple[Floats, Floats]:
    volume, _ = _red_geometry(rng, plan, number)
    hc = rng.uniform(2.0, 8.0, number)
    return volume, _red_signals(rng, plan, table, volume, hc)


def _debris(
    rng: Generator, plan: SamplePlan, table: OpticalTable, number: int
) -> tuple[Floats, Floats]:
    del plan  # debris knows no species
    volume = 1.0 + rng.exponential(1.5, number)
    step = rng.uniform(0.015, 0.055, number)
    stain = 0.06 * volume**0.67 * np.exp(0.6 * rng.standard_normal(number))
    return volume, np.column_stack([table.plain_cells(volume, step), stain])


def _white_cells(
    rng: Generator, plan: SamplePlan, table: OpticalTable, number: int
) -> tuple[Floats, Floats]:
    del plan  # one broad population stands for all leukocytes
    volume = np.clip(rng.normal(230.0, 60.0, number), 110.0, 450.0)
    signals = table.plain_cells(volume, rng.uniform(0.025, 0.04, number))
    signals[:, 2] *= np.exp(rng.uniform(0.0, 2.0, number))  # granules
    stain = 40.0 * np.exp(0.5 * rng.standard_normal(number))
    return volume, np.column_stack([signals, stain])


def _nucleated_red_cells(
    rng: Generator, plan: SamplePlan, table: OpticalTable, number: int
) -> tuple[Floats, Floats]:
    volume, hc = _red_geometry(rng, plan, number)
    volume = volume * rng.uniform(1.1, 1.5, number)
    signals = _red_signals(rng, plan, table, volume, hc - 5.0)
    signals[:, 2] *= rng.uniform(1.3, 2.5, number)
    signals[:, 4] = 45.0 * np.exp(0.4 * rng.standard_normal(number))
    return volume, signals
