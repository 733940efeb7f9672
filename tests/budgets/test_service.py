"""What the running service holds, loads and writes; counted, never timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_daemon.bench import simulated

SERVICE_MB = 150
TOGETHER_MB = 260
RUN_KB = 400
IDLE_HOUR_BYTES = 1_000_000
EVENTS, RUNS = 20_000, 6


@pytest.fixture(scope="module")
def worked(service):
    """Analyse some runs; bytes written for each, beyond their raw bytes."""
    captures = simulated(EVENTS, RUNS + 1)
    first, *others = captures
    service.export_file(first.name, first.data)
    service.until(lambda: service.runs() == 1)
    before = service.written()
    for capture in others:
        service.export_file(capture.name, capture.data)
    service.until(lambda: service.runs() == RUNS + 1)
    raw = sum(len(capture.data) for capture in others)
    return (service.written() - before - raw) / RUNS


def mapped(pid):
    return Path(f"/proc/{pid}/maps").read_text()


def test_models_are_loaded_in_the_workers_and_not_in_the_service(service, worked):
    assert worked
    assert len(service.workers()) == 2
    for pid in service.workers():
        assert "onnxruntime" in mapped(pid)
    assert "onnxruntime" not in mapped(service.pid)
    for library in ("alembic", "jax", "reportlab"):
        assert library not in mapped(service.pid)


def test_memory_stays_within_its_budget(service, worked):
    assert worked
    assert service.memory(service.pid) <= SERVICE_MB
    assert service.together() <= TOGETHER_MB


def test_a_run_writes_little_beyond_its_raw_bytes(worked):
    assert 10 < worked / 1000 <= RUN_KB


def test_an_idle_service_writes_nothing_that_adds_up(service, worked):
    assert worked
    # Whatever belongs to the last run has been written once the box has been looked at twice.
    turns = service.turns()
    service.until(lambda: service.turns() >= turns + 2)
    turns, before = service.turns(), service.written()
    service.until(lambda: service.turns() >= turns + 4)
    looked, wrote = service.turns() - turns, service.written() - before
    # A look comes once a second at most.
    assert wrote / looked * 3600 <= IDLE_HOUR_BYTES


@pytest.mark.campaign
def test_memory_does_not_grow(service):
    """200,000 cells × 40, with two workers."""
    held = []
    done = service.runs()
    for number, capture in enumerate(simulated(200_000, 40), start=1):
        service.export_file(f"large{capture.name}", capture.data)
        if number % 10 == 0:
            service.until(lambda wanted=done + number: service.runs() == wanted)
            held.append((service.memory(service.pid), service.together()))
    assert held[-1][0] <= SERVICE_MB
    assert held[-1][1] <= TOGETHER_MB
    assert held[-1][0] <= 1.1 * held[0][0]
    assert held[-1][1] <= 1.1 * max(together for _, together in held[:-1])
