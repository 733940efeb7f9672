from dataclasses import replace

import numpy as np
import pytest

from edge_daemon.classify.bundle import load_bundle
from edge_daemon.classify.kinds import distances
from edge_daemon.classify.outlier import GAIN_TOLERANCE
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.species import MIN_RUNS, learn_species, species_traits, suspect_species
from edge_daemon.records import CellCalls
from edge_daemon.resources import models_dir

COUNTS = [1850, 20, 10, 100, 20]
SIZE = {"dog": 1.0, "goat": 0.3}
NEAR = {"dog": 1.0, "horse": 0.8}


def calls_of(codes):
    return CellCalls(np.eye(5, dtype=np.float32)[codes], codes.astype(np.uint8))


@pytest.fixture(scope="module")
def animal(make_cells):
    """Return a function: species and seed → a run of cells of its size, and its calls."""

    def make(species, seed):
        rng = np.random.default_rng([seed, len(species)])
        gain = SIZE[species] * float(np.exp(0.1 * rng.standard_normal()))
        volume = 2.0 * float(np.exp(0.1 * rng.standard_normal()))
        batch, codes = make_cells(COUNTS, seed=seed, gain=gain, species=species, volume_ul=volume)
        return batch, calls_of(codes)

    return make


@pytest.fixture(scope="module")
def habits(animal):
    runs = [(s, animal(s, seed)) for s in SIZE for seed in range(30)]
    return learn_species([species_traits(*run) for _, run in runs], [s for s, _ in runs])


def test_the_species_entered_is_believed_where_it_fits(animal, habits):
    for species in SIZE:
        for seed in range(100, 130):
            assert suspect_species(*animal(species, seed), habits) is None


@pytest.mark.parametrize(("blood", "entered"), [("goat", "dog"), ("dog", "goat")])
def test_blood_of_another_species_is_suspected(animal, habits, bundle, blood, entered):
    batch, calls = animal(blood, 200)
    wrong = replace(batch, sample=replace(batch.sample, species=entered))
    learnt = replace(bundle, manifest=bundle.manifest.model_copy(update={"species": habits}))
    result = quantify(wrong, calls, learnt)
    flag = next(f for f in result.flags if f.code == "species_suspected")
    assert flag.severity == "review"
    assert flag.message.startswith("Species?")
    assert blood in flag.message
    assert flag.action
    right = quantify(batch, calls, learnt)
    assert "species_suspected" not in {f.code for f in right.flags}
    assert [m.value for m in right.measurements] == [m.value for m in result.measurements]


def test_a_species_without_training_runs_is_never_suspected(animal, habits):
    batch, calls = animal("goat", 201)
    for species in (None, "alpaca"):
        sample = replace(batch.sample, species=species)
        assert suspect_species(replace(batch, sample=sample), calls, habits) is None


def test_without_volume_or_platelets_the_rest_still_counts(animal, habits):
    batch, calls = animal("goat", 202)
    batch = replace(batch, sample=replace(batch.sample, species="dog", volume_ul=None))
    few = CellCalls(calls.posterior, np.where(calls.codes == 3, 4, calls.codes).astype(np.uint8))
    traits = species_traits(batch, few)
    assert np.isnan(traits[4:]).all()
    assert suspect_species(batch, few, habits) is not None


def test_too_few_runs_teach_nothing(animal):
    traits = [species_traits(*animal(s, seed)) for s in SIZE for seed in range(MIN_RUNS - 1)]
    names = [s for s in SIZE for _ in range(MIN_RUNS - 1)]
    assert learn_species(traits, names) is None


@pytest.fixture
def scattering(make_cells):
    """Return a function: species, seed, gain of LA → a run and its calls.

    Red cells of horses scatter less here, platelets alike: a gain moves both.
    """

    def animal(species, seed, gain=1.0):
        batch, codes = make_cells(COUNTS, seed=seed, species=species)
        own = np.exp(0.03 * np.random.default_rng(seed).standard_normal())
        scatter = np.where(codes == 3, 1.0, own * NEAR[species])
        signals = batch.signals.copy()
        for column in (batch.channels.index("LA.H"), batch.channels.index("LA.A")):
            signals[:, column] *= gain * scatter
        return replace(batch, signals=signals), calls_of(codes)

    return animal


@pytest.fixture
def scatter_habits(scattering):
    runs = [(species, scattering(species, seed)) for species in NEAR for seed in range(30)]
    return learn_species([species_traits(*run) for _, run in runs], [s for s, _ in runs])


@pytest.mark.parametrize("gain", [0.68, 0.85, 1.47])
def test_a_gain_that_moved_is_no_other_species(scattering, scatter_habits, gain):
    """Up to where the run would not be classified: twice the tolerance."""
    for species in NEAR:
        assert suspect_species(*scattering(species, 300, gain), scatter_habits) is None
    batch, calls = scattering("horse", 300, gain)
    wrong = replace(batch, sample=replace(batch.sample, species="dog"))
    assert suspect_species(wrong, calls, scatter_habits) is not None


@pytest.mark.parametrize("folder", sorted(models_dir().iterdir()), ids=lambda path: path.name)
@pytest.mark.parametrize("platelets", [True, False], ids=["platelets", "too few platelets"])
def test_a_usual_animal_is_its_species_whatever_the_gain_of_a_detector(folder, platelets):
    """Of every species of every shipped bundle, up to twice the tolerance."""
    habits = load_bundle(folder).manifest.species
    for species, kind in habits.kinds.items():
        for detector in range(3):
            for moved in (-2 * GAIN_TOLERANCE, 2 * GAIN_TOLERANCE):
                traits = np.array(kind.centre)
                traits[[detector, 5 + detector]] += moved
                traits[5:] = traits[5:] if platelets else np.nan
                apart = distances(traits, habits.kinds)
                assert apart[species] - min(apart.values()) < habits.limit / 4
