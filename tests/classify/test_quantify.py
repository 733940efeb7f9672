from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.classify.coincidence import crowding
from edge_daemon.classify.intervals import count_interval, fraction_interval
from edge_daemon.classify.quantify import quantify, whole_counts
from edge_daemon.classify.runtime import Classifier
from edge_daemon.classify.tally import tally_cells
from edge_daemon.records import CELL_CLASSES, MEASUREMENT_CODES, CellCalls

COUNTS = [9300, 200, 60, 600, 140]


def certain(codes):
    return CellCalls(posterior=np.eye(5, dtype=np.float32)[codes], codes=codes.astype(np.uint8))


def values(result):
    return {m.code: m for m in result.measurements}


def test_certain_cells_are_counted_as_they_are(bundle, make_cells):
    batch, codes = make_cells(COUNTS, volume_ul=2.0, dilution=1000.0)
    result = quantify(batch, certain(codes), bundle)
    assert result.counts == dict(zip(CELL_CLASSES, COUNTS, strict=True))
    found = values(result)
    assert found["PLT"].value == pytest.approx(600 * 1000 / 2 / 1e3)
    assert found["RETIC%"].value == pytest.approx(100 * 200 / 9500)
    assert found["CLUMP%"].value == pytest.approx(100 * 60 / 9560)
    codes = [m.code for m in result.measurements]
    assert codes[:5] == ["RBC", "PLT", "RETIC", "RETIC%", "CLUMP%"]
    assert sorted(codes) == sorted(MEASUREMENT_CODES)
    for m in result.measurements[:5]:
        assert m.low < m.value < m.high


def test_red_cells_inside_clumps_are_estimated(bundle, make_cells):
    batch, codes = make_cells([9000, 0, 500, 300, 200], volume_ul=1.0, dilution=1e3)
    signals = batch.signals.copy()
    area, dye = (batch.channels.index(c) for c in ("EXT.A", "FL.A"))
    single = np.median(signals[codes == 0, area])
    signals[codes == 2, area] = 3 * single
    doublets = np.flatnonzero(codes == 4)[:100]
    signals[doublets, area] = 2 * single
    signals[doublets, dye] = np.median(signals[codes == 0, dye])
    result = quantify(replace(batch, signals=signals), certain(codes), bundle)
    rbc = values(result)["RBC"]
    # Chance doublets are one event here; the rate, not their extinction, says what they hid.
    assert rbc.value == pytest.approx((9000 + 3 * 500 + 100) * 1e3 / 1e6, rel=5e-3)
    assert rbc.method == "calculated"
    assert "rbc_partly_estimated" in rbc.flags
    assert "rbc_agglutination_suspected" in rbc.flags


def crowded(bundle, **learnt):
    """Return the bundle with what training would have learnt about chance doublets."""
    coincidence = bundle.manifest.coincidence.model_copy(update=learnt)
    manifest = bundle.manifest.model_copy(update={"coincidence": coincidence})
    return replace(bundle, manifest=manifest)


def test_coincidence_gives_back_the_platelets_it_hides(bundle, make_cells):
    batch, codes = make_cells(COUNTS, volume_ul=2.0, dilution=1000.0)
    window = 2e-6
    plain = values(quantify(batch, certain(codes), bundle))["PLT"]
    corrected = values(quantify(batch, certain(codes), crowded(bundle, window_ul=window)))["PLT"]
    x = crowding(batch.events, batch.sample, window)
    assert corrected.value / plain.value == pytest.approx(np.exp(2 * x), rel=1e-9)
    assert x == pytest.approx(window * batch.events / 2.0, rel=0.02)


def test_clumps_are_what_was_called_so_whatever_the_rate(bundle, make_cells):
    """The number of chance doublets was used before, when the cells were called."""
    batch, codes = make_cells([9300, 200, 160, 300, 40], volume_ul=1.0, dilution=1000.0)
    learnt = crowded(bundle, window_ul=2e-6)
    dense = replace(batch, sample=replace(batch.sample, volume_ul=0.25))
    for run in (batch, dense):
        found = values(quantify(run, certain(codes), learnt))["CLUMP%"]
        assert found.value == pytest.approx(100 * 160 / 9660, rel=1e-6)


def test_red_cells_that_passed_together_are_given_back_by_the_rate(bundle, make_cells):
    batch, codes = make_cells([9300, 200, 0, 300, 200], volume_ul=0.5, dilution=1000.0)
    learnt = crowded(bundle, window_ul=1e-6)
    signals = batch.signals.copy()
    signals[codes == 4] = 2 * np.median(signals[codes == 0], axis=0)
    pairs = replace(batch, signals=signals)
    rbc = values(quantify(pairs, certain(codes), learnt))["RBC"].value
    x = crowding(9700, batch.sample, 1e-6)
    assert rbc == pytest.approx(9700 * np.exp(x) * 1000 / 0.5 / 1e6, rel=5e-3)


def test_a_red_cell_that_passed_with_a_small_event_is_counted(bundle, make_cells):
    """It is as large as a single one, and `other`; a speck or a white cell holds none."""
    batch, codes = make_cells([9300, 200, 0, 300, 200], volume_ul=0.5, dilution=1000.0)
    signals = batch.signals.copy()
    area, dye = (batch.channels.index(c) for c in ("EXT.A", "FL.A"))
    single, stain = (np.median(signals[codes == 0, column]) for column in (area, dye))
    other = np.flatnonzero(codes == 4)
    signals[other, dye] = stain
    signals[other[:80], area] = 1.1 * single
    signals[other[80:], area] = 0.2 * single
    signals[other[:30], dye] = 20 * stain
    rbc = values(quantify(replace(batch, signals=signals), certain(codes), bundle))["RBC"].value
    assert rbc == pytest.approx((9500 + 50) * 1000 / 0.5 / 1e6, rel=1e-6)


def test_reticulocytes_are_calibrated_and_counts_are_not(bundle, make_cells):
    batch, codes = make_cells(COUNTS)
    calibration = bundle.manifest.calibration.model_copy(update={"reticulocyte": 1.25})
    manifest = bundle.manifest.model_copy(update={"calibration": calibration})
    plain, raised = (
        quantify(batch, certain(codes), b) for b in (bundle, replace(bundle, manifest=manifest))
    )
    assert raised.counts == plain.counts
    before, after = values(plain), values(raised)
    for code in ("RETIC", "RETIC%"):
        assert after[code].value == pytest.approx(1.25 * before[code].value)
    assert after["RETIC%"].low == pytest.approx(1.25 * before["RETIC%"].low)
    assert after["RETIC%"].high == pytest.approx(1.25 * before["RETIC%"].high)
    assert [after[c] for c in ("RBC", "PLT", "CLUMP%")] == [
        before[c] for c in ("RBC", "PLT", "CLUMP%")
    ]
    everything = np.ones(batch.events, dtype=np.uint8)
    assert values(quantify(batch, certain(everything), replace(bundle, manifest=manifest)))[
        "RETIC%"
    ].value == pytest.approx(100.0)


def test_red_cells_that_may_be_debris_widen_the_interval_of_rbc(bundle, make_cells):
    """By as much as the log-odds of a call may be off; runs with sure calls are not touched."""
    batch, codes = make_cells([9000, 0, 0, 300, 700])
    doubt = bundle.manifest.uncertainty.model_copy(update={"rbc_odds": 1.0})
    doubting = replace(bundle, manifest=bundle.manifest.model_copy(update={"uncertainty": doubt}))
    signals = batch.signals.copy()
    area = batch.channels.index("EXT.A")
    signals[:500, area] = 0.5 * np.median(signals[codes == 0, area])  # too small for a whole cell
    batch = replace(batch, signals=signals)
    sure = certain(codes)
    posterior = sure.posterior.copy()
    posterior[:500] = (0.5, 0, 0, 0, 0.5)
    unsure = replace(sure, posterior=posterior)

    def half_width(calls, by):
        rbc = values(quantify(batch, calls, by))["RBC"]
        return (rbc.high - rbc.low) / 2 / rbc.value

    assert half_width(sure, doubting) == pytest.approx(half_width(sure, bundle))
    widened = half_width(unsure, doubting) ** 2 - half_width(unsure, bundle) ** 2
    red = 8500 + 250
    assert np.sqrt(widened) == pytest.approx(1.96 * 500 / 4 / red, rel=0.15)


def test_clumps_that_may_be_one_large_cell_widen_the_interval_of_rbc(bundle, make_cells):
    """The cells that a clump hides are as doubtful as the clump."""
    batch, codes = make_cells([9500, 0, 0, 300, 200])
    area = batch.channels.index("EXT.A")
    signals = batch.signals.copy()
    signals[:400, area] = 3 * np.median(signals[400:9500, area])
    batch = replace(batch, signals=signals)
    posterior = certain(codes).posterior.copy()
    posterior[:400] = (0.5, 0, 0.5, 0, 0)
    doubtful = replace(certain(codes), posterior=posterior)
    posterior = posterior.copy()
    posterior[:400] = (0, 0, 1, 0, 0)
    posterior[:200] = (1, 0, 0, 0, 0)
    sure = replace(doubtful, posterior=posterior)

    def half_width(calls):
        rbc = values(quantify(batch, calls, bundle))["RBC"]
        return (rbc.high - rbc.low) / 2 / rbc.value

    widened = np.sqrt(half_width(doubtful) ** 2 - half_width(sure) ** 2)
    assert widened == pytest.approx(1.96 * 0.5 * 400 / 4 * 2 / (9500 + 400), rel=0.15)


@pytest.mark.parametrize(
    "sample",
    [
        {"volume_ul": None},
        {"dilution": None},
        {"volume_ul": 0.0},
        {"volume_ul": float("nan")},
        {"dilution": 0.5},
        {"volume_ul": -1.0},
    ],
)
def test_without_a_metered_volume_no_absolute_count_is_reported(bundle, make_cells, sample):
    batch, codes = make_cells(COUNTS, **sample)
    result = quantify(batch, certain(codes), bundle)
    found = values(result)
    for code in ("RBC", "PLT", "RETIC"):
        assert found[code].value is found[code].low is found[code].high is None
        assert "no_volume" in found[code].flags
    assert found["RETIC%"].value is not None
    assert found["CLUMP%"].value is not None


def test_without_the_dye_channel_reticulocytes_are_not_reported(bundle, make_cells):
    batch, codes = make_cells(COUNTS)
    channels = [c for c in bundle.channels if not c.startswith("FL.")]
    inputs = bundle.manifest.input.model_copy(update={"channels": channels})
    blind = replace(bundle, manifest=bundle.manifest.model_copy(update={"input": inputs}))
    result = quantify(batch, certain(codes), blind)
    found = values(result)
    for code in ("RETIC", "RETIC%"):
        assert found[code].value is None
        assert "reticulocytes_not_reported" in found[code].flags
    assert found["PLT"].value is not None


def test_uncertain_cells_widen_the_interval(bundle, make_cells):
    batch, codes = make_cells(COUNTS)
    sure = certain(codes)
    blurred = replace(sure, posterior=(0.8 * sure.posterior + 0.04).astype(np.float32))
    narrow, wide = (values(quantify(batch, calls, bundle))["PLT"] for calls in (sure, blurred))
    assert (wide.high - wide.low) / wide.value > (narrow.high - narrow.low) / narrow.value


def test_a_cats_aggregates_may_hold_more_platelets_than_were_counted(bundle, make_cells):
    batch, codes = make_cells(COUNTS, species="dog")
    dog = values(quantify(batch, certain(codes), bundle))["PLT"]
    batch = replace(batch, sample=replace(batch.sample, species="cat"))
    cat = values(quantify(batch, certain(codes), bundle))["PLT"]
    assert (cat.value, cat.low) == (dog.value, dog.low)
    more = np.sqrt((cat.high - cat.value) ** 2 - (dog.high - dog.value) ** 2) / cat.value
    assert more == pytest.approx(1.96 * 0.05, rel=1e-3)


def test_counts_are_expected_counts_not_calls(bundle, make_cells):
    batch, codes = make_cells([1000, 0, 0, 0, 0])
    posterior = np.tile(np.float32([0.9, 0, 0, 0.1, 0]), (1000, 1))
    calls = CellCalls(posterior=posterior, codes=np.zeros(1000, np.uint8))
    assert quantify(batch, calls, bundle).counts["platelet"] == 100
    assert (codes == 0).all()


def test_an_anchor_free_batch_still_tallies(bundle, make_cells):
    batch, codes = make_cells(COUNTS)
    keep = [i for i, c in enumerate(batch.channels) if not c.startswith("EXT")]
    bare = replace(
        batch,
        signals=batch.signals[:, keep],
        channels=tuple(batch.channels[i] for i in keep),
    )
    tally = tally_cells(bare, certain(codes), bundle.manifest.coincidence)
    assert tally.red_cells == pytest.approx(9560)


def test_certain_calls_leave_only_the_counting_variance(bundle, make_cells):
    batch, codes = make_cells(COUNTS)
    tally = tally_cells(batch, certain(codes), bundle.manifest.coincidence)
    assert tally.spread == pytest.approx([0.0] * 5, abs=1e-3)
    assert tally.leverage == pytest.approx([0.0] * 5)
    assert tally.red_spread == pytest.approx(0.0, abs=1e-3)
    assert tally.red_leverage == pytest.approx(0.0)


def test_the_spread_of_a_mixture_is_what_repeated_runs_show(bundle, make_cells):
    """Two overlapping normal classes of known density, fractions by maximum likelihood."""
    rng = np.random.default_rng(5)
    found, told = [], []
    for _ in range(200):
        number = rng.poisson([1000, 200])
        x = np.concatenate([rng.normal(0, 1, number[0]), rng.normal(2.0, 1, number[1])])
        density = np.exp(-0.5 * np.stack([x, x - 2.0], 1) ** 2)
        share = np.array([0.5, 0.5])
        for _ in range(200):
            p = density * share
            p /= p.sum(axis=1, keepdims=True)
            share = p.mean(axis=0)
        posterior = np.zeros((len(x), 5), np.float32)
        posterior[:, [0, 3]] = p
        calls = CellCalls(posterior, np.where(p[:, 1] > 0.5, 3, 0).astype(np.uint8))
        batch, _ = make_cells([len(x), 0, 0, 0, 0])
        tally = tally_cells(batch, calls, bundle.manifest.coincidence)
        found.append(tally.events[3])
        told.append(tally.spread[3] + tally.events[3])
    assert np.sqrt(np.mean(told)) == pytest.approx(np.std(found), rel=0.15)


def test_int8_and_float_agree_on_counts(bundle, make_cells):
    batch, codes = make_cells([19000, 300, 100, 500, 100], seed=11)
    result = quantify(batch, Classifier(bundle).classify(batch), bundle)
    true = np.bincount(codes, minlength=5)
    for name, n in zip(CELL_CLASSES, true, strict=True):
        assert abs(result.counts[name] - n) <= max(3, 0.01 * n)


@given(st.lists(st.floats(0, 1e5), min_size=5, max_size=5))
@settings(deadline=None, max_examples=100)
def test_rounded_counts_keep_their_sum(expected):
    counts = whole_counts(expected)
    assert sum(counts.values()) == round(sum(expected))
    assert all(abs(n - e) <= 1 for n, e in zip(counts.values(), expected, strict=True))


@pytest.mark.parametrize("rate", [0.0, 0.5, 3.0, 20.0, 400.0])
def test_count_intervals_hold_the_truth_95_times_in_100(rate):
    counts = np.random.default_rng(1).poisson(rate, 4000)
    bounds = {n: count_interval(n) for n in set(counts.tolist())}
    held = np.mean([bounds[n][0] <= rate <= bounds[n][1] for n in counts.tolist()])
    assert held >= 0.93


@pytest.mark.parametrize("relative", [0.05, 0.2])
def test_count_intervals_hold_with_run_to_run_error_on_top(relative):
    rng = np.random.default_rng(2)
    rate = 500.0
    counts = rng.poisson(rate * (1 + relative * rng.standard_normal(4000)).clip(0))
    held = []
    for n in counts.tolist():
        low, high = count_interval(n, relative=relative)
        held.append(low <= rate <= high)
    assert np.mean(held) >= 0.92


def test_what_is_not_found_raises_only_the_upper_limit_of_a_fraction():
    low, high = fraction_interval(15, 3000)
    missed = fraction_interval(15, 3000, missing=0.002)
    assert missed[0] == low
    assert missed[1] - 0.005 == pytest.approx(np.hypot(high - 0.005, 1.96 * 0.002), rel=1e-3)
    assert fraction_interval(3000, 3000, missing=0.002)[1] == 1.0


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.5, 1.0])
def test_fraction_intervals_hold_the_truth_95_times_in_100(share):
    parts = np.random.default_rng(3).binomial(3000, share, 3000)
    held = []
    for part in parts.tolist():
        low, high = fraction_interval(part, 3000)
        assert 0 <= low <= high <= 1
        held.append(low <= share <= high)
    assert np.mean(held) >= 0.93
