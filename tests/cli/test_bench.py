"""`edge-daemon bench`: all of the work is done, and the words follow from the figures."""

import json

import pytest

from edge_daemon.cli.bench import _words


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    from click.testing import CliRunner

    from edge_daemon.cli import cli

    folder = tmp_path_factory.mktemp("disk")
    done = CliRunner().invoke(
        cli,
        ["bench", "--events", "2000", "--captures", "2", "--rounds", "1", "--workers", "1",
         "--folder", str(folder), "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), folder


def test_every_stage_is_timed_beside_inference_alone(measured):
    found, _ = measured
    assert [row["stage"] for row in found["stages"]] == [
        "decode", "classify", "quantify", "draw", "all stages", "pure inference",
    ]  # fmt: skip
    assert all(row["cpu_s"] > 0 and row["events_per_s"] > 0 for row in found["stages"])
    assert found["over_inference"] > 0
    assert found["events"] == pytest.approx(2000, rel=0.01)
    assert found["channels"] == 12


def test_captures_went_through_workers_to_the_disk_asked_for(measured):
    found, folder = measured
    assert found["folder"] == str(folder)
    through = found["through"]
    assert (through["captures"], through["workers"]) == (2, 1)
    assert through["cpu_s"] > 0
    median, longest = through["latency_s"]
    assert 0 < median <= longest
    assert 1000 < through["written_bytes"] < 2_000_000
    assert through["worker_rss"] > 20 << 20
    assert found["busy"] == pytest.approx(60 * through["wall_s"] / 2 / 3600)


def test_nothing_is_left_behind(measured):
    _, folder = measured
    assert list(folder.iterdir()) == []


def test_words_say_whether_the_box_keeps_up():
    assert _words(0.06, 60 * 0.06 / 3600, 60).startswith(
        "This box keeps up: 60 samples an hour keep it busy for 0.10 % of the time; it could "
        "analyse 60,000 an hour."
    )
    assert _words(40.0, 60 * 40 / 3600, 60).startswith("This box hardly keeps up: 60 samples")
    slow = _words(90.0, 60 * 90 / 3600, 60)
    assert slow.startswith("This box does NOT keep up with 60 samples an hour: it analyses 40.")
    assert "→ Use a faster computer" in slow
