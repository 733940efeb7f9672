import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edge_daemon.training.network import adapt, proportion_loss
from edge_daemon.training.sampling import stack
from edge_daemon.training.trainer import Schedule, Stage, posteriors, train

EPOCHS = 12


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    x = [np.ones((60, 3), np.float32)] * 3
    start = [np.eye(3, dtype=np.float32)[rng.integers(3, size=60)] for _ in range(3)]
    return stack(x, [np.ones(60, np.float32)] * 3, start, [(np.nan, 20.0, np.nan)] * 3)


def worse_and_worse(params, batch, _weights, _noise):
    """Away from the third of platelets that is expected and that training starts with."""
    return -jnp.mean(batch[0] @ params["w"][:, 1]), {"start": 0.0}


def stage(judged):
    return Stage(
        name="stage1",
        init=lambda _rng, channels: {"w": jnp.zeros((channels, 3), jnp.float32)},
        pretrain_loss=lambda params, _batch: (0.0 * jnp.sum(params["w"]), {"start": 0.0}),
        place=lambda params, _cells, _rng: params | {"prior": jnp.full((1, 3), 1 / 3)},
        loss=worse_and_worse,
        posterior=lambda params, x: jax.nn.softmax(x @ params["w"]),
        latent=1,
        weights={"start": 1.0},
        judged=judged,
    )


@pytest.mark.parametrize("judged", [0.0, 0.5])
def test_no_epoch_is_kept_or_stops_training_before_it_is_judged(cells, judged):
    plan = Schedule(pretrain=1, epochs=EPOCHS, patience=0.25)
    learnt = stage(judged)
    trained = train(learnt, cells, np.array([2]), plan, np.random.default_rng(1))
    assert np.all(np.diff(trained.history) > 0)
    first = int(judged * EPOCHS)
    assert len(trained.history) == first + 1 + plan.patience * EPOCHS
    found = adapt(
        posteriors(learnt, trained.params, cells), cells.weight, trained.params["prior"],
        cells.strata, cells.doublets,
    )[2:]  # fmt: skip
    kept = float(proportion_loss(found, cells.weight[2:], cells.target[2:]))
    assert kept == pytest.approx(trained.history[first], rel=1e-4)
