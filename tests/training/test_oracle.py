import shutil

import numpy as np
import pytest

from edge_daemon.errors import EdgeError
from edge_daemon.training import baselines_idec, oracle
from edge_daemon.training.evaluate import evaluate
from edge_daemon.training.scores import OTHER, PLATELET, PURE


@pytest.fixture(scope="module")
def cells(trained, captures, registry):
    return oracle.load_labelled(trained, captures, captures / "truth.csv", registry)


@pytest.fixture(scope="module")
def table(trained, captures, registry, cells):
    methods = [oracle.oracle(trained, cells), baselines_idec.plain_idec(trained, cells)]
    result = evaluate(trained, captures, captures / "truth.csv", registry, others=methods)
    return {row.name: row.values for row in result.table()}


def test_the_oracle_learns_what_it_is_shown(table):
    assert table["PLT events within ±25 %"]["oracle"] > 0.7
    assert table["RBC share, median error"]["oracle"] < 0.02
    assert table["RETIC%, r"]["oracle"] > 0.9


def test_plain_idec_calls_no_reticulocytes_and_is_in_the_same_table(table):
    assert table["PLT events within ±25 %"]["plain IDEC"] is not None
    assert table["RETIC%, r"]["plain IDEC"] is None


def test_labelled_cells_are_scaled_as_the_encoder_sees_them(cells, cohort):
    assert len(cells.x) == len(cells.codes) == sum(run.events for run in cohort.runs)
    assert cells.x.shape[1] == len(cohort.channels) + len(cells.absolute)
    assert np.abs(cells.x).max() <= 4.0


def test_a_large_cohort_is_thinned_evenly(trained, captures, registry, monkeypatch):
    monkeypatch.setattr(oracle, "MAX_CELLS", 1400)
    thinned = oracle.load_labelled(trained, captures, captures / "truth.csv", registry)
    assert len(thinned.x) == 14 * 100


def test_an_oracle_needs_every_cells_class(trained, captures, registry, tmp_path):
    shutil.copy(captures / "truth.csv", tmp_path)
    with pytest.raises(EdgeError, match="no truth"):
        oracle.load_labelled(trained, captures, tmp_path / "truth.csv", registry)


def test_an_oracle_says_which_capture_it_cannot_learn_from(trained, captures, registry, tmp_path):
    for name in ("truth.csv", "truth.npz"):
        shutil.copy(captures / name, tmp_path)
    with pytest.raises(EdgeError, match="cannot be learnt from"):
        oracle.load_labelled(trained, tmp_path, tmp_path / "truth.csv", registry)


def test_the_largest_cluster_is_red_and_the_darker_of_the_others_platelets():
    called = np.array([0] * 2 + [1] * 6 + [2] * 3)
    extinction = np.array([-3.0] * 2 + [0.0] * 6 + [2.0] * 3, dtype=np.float32)
    assert baselines_idec._name(called, extinction) == [PLATELET, PURE, OTHER]
