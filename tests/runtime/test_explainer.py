"""Explanations in a process of their own: kept, one at a time, and errors in words."""

from __future__ import annotations

import threading

import pytest

from edge_daemon.errors import EdgeError, Retryable
from edge_daemon.explainer import Explainer
from edge_daemon.pipeline import process_files
from edge_daemon.simulator.cohort import simulate


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    simulate(folder / "in", samples=1, events=3000, seed=8, species=("dog",))
    [done] = process_files([folder / "in"], data_dir=folder / "data", workers=1)
    assert done["run_id"] == 1
    return folder / "data"


@pytest.fixture
def counted(monkeypatch):
    """Count the processes that are started."""
    started = []
    compute = Explainer._compute

    def count(self, run_id):
        started.append(run_id)
        return compute(self, run_id)

    monkeypatch.setattr(Explainer, "_compute", count)
    return started


def test_a_run_is_explained_once_and_then_remembered(data_dir, counted):
    explainer = Explainer(data_dir)
    found = explainer.explain(1, "a" * 64)
    assert found["run"] == 1
    assert found["reproduced"] is True
    assert {part["name"] for part in found["classes"]} >= {"pure_rbc", "platelet"}
    assert explainer.explain(1, "a" * 64) is found
    assert counted == [1]


def test_what_cannot_be_explained_says_why_and_what_to_do(data_dir):
    with pytest.raises(EdgeError) as caught:
        Explainer(data_dir).explain(99, "b" * 64)
    assert caught.value.message == "no result has the run number or sample id 'run:99'"
    assert "edge-daemon results" in caught.value.action


def test_one_that_takes_too_long_is_stopped(data_dir):
    with pytest.raises(Retryable, match=r"took more than 0.01 s"):
        Explainer(data_dir, timeout_s=0.01).explain(1, "c" * 64)


def test_one_at_a_time(data_dir, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(_self, run_id):
        begun.set()
        assert go_on.wait(60)
        return {"run": run_id}

    monkeypatch.setattr(Explainer, "_compute", slow)
    explainer = Explainer(data_dir, wait_s=0.01)
    first = threading.Thread(target=explainer.explain, args=(1, "d" * 64))
    first.start()
    assert begun.wait(60)
    with pytest.raises(Retryable, match="another explanation"):
        explainer.explain(2, "e" * 64)
    go_on.set()
    first.join()
    assert explainer.explain(1, "d" * 64) == {"run": 1}


def test_only_the_last_ones_are_kept(data_dir, monkeypatch):
    computed = []
    monkeypatch.setattr(Explainer, "_compute", lambda _self, run_id: computed.append(run_id) or {})
    explainer = Explainer(data_dir)
    for run_id in [*range(1, 18), 1, 17]:
        explainer.explain(run_id, "f" * 64)
    assert computed == [*range(1, 18), 1]
