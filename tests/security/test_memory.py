"""Memory of the service and its workers, as the kernel counts it (R13)."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import pytest

from edge_daemon.simulator.cohort import sample

from .conftest import Box, wait

SERVICE_MB = 140
WORKER_MB = 140


def peak_mb(pid: int) -> float:
    """Largest resident size a process ever had, MB."""
    (kb,) = re.findall(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(kb) / 1024


@pytest.fixture
def quick_box():
    """A box whose data lie in memory: ten thousand commits need not wear a disk out."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
    made = Box(folder)
    yield made
    made.stop()
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("backlog", "allowed_mb"), [(1_000, 32), pytest.param(10_000, 64, marks=pytest.mark.campaign)]
)
def test_a_backlog_costs_little_memory(quick_box, backlog, allowed_mb):
    box = quick_box
    box.start()
    for index in range(4):
        taken = sample(index, events=50_000, seed=3, firmware="1.0")
        (box.export / taken.name).write_bytes(taken.data)
    wait(lambda: box.ended() == 4)
    before = peak_mb(box.pid)
    assert before <= SERVICE_MB
    assert all(peak_mb(worker) <= WORKER_MB for worker in box.workers())
    for index in range(backlog):
        (box.export / f"b{index}.fcs").write_bytes(b"no capture %d" % index)
    wait(lambda: box.ended() == 4 + backlog, 600)
    after = peak_mb(box.pid)
    assert after - before <= allowed_mb, f"{before:.0f} MB before, {after:.0f} MB after"
    print(f"service {before:.0f} MB, after {backlog} captures {after:.0f} MB")  # noqa: T201
