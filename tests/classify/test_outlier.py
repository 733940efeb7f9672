from dataclasses import replace

import numpy as np
import pytest

from edge_daemon.classify.calibrate import red_cell_peak
from edge_daemon.classify.outlier import (
    MIN_RUNS,
    learn_habit,
    refuse_stranger,
    run_summary,
    strangeness,
)
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.errors import Quarantine

COUNTS = [1850, 20, 10, 100, 20]


@pytest.fixture(scope="module")
def summary_of(bundle):
    classifier = Classifier(bundle)

    def summarise(batch):
        peak = red_cell_peak(batch.signals, bundle.channels, "EXT.A")
        posterior = classifier.classify(batch).posterior
        return run_summary(batch.signals, bundle.channels, peak, posterior, "EXT.A")

    return summarise


@pytest.fixture(scope="module")
def ordinary(make_cells):
    """Return a function: seed → a run as they usually are, with its own gain and counts."""

    def make(seed):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(np.array(COUNTS) * rng.uniform(0.7, 1.3, 5)).tolist()
        return make_cells(counts, seed=seed, gain=float(np.exp(0.05 * rng.standard_normal())))[0]

    return make


@pytest.fixture(scope="module")
def habit(summary_of, ordinary):
    return learn_habit([summary_of(ordinary(seed)) for seed in range(90)], ["dog"] * 90)


@pytest.fixture(scope="module")
def careful(bundle, habit):
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"habit": habit}))


def test_usual_runs_are_not_refused(careful, habit, summary_of, ordinary):
    for seed in range(1000, 1040):
        assert strangeness(summary_of(ordinary(seed)), habit)[0] < 1.0


def swapped(batch):
    signals = batch.signals.copy()
    one, two = (batch.channels.index(c) for c in ("EXT.H", "FL.H"))
    signals[:, [one, two]] = signals[:, [two, one]]
    return replace(batch, signals=signals)


def without_stain(batch):
    signals = batch.signals.copy()
    rng = np.random.default_rng(3)
    for name in ("FL.H", "FL.A"):
        signals[:, batch.channels.index(name)] = rng.uniform(0.001, 0.01, batch.events)
    return replace(batch, signals=signals)


def beads(batch):
    rng = np.random.default_rng(4)
    size = np.exp(0.01 * rng.standard_normal((batch.events, 1)))
    return replace(batch, signals=(batch.signals[:1] * size).astype(np.float32))


@pytest.mark.parametrize("spoil", [swapped, without_stain, beads])
def test_what_is_no_blood_on_this_instrument_is_not_classified(careful, ordinary, spoil):
    batch = spoil(ordinary(2000))
    calls = Classifier(careful).classify(batch)
    with pytest.raises(Quarantine) as caught:
        quantify(batch, calls, careful)
    assert caught.value.code == "not_classified"
    assert "times as far" in caught.value.message
    assert caught.value.action


def test_a_gain_that_moved_is_no_reason_to_refuse(careful, make_cells):
    batch, _ = make_cells(COUNTS, gain=1.2)
    refuse_stranger(batch, Classifier(careful).classify(batch), careful)


def test_a_bundle_that_kept_no_habit_refuses_nothing(bundle, ordinary):
    batch = beads(ordinary(2001))
    refuse_stranger(batch, Classifier(bundle).classify(batch), bundle)


def test_a_handful_of_runs_does_not_show_what_is_usual(summary_of, ordinary):
    one = summary_of(ordinary(1))
    assert learn_habit([one] * (MIN_RUNS - 1), ["dog"] * (MIN_RUNS - 1)) is None


def test_too_few_small_events_say_nothing(summary_of, make_cells):
    summary = summary_of(make_cells([1900, 20, 10, 60, 0])[0])
    assert np.isnan(summary["small LA.H"])
    assert np.isfinite(summary["peak LA.H"])


def test_the_spread_of_the_dye_says_nothing_of_the_instrument(summary_of, ordinary):
    """Reticulocytes widen it, in one patient a hundred times as much as in another."""
    assert not [name for name in summary_of(ordinary(1)) if name.startswith("spread FL")]


def test_a_habit_with_a_feature_no_longer_looked_at_leaves_it_out(habit, summary_of, ordinary):
    """As of the covariance without it: what is known is neither nearer nor further away."""
    summaries = [summary_of(ordinary(seed)) for seed in range(1000, 1010)]
    dropped = "spread HA.H"
    covariance = np.linalg.inv(np.array(habit.precision))
    for summary in summaries:
        keep = [
            i
            for i, name in enumerate(habit.features)
            if name != dropped and np.isfinite(summary[name])
        ]
        precision = np.linalg.inv(covariance[np.ix_(keep, keep)])
        rest = {name: value for name, value in summary.items() if name != dropped}
        z = [(summary[habit.features[i]] - habit.centre[i]) / habit.scale[i] for i in keep]
        expected = np.sqrt(np.array(z) @ precision @ np.array(z)) / habit.limit
        ratio, _ = strangeness(rest, habit)
        assert ratio == pytest.approx(expected, rel=1e-6)
        assert ratio <= strangeness(summary, habit)[0] + 1e-9


def with_gains(batch, gains):
    signals = batch.signals.copy()
    for detector, gain in gains.items():
        for feature in "HA":
            signals[:, batch.channels.index(f"{detector}.{feature}")] *= gain
    return replace(batch, signals=signals)


@pytest.fixture(scope="module")
def mixed(summary_of, make_cells):
    """Habit of dogs and of goats, whose cells are a third as large, the gain common to all."""
    summaries, species = [], []
    for seed in range(80):
        kind, size = (("dog", 1.0), ("goat", 0.33))[seed % 2]
        gain = size * float(np.exp(0.02 * np.random.default_rng(seed).standard_normal()))
        batch, _ = make_cells(COUNTS, seed=seed, gain=gain, species=kind)
        summaries.append(summary_of(batch))
        species.append(kind)
    return learn_habit(summaries, species)


def test_a_detector_whose_gain_is_wrong_is_seen_among_cells_of_one_species(
    mixed, summary_of, make_cells
):
    """Between a dog's and a goat's height in one detector, a dog's in the others."""
    batch, _ = make_cells(COUNTS, seed=900)
    right = summary_of(batch)
    wrong = summary_of(with_gains(batch, {"LA": 0.57}))
    assert strangeness(right, mixed, "dog")[0] < 1.0
    ratio, feature = strangeness(wrong, mixed, "dog")
    assert ratio > 1.0
    assert feature == "peak LA.H"
    assert strangeness(wrong, mixed, None)[0] < 1.0
    assert strangeness(summary_of(with_gains(batch, {"LA": 0.9})), mixed, "dog")[0] < 1.0


def test_a_species_entered_wrong_is_no_wrong_gain(mixed, summary_of, make_cells):
    goat = summary_of(make_cells(COUNTS, seed=901, gain=0.33)[0])
    assert strangeness(goat, mixed, "dog")[0] < 1.0
