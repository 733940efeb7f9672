import numpy as np
import pytest

from edge_daemon.training import idec, settle
from edge_daemon.training.sampling import stack
from edge_daemon.training.trainer import posteriors

NAN = np.nan


def cells_of(target, species, precision=400.0, *, seed=0):
    """Runs of red cells, platelets and a few others that overlap the platelets."""
    rng = np.random.default_rng(seed)
    centres = np.array([[2, 0, 0], [-2, 1, 0], [-2, -1, 0]], np.float32)
    x, start, possible = [], [], []
    for kind in species:
        codes = np.repeat([0, 1, 2], [160, 60, 30])
        shift = np.float32([0, 0, 2.0 if kind == "goat" else -2.0])
        x.append((centres[codes] + shift + 0.7 * rng.standard_normal((250, 3))).astype(np.float32))
        start.append(np.eye(3, dtype=np.float32)[codes] * 0.97 + 0.01)
        possible.append(np.column_stack([codes == 0, *np.ones((2, 250))]).astype(np.float32))
    return stack(
        x,
        [np.ones(250, np.float32)] * len(species),
        start,
        [(NAN, value, NAN) for value in target],
        possible=possible,
        groups=species,
        precision=[(0.0, precision, 0.0)] * len(species),
    )


def test_a_species_is_believed_as_far_as_its_runs_are_many():
    species = ["dog"] * 100 + ["goat"] * 2
    cells = cells_of([60.0] * 102, species)
    errors = np.full((102, 3), NAN, np.float32)
    errors[:100, 1], errors[100:, 1] = 0.04, -0.04
    shared = settle.shared_error(errors, cells)
    chance = np.array([1 / (400 * 100), 1 / (400 * 2)])
    excess = 0.04**2 - chance.mean()
    np.testing.assert_allclose(
        shared[[0, 100], 1], np.array([0.04, -0.04]) * excess / (excess + chance), rtol=1e-4
    )
    np.testing.assert_array_equal(shared[:, [0, 2]], 0.0)
    assert shared.dtype == np.float32


def test_means_that_differ_by_no_more_than_chance_are_not_believed():
    species = [name for name in ("dog", "cat", "goat", "cow") for _ in range(25)]
    cells = cells_of([60.0] * 100, species)
    errors = np.full((100, 3), NAN, np.float32)
    errors[:, 1] = 0.05 * np.random.default_rng(1).standard_normal(100)
    errors[:, 1] -= np.repeat(errors[:, 1].reshape(4, 25).mean(axis=1), 25)
    np.testing.assert_array_equal(settle.shared_error(errors, cells), 0.0)
    errors[3, 1] = NAN  # a run without a reported count says nothing, and is told nothing wrong
    assert np.isfinite(settle.shared_error(errors, cells)).all()


def test_a_run_far_off_the_other_way_is_not_moved_with_its_species():
    cells = cells_of([60.0] * 5, ["cat"] * 5, precision=400.0)
    errors = np.full((5, 3), NAN, np.float32)
    errors[:4, 1] = [0.05, 0.02, -0.05, -0.25]
    shared = np.zeros((5, 3), np.float32)
    shared[:, 1] = 0.03
    moved = settle.moved_with(errors, shared, cells)
    np.testing.assert_allclose(moved[:, 1], [0.03, 0.03, 0.03, 0.0, 0.03])
    np.testing.assert_allclose(settle.moved_with(-errors, -shared, cells), -moved)
    assert moved.dtype == np.float32


@pytest.fixture(scope="module")
def settled():
    """Two species, of which goats are then reported 15 % more platelets than before."""
    species = ["dog"] * 4 + ["goat"] * 4
    cells = cells_of([60.0] * 8, species)
    rng = np.random.default_rng(0)
    params = idec.place_centres(idec.init(rng, 3), cells, rng)
    found = 60 * np.exp(settle.run_errors(params, cells, np.arange(8))[:, 1])
    noise = np.exp(0.03 * rng.standard_normal(8))
    cells.target[:, 1] = found * noise * np.repeat([1.0, 1.15], 4)
    told = []
    training = np.array([0, 1, 2, 4, 5, 6])
    after = settle.settle(params, cells, training, rng, lambda *said: told.append(said), 120)
    return cells, params, after, told


def errors(params, cells):
    return settle.run_errors(params, cells, np.arange(cells.runs))[:, 1]


def test_a_species_comes_nearer_to_what_was_reported_and_runs_keep_their_own_error(settled):
    cells, params, found, told = settled
    before, after = errors(params, cells), errors(found, cells)
    assert abs(after[4:].mean()) < 0.7 * abs(before[4:].mean())
    np.testing.assert_allclose(
        after[4:] - after[4:].mean(), before[4:] - before[4:].mean(), atol=0.03
    )
    assert [said[:3] for said in told] == [("stage1 end", k, 4) for k in (1, 2, 3, 4)]
    assert told[-1][3]["moved"] < told[0][3]["moved"]


def test_what_was_learnt_of_cells_is_kept(settled):
    cells, params, found, _ = settled
    before, after = posteriors(idec.STAGE, params, cells), posteriors(idec.STAGE, found, cells)
    assert (before.argmax(axis=2) == after.argmax(axis=2)).mean() > 0.98
    np.testing.assert_array_equal(found["prior"], params["prior"])
