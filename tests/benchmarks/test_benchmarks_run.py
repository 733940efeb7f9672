"""The benchmarks do what they say: small inputs, no figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("throughput.py")


def test_every_part_does_all_of_its_work():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--events", "3000", "--rounds", "1", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {row["part"]: row for row in json.loads(done.stdout)}
    for part, row in found.items():
        assert row["items"] == (3000 if row["unit"] == "events" else 3), part
        assert row["megabytes"] > 0
    for name in (
        "fcs",
        "table",
        "canonical",
        "records",
        "pictures",
        "report",
        "astm",
        "mllp",
        "block",
        "packet",
    ):
        assert any(name in part for part in found), name


def test_every_page_is_asked_and_small():
    script = SCRIPT.with_name("page.py")
    done = subprocess.run(
        [sys.executable, script, "--runs", "400", "--rounds", "1", "--seconds", "1", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    for row in found["pages"]:
        assert row["status"] == 200, row
        assert row["gzip_bytes"] <= 50_000, row
    assert found["together"]["not_200"] == 0
    assert found["together"]["captures_written"] > 0


def test_peers_do_the_same_work_or_say_why_not():
    script = SCRIPT.with_name("peers.py")
    done = subprocess.run(
        [sys.executable, script, "--events", "2000", "--runs", "1", "--rounds", "1", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)
    assert rows[0]["times_ours"] == 1
    for row in rows:
        assert ("cpu_s" in row) != ("missing" in row), row
        assert row.get("cpu_s", 1) > 0
        assert "not installed" in row.get("missing", "not installed"), row
        assert row.get("largest_difference", 0) < 1e-3, row
    assert [row["part"] for row in rows if "float graphs alone" in row["part"]]
    mixture = next(row for row in rows if "Gaussian mixture" in row["part"])
    assert "cpu_s" in mixture  # scikit-learn is there wherever the tests are
