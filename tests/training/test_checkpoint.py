import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edge_daemon.errors import EdgeError
from edge_daemon.training.build import train_bundle
from edge_daemon.training.checkpoint import (
    FILE,
    Checkpoint,
    fingerprint_of,
    flatten,
    open_checkpoint,
    unflatten,
)
from edge_daemon.training.sampling import stack
from edge_daemon.training.trainer import Schedule, Stage, train

NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=6)
LEAVES = arrays(np.float32, array_shapes(max_dims=2, max_side=3), elements=st.floats(width=32))
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=12) | st.dictionaries(NAMES, inner, min_size=1)
    ),
    max_leaves=20,
)


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMES, TREES, min_size=1))
def test_trees_survive_being_laid_flat(trees):
    assert same(trees, unflatten(dict(flatten(trees))))


def test_what_was_kept_comes_back(tmp_path):
    facts = {"history": [0.1 + 0.2, 1e-300], "rng": np.random.default_rng(3).bit_generator.state}
    trees = {"a": [[np.ones((2, 3), np.float32), np.zeros(3)], {"b": np.float32(2)}]}
    first = Checkpoint(tmp_path, "f")
    first.keep("stage1", facts, {"x": np.ones(2, np.float32)})
    first.keep("stage10", facts, trees)
    again = Checkpoint(tmp_path, "f")
    assert again.load()
    assert again.epochs == {"stage1": 2, "stage10": 2}
    found, kept = again.stage("stage10")
    assert found == facts
    assert same(trees, kept)
    assert list(again.stage("stage1")[1]) == ["x"]
    assert again.stage("stage2") is None


def test_another_training_starts_anew_and_says_so(tmp_path):
    said = []
    out = tmp_path / "b-1.0.0"
    first = open_checkpoint(out, "one", said.append)
    first.keep("stage1", {"history": [1.0]}, {"x": np.ones(2)})
    assert said == []
    assert open_checkpoint(out, "one", said.append).stage("stage1") is not None
    assert open_checkpoint(out, "two", said.append).stage("stage1") is None
    assert "going on" in said[0]
    assert "stage1 1" in said[0]
    assert "starting anew" in said[1]
    first.drop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoil", ["cut", "empty", "text"])
def test_an_unreadable_state_is_left_alone(tmp_path, spoil):
    first = Checkpoint(tmp_path, "f")
    first.keep("stage1", {"history": [1.0]}, {"x": np.ones(200)})
    raw = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes({"cut": raw[:300], "empty": b"", "text": b"hello"}[spoil])
    assert not Checkpoint(tmp_path, "f").load()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "b.part").write_text("a file")
    with pytest.raises(EdgeError, match=r"b\.part: cannot keep the state"):
        Checkpoint(tmp_path / "b.part", "f").keep("s", {"history": []}, {})


def test_every_input_is_in_the_fingerprint(cohort):
    plan = Schedule()
    same_again = fingerprint_of(cohort, (1, plan))
    assert fingerprint_of(cohort, (1, Schedule())) == same_again
    run = cohort.runs[0]
    changed = run.signals.copy()
    changed[5, 3] *= 1.0001
    others = [
        (cohort, (2, plan)),
        (cohort, (1, Schedule(epochs=3))),
        (_with_first(cohort, signals=changed), (1, plan)),
        (_with_first(cohort, reference=replace(run.reference, plt=1.0)), (1, plan)),
    ]
    assert len({same_again, *(fingerprint_of(c, s) for c, s in others)}) == 5


def _with_first(cohort, **changes):
    return replace(cohort, runs=(replace(cohort.runs[0], **changes), *cohort.runs[1:]))


def _epochs(state):
    """Epochs kept so far by stage; a file that is being replaced is whole at any time."""
    if not state.exists():
        return {}
    with np.load(state) as archive:
        meta = json.loads(bytes(archive["meta"]))
    return {name: len(facts["history"]) for name, facts in meta["stages"].items()}


def test_a_killed_training_ends_with_the_same_bytes(captures, registry, trained, brief, tmp_path):
    """SIGKILL in the middle of stage 1, then the same training again."""
    out = tmp_path / "brief-0.0.1"
    references = captures / "references.csv"
    state = out.with_name("brief-0.0.1.part") / FILE
    command = [
        sys.executable, "-m", "edge_daemon.cli", "train", "--captures", captures,
        "--references", references, "--out", out, "--seed", "3", "--epochs", "2",
    ]  # fmt: skip
    arguments = [str(part) for part in command]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not _epochs(state):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    left, said, told = _epochs(state), [], []
    resumed = train_bundle(
        captures, references, out, registry, seed=3, schedule=brief, say=said.append,
        report=lambda name, epoch, _epochs, _losses: told.append((name, epoch)),
    )  # fmt: skip
    assert f"stage1 {left['stage1']}" in said[0]
    assert resumed.manifest_sha256 == trained.manifest_sha256
    assert [epoch for name, epoch in told if name == "stage1"] == [1, 2]
    assert {p.name for p in tmp_path.iterdir()} == {"brief-0.0.1", "brief-0.0.1-report"}


def test_a_stage_goes_on_at_any_epoch_as_if_nothing_had_been(tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.normal(0, 1, (60, 4)).astype(np.float32) for _ in range(3)]
    ones = [np.ones(60, np.float32)] * 3
    start = [np.eye(3, dtype=np.float32)[rng.integers(3, size=60)] for _ in range(3)]
    cells = stack(x, ones, start, [(np.nan, 20.0, np.nan)] * 3)

    stage = Stage(
        name="stage1",
        init=lambda rng, channels: {"w": jnp.asarray(rng.normal(size=(channels, 3)), jnp.float32)},
        pretrain_loss=lambda params, batch: (jnp.mean((batch[0] @ params["w"]) ** 2), {"a": 0.0}),
        place=lambda params, _cells, rng: params | {"prior": jnp.full((1, 3), rng.uniform(0.3, 1))},
        loss=noisy_loss,
        posterior=lambda params, x: jax.nn.softmax(x @ params["w"]),
        latent=2,
        weights={"start": 1.0},
    )

    def run(checkpoint, stop_after=None):
        def report(name, epoch, _epochs, _losses):
            if name == "stage1" and epoch == stop_after:
                raise InterruptedError

        rng = np.random.default_rng(8)
        plan = Schedule(pretrain=1, epochs=4, patience=1)
        trained = train(stage, cells, np.array([2]), plan, rng, report, checkpoint)
        return trained, rng.random()

    whole, after = run(None)
    for stop_after in (2, 4):  # before the second and the last epoch are kept
        with pytest.raises(InterruptedError):
            run(Checkpoint(tmp_path, "f"), stop_after)
        again = Checkpoint(tmp_path, "f")
        assert again.load()
        assert again.epochs == {"stage1": stop_after - 1}
    resumed, then = run(again)
    assert resumed.history == whole.history
    assert then == after
    assert same(_plain(whole.params), _plain(resumed.params))
    assert run(again)[0].history == whole.history  # a finished stage is taken as it is


def noisy_loss(params, batch, weights, noise):
    fit = -jnp.mean(batch[2] * jax.nn.log_softmax(batch[0] @ params["w"]))
    value = weights["start"] * fit + jnp.mean(noise) * jnp.sum(params["w"])
    return value, {"fit": fit}


def _plain(tree):
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(part) for part in tree] if isinstance(tree, (list, tuple)) else tree
