"""A result as the store gives it, with a value of every kind."""

from __future__ import annotations

import copy

import pytest

from edge_daemon.exchange.coding import Origin

RUN = {
    "id": 12,
    "status": "ok",
    "simulated": False,
    "sample_id": "D-0001",
    "patient_id": "P-7",
    "patient_name": "Bello",
    "species": "dog",
    "breed": "Labrador",
    "acquired_at": "2026-01-05T08:00:00+02:00",
    "instrument": "analyzer",
    "instrument_model": "SimOptical4",
    "instrument_serial": "SN1",
    "firmware": "1.0",
    "created_wall": "2026-01-05T06:01:02.123456Z",
    "created_clock": "synchronised",
    "digest": "ab" * 32,
    "profile": "sim_optical4/1.0",
    "model": "sim@0.1.0",
    "measurements": [
        {
            "code": "RBC", "value": 7.123456, "unit": "10*6/uL", "low": 6.981, "high": 7.27,
            "method": "counted", "flags": [],
        },
        {
            "code": "RETIC%", "value": None, "unit": "%", "low": None, "high": None,
            "method": "counted", "flags": ["no_fluorescence"],
        },
        {
            "code": "PLT", "value": 254.51, "unit": "10*3/uL", "low": 236.2, "high": 273.7,
            "method": "counted", "flags": ["clumps"],
        },
        {
            "code": "HGB", "value": 15.04, "unit": "g/dL", "low": None, "high": None,
            "method": "calculated", "flags": [],
        },
        {
            "code": "CLUMP%", "value": 1.25, "unit": "%", "low": 1.1, "high": 1.4,
            "method": "counted", "flags": [],
        },
    ],
    "flags": [
        {
            "code": "no_fluorescence", "severity": "info",
            "message": "no RNA dye channel", "action": "",
        },
        {
            "code": "clumps", "severity": "info", "message": "red cell clumps 1.3 %",
            "action": "look at a smear",
        },
    ],
}  # fmt: skip


@pytest.fixture
def make_run():
    """Return a function that gives the run with changes."""
    return lambda **changes: copy.deepcopy(RUN) | changes


INTERPRETATION = {
    "values": [
        {
            "code": "RBC", "value": 7.12, "unit": "10*6/uL", "mark": None,
            "reference": {
                "low": 5.65, "high": 8.87, "unit": "10*6/uL", "of": "dog", "source": "a study",
                "caution": "of another analyzer", "site": None,
            },
        },
        {
            "code": "PLT", "value": 255.0, "unit": "10*3/uL", "mark": "L",
            "reference": {
                "low": 300.0, "high": 484.0, "unit": "10*3/uL", "of": "greyhound",
                "source": "a study", "caution": "",
                "site": {"by": "Dr. W|est", "reason": "own dogs"},
            },
        },
        {"code": "HGB", "value": 15.0, "unit": "g/dL", "mark": None, "reference": None},
        {"code": "RETIC%", "value": None, "unit": "%", "mark": None, "reference": None},
    ],
    "comments": [
        {"title": "Few platelets", "cause": "they clump.", "action": "look at a smear"},
    ],
    "regeneration": {"text": "No anaemia, so the band says little."},
}  # fmt: skip


@pytest.fixture
def interpreted(make_run):
    """The run beside reference intervals, which ask for a look at it."""
    return make_run(headline="Review", reason="Few platelets", interpretation=INTERPRETATION)


@pytest.fixture
def origin():
    return Origin("3d6f1835-1272-4eab-8fe4-fa7efefec6fc", "0.1.0")
