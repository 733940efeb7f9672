from dataclasses import replace

import numpy as np
import pytest

from edge_daemon.classify.quantify import quantify
from edge_daemon.records import CellCalls

HEALTHY = [18500, 200, 60, 1000, 240]


@pytest.fixture
def raised(bundle, make_cells):
    def run(counts=HEALTHY, *, saturated=0.0, **sample):
        sample = {"volume_ul": 2.5, "dilution": 1000.0} | sample
        batch, codes = make_cells(counts, **sample)
        batch.saturated[: int(saturated * batch.events), 0] = True
        calls = CellCalls(np.eye(5, dtype=np.float32)[codes], codes.astype(np.uint8))
        result = quantify(batch, calls, bundle)
        for flag in result.flags:
            assert flag.message
            assert flag.action
            assert any(flag.code in m.flags for m in result.measurements)
        return {flag.code for flag in result.flags}

    return run


def test_a_healthy_run_raises_nothing_but_what_its_profile_lacks(raised):
    assert raised() == {"optics_not_calibrated"}


@pytest.mark.parametrize(
    ("code", "counts", "sample"),
    [
        ("platelets_count_limited", [19000, 200, 60, 399, 240], {}),
        ("platelets_count_limited", [19000, 200, 60, 450, 240], {"volume_ul": 25.0}),
        ("rbc_agglutination_suspected", [17000, 200, 900, 1000, 240], {}),
        ("rbc_partly_estimated", [17000, 200, 900, 1000, 240], {}),
        ("other_events_high", [15000, 200, 60, 1000, 3500], {}),
        ("no_volume", HEALTHY, {"volume_ul": None}),
        ("species_unknown", HEALTHY, {"species": None}),
        ("feline_platelets_unconfirmed", [19000, 200, 60, 450, 240], {"species": "cat"}),
    ],
)
def test_each_condition_raises_its_flag(raised, code, counts, sample):
    assert code in raised(counts, **sample)


def test_too_many_cells_at_once_are_flagged(raised, bundle, make_cells):
    coincidence = bundle.manifest.coincidence.model_copy(update={"window_ul": 1.75e-6})
    manifest = bundle.manifest.model_copy(update={"coincidence": coincidence})
    batch, codes = make_cells(HEALTHY, volume_ul=0.2, dilution=100.0)
    calls = CellCalls(np.eye(5, dtype=np.float32)[codes], codes.astype(np.uint8))
    result = quantify(batch, calls, replace(bundle, manifest=manifest))
    flag = next(f for f in result.flags if f.code == "coincidence_high")
    assert "dilute" in flag.action
    assert "coincidence_high" not in raised()


def test_low_platelets_of_a_dog_are_not_doubted_as_a_cats_are(raised):
    counts = [19000, 200, 60, 450, 240]
    assert "feline_platelets_unconfirmed" not in raised(counts, species="dog")
    assert "feline_platelets_unconfirmed" not in raised(HEALTHY, species="cat")


def test_saturation_is_flagged_from_one_percent(raised):
    assert "signals_saturated" in raised(saturated=0.02)
    assert "signals_saturated" not in raised(saturated=0.005)
