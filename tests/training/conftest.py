"""A small simulated cohort, and a bundle trained on it for two epochs."""

import os

import jax
import pytest

from edge_daemon.decode import Registry
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.cohort import simulate
from edge_daemon.training.build import train_bundle
from edge_daemon.training.data import load_cohort
from edge_daemon.training.trainer import Schedule

BRIEF = Schedule(epochs=2)


@pytest.fixture(scope="session", autouse=True)
def _compile_quickly(tmp_path_factory):
    """Let XLA compile without its long optimisations, and the same function once.

    A few epochs on a few runs take a tenth of what compiling them for speed does.
    """
    cache = str(tmp_path_factory.mktemp("compiled"))
    settings = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": cache,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setitem(os.environ, name.upper(), str(value))  # for commands
            jax.config.update(name, value)
        yield


@pytest.fixture(scope="session")
def registry():
    return Registry.load([profiles_dir()])


@pytest.fixture(scope="session")
def captures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    simulate(folder, samples=14, events=1500, seed=5, species=("dog", "cat"))
    return folder


@pytest.fixture(scope="session")
def cohort(captures, registry):
    return load_cohort(captures, captures / "references.csv", registry)


@pytest.fixture(scope="session")
def trained(captures, registry, tmp_path_factory):
    """Return a bundle after two epochs: complete, not accurate."""
    out = tmp_path_factory.mktemp("bundles") / "brief-0.0.1"
    references = captures / "references.csv"
    return train_bundle(captures, references, out, registry, seed=3, schedule=BRIEF)


@pytest.fixture(scope="session")
def brief():
    return BRIEF
