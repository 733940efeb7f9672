import numpy as np
import pytest

from edge_daemon.classify.priors import reestimate, rule_out

TRAINING = np.array([0.92, 0.06, 0.02])


def posteriors(shares, *, overlap, n=30_000, seed=0):
    """Draw cells of three overlapping Gaussians; posteriors are exact under `TRAINING`."""
    rng = np.random.default_rng(seed)
    centres = np.array([0.0, overlap, -overlap])
    codes = rng.choice(3, n, p=shares)
    x = centres[codes] + rng.standard_normal(n)
    density = TRAINING * np.exp(-0.5 * (x[:, None] - centres) ** 2)
    return (density / density.sum(axis=1, keepdims=True)).astype(np.float32), codes


@pytest.mark.parametrize("platelets", [0.002, 0.01, 0.06, 0.3])
def test_the_runs_own_frequencies_are_found(platelets):
    shares = np.array([0.98 - platelets, platelets, 0.02])
    posterior, codes = posteriors(shares, overlap=3.0)
    adapted, priors = reestimate(posterior, TRAINING)
    true = np.bincount(codes, minlength=3) / len(codes)
    before = abs(posterior.mean(axis=0)[1] - true[1])
    after = abs(priors[1] - true[1])
    assert after <= max(before, 0.05 * true[1] + 5e-4)
    np.testing.assert_allclose(adapted.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(adapted.mean(axis=0), priors, atol=2e-3)


def test_separate_classes_are_left_as_they_are():
    posterior = np.eye(3, dtype=np.float32)[np.array([0] * 900 + [1] * 90 + [2] * 10)]
    adapted, priors = reestimate(posterior, TRAINING)
    np.testing.assert_array_equal(adapted, posterior)
    np.testing.assert_allclose(priors, [0.9, 0.09, 0.01], atol=1e-9)


def test_a_shift_is_bounded():
    posterior = np.tile(np.float32([0.6, 0.39, 0.01]), (5000, 1))
    _, priors = reestimate(posterior, np.array([0.998, 0.001, 0.001]))
    assert priors[1] <= 0.001 * 30 * 1.2


def test_a_class_that_training_never_saw_gets_no_commoner():
    posterior = np.tile(np.float32([0.6, 0.39, 0.01]), (5000, 1))
    adapted, priors = reestimate(posterior, np.array([0.98998, 0.00002, 0.01]))
    assert priors[1] <= 0.00002 * 1.01
    assert adapted[:, 1].max() <= 0.39


def test_the_impossible_is_shared_out_and_the_rest_keeps_its_odds():
    posterior = np.float32([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    possible = np.array([[0, 1, 1], [0, 1, 1], [1, 1, 1]], bool)
    found = rule_out(posterior, possible)
    np.testing.assert_allclose(found[0], [0, 0.6, 0.4], atol=1e-4)
    np.testing.assert_allclose(found[1], [0, 0.5, 0.5], atol=1e-4)
    np.testing.assert_allclose(found[2], posterior[2], atol=1e-5)


def test_no_events_change_nothing():
    adapted, priors = reestimate(np.empty((0, 3), np.float32), TRAINING)
    assert adapted.shape == (0, 3)
    np.testing.assert_array_equal(priors, TRAINING)


def test_an_event_counts_as_far_as_it_is_of_these_classes():
    """Doublets that look like clumps, but hardly are red cells, do not make clumps commoner."""
    shares = np.array([0.98, 0.01, 0.01])
    cells, codes = posteriors(shares, overlap=3.0, n=20_000)
    doublets = np.tile(np.float32([0.05, 0.9, 0.05]), (2000, 1))
    posterior = np.concatenate([cells, doublets])
    weight = np.repeat(np.float32([1.0, 0.01]), [len(cells), len(doublets)])
    weighed, found = reestimate(posterior, TRAINING, weight=weight)
    _, alone = reestimate(cells, TRAINING)
    assert found[1] == pytest.approx(alone[1], abs=1.5e-3)
    assert reestimate(posterior, TRAINING)[1][1] > 5 * found[1]
    true = np.bincount(codes, minlength=3)
    assert weighed[: len(cells), 1].sum() == pytest.approx(true[1], rel=0.3)


def test_equal_weights_are_none():
    posterior, _ = posteriors(np.array([0.9, 0.05, 0.05]), overlap=2.0, n=3000)
    plain, weighed = (
        reestimate(posterior, TRAINING, weight=w) for w in (None, np.full(3000, 0.5, np.float32))
    )
    np.testing.assert_allclose(weighed[1], plain[1], atol=1e-7)
    np.testing.assert_allclose(weighed[0], plain[0], atol=1e-5)


def test_events_that_are_surely_of_other_classes_change_nothing():
    posterior, _ = posteriors(np.array([0.9, 0.05, 0.05]), overlap=2.0, n=50)
    adapted, priors = reestimate(posterior, TRAINING, weight=np.zeros(50, np.float32))
    np.testing.assert_array_equal(adapted, posterior)
    np.testing.assert_array_equal(priors, TRAINING)


@pytest.mark.parametrize("overlap", [1.5, 3.0])
def test_the_estimate_lies_where_plain_steps_end(overlap):
    posterior, _ = posteriors(np.array([0.9, 0.02, 0.08]), overlap=overlap)
    _, found = reestimate(posterior, TRAINING)
    plain = TRAINING
    for _ in range(2000):
        weighed = posterior * (plain / TRAINING)
        plain = (weighed / weighed.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(found, plain, atol=2e-5)
