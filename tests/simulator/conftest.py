"""Shared samples of the simulator's tests."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge_daemon.decode import Registry, decode
from edge_daemon.simulator.biology import plan_sample


@pytest.fixture(scope="session")
def plan_of():
    """Make a plan: species, condition, seed of the animal, and fields to replace."""

    def make(species="dog", condition="healthy", seed=11, **changes):
        plan = plan_sample(np.random.default_rng(seed), species, condition, sample_id="SIM0001")
        return dataclasses.replace(plan, **changes)

    return make


@pytest.fixture(scope="session")
def decoded(request):
    """Decode an acquisition with the shipped profiles."""
    profiles = request.config.rootpath / "firmware_profiles"
    registry = Registry.load([profiles])
    assert registry.problems == ()

    def read(acquisition):
        profile = registry.match(acquisition.data, acquisition.name)
        return decode(acquisition.data, profile)

    return read


@pytest.fixture(scope="session")
def channel():
    """Pick one canonical channel of a batch."""

    def pick(batch, name):
        return batch.signals[:, batch.channels.index(name)]

    return pick
