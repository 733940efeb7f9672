"""Builds that are broken on purpose, which the rows must find: the checks are known to bite."""

from __future__ import annotations

import pytest

from tests.faults import rows_kill, rows_power
from tests.faults.bench import Trial
from tests.faults.disks import missing

SEED = 20261128


@pytest.fixture
def trial(tmp_path, zygotes):
    return Trial(tmp_path, SEED, full=False, zygotes=zygotes, say=print)


@pytest.mark.parametrize(
    ("row", "build", "needs"),
    [
        (rows_kill.kill_mid_write, "acknowledge_early", ("strace",)),
        (rows_power.power_cut, "acknowledge_early", ("root",)),
        (rows_power.power_cut, "synchronous_off", ("root",)),
    ],
    ids=["acknowledge-early-killed", "acknowledge-early-cut", "synchronous-off-cut"],
)
def test_a_broken_build_is_found(trial, row, build, needs):
    if reason := missing(*needs):
        pytest.skip(reason)
    record = row(trial, build)
    assert record.lost > 0
    assert not record.sound
