"""Cohorts on disk: names, tables, seeds, and who may see the truth."""

from __future__ import annotations

import csv
import hashlib

import numpy as np
import pytest

from edge_daemon.decode.codecs.fcs import read_fcs
from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES
from edge_daemon.simulator.acquisition import acquire
from edge_daemon.simulator.biology import plan_sample
from edge_daemon.simulator.cohort import sample, simulate

REFERENCES = "capture,species,rbc_10e6_per_ul,plt_10e3_per_ul,retic_pct,dilution,volume_ul"
TRUTH = (
    "capture,species,condition,n_pure_rbc,n_reticulocyte,n_clumped_rbc,n_platelet,n_other,"
    "rbc_10e6_per_ul,plt_10e3_per_ul,retic_pct"
)


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_cohort_is_captures_references_and_truth(tmp_path):
    summary = simulate(tmp_path / "out", samples=5, events=300, seed=3)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    captures = sorted(name for name in names if name.endswith(".fcs"))
    assert names == {*captures, "references.csv", "truth.csv", "truth.npz"}
    assert [name[:4] for name in captures] == ["0001", "0002", "0003", "0004", "0005"]
    assert (tmp_path / "out" / "references.csv").read_text().splitlines()[0] == REFERENCES
    assert (tmp_path / "out" / "truth.csv").read_text().splitlines()[0] == TRUTH
    references, truths = (rows(tmp_path / "out" / f) for f in ("references.csv", "truth.csv"))
    assert [r["capture"] for r in references] == [t["capture"] for t in truths] == captures
    assert all(r["species"] == r["capture"].split("_")[1][:-4] for r in references)
    with np.load(tmp_path / "out" / "truth.npz") as codes:
        for truth in truths:
            counts = np.bincount(codes[truth["capture"]], minlength=5)
            assert [int(truth[f"n_{c}"]) for c in CELL_CLASSES] == counts.tolist()
            assert codes[truth["capture"]].dtype == np.uint8
    assert summary.samples == 5
    assert summary.events == sum(summary.classes.values()) == 1500
    assert sum(summary.species.values()) == sum(summary.conditions.values()) == 5


def test_no_capture_holds_a_word_of_the_truth(tmp_path):
    simulate(tmp_path, samples=4, events=100, seed=5, condition="agglutination")
    for path in tmp_path.glob("*.fcs"):
        assert b"agglutination" not in path.read_bytes()
        assert path.read_bytes().count(b"EDGE_SIMULATED|TRUE") == 1


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    for folder, seed in (("a", 9), ("b", 9), ("c", 10)):
        simulate(tmp_path / folder, samples=3, events=200, seed=seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    changed = set(digests(tmp_path / "a").items()) & set(digests(tmp_path / "c").items())
    assert changed == set()


def test_a_sample_does_not_depend_on_those_that_follow(tmp_path):
    simulate(tmp_path / "few", samples=2, events=200, seed=1)
    simulate(tmp_path / "many", samples=4, events=200, seed=1)
    few, many = (
        {k: v for k, v in digests(tmp_path / f).items() if k.endswith(".fcs")}
        for f in ("few", "many")
    )
    assert few.items() <= many.items()
    third = sample(2, events=200, seed=1)
    assert (tmp_path / "many" / third.name).read_bytes() == third.data


def test_neighbouring_seeds_share_no_sample():
    runs = [sample(i, events=50, seed=s) for s in range(3) for i in range(3)]
    assert len({run.data for run in runs}) == 9
    assert len({run.truth.rbc_10e6_per_ul for run in runs}) == 9


def test_the_analyzer_errs_anew_under_every_seed():
    runs = [sample(0, events=1, seed=s, condition="healthy") for s in range(12)]
    errors = [r.reference.rbc_10e6_per_ul / r.truth.rbc_10e6_per_ul for r in runs]
    assert np.std(errors) > 0.01


def test_a_reticulocyte_value_that_is_missing_is_empty(tmp_path):
    simulate(tmp_path, samples=40, events=1, seed=6)
    written = [row["retic_pct"] for row in rows(tmp_path / "references.csv")]
    drawn = [sample(i, events=1, seed=6).reference.retic_pct for i in range(40)]
    assert None in drawn
    assert written == ["" if value is None else f"{value:.10g}" for value in drawn]


def test_firmware_is_mixed_unless_one_is_named(tmp_path):
    simulate(tmp_path / "mix", samples=8, events=60, seed=2)
    simulate(tmp_path / "one", samples=8, events=60, seed=2, firmware="2.0")

    def versions(folder):
        return {
            read_fcs(p.read_bytes()).keywords["FIRMWARE"] for p in (tmp_path / folder).glob("*.fcs")
        }

    assert versions("mix") == {"1.0", "2.0"}
    assert versions("one") == {"2.0"}


def test_species_condition_and_progress_are_followed(tmp_path):
    seen = []
    summary = simulate(
        tmp_path, samples=3, events=80, seed=4, species=["cat"], condition="platelet_aggregates",
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert summary.species == {"cat": 3}
    assert summary.conditions == {"platelet_aggregates": 3}
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_acquire_in_memory_is_the_same_kind_of_run():
    plan = plan_sample(np.random.default_rng(1), "horse", "healthy", sample_id="H7")
    run = acquire(plan, events=150, seed=3, name="h.fcs")
    assert run.data == acquire(plan, events=150, seed=3, name="h.fcs").data
    assert run.data != acquire(plan, events=150, seed=4, name="h.fcs").data


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instrument": "sim_nothing"}, "unknown simulated instrument"),
        ({"firmware": "9.9"}, "has no firmware '9.9'"),
        ({"samples": 0}, "samples is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"events": 0}, "0 events"),
        ({"species": ["dragon"]}, "unknown species 'dragon'"),
        ({"condition": "platelet_aggregates"}, "in species 'dog'"),
        ({"condition": "sadness"}, "condition 'sadness'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, options, message):
    arguments = {"samples": 1, "events": 100, "seed": 1} | options
    with pytest.raises(EdgeError, match=message) as caught:
        simulate(tmp_path / "out", **arguments)
    assert caught.value.action
    assert not list(tmp_path.glob("out/*"))


def test_an_earlier_cohort_is_not_overwritten(tmp_path):
    simulate(tmp_path, samples=1, events=60, seed=1)
    before = digests(tmp_path)
    with pytest.raises(EdgeError, match="already holds"):
        simulate(tmp_path, samples=2, events=60, seed=2)
    assert digests(tmp_path) == before


def test_captures_of_others_are_not_mixed_with_ours(tmp_path):
    (tmp_path / "patient.fcs").write_bytes(b"FCS3.0")
    with pytest.raises(EdgeError, match=r"already holds patient\.fcs"):
        simulate(tmp_path, samples=1, events=60, seed=1)
    assert [p.name for p in tmp_path.iterdir()] == ["patient.fcs"]


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(EdgeError, match="cannot write the cohort"):
        simulate(blocked / "out", samples=1, events=60, seed=1)
