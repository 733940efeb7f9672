"""Animals and their blood: species, conditions, and the plan of one sample.

Sources and assumptions of every figure: docs/simulator.md. A plan holds what is true of the
blood; nothing in it depends on an instrument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.random import Generator

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Species:
    """Adult healthy blood of one species.

    Attributes
    ----------
    rbc, mcv, hc, rdw
        Mean and between-animal SD of the count (10⁶/µL), the cell volume (fL), the haemoglobin
        concentration (g/dL) and the coefficient of variation of volume (%).
    retic_pct
        Range of circulating (in cats: aggregate) reticulocytes, % of red cells.
    plt
        Median (10³/µL) and log-SD between animals.
    plt_volume, plt_sigma
        Median platelet volume, fL, and log-SD between cells.
    punctate_pct
        Range of punctate reticulocytes, % of red cells; cats only.
    regenerates
        Share of a condition's reticulocytosis that reaches the blood of this species.
    orientation_cv
        Scatter variation of cells that do not sphere; camelids.
    """

    rbc: Range
    mcv: Range
    hc: Range
    rdw: Range
    retic_pct: Range
    plt: Range
    plt_volume: float
    plt_sigma: float = 0.45
    punctate_pct: Range = (0.0, 0.0)
    regenerates: float = 1.0
    orientation_cv: float = 0.01


SPECIES: Final[Mapping[str, Species]] = {
    "dog": Species(
        rbc=(7.1, 0.6), mcv=(68.0, 2.2), hc=(33.5, 0.8), rdw=(13.0, 1.0),
        retic_pct=(0.2, 1.5), plt=(290.0, 0.27), plt_volume=9.0,
    ),
    "cat": Species(
        rbc=(8.8, 1.0), mcv=(45.0, 3.0), hc=(32.5, 1.0), rdw=(16.5, 1.5),
        retic_pct=(0.05, 0.6), plt=(320.0, 0.3), plt_volume=13.0, plt_sigma=0.6,
        punctate_pct=(1.0, 10.0),
    ),
    "horse": Species(
        rbc=(8.2, 0.7), mcv=(43.0, 2.2), hc=(36.5, 0.8), rdw=(16.0, 1.2),
        retic_pct=(0.01, 0.12), plt=(175.0, 0.2), plt_volume=6.0, regenerates=0.02,
    ),
    "cow": Species(
        rbc=(6.4, 0.6), mcv=(50.0, 3.0), hc=(32.5, 0.9), rdw=(17.0, 1.4),
        retic_pct=(0.0, 0.02), plt=(350.0, 0.35), plt_volume=6.0, regenerates=0.4,
    ),
    "sheep": Species(
        rbc=(11.5, 1.1), mcv=(34.0, 2.0), hc=(32.5, 0.8), rdw=(18.0, 1.4),
        retic_pct=(0.0, 0.02), plt=(430.0, 0.25), plt_volume=5.5, regenerates=0.4,
    ),
    "goat": Species(
        rbc=(14.5, 1.6), mcv=(20.0, 1.2), hc=(33.0, 1.0), rdw=(22.0, 1.8),
        retic_pct=(0.0, 0.02), plt=(430.0, 0.2), plt_volume=5.5, regenerates=0.4,
    ),
    "alpaca": Species(
        rbc=(14.0, 1.4), mcv=(24.5, 1.2), hc=(43.0, 1.0), rdw=(18.0, 1.5),
        retic_pct=(0.05, 0.6), plt=(350.0, 0.25), plt_volume=5.5, orientation_cv=0.1,
    ),
    "rabbit": Species(
        rbc=(6.2, 0.55), mcv=(62.0, 2.4), hc=(32.0, 1.0), rdw=(15.0, 1.2),
        retic_pct=(0.3, 3.0), plt=(400.0, 0.25), plt_volume=6.5,
    ),
    "ferret": Species(
        rbc=(9.5, 0.9), mcv=(53.0, 2.4), hc=(32.5, 1.0), rdw=(15.0, 1.2),
        retic_pct=(0.2, 2.0), plt=(460.0, 0.2), plt_volume=7.5,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """What a disease or artefact changes; every range is drawn uniformly (counts: log-uniformly).

    Attributes
    ----------
    weight
        Share of this condition in a mixed cohort, relative to the others.
    species
        Where it occurs; None for everywhere.
    rbc, mcv, plt, plt_volume
        Factors on the animal's own healthy values.
    plt_absolute
        Platelets in 10³/µL, instead of the factor.
    retic_pct
        Reticulocytes, % of red cells, instead of the healthy range.
    hc, rdw
        Added to the haemoglobin concentration, g/dL, and to the volume CV, %.
    giant_share
        Share of platelets that are giant.
    clump_share
        Share of red-cell particles that are antibody clumps.
    clump_extra
        Mean number of cells per clump beyond two.
    aggregated
        Share of platelets bound in platelet aggregates.
    debris
        Specks from 1 fL per red cell; somewhat under half are large enough to trigger.
    fragments
        Red-cell fragments, share of red cells.
    """

    weight: float = 1.0
    species: tuple[str, ...] | None = None
    rbc: Range = (1.0, 1.0)
    mcv: Range = (1.0, 1.0)
    plt: Range = (1.0, 1.0)
    plt_volume: Range = (1.0, 1.0)
    plt_absolute: Range | None = None
    retic_pct: Range | None = None
    hc: Range = (0.0, 0.0)
    rdw: Range = (0.0, 0.0)
    giant_share: Range = (0.0, 0.005)
    clump_share: Range = (0.0, 0.01)
    clump_extra: Range = (0.2, 0.4)
    aggregated: Range = (0.0, 0.0)
    debris: Range = (0.003, 0.02)
    fragments: Range = (0.001, 0.004)


CONDITIONS: Final[Mapping[str, Condition]] = {
    "healthy": Condition(weight=6.0),
    "regenerative_anaemia": Condition(
        weight=1.5, rbc=(0.3, 0.7), mcv=(1.03, 1.12), hc=(-2.0, -0.5), rdw=(2.0, 6.0),
        retic_pct=(3.0, 20.0), plt=(0.8, 1.5), fragments=(0.002, 0.01),
    ),
    "nonregenerative_anaemia": Condition(
        weight=1.0, rbc=(0.25, 0.65), retic_pct=(0.02, 0.5), plt=(0.7, 1.3),
    ),
    "thrombocytopenia": Condition(weight=1.5, plt_absolute=(5.0, 50.0), plt_volume=(1.0, 1.4)),
    "moderate_thrombocytopenia": Condition(weight=1.0, plt_absolute=(50.0, 140.0)),
    "thrombocytosis": Condition(weight=1.0, plt=(2.0, 3.5)),
    "macrothrombocytes": Condition(
        weight=1.0, species=("dog", "cat"), plt_absolute=(40.0, 160.0), plt_volume=(1.2, 1.6),
        giant_share=(0.05, 0.75),
    ),
    "microcytosis": Condition(weight=1.0, mcv=(0.72, 0.87), rdw=(0.0, 2.0)),
    "iron_deficiency": Condition(
        weight=1.0, rbc=(0.5, 0.85), mcv=(0.65, 0.82), hc=(-7.0, -3.0), rdw=(3.0, 7.0),
        retic_pct=(0.5, 4.0), plt=(1.2, 2.2), fragments=(0.005, 0.02),
    ),
    "agglutination": Condition(
        weight=1.0, rbc=(0.25, 0.6), mcv=(0.95, 1.05), hc=(0.0, 2.0), rdw=(1.0, 4.0),
        retic_pct=(2.0, 15.0), plt=(0.5, 1.2), clump_share=(0.05, 0.4), clump_extra=(0.3, 1.5),
    ),
    "polycythaemia": Condition(weight=0.7, rbc=(1.25, 1.6)),
    "heavy_debris": Condition(weight=1.0, debris=(0.08, 0.3)),
    "platelet_aggregates": Condition(
        weight=1.0, species=("cat",), aggregated=(0.25, 0.6),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """What is true of one blood sample.

    Attributes
    ----------
    rbc
        All red cells including those inside clumps, 10⁶/µL.
    plt
        All platelets including those inside aggregates, 10³/µL.
    retic
        Share of red cells that are (aggregate) reticulocytes.
    punctate
        Share of red cells that are punctate reticulocytes.
    mcv, volume_cv, hc, hc_sd
        Volume of mature red cells, fL, its coefficient of variation, and their haemoglobin
        concentration with SD, g/dL.
    correlation
        Between log-volume and haemoglobin concentration.
    plt_volume, plt_sigma, giant_share
        Median, fL, and log-SD of the main platelet population; share of giant platelets.
    clump_share, clump_extra
        Share of red-cell particles that are clumps; mean cells beyond two in them.
    aggregated
        Share of platelets in aggregates.
    fragments, ghosts
        Per red cell.
    debris, wbc
        10³/µL.
    nrbc
        Per white cell.
    orientation_cv
        Relative scatter variation of cells that do not sphere.
    """

    sample_id: str
    species: str
    condition: str
    rbc: float
    plt: float
    retic: float
    punctate: float
    mcv: float
    volume_cv: float
    hc: float
    hc_sd: float
    correlation: float
    plt_volume: float
    plt_sigma: float
    giant_share: float
    clump_share: float
    clump_extra: float
    aggregated: float
    fragments: float
    ghosts: float
    debris: float
    wbc: float
    nrbc: float
    orientation_cv: float


def conditions_of(species: str) -> dict[str, float]:
    """Conditions that occur in `species`, with their probabilities in a mixed cohort."""
    weights = {
        name: c.weight
        for name, c in CONDITIONS.items()
        if c.species is None or species in c.species
    }
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def plan_sample(
    rng: Generator, species: str, condition: str, *, sample_id: str = "SIM"
) -> SamplePlan:
    """Draw one animal and what its condition has made of its blood.

    Raises
    ------
    EdgeError
        If the species or the condition is not known, or does not occur together.
    """
    kind, change = _lookup(species, condition)
    rbc = _normal(rng, kind.rbc) * rng.uniform(*change.rbc)
    plt = kind.plt[0] * math.exp(kind.plt[1] * rng.standard_normal()) * _log(rng, change.plt)
    if change.plt_absolute is not None:
        plt = _log(rng, change.plt_absolute)
    retic = rng.uniform(*kind.retic_pct)
    if change.retic_pct is not None:
        drawn = _log(rng, change.retic_pct)
        regenerative = change.retic_pct[1] > 1.0
        retic = max(retic, kind.regenerates * drawn) if regenerative else min(retic, drawn)
    aggregated = rng.uniform(*change.aggregated)
    if species == "cat" and aggregated == 0.0 and rng.random() < 0.4:
        aggregated = rng.uniform(0.02, 0.12)
    return SamplePlan(
        sample_id=sample_id,
        species=species,
        condition=condition,
        rbc=rbc,
        plt=plt,
        retic=retic / 100.0,
        punctate=rng.uniform(*kind.punctate_pct) / 100.0,
        mcv=_normal(rng, kind.mcv) * rng.uniform(*change.mcv),
        volume_cv=(_normal(rng, kind.rdw) + rng.uniform(*change.rdw)) / 100.0,
        hc=_normal(rng, kind.hc) + rng.uniform(*change.hc),
        hc_sd=rng.uniform(1.8, 2.6),
        correlation=rng.uniform(-0.4, -0.2),
        plt_volume=kind.plt_volume * math.exp(rng.normal(0.0, 0.08)) * _log(rng, change.plt_volume),
        plt_sigma=kind.plt_sigma * rng.uniform(0.9, 1.1),
        giant_share=rng.uniform(*change.giant_share),
        clump_share=rng.uniform(*change.clump_share),
        clump_extra=rng.uniform(*change.clump_extra),
        aggregated=aggregated,
        fragments=_log(rng, change.fragments),
        ghosts=rng.uniform(0.0, 0.002),
        debris=rbc * 1000.0 * _log(rng, change.debris),
        wbc=_log(rng, (5.0, 18.0)),
        nrbc=rng.uniform(0.0, 0.1) if condition == "regenerative_anaemia" else 0.0,
        orientation_cv=kind.orientation_cv,
    )


def _lookup(species: str, condition: str) -> tuple[Species, Condition]:
    if species not in SPECIES:
        raise EdgeError(
            f"unknown species {species!r}; the simulator knows {', '.join(SPECIES)}",
            action="Choose one of the known species.",
        )
    if condition not in conditions_of(species):
        known = ", ".join(conditions_of(species))
        raise EdgeError(
            f"condition {condition!r} is not simulated in species {species!r}; known are {known}",
            action="Choose one of the known conditions.",
        )
    return SPECIES[species], CONDITIONS[condition]


def _normal(rng: Generator, mean_sd: Range) -> float:
    """Draw within ±2.5 SD, so that a healthy animal stays within what is published."""
    mean, sd = mean_sd
    return float(mean + sd * np.clip(rng.standard_normal(), -2.5, 2.5))


def _log(rng: Generator, bounds: Range) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))
