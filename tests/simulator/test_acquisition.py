"""One run: what the file says, what is true, and what the analyzer reports."""

from __future__ import annotations

import io
from dataclasses import replace

import flowio
import numpy as np
import pytest

from edge_daemon.decode import decode
from edge_daemon.decode.codecs.fcs import read_fcs
from edge_daemon.decode.profile import load_profile
from edge_daemon.errors import EdgeError
from edge_daemon.records import CANONICAL_CHANNELS, CELL_CLASSES
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.acquisition import acquire
from edge_daemon.simulator.instruments import INSTRUMENTS
from edge_daemon.simulator.optics import load_table

PROFILES = profiles_dir() / "sim_optical4"

PURE, RETIC, CLUMP, PLT, OTHER = range(5)


@pytest.mark.parametrize("firmware", ["1.0", "2.0"])
def test_flowio_and_our_reader_agree_on_every_value(plan_of, firmware):
    run = acquire(plan_of(), firmware=firmware, events=500)
    flow = flowio.FlowData(io.BytesIO(run.data))
    table = read_fcs(run.data)
    assert np.array_equal(flow.as_array(preprocess=False), table.values)
    assert flow.event_count == 500
    assert flow.pnn_labels == [column.name for column in table.columns]
    assert flow.version == "3.1"


@pytest.mark.parametrize("firmware", ["1.0", "2.0"])
def test_every_capture_carries_the_mark(plan_of, decoded, firmware):
    run = acquire(plan_of(), firmware=firmware, events=60)
    keywords = read_fcs(run.data).keywords
    assert keywords["EDGE_SIMULATED"] == "TRUE"
    assert b"Simulated data" in run.data
    assert decoded(run).sample.simulated


def test_neither_a_stripped_keyword_nor_another_profile_clears_the_mark(plan_of, decoded):
    run = acquire(plan_of(), events=60)
    assert run.data.count(b"EDGE_SIMULATED|TRUE") == 1
    stripped = replace(run, data=run.data.replace(b"EDGE_SIMULATED", b"EDGE_SOMETHING"))
    assert "EDGE_SIMULATED" not in read_fcs(stripped.data).keywords
    assert decoded(stripped).sample.simulated
    profile = load_profile(PROFILES / "1.0.toml").model_copy(update={"simulated": False})
    assert decode(run.data, profile).sample.simulated
    assert not decode(stripped.data, profile).sample.simulated


@pytest.mark.parametrize("firmware", ["1.0", "2.0"])
def test_the_profile_scales_each_column_as_the_converter_did(firmware):
    profile = load_profile(PROFILES / f"{firmware}.toml")
    columns = INSTRUMENTS["sim_optical4"].firmwares[firmware].columns
    made = {
        c.canonical: (c.name, c.step, -c.pedestal * c.step, "log" if c.decades else "linear")
        for c in columns
        if c.canonical != "TIME"
    }
    assert [c.canonical for c in profile.channel] == list(made)
    for c in profile.channel:
        name, step, offset, scale = made[c.canonical]
        assert (c.column, c.scale) == (name, scale)
        assert (c.gain, c.offset) == pytest.approx((step, offset), rel=1e-9)


def test_canonical_values_are_cross_sections(plan_of, decoded, channel):
    plan = plan_of("dog", mcv=68.0, hc=33.5, volume_cv=0.02, hc_sd=0.3)
    run = acquire(plan, events=3_000)
    cell = load_table("hene").red_cells(np.array([68.0]), np.array([33.5]))[0]
    batch = decoded(run)
    single = run.codes == PURE
    for detector, expected in zip(("LA", "HA"), cell[:2], strict=True):
        height = np.median(channel(batch, f"{detector}.H")[single])
        # Gains differ by a few per cent between runs; the cell's length lowers the peak by 5 %.
        assert height == pytest.approx(0.95 * expected, rel=0.08)
        area = np.median(channel(batch, f"{detector}.A")[single])
        assert area / height == pytest.approx(2.19 / 0.95, rel=0.03)
    assert np.median(channel(batch, "FL.H")[single]) == pytest.approx(0.95, rel=0.3)


def test_the_profile_gives_back_what_the_sample_is(plan_of, decoded):
    run = acquire(plan_of("cat"), events=300)
    batch = decoded(run)
    assert set(batch.channels) < set(CANONICAL_CHANNELS)
    assert batch.profile == "sim_optical4/1.0"
    assert batch.sample.species == "cat"
    assert batch.sample.sample_id == "SIM0001"
    assert batch.sample.dilution == run.reference.dilution
    assert batch.sample.volume_ul == pytest.approx(run.reference.volume_ul, rel=1e-3)
    assert batch.sample.duration_s == pytest.approx(float(batch.time_s[-1]), abs=0.011)
    assert np.all(np.diff(batch.time_s) >= 0.0)


@pytest.mark.parametrize("condition", ["healthy", "agglutination", "regenerative_anaemia"])
def test_both_firmwares_give_the_same_canonical_values(plan_of, decoded, condition):
    one, two = (
        acquire(plan_of("dog", condition), firmware=version, events=4_000)
        for version in ("1.0", "2.0")
    )
    assert np.array_equal(one.codes, two.codes)
    a, b = decoded(one), decoded(two)
    assert a.channels == b.channels
    for i, name in enumerate(a.channels):
        kept = ~(a.saturated[:, i] | b.saturated[:, i])
        x, y = a.signals[kept, i], b.signals[kept, i]
        # Firmware 1.0 has no room below zero, and its fluorescence begins at 0.04.
        floor = {"FL.H": 0.04, "FL.A": 0.08}.get(name, 0.0)
        y = np.maximum(y, floor)
        assert x == pytest.approx(y, rel=2e-4, abs=9e-3), name


def test_log_fluorescence_returns_to_the_linear_signal(plan_of, decoded, channel):
    plan = plan_of("dog", "regenerative_anaemia")
    a, b = (
        channel(decoded(acquire(plan, firmware=v, events=3_000)), "FL.H") for v in ("1.0", "2.0")
    )
    bright = b > 1.0
    half_step = 10.0 ** (4.0 / 2**16 / 2.0) - 1.0
    assert np.abs(a[bright] / b[bright] - 1.0).max() < 1.1 * half_step + 4e-4


def test_the_converter_saturates_at_its_limit_and_says_so(plan_of, decoded):
    plan = plan_of("dog", "agglutination", clump_share=0.4, clump_extra=6.0)
    run = acquire(plan, firmware="1.0", events=3_000)
    batch = decoded(run)
    table = read_fcs(run.data)
    column = batch.channels.index("EXT.A")
    raw = table.values[:, [c.name for c in table.columns].index("EXT-A")]
    assert raw.max() == 2**16 - 1
    assert np.array_equal(batch.saturated[:, column], raw == 2**16 - 1)
    assert set(run.codes[batch.saturated[:, column]]) <= {CLUMP, OTHER}


@pytest.mark.parametrize(
    ("species", "condition"),
    [("dog", "healthy"), ("cat", "healthy"), ("goat", "healthy"), ("dog", "regenerative_anaemia")],
)
def test_absolute_counts_are_recovered_from_true_classes(plan_of, species, condition):
    plan = plan_of(species, condition, clump_share=0.0, aggregated=0.0)
    run = acquire(plan, events=20_000)
    n = np.bincount(run.codes, minlength=5)
    per_ul = run.reference.dilution / run.reference.volume_ul
    # Cells that pass together with another are in `other`: undo that loss at the true rate.
    rate = 20_000 / (run.reference.volume_ul / 0.7)
    alone = np.exp(-2.0 * rate * 2.5e-6)
    red = (n[PURE] + n[RETIC]) / alone * per_ul / 1e6
    platelets = n[PLT] / alone * per_ul / 1e3
    # Metering is good to 0.4 %, counting to 1/√N; a few platelets are below the trigger.
    assert red == pytest.approx(plan.rbc, rel=0.02)
    assert platelets == pytest.approx(plan.plt, rel=0.03 + 3.0 / np.sqrt(n[PLT]))
    assert n[RETIC] == pytest.approx(
        plan.retic * n[[PURE, RETIC]].sum(), abs=4 * np.sqrt(n[RETIC] + 1)
    )


def test_metered_volume_is_unbiased(plan_of):
    plan = plan_of("dog", clump_share=0.0, aggregated=0.0)
    ratios = []
    for seed in range(40):
        run = acquire(plan, events=4_000, seed=seed)
        rate = 4_000 / (run.reference.volume_ul / 0.7)
        single = np.isin(run.codes, (PURE, RETIC)).sum() / np.exp(-2.0 * rate * 2.5e-6)
        ratios.append(single * run.reference.dilution / run.reference.volume_ul / 1e6 / plan.rbc)
    # One run errs by 1.6 % (counting) and 0.4 % (metering); forty by a sixth of that.
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.006)
    assert np.std(ratios) < 0.025


def test_truth_counts_every_red_cell_while_the_analyzer_counts_particles(plan_of):
    plan = plan_of("dog", "agglutination", clump_share=0.35, clump_extra=1.0)
    run = acquire(plan, events=1_000)
    assert run.truth.rbc_10e6_per_ul == plan.rbc
    expected = plan.rbc / (1.0 + 0.35 * 2.0)
    assert run.reference.rbc_10e6_per_ul == pytest.approx(expected, rel=0.08)
    assert run.truth.n_clumped_rbc == np.sum(run.codes == CLUMP)


def test_the_analyzer_misses_aggregated_platelets(plan_of):
    plan = plan_of("cat", "platelet_aggregates", aggregated=0.5, plt=400.0)
    run = acquire(plan, events=500)
    assert run.truth.plt_10e3_per_ul == 400.0
    assert run.reference.plt_10e3_per_ul == pytest.approx(200.0, rel=0.25)


def test_reference_values_have_the_noise_of_an_analyzer(plan_of):
    plan = plan_of("dog", "healthy", rbc=7.0, plt=300.0, retic=0.01, clump_share=0.0)
    rows = [acquire(plan, events=1, seed=(7, i)).reference for i in range(400)]

    def cv(values):
        return np.std(values) / np.mean(values)

    retic = [row.retic_pct for row in rows if row.retic_pct is not None]
    assert cv([row.rbc_10e6_per_ul for row in rows]) == pytest.approx(0.02, rel=0.15)
    assert cv([row.plt_10e3_per_ul for row in rows]) == pytest.approx(0.063, rel=0.15)
    assert cv(retic) == pytest.approx(0.133, rel=0.15)
    assert np.mean(retic) == pytest.approx(1.0, rel=0.03)
    assert 0.02 < 1.0 - len(retic) / len(rows) < 0.11


def test_truth_row_counts_the_codes(plan_of):
    run = acquire(plan_of("dog", "heavy_debris"), events=5_000)
    counts = [getattr(run.truth, f"n_{name}") for name in CELL_CLASSES]
    assert counts == np.bincount(run.codes, minlength=5).tolist()
    assert sum(counts) == len(run.codes) == 5_000
    assert run.truth.n_other > 200


def test_shifted_physics_moves_the_cells_but_not_the_truth(plan_of, decoded, channel):
    plan = plan_of()
    plain, moved = acquire(plan, events=4_000), acquire(plan, events=4_000, shifted=True)
    a, b = decoded(plain), decoded(moved)
    assert a.profile == b.profile
    assert plain.truth.rbc_10e6_per_ul == moved.truth.rbc_10e6_per_ul
    ratio = {c: np.median(channel(b, c)) / np.median(channel(a, c)) for c in ("EXT.H", "FL.H")}
    assert ratio["EXT.H"] > 1.03
    assert ratio["FL.H"] < 0.95


def test_thrombocytopenia_needs_many_events(plan_of):
    plan = plan_of("dog", "thrombocytopenia", plt=10.0, rbc=7.0)
    run = acquire(plan, events=20_000)
    assert run.truth.n_platelet == pytest.approx(20_000 * 10 / 7_000, abs=4 * np.sqrt(29))


@pytest.mark.parametrize("events", [0, -1, 1_000_001])
def test_events_out_of_range_are_refused(plan_of, events):
    with pytest.raises(EdgeError, match="events asked for"):
        acquire(plan_of(), events=events)


def test_dilute_samples_of_little_else_than_specks_still_reach_the_target(plan_of):
    plan = replace(plan_of(), rbc=0.05, plt=2.0, debris=2_000.0, wbc=1.0, nrbc=0.0)
    run = acquire(plan, events=800)
    assert len(run.codes) == 800
    assert np.mean(run.codes == OTHER) > 0.8


def test_a_higher_event_rate_makes_more_chance_events_of_the_same_cells(plan_of):
    plan = plan_of("dog", "healthy")
    usual, busy = acquire(plan, events=8_000), acquire(plan, events=8_000, event_rate=4.0)
    assert busy.truth.n_other > 2 * usual.truth.n_other
    assert busy.reference.dilution == usual.reference.dilution / 4
    # The same blood in less volume: counts per µL of blood stay.
    assert busy.reference.volume_ul == pytest.approx(usual.reference.volume_ul / 4, rel=0.1)
    assert busy.truth.plt_10e3_per_ul == usual.truth.plt_10e3_per_ul


@pytest.mark.parametrize("rate", [0.0, -1.0, 11.0, float("nan")])
def test_an_impossible_event_rate_is_refused(plan_of, rate):
    with pytest.raises(EdgeError, match="event rate"):
        acquire(plan_of("dog", "healthy"), events=10, event_rate=rate)
