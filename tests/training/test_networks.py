from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from edge_daemon.classify.priors import reestimate, reestimate_strata
from edge_daemon.classify.session import StageSession
from edge_daemon.classify.strata import Strata, expected_doublets
from edge_daemon.training import idec, vade
from edge_daemon.training.graphs import CLIP, EXACT, Network, build_graph, encoder_inputs
from edge_daemon.training.network import (
    adam_init,
    adam_step,
    adapt,
    batches,
    contrast,
    proportion_loss,
    rule_out,
    with_steady,
)
from edge_daemon.training.quantize import quantize
from edge_daemon.training.sampling import scaling, stack, stage1_groups, stage2_groups, thin
from edge_daemon.training.trainer import Schedule, train


@pytest.fixture(scope="module")
def blobs():
    """Four runs of three separate populations in five channels."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 2, (3, 5))
    runs = []
    for platelets in (20, 60, 100, 140):
        codes = np.repeat([0, 1, 2], [400, platelets, 20])
        x = centres[codes] + 0.3 * rng.standard_normal((len(codes), 5))
        runs.append((x.astype(np.float32), codes))
    soft = [np.eye(3, dtype=np.float32)[codes] * 0.97 + 0.01 for _, codes in runs]
    target = [(np.nan, float((codes == 1).sum()), np.nan) for _, codes in runs]
    ones = [np.ones(len(codes), np.float32) for _, codes in runs]
    return stack([x for x, _ in runs], ones, soft, target), [codes for _, codes in runs]


@pytest.mark.parametrize("stage", [idec.STAGE, vade.STAGE], ids=["idec", "vade"])
def test_losses_fall_and_the_populations_are_found(blobs, stage):
    cells, codes = blobs
    seen = []
    trained = train(
        stage,
        cells,
        np.array([3]),
        Schedule(pretrain=10, epochs=12, patience=1),
        np.random.default_rng(0),
        lambda name, epoch, epochs, losses: seen.append((name, epoch, epochs, dict(losses))),
    )
    main = [losses for name, _, _, losses in seen if name == stage.name]
    assert len(main) == 12
    assert main[-1]["reconstruction"] < main[0]["reconstruction"]
    soft = [losses for name, _, _, losses in seen if name == f"{stage.name} start"]
    assert soft[-1]["start"] < 0.7 * soft[0]["start"]
    found = np.asarray(stage.posterior(trained.params, jnp.asarray(cells.x[3])))
    called = found[: len(codes[3])].argmax(axis=1)
    assert (called == codes[3]).mean() > 0.95


@pytest.mark.parametrize("module", [idec, vade], ids=["idec", "vade"])
def test_the_graph_computes_what_was_trained(blobs, module):
    cells, _ = blobs
    rng = np.random.default_rng(1)
    plan = Schedule(pretrain=1, epochs=1)
    trained = train(module.STAGE, cells, np.array([0]), plan, rng)
    signals = np.exp(rng.normal(0, 1, (64, 3))).astype(np.float32)
    peak = np.float32([0.5, 1, 2])
    scales = (np.zeros(5, np.float32), np.full(5, 0.9, np.float32))
    network = module.export(trained.params, (0, 2), scales)
    model = build_graph(network, "s").SerializeToString()
    _, posterior = StageSession(model, "float").run(signals, peak)
    x = np.clip(encoder_inputs(signals, peak, (0, 2)) * scales[1], -CLIP, CLIP)
    expected = module.posterior(trained.params, jnp.asarray(x))
    np.testing.assert_allclose(posterior, expected, atol=2e-4)


def test_int8_stays_close_to_float(blobs):
    cells, _ = blobs
    rng = np.random.default_rng(2)
    trained = train(idec.STAGE, cells, np.array([0]), Schedule(pretrain=5, epochs=5), rng)
    scales = (np.zeros(5, np.float32), np.ones(5, np.float32))
    graph = build_graph(idec.export(trained.params, (), scales), "s")
    signals = np.exp(cells.x.reshape(-1, 5)[cells.weight.ravel() > 0]).astype(np.float32)
    peak = np.ones(5, np.float32)
    int8 = quantize(graph, [(signals, peak)])
    exact = StageSession(graph.SerializeToString(), "float").run(signals, peak)[1]
    rounded = StageSession(int8, "int8").run(signals, peak)[1]
    assert np.abs(exact.mean(axis=0) - rounded.mean(axis=0)).max() < 0.01
    assert (exact.argmax(axis=1) == rounded.argmax(axis=1)).mean() > 0.99
    assert quantize(graph, [(signals, peak)]) == int8


def test_training_adapts_as_the_box_does():
    rng = np.random.default_rng(3)
    prior = np.float32([0.92, 0.06, 0.02])
    logits = rng.normal(0, 1, (2, 3000, 3)) * [1, 3, 3] + [4, 0, -1]
    posterior = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    ones, none = jnp.ones((2, 3000)), jnp.zeros(2)
    unrolled = np.asarray(
        adapt(jnp.asarray(posterior), ones, jnp.asarray(prior)[None], ones[..., None], none)
    )
    for run in range(2):
        settled, _ = reestimate(posterior[run], prior.astype(np.float64))
        np.testing.assert_allclose(
            unrolled[run].mean(axis=0), settled.mean(axis=0), rtol=0.12, atol=2e-3
        )


def test_training_adapts_each_stratum_as_the_box_does():
    rng = np.random.default_rng(4)
    prior = np.float32([[0.95, 0.04, 0.01], [0.5, 0.01, 0.49], [0.3, 0.1, 0.6]])
    signals = np.exp(rng.normal(0, 0.5, (4000, 2))).astype(np.float32)
    signals[:, 1] *= 8
    peak = np.ones(2, np.float32)
    strata = Strata(size=0, dye=1)
    parted = np.eye(3, dtype=np.float32)[strata.split(signals, peak)]
    logits = rng.normal(0, 1, (4000, 3)) * 2 + parted @ np.log(prior)
    posterior = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    volume, window = 2.0, 3e-5
    number = expected_doublets(strata.red_events(signals, peak), volume, window)
    possible = jnp.asarray(strata.possible(signals, peak), jnp.float32)
    unrolled = adapt(
        rule_out(jnp.asarray(posterior), possible)[None],
        jnp.ones((1, 4000)),
        jnp.asarray(prior),
        jnp.asarray(parted)[None],
        jnp.asarray([number]),
    )[0]
    settled, shift = reestimate_strata(
        posterior, signals, peak, strata, prior.astype(np.float64), (volume, window)
    )
    assert shift.shape == (3, 3)
    for stratum in range(3):
        rows = parted[:, stratum] > 0
        np.testing.assert_allclose(
            unrolled[rows].mean(axis=0), settled[rows].mean(axis=0), rtol=0.15, atol=0.02
        )


def test_the_contrast_of_runs_is_best_at_the_true_posterior():
    """Two overlapping densities, runs of two species with their own mean frequencies."""
    rng = np.random.default_rng(5)
    share, cells, species = [], [], []
    for run in range(60):
        platelets = rng.uniform(0.05, 0.4) if run % 2 else rng.uniform(0.3, 0.9)
        codes = rng.random(2000) < platelets
        cells.append(rng.normal(np.where(codes, 1.0, -1.0), 1.0))
        share.append([[1 - platelets, platelets]])
        species.append(run % 2)
    x, share = jnp.asarray(np.stack(cells)), np.float32(share)
    peers = np.stack([share[np.equal(species, kind)].mean(axis=0) for kind in species])
    prior = share.mean(axis=0)

    def value(offset, slope):
        log_odds = slope * x + offset + np.log(prior[0, 1] / prior[0, 0])
        platelet = 1 / (1 + jnp.exp(-log_odds))
        posterior = jnp.stack([1 - platelet, platelet], axis=-1)
        ones = jnp.ones(x.shape)
        return float(contrast(posterior, ones, ones[..., None], share / prior, peers / prior))

    best = value(0.0, 2.0)  # the log ratio of the two normal densities is 2x
    for offset, slope in ((0.4, 2.0), (-0.4, 2.0), (0.0, 1.2), (0.0, 3.5)):
        assert value(offset, slope) > best


def test_what_is_steady_is_told_from_what_varies():
    """Fragments, as common in every run, belong neither to debris nor to platelets."""
    rng = np.random.default_rng(6)
    share, codes = [], []
    for _ in range(40):
        parts = np.array([0.5, *(0.4 * rng.dirichlet([2, 2])), 0.1])
        codes.append(rng.choice(4, 1500, p=parts))
        share.append([[parts[0], parts[1], parts[2] + parts[3]]])
    share = np.float32(share)
    own = with_steady(jnp.asarray(share / share.mean(axis=0)))
    assert own.shape == (40, 1, 4)
    ones = jnp.ones((40, 1500))

    def value(fragments):
        sure = np.eye(4, dtype=np.float32)
        sure[3] = fragments
        posterior = jnp.asarray(sure[np.stack(codes)])
        return float(contrast(posterior, ones, ones[..., None], own, jnp.ones_like(own)))

    best = value([0, 0, 0, 1])
    for wrong in ([0, 1, 0, 0], [0, 0, 1, 0], [0, 0.5, 0.5, 0]):
        assert value(wrong) > best


def test_regression_is_zero_where_sums_match_and_ignores_what_is_not_known():
    posterior = jnp.asarray(np.tile(np.float32([0.9, 0.1, 0]), (2, 100, 1)))
    weight = jnp.ones((2, 100))
    nan = np.nan
    good = proportion_loss(posterior, weight, jnp.asarray([[nan, 10, nan], [nan, nan, nan]]))
    assert float(good) == pytest.approx(0, abs=1e-6)
    bad = proportion_loss(posterior, weight, jnp.asarray([[nan, 30, nan], [nan, nan, nan]]))
    assert float(bad) > 0.5


def test_adam_finds_the_minimum_of_a_bowl():
    params = {"x": jnp.asarray([3.0, -2.0])}
    state = adam_init(params)
    for _ in range(400):
        params, state = adam_step(params, {"x": 2 * params["x"]}, state, 0.05)
    np.testing.assert_allclose(params["x"], 0, atol=1e-2)


def test_batches_cover_every_run_in_equal_sizes():
    for runs, size in ((10, 4), (3, 3), (17, 8)):
        parts = list(batches(np.random.default_rng(0), runs, size))
        assert {len(part) for part in parts} == {size}
        assert set(np.concatenate(parts)) == set(range(runs))


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("number", [200, 2000, 10**6])
def test_thinned_cells_stand_for_all_events(number, stage):
    rng = np.random.default_rng(0)
    logs = rng.normal(0, 0.15, (5000, 4)).astype(np.float32)
    logs[:300] -= 3
    groups = stage1_groups(logs, 2) if stage == 1 else stage2_groups(logs)
    assert np.all(sum(mask.astype(int) for mask, _ in groups) == 1)
    index, weight = thin(groups, number, rng)
    assert len(index) <= max(number, 1)
    assert len(set(index)) == len(index)
    assert weight.sum() == pytest.approx(5000, rel=1e-4)
    assert weight[np.isin(index, np.arange(300))].sum() == pytest.approx(300, rel=0.35)


def test_scaling_centres_thinned_cells():
    rng = np.random.default_rng(0)
    rows = [rng.normal(3, 2, (500, 2)).astype(np.float32) for _ in range(3)]
    shift, scale = scaling(rows, [np.ones(500, np.float32)] * 3)
    np.testing.assert_allclose(shift, 3, atol=0.2)
    np.testing.assert_allclose(scale, 0.5, atol=0.05)


def test_only_the_encoder_is_quantized(blobs):
    cells, _ = blobs
    trained = train(
        idec.STAGE,
        cells,
        np.array([0]),
        Schedule(pretrain=1, epochs=1),
        np.random.default_rng(2),
    )
    scales = (np.zeros(5, np.float32), np.ones(5, np.float32))
    network = idec.export(trained.params, (), scales)
    signals = np.exp(cells.x.reshape(-1, 5)[cells.weight.ravel() > 0]).astype(np.float32)
    int8 = quantize(build_graph(network, "s"), [(signals, np.ones(5, np.float32))])
    graph = onnx.load_from_string(int8).graph
    rounded = {name for node in graph.node if "Dequantize" in node.op_type for name in node.output}
    products = {
        node.name: set(node.input) & rounded for node in graph.node if node.op_type == "Gemm"
    }
    quantized = [name for name, inputs in products.items() if len(inputs) == 3]
    assert len(quantized) == len(network.layers)
    assert all(name.startswith(EXACT) == (name not in quantized) for name in products)


def test_a_students_kernel_of_any_whole_freedom_is_a_power(blobs):
    cells, _ = blobs
    trained = train(
        idec.STAGE, cells, np.array([0]), Schedule(pretrain=1, epochs=1), np.random.default_rng(3)
    )
    scales = (np.zeros(5, np.float32), np.ones(5, np.float32))
    network = idec.export(trained.params, (), scales)
    latent = np.random.default_rng(4).normal(0, 2, (50, network.latent)).astype(np.float32)
    for freedom in (1.0, 2.0, 5.0, 6.0, 13.0):
        head = replace(network.head, student=freedom)
        eye = [(np.eye(network.latent, dtype=np.float32), np.zeros(network.latent, np.float32))]
        plain = Network((), np.zeros(network.latent), np.ones(network.latent), eye, head)
        model = build_graph(plain, "s").SerializeToString()
        peak = np.ones(network.latent, np.float32)
        seen, posterior = StageSession(model, "float").run(np.exp(latent), peak)
        form = seen**2 @ head.quadratic + seen @ head.linear + head.constant
        kernel = (1 + np.maximum(form, 0) / freedom) ** (-(freedom + 1) / 2)
        expected = kernel * np.exp(head.log_weight) @ head.groups
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(posterior, expected, atol=2e-5)
