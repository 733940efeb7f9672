"""Stage 2: variational deep embedding of the red cells into pure, reticulocyte and clumped.

A variational autoencoder whose prior is a mixture of Gaussians (Jiang et al. 2017), made
semi-supervised by the reported reticulocyte percentage: a run's mean posterior must match it.
Each class owns several Gaussians, since reticulocytes spread over a decade of RNA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from edge_daemon.training.graphs import Head, Network
from edge_daemon.training.network import (
    Cells,
    Params,
    adapt,
    init_mlp,
    mlp,
    on_grid,
    proportion_loss,
    start_prior,
    weighted_mean,
)
from edge_daemon.training.trainer import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LATENT: Final = 5
HIDDEN: Final = (32, 32)
COMPONENTS_PER_CLASS: Final = (3, 3, 3)
"""Pure red cell, reticulocyte, clumped red cell."""

GROUPS: Final = np.repeat(np.eye(3, dtype=np.float32), COMPONENTS_PER_CLASS, axis=0)
_MIN_LOG_VARIANCE = -6.0


def init(rng: np.random.Generator, channels: int) -> Params:
    """Draw encoder, decoder and noise head; the mixture follows (`place_mixture`)."""
    return {
        "encoder": init_mlp(rng, [channels, *HIDDEN, LATENT]),
        "spread": init_mlp(rng, [channels, HIDDEN[0], LATENT]),
        "decoder": init_mlp(rng, [LATENT, *HIDDEN[::-1], channels]),
        "guide": init_mlp(rng, [LATENT, 3]),
        "log_noise": jnp.zeros((), jnp.float32),
    }


def pretrain_loss(params: Params, batch: tuple[Any, ...]) -> tuple[Any, Mapping[str, Any]]:
    """Reconstruction, and the soft start through a linear guide that is dropped later."""
    x, weight, start, *_ = batch
    z = mlp(params["encoder"], x)
    rebuilt = weighted_mean(jnp.mean((mlp(params["decoder"], z) - x) ** 2, axis=-1), weight)
    guided = weighted_mean(
        -jnp.sum(start * jax.nn.log_softmax(mlp(params["guide"], z)), axis=-1), weight
    )
    size = weighted_mean(jnp.mean(z**2, axis=-1), weight)
    return rebuilt + guided + 0.01 * size, {"reconstruction": rebuilt, "start": guided}


def place_mixture(params: Params, cells: Cells, rng: np.random.Generator) -> Params:
    """Put each class's Gaussians on the latents of the cells that start there."""
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415 - only here, and slow to import

    used = cells.weight.ravel() > 0
    x = cells.x.reshape(-1, cells.x.shape[-1])[used]
    z = np.asarray(mlp(params["encoder"], jnp.asarray(x)))
    start = cells.start.reshape(-1, 3)[used].argmax(axis=1)
    means, variances, shares = [], [], []
    for k, number in enumerate(COMPONENTS_PER_CLASS):
        points = z[start == k]
        if len(points) > 20_000:
            points = points[rng.choice(len(points), 20_000, replace=False)]
        if len(points) < 5 * number:
            points = np.concatenate([points, rng.normal(0, 3, (5 * number, z.shape[1]))])
        mixture = GaussianMixture(
            number, covariance_type="diag", reg_covar=1e-2, random_state=int(rng.integers(2**31))
        ).fit(points)
        means.append(mixture.means_)
        variances.append(mixture.covariances_)
        total = max(float(np.sqrt(cells.weight.ravel()[used][start == k]).sum()), 1.0)
        shares.append(np.log(mixture.weights_ * total))
    placed = {
        "prior": jnp.asarray(start_prior(cells)),
        "means": jnp.asarray(np.concatenate(means), jnp.float32),
        "log_variances": jnp.asarray(np.log(np.concatenate(variances)), jnp.float32),
        "log_weight": jnp.asarray(jax.nn.log_softmax(jnp.asarray(np.concatenate(shares)))),
    }
    return {name: params[name] for name in ("encoder", "spread", "decoder", "log_noise")} | placed


def _log_density(params: Params, z: Any) -> Any:
    """Log of weight times Gaussian density, ``(…, components)``, without constants."""
    log_variance = jnp.maximum(params["log_variances"], _MIN_LOG_VARIANCE)
    squares = (z[..., None, :] - params["means"]) ** 2 / jnp.exp(log_variance)
    weight = jax.nn.log_softmax(params["log_weight"])
    return weight - 0.5 * jnp.sum(squares + log_variance, axis=-1)


def posterior(params: Params, x: Any) -> Any:
    """Class posterior at the latent mean, ``(…, 3)``."""
    z = mlp(on_grid(params["encoder"]), x)
    return jax.nn.softmax(_log_density(params, z)) @ GROUPS


def loss(
    params: Params, batch: tuple[Any, ...], weights: Mapping[str, float], noise: Any
) -> tuple[Any, Mapping[str, Any]]:
    """Evidence lower bound, regression and the fading soft start.

    `noise` is standard normal, of the latent's shape.
    """
    x, weight, start, target, strata, doublets, *_ = batch
    mean = mlp(on_grid(params["encoder"]), x)
    log_spread = jnp.clip(mlp(params["spread"], x), -8.0, 2.0)
    z = mean + jnp.exp(0.5 * log_spread) * noise
    log_noise = jnp.clip(params["log_noise"], -4.0, 2.0)
    error = jnp.sum((mlp(params["decoder"], z) - x) ** 2, axis=-1)
    rebuilt = weighted_mean(0.5 * (error / jnp.exp(log_noise) + x.shape[-1] * log_noise), weight)
    divergence = weighted_mean(_divergence(params, z, mean, log_spread), weight)
    classes = jax.nn.softmax(_log_density(params, mean)) @ GROUPS
    prior = jax.lax.stop_gradient(params["prior"])
    regression = proportion_loss(adapt(classes, weight, prior, strata, doublets), weight, target)
    guided = weighted_mean(-jnp.sum(start * jnp.log(classes + 1e-7), axis=-1), weight)
    parts = {
        "reconstruction": rebuilt,
        "clustering": divergence,
        "regression": regression,
        "start": guided,
    }
    return sum(weights[name] * value for name, value in parts.items()), parts


def _divergence(params: Params, z: Any, mean: Any, log_spread: Any) -> Any:
    """KL of the encoder's Gaussian from the mixture, by VaDE's closed form given γ."""
    gamma = jax.nn.softmax(_log_density(params, z))
    log_variance = jnp.maximum(params["log_variances"], _MIN_LOG_VARIANCE)
    weight = jax.nn.log_softmax(params["log_weight"])
    moment = jnp.exp(log_spread)[..., None, :] + (mean[..., None, :] - params["means"]) ** 2
    cross = 0.5 * jnp.sum(log_variance + moment / jnp.exp(log_variance), axis=-1)
    entropy = 0.5 * jnp.sum(1 + log_spread, axis=-1)
    return jnp.sum(gamma * (cross + jnp.log(gamma + 1e-12) - weight), axis=-1) - entropy


def export(
    params: Params,
    absolute: tuple[int, ...],
    scaling: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Network:
    """Fold the trained parameters into a `Network`."""
    means = np.asarray(params["means"], dtype=np.float64)
    log_variance = np.maximum(np.asarray(params["log_variances"], np.float64), _MIN_LOG_VARIANCE)
    precision = np.exp(-log_variance)
    log_weight = np.asarray(jax.nn.log_softmax(params["log_weight"]), dtype=np.float64)
    head = Head(
        quadratic=(-0.5 * precision.T).astype(np.float32),
        linear=(means * precision).T.astype(np.float32),
        constant=(-0.5 * (means**2 * precision + log_variance).sum(axis=1)).astype(np.float32),
        student=None,
        log_weight=log_weight.astype(np.float32),
        groups=GROUPS,
    )
    layers = [(np.asarray(weight), np.asarray(bias)) for weight, bias in on_grid(params["encoder"])]
    return Network(absolute, *scaling, layers, head)


STAGE: Final = Stage(
    name="stage2",
    init=init,
    pretrain_loss=pretrain_loss,
    place=place_mixture,
    loss=loss,
    posterior=posterior,
    latent=LATENT,
    weights={"reconstruction": 0.05, "regression": 2.0, "clustering": 0.05, "start": 1.0},
)
