"""Coverage, coincidence, refusal and suspicion of the newest shipped bundle on simulated blood.

``python -m pytest -m campaign -s tests/classify/test_quantify_accuracy.py`` prints tables in the
form of those of docs/quantification.md, on other runs.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from edge_daemon.classify.bundle import load_bundle
from edge_daemon.classify.quantify import quantify
from edge_daemon.classify.runtime import Classifier
from edge_daemon.classify.species import suspect_species
from edge_daemon.decode import decode, load_profile
from edge_daemon.errors import Quarantine
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.simulator.acquisition import acquire
from edge_daemon.simulator.biology import conditions_of, plan_sample

INSTRUMENT = "sim_optical4"
BUNDLES = sorted(models_dir().glob(f"{INSTRUMENT}-*"))
PROFILES = {v: load_profile(profiles_dir() / INSTRUMENT / f"{v}.toml") for v in ("1.0", "2.0")}
SPECIES = (
    *3 * ("dog", "cat"), *2 * ("horse",), "cow", "sheep", "goat", "alpaca", "rabbit", "ferret",
)  # fmt: skip
SEED = 6100
CODES = ("RBC", "PLT", "RETIC", "RETIC%", "CLUMP%")

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(not BUNDLES, reason="no bundle of the simulated instrument is shipped"),
]


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(BUNDLES[-1])


@pytest.fixture(scope="module")
def classifier(bundle):
    return Classifier(bundle)


def samples(number, *, events=20_000, seed=SEED, rate=1.0, shifted=False):
    for index in range(number):
        rng = np.random.default_rng([seed, index])
        species = SPECIES[index % len(SPECIES)]
        shares = conditions_of(species)
        condition = str(rng.choice(list(shares), p=list(shares.values())))
        plan = plan_sample(rng, species, condition)
        firmware = "1.0" if index % 2 else "2.0"
        run = acquire(
            plan, firmware=firmware, events=events, seed=(seed, index), event_rate=rate,
            shifted=shifted,
        )  # fmt: skip
        yield plan, decode(run.data, PROFILES[firmware]), run.reference


def truth(plan):
    """What the blood holds: platelets in aggregates too, for which intervals have room."""
    return {
        "RBC": plan.rbc,
        "PLT": plan.plt,
        "RETIC": 1000 * plan.rbc * plan.retic,
        "RETIC%": 100 * plan.retic,
        "CLUMP%": 100 * plan.clump_share,
    }


def free_platelets(plan):
    """Platelets that pass by themselves: those that a count can find."""
    return plan.plt * (1 - plan.aggregated)


def results(cohort, classifier, bundle):
    """One row a run: plan, truth and the values; refused runs are left out."""
    rows = []
    for plan, batch, _ in cohort:
        try:
            found = quantify(batch, classifier.classify(batch), bundle)
        except Quarantine:
            continue
        rows.append((plan, truth(plan), {m.code: m for m in found.measurements}))
    return rows


def covered(rows, code):
    return np.mean([m[code].low <= t[code] <= m[code].high for _, t, m in rows])


def half_width(rows, code):
    return np.median([(m[code].high - m[code].low) / 2 / max(t[code], 0.01) for _, t, m in rows])


def show(title, rows):
    lines = ["", title, "", f"| | runs | {' | '.join(CODES)} |", f"|{'---|' * (len(CODES) + 2)}"]
    groups = [("all", rows)]
    for attribute in ("species", "condition"):
        groups += [
            (name, [r for r in rows if getattr(r[0], attribute) == name])
            for name in sorted({getattr(p, attribute) for p, _, _ in rows})
        ]
    for name, members in groups:
        cells = " | ".join(f"{100 * covered(members, code):.0f} %" for code in CODES)
        lines.append(f"| {name} | {len(members)} | {cells} |")
    cells = " | ".join(f"±{100 * half_width(rows, code):.0f} %" for code in CODES)
    lines.append(f"| median half-width | | {cells} |")
    sys.stdout.write("\n".join(lines) + "\n")


@pytest.mark.parametrize(("events", "number"), [(20_000, 420), (50_000, 280)])
def test_intervals_hold_the_truth(bundle, classifier, events, number):
    """In 93 to 97 of 100 runs, give or take two standard errors of that share."""
    rows = results(samples(number, events=events), classifier, bundle)
    show(f"Truth in the 95 % interval, {events} events, {bundle.id}", rows)
    chance = 2 * np.sqrt(0.05 * 0.95 / len(rows))
    for code in CODES:
        assert 0.95 - max(chance, 0.02) <= covered(rows, code) <= 0.95 + max(chance, 0.02), code


def test_counts_do_not_depend_on_rate_or_haematocrit(bundle, classifier):
    lines = [
        "",
        "| event rate × | RBC | RBC, slope per 10 % HCT | PLT | CLUMP% |",
        "|---|---|---|---|---|",
    ]
    clumps, platelets, slopes = {}, {}, {}
    for rate in (0.5, 1.0, 2.0, 4.0):
        rows = results(samples(84, rate=rate, seed=SEED + 1), classifier, bundle)
        rows = [row for row in rows if row[0].condition != "agglutination"]
        error = {
            "RBC": np.array([m["RBC"].value / p.rbc - 1 for p, _, m in rows]),
            "PLT": np.array([m["PLT"].value / free_platelets(p) - 1 for p, _, m in rows]),
        }
        haematocrit = np.array([p.rbc * p.mcv / 10 for p, _, _ in rows])
        slopes[rate] = 1000 * np.polyfit(haematocrit, error["RBC"], 1)[0]
        clumps[rate] = np.median([m["CLUMP%"].value - t["CLUMP%"] for _, t, m in rows])
        red, plt = (100 * np.median(error[code]) for code in ("RBC", "PLT"))
        lines.append(
            f"| {rate:g} | {red:+.1f} % | {slopes[rate]:+.2f} % | {plt:+.1f} % | "
            f"{clumps[rate]:+.2f} points |"
        )
        platelets[rate] = plt
        assert abs(red) < 1.0
    sys.stdout.write("\n".join(lines) + "\n")
    assert max(abs(s) for s in slopes.values()) < 0.5
    assert abs(clumps[4.0] - clumps[1.0]) <= 0.3
    assert abs(platelets[4.0] - platelets[1.0]) < 2.0


def swap(batch, one, two):
    signals = batch.signals.copy()
    for feature in "HAW":
        pair = [batch.channels.index(f"{d}.{feature}") for d in (one, two)]
        signals[:, pair] = signals[:, pair[::-1]]
    return replace(batch, signals=signals)


def without_stain(batch):
    signals = batch.signals.copy()
    rng = np.random.default_rng(1)
    for name in ("FL.H", "FL.A"):
        column = batch.channels.index(name)
        signals[:, column] = np.abs(rng.normal(0.05, 0.02, batch.events))
    return replace(batch, signals=signals)


def wrong_gains(batch):
    """Every detector's gain wrong by a factor of up to e."""
    signals = batch.signals.copy()
    rng = np.random.default_rng(batch.events + int(signals[0, 0] * 1e4))
    for detector in ("LA", "HA", "EXT", "FL"):
        gain = np.exp(rng.uniform(-1, 1))
        for feature in "HA":
            signals[:, batch.channels.index(f"{detector}.{feature}")] *= np.float32(gain)
    return replace(batch, signals=signals)


def beads(batch):
    rng = np.random.default_rng(2)
    noise = np.exp(0.03 * rng.standard_normal(batch.signals.shape))
    return replace(batch, signals=(np.median(batch.signals, axis=0) * noise).astype(np.float32))


def blank(batch):
    small = batch.signals[:, batch.channels.index("EXT.H")] < 3
    rng = np.random.default_rng(3)
    rows = rng.choice(np.flatnonzero(small), 5000)
    noise = np.exp(0.02 * rng.standard_normal((5000, len(batch.channels))))
    signals = (batch.signals[rows] * noise).astype(np.float32)
    return replace(batch, signals=signals, saturated=np.zeros(signals.shape, bool))


FAULTS = {
    "none": lambda batch: batch,
    "LA and HA swapped": lambda batch: swap(batch, "LA", "HA"),
    "EXT and FL swapped": lambda batch: swap(batch, "EXT", "FL"),
    "no stain": without_stain,
    "beads only": beads,
    "blank": blank,
    "wrong gains": wrong_gains,
}


def test_runs_that_are_no_blood_are_refused(bundle, classifier):
    lines = ["", "| fault | not classified |", "|---|---|"]
    refused = {}
    for name, spoil in FAULTS.items():
        number = 280 if name == "none" else 56
        runs = samples(number, seed=SEED + 2)
        cohort = ((plan, spoil(batch), said) for plan, batch, said in runs)
        refused[name] = 1 - len(results(cohort, classifier, bundle)) / number
        lines.append(f"| {name} | {100 * refused[name]:.1f} % of {number} |")
    sys.stdout.write("\n".join(lines) + "\n")
    assert refused.pop("none") <= 0.005
    assert refused.pop("wrong gains") >= 0.6
    assert min(refused.values()) >= 0.95


def test_other_physics_are_hardly_refused_and_no_other_species(bundle, classifier):
    refused, suspected, number = 0, 0, 140
    for _, batch, _ in samples(number, seed=SEED + 4, shifted=True):
        calls = classifier.classify(batch)
        try:
            quantify(batch, calls, bundle)
        except Quarantine:
            refused += 1
        suspected += suspect_species(batch, calls, bundle.manifest.species) is not None
    sys.stdout.write(f"\nShifted physics: {refused} refused, {suspected} suspected of {number}\n")
    assert refused <= 0.1 * number
    assert suspected <= 0.03 * number


def test_a_wrong_species_is_suspected_and_a_right_one_is_not(bundle, classifier):
    habits = bundle.manifest.species
    entries = ("dog", "cat", "horse", "goat")
    suspected = {}
    for plan, batch, _ in samples(280, seed=SEED + 3):
        calls = classifier.classify(batch)
        for entered in {plan.species, *entries}:
            wrong = replace(batch, sample=replace(batch.sample, species=entered))
            found = suspect_species(wrong, calls, habits) is not None
            key = "right" if entered == plan.species else (plan.species, entered)
            suspected.setdefault(key, []).append(found)
    right = np.mean(suspected.pop("right"))
    lines = ["", f"| blood of | entered as {' | entered as '.join(entries)} |", f"|{'---|' * 5}"]
    for species in dict.fromkeys(SPECIES):
        cells = (suspected.get((species, entered)) for entered in entries)
        lines.append(
            f"| {species} | "
            + " | ".join("–" if c is None else f"{100 * np.mean(c):.0f} %" for c in cells)
            + " |"
        )
    sys.stdout.write("\n".join([*lines, "", f"Right species suspected: {right:.1%}"]) + "\n")
    assert right <= 0.01
    assert np.mean(suspected["goat", "dog"]) > 0.9
