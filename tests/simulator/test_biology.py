"""Animals, conditions and particles: what is true before an instrument sees it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES
from edge_daemon.records import SPECIES as KNOWN_SPECIES
from edge_daemon.simulator.biology import CONDITIONS, SPECIES, conditions_of, plan_sample
from edge_daemon.simulator.cells import SIGNALS, concentrations, draw_particles
from edge_daemon.simulator.optics import load_table

TABLE = load_table("hene")
LA, HA, EXT, FL = (SIGNALS.index(name) for name in ("LA", "HA", "EXT", "FL"))

# Published adult intervals: red cells 10⁶/µL, MCV fL, platelets 10³/µL.
INTERVALS = {
    "dog": ((5.5, 8.9), (61.0, 78.0), (148, 621)),
    "cat": ((6.5, 12.2), (36.0, 55.0), (151, 800)),
    "horse": ((6.0, 10.4), (37.0, 49.0), (100, 290)),
    "goat": ((8.0, 23.7), (16.0, 25.0), (250, 720)),
}


def members(particles, kind):
    """Signals of lone particles of one class."""
    size = np.bincount(particles.owner)
    wanted = (particles.code == CELL_CLASSES.index(kind)) & (size == 1)
    return particles.signals[wanted[particles.owner]]


def test_every_species_of_the_records_is_simulated():
    assert set(SPECIES) == set(KNOWN_SPECIES)


@pytest.mark.parametrize("species", INTERVALS)
def test_healthy_animals_lie_in_published_intervals(species):
    rng = np.random.default_rng(1)
    plans = [plan_sample(rng, species, "healthy") for _ in range(300)]
    for field, (low, high) in zip(("rbc", "mcv", "plt"), INTERVALS[species], strict=True):
        values = np.array([getattr(plan, field) for plan in plans])
        assert np.mean((values >= low) & (values <= high)) >= 0.95, field


@pytest.mark.parametrize("species", SPECIES)
def test_every_condition_of_a_species_makes_a_valid_sample(species):
    rng = np.random.default_rng(2)
    for condition in conditions_of(species):
        for _ in range(20):
            plan = plan_sample(rng, species, condition)
            assert all(c >= 0.0 for c in concentrations(plan).values())
            assert 0.0 <= plan.retic <= 0.3
            assert 10.0 < plan.mcv < 90.0
            assert 15.0 < plan.hc < 50.0


def test_conditions_are_what_they_are_called():
    rng = np.random.default_rng(3)

    def draw(condition, field, species="dog"):
        plans = [plan_sample(rng, species, condition) for _ in range(60)]
        return np.array([getattr(plan, field) for plan in plans])

    healthy = {name: np.median(draw("healthy", name)) for name in ("rbc", "mcv", "hc", "debris")}
    assert draw("regenerative_anaemia", "retic").min() > 0.02
    assert draw("nonregenerative_anaemia", "retic").max() < 0.006
    assert draw("nonregenerative_anaemia", "rbc").max() < 0.85 * healthy["rbc"]
    assert draw("thrombocytopenia", "plt").max() <= 50.0
    assert draw("moderate_thrombocytopenia", "plt").min() >= 50.0
    assert np.median(draw("thrombocytosis", "plt")) > 600.0
    assert draw("microcytosis", "mcv").max() < healthy["mcv"]
    assert draw("iron_deficiency", "hc").max() < healthy["hc"] - 0.5
    assert draw("agglutination", "clump_share").min() >= 0.05
    assert np.median(draw("heavy_debris", "debris")) > 8.0 * healthy["debris"]
    assert draw("macrothrombocytes", "giant_share").max() > 0.3
    assert draw("platelet_aggregates", "aggregated", "cat").min() >= 0.25
    assert draw("polycythaemia", "rbc").min() > healthy["rbc"]


def test_horses_release_hardly_any_reticulocytes():
    rng = np.random.default_rng(4)
    retic = [plan_sample(rng, "horse", "regenerative_anaemia").retic for _ in range(60)]
    assert max(retic) < 0.005


@pytest.mark.parametrize(
    ("species", "condition", "message"),
    [
        ("unicorn", "healthy", "unknown species 'unicorn'"),
        ("dog", "hiccups", "condition 'hiccups' is not simulated"),
        ("dog", "platelet_aggregates", "not simulated in species 'dog'"),
    ],
)
def test_unknown_animals_and_diseases_are_refused(species, condition, message):
    with pytest.raises(EdgeError, match=message) as caught:
        plan_sample(np.random.default_rng(0), species, condition)
    assert caught.value.action


def test_cells_inside_clumps_and_aggregates_are_taken_from_the_free_ones(plan_of):
    plan = plan_of("cat", "healthy", clump_share=0.2, clump_extra=1.0, aggregated=0.4)
    rng = np.random.default_rng(5)
    particles = draw_particles(rng, plan, TABLE, 60_000)
    shares = {kind: c for kind, c in concentrations(plan).items() if c}
    blood = 60_000 / sum(shares.values())  # 10⁻³ µL of blood that held these particles
    clumped = particles.code == CELL_CLASSES.index("clumped_rbc")
    size = np.bincount(particles.owner)
    red = size[particles.code <= 2].sum()
    assert red / blood == pytest.approx(1000.0 * plan.rbc, rel=0.01)
    assert size[clumped].mean() == pytest.approx(3.0, rel=0.05)
    assert size[clumped].min() == 2


def test_volume_and_haemoglobin_are_anticorrelated_as_planned(plan_of):
    from edge_daemon.simulator.cells import _red_geometry

    plan = plan_of(correlation=-0.35, volume_cv=0.14, mcv=68.0, hc=33.0, hc_sd=2.2)
    volume, hc = _red_geometry(np.random.default_rng(6), plan, 40_000)
    assert np.corrcoef(np.log(volume), hc)[0, 1] == pytest.approx(-0.35, abs=0.02)
    assert volume.mean() == pytest.approx(68.0, rel=0.005)
    assert volume.std() / volume.mean() == pytest.approx(0.14, rel=0.03)
    assert hc.std() == pytest.approx(2.2, rel=0.03)


def crossing(low, high):
    """Share of two populations on the wrong side of the best threshold, averaged."""
    cuts = np.quantile(np.concatenate([low, high]), np.linspace(0.0, 1.0, 2001))
    return min((np.mean(low > cut) + np.mean(high < cut)) / 2.0 for cut in cuts)


def test_cat_platelets_overlap_red_cells_in_volume_and_part_at_two_angles(plan_of):
    particles = draw_particles(np.random.default_rng(7), plan_of("cat"), TABLE, 40_000)
    lone = np.bincount(particles.owner) == 1
    code, kept = particles.code[particles.owner], lone[particles.owner]
    red, platelet = (kept & (code == CELL_CLASSES.index(c)) for c in ("pure_rbc", "platelet"))
    angles = np.log(particles.signals[:, [LA, HA]])
    spread = np.cov(angles[red].T) + np.cov(angles[platelet].T)
    axis = np.linalg.solve(spread, angles[red].mean(axis=0) - angles[platelet].mean(axis=0))
    by_angles = crossing((angles @ axis)[platelet], (angles @ axis)[red])
    by_volume = crossing(particles.diameter_um[platelet], particles.diameter_um[red])
    assert by_volume > 0.02
    assert by_angles < 0.25 * by_volume


def test_giant_platelets_lie_among_goat_red_cells_in_scatter_and_leave_it_in_dye(plan_of):
    rng = np.random.default_rng(8)
    dog = plan_of("dog", "macrothrombocytes", giant_share=1.0)
    giant = members(draw_particles(rng, dog, TABLE, 60_000), "platelet")
    goat = members(draw_particles(rng, plan_of("goat"), TABLE, 20_000), "pure_rbc")
    for column in (LA, HA, EXT):
        low, high = np.quantile(goat[:, column], [0.005, 0.999])
        assert low < np.median(giant[:, column]) < high * 1.1
    assert np.median(giant[:, FL]) > 3.0 * np.median(goat[:, FL])


def test_reticulocytes_are_larger_paler_and_stained(plan_of):
    plan = plan_of("dog", "regenerative_anaemia", retic=0.3)
    particles = draw_particles(np.random.default_rng(9), plan, TABLE, 30_000)
    retic, mature = members(particles, "reticulocyte"), members(particles, "pure_rbc")
    assert np.median(retic[:, LA]) > np.median(mature[:, LA])
    ratio = retic[:, FL] / np.median(mature[:, FL])
    assert 6.0 < np.median(ratio) < 11.0
    assert np.mean(ratio < 2.0) < 0.01


def test_punctate_reticulocytes_count_as_mature(plan_of):
    plan = plan_of("cat", punctate=0.5, retic=0.0)
    particles = draw_particles(np.random.default_rng(10), plan, TABLE, 20_000)
    assert not np.any(particles.code == CELL_CLASSES.index("reticulocyte"))
    stain = members(particles, "pure_rbc")[:, FL]
    none = members(
        draw_particles(np.random.default_rng(10), plan_of("cat", punctate=0.0), TABLE, 20_000),
        "pure_rbc",
    )[:, FL]
    assert np.quantile(stain, 0.75) > 1.4 * np.quantile(none, 0.75)


def test_typical_mature_dog_cell_has_unit_fluorescence(plan_of):
    particles = draw_particles(np.random.default_rng(12), plan_of("dog"), TABLE, 20_000)
    assert np.median(members(particles, "pure_rbc")[:, FL]) == pytest.approx(1.0, rel=0.1)


def test_no_condition_is_without_its_weight():
    assert all(condition.weight > 0.0 for condition in CONDITIONS.values())
    assert sum(conditions_of("cat").values()) == pytest.approx(1.0)
    assert "platelet_aggregates" not in conditions_of("dog")
