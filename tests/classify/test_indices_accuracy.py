"""Accuracy of the cell indices on simulated blood; makes the table of docs/indices.md.

``python -m pytest -m campaign -s tests/classify/test_indices_accuracy.py`` prints it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from edge_daemon.classify.bundle import load_bundle
from edge_daemon.classify.indices import cell_indices
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.decode import decode, load_profile
from edge_daemon.records import CellCalls, Measurement
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.simulator import instruments
from edge_daemon.simulator.acquisition import acquire
from edge_daemon.simulator.biology import conditions_of, plan_sample

INSTRUMENT = "sim_optical4"
SPECIES = ("dog", "cat", "horse", "goat")
PER_SPECIES = 16
EVENTS = 20_000
SEED = 77
CODES = ("MCV", "RDW", "MCH", "MCHC", "MPV", "PDW")
PROFILES = {v: load_profile(profiles_dir() / INSTRUMENT / f"{v}.toml") for v in ("1.0", "2.0")}
BUNDLES = sorted(models_dir().glob(f"{INSTRUMENT}-*"))


class Result(NamedTuple):
    species: str
    truth: dict
    found: dict
    flags: tuple


def true_values(plan, number=100_000):
    """Values of the blood itself, by drawing many cells of the plan without an instrument."""
    rng = np.random.default_rng(SEED)
    sigma = np.sqrt(np.log1p(plan.volume_cv**2))
    z = rng.standard_normal((2, number))
    volume = plan.mcv * np.exp(sigma * z[0] - sigma**2 / 2)
    own = np.sqrt(1 - plan.correlation**2) * z[1]
    hc = plan.hc + plan.hc_sd * (plan.correlation * z[0] + own)
    retic = rng.random(number) < plan.retic
    volume *= np.where(retic, rng.uniform(1.10, 1.25, number), 1.0)
    hc -= np.where(retic, rng.uniform(2.0, 5.0, number), 0.0)
    platelet = plan.plt_volume * np.exp(plan.plt_sigma * rng.standard_normal(number))
    giant = 36.0 * np.exp(0.28 * rng.standard_normal(number))
    platelet = np.where(rng.random(number) < plan.giant_share, giant, platelet).clip(1.0, 120.0)
    low, median, high = np.quantile(platelet, [0.1587, 0.5, 0.8413])
    s = np.log(high / low) / 2
    return {
        "MCV": volume.mean(),
        "RDW": 100 * volume.std() / volume.mean(),
        "MCH": (volume * hc).mean() / 100,
        "MCHC": (volume * hc).sum() / volume.sum(),
        "MPV": platelet.mean(),
        "PDW": 2 * median * np.exp(-(s**2)) * np.sinh(np.sqrt(2 * np.log(5)) * s),
    }


def true_calls(run, _batch):
    calls = CellCalls(np.eye(5, dtype=np.float32)[run.codes], run.codes)
    truth = run.truth
    rbc, plt = truth.rbc_10e6_per_ul, truth.plt_10e3_per_ul
    # As sure as the number of platelets, since every call is right.
    sure = 1.96 / np.sqrt(max(truth.n_platelet, 1))
    return calls, (
        Measurement("RBC", rbc, "10*6/uL", rbc, rbc, "counted"),
        Measurement("PLT", plt, "10*3/uL", plt * (1 - sure), plt * (1 + sure), "counted"),
    )


def run_cohort(call=true_calls, *, shifted=False):
    results = []
    for index in range(PER_SPECIES * len(SPECIES)):
        species = SPECIES[index // PER_SPECIES]
        conditions = list(conditions_of(species))
        plan = plan_sample(
            np.random.default_rng([SEED, index]), species, conditions[index % len(conditions)]
        )
        firmware = "1.0" if index % 2 else "2.0"
        run = acquire(plan, firmware=firmware, events=EVENTS, seed=(SEED, index), shifted=shifted)
        batch = decode(run.data, PROFILES[firmware])
        calls, counted = call(run, batch)
        found = cell_indices(batch, calls, counted)
        values = {m.code: m for m in found.measurements}
        results.append(Result(species, true_values(plan), values, found.flags))
    return results


class Error(NamedTuple):
    bias: float
    sd: float
    covered: float
    number: int


def errors(results, code, species=None):
    """Relative errors in per cent, and the share of intervals that hold the truth."""
    pairs = [
        (r.found[code], r.truth[code])
        for r in results
        if r.found[code].value is not None and species in {None, r.species}
    ]
    error = np.array([100 * (m.value / true - 1) for m, true in pairs])
    covered = np.mean([m.low <= true <= m.high for m, true in pairs])
    return Error(error.mean(), error.std(ddof=1), float(covered), len(error))


def show(title, results):
    lines = ["", title, "", f"| | {' | '.join(CODES)} |", f"|{'---|' * (len(CODES) + 1)}"]
    for species in (*SPECIES, None):
        row = (errors(results, code, species) for code in CODES)
        cells = " | ".join(f"{e.bias:+.1f} ± {e.sd:.1f}" for e in row)
        lines.append(f"| {species or 'all'} | {cells} |")
    covered = " | ".join(f"{100 * errors(results, code).covered:.0f} %" for code in CODES)
    lines.append(f"| truth in the interval | {covered} |")
    sys.stdout.write("\n".join(lines) + "\n")


@pytest.fixture
def steady(monkeypatch):
    """The same instrument with gains that never move: what is left is the method's own error."""
    model = instruments.INSTRUMENTS[INSTRUMENT]
    detectors = {name: replace(d, day_cv=0.0) for name, d in model.detectors.items()}
    still = replace(model, detectors=detectors, laser_cv=0.0, drift_cv=0.0, step_probability=0.0)
    monkeypatch.setitem(instruments.INSTRUMENTS, INSTRUMENT, still)


@pytest.mark.campaign
def test_the_method_itself_meets_the_targets(steady):
    results = run_cohort()
    show("True calls, gains steady", results)
    assert sum(r.found["MCV"].value is None for r in results) == 0
    for species in (*SPECIES, None):
        for code, bias, sd in (("MCV", 0.5, 0.5), ("MCHC", 0.5, 0.5), ("RDW", 1.5, 1.5)):
            error = errors(results, code, species)
            assert abs(error.bias) < bias, (code, species)
            assert error.sd < sd, (code, species)
    platelets = errors(results, "MPV")
    assert abs(platelets.bias) < 2.0
    assert platelets.sd < 4.0


@pytest.mark.campaign
def test_intervals_cover_what_gains_do_from_day_to_day():
    results = run_cohort()
    show("True calls, gains as they move from day to day", results)
    for code in CODES:
        assert errors(results, code).covered >= 0.88, code


@pytest.mark.campaign
@pytest.mark.skipif(not BUNDLES, reason="no bundle of the simulated instrument is shipped")
def test_the_models_calls_keep_red_cell_values_on_target(steady):
    bundle = load_bundle(BUNDLES[-1])
    classifier = Classifier(bundle)

    def call(_run, batch):
        calls = classifier.classify(batch)
        return calls, quantify(batch, calls, bundle).measurements

    results = run_cohort(call)
    show(f"Calls of {bundle.id}, gains steady", results)
    mcv = errors(results, "MCV")
    assert mcv.number >= len(results) - 2
    assert abs(mcv.bias) < 2.0
    assert mcv.sd < 1.5


@pytest.mark.campaign
def test_other_optics_behind_the_same_export_are_noticed():
    """Another wavelength, angles and gain would make MCV half too large."""
    results = run_cohort(shifted=True)
    refused = np.mean([r.found["MCV"].value is None for r in results])
    flagged = np.mean([any(f.code != "platelets_too_few" for f in r.flags) for r in results])
    sys.stdout.write(f"\nOther optics: {refused:.0%} refused, {flagged:.0%} flagged\n")
    assert refused >= 0.9
    assert flagged >= 0.98
