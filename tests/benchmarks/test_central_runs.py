"""The benchmarks of the centre do what they say: small inputs, no figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_centre_stores_what_it_acknowledges_to_all_boxes_at_once():
    words = ["--boxes", "3", "--batches", "2", "--batch", "7", "--workers", "1", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.central", *words, "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    (found,) = json.loads(done.stdout)
    assert found["results"] == 3 * 2 * 7
    assert found["per_s"] > 0


def test_a_fleet_is_simulated_and_played_to_a_real_server():
    words = ["--clinics", "40", "--arrivals", "12", "--workers", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.fleet", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    found = json.loads(done.stdout)
    assert [one["outage_s"] for one in found["storms"]] == [60, 600, 3600, 28800]
    for one in found["storms"]:
        assert one["boxes"] <= 40
        assert one["all_back_s"] <= 900  # the longest time that a box waits
    assert found["played"][0]["arrivals"] == 12
    assert all(one["results"] >= one["arrivals"] for one in found["played"])
