"""Records, errors and clock: what every part stands on."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from edge_daemon.clock import SystemClock, boot_id, clock_state, format_wall
from edge_daemon.errors import EXIT_BAD_CONFIG, EdgeError, Fatal, Quarantine, Retryable
from edge_daemon.records import CANONICAL_CHANNELS, CELL_CLASSES


@pytest.mark.parametrize(
    "error",
    [
        Retryable("disk is full", action="free some space"),
        Quarantine("no_profile", "nobody knows it", action="add one", candidates=("a/1", "a/2")),
        Fatal("bad config", action="run config check", exit_code=EXIT_BAD_CONFIG),
    ],
)
def test_errors_cross_a_process_border_whole(error: EdgeError):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert str(back) == str(error)


def test_a_quarantine_reason_is_from_the_closed_list():
    with pytest.raises(ValueError, match="made_up"):
        Quarantine("made_up", "x")


def test_wall_time_is_utc_whatever_the_zone():
    moment = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert format_wall(moment) == "2026-02-28T23:30:00.000000Z"


def test_a_stamp_carries_what_ordering_and_trust_need():
    clock = SystemClock()
    first, second = clock.stamp(), clock.stamp()
    assert second.monotonic_s >= first.monotonic_s
    assert first.boot_id == second.boot_id == boot_id()
    assert first.state == clock_state()
    parsed = datetime.fromisoformat(first.wall)
    assert abs(datetime.now(UTC) - parsed) < timedelta(minutes=1)


def test_class_and_channel_order_is_the_contract():
    assert CELL_CLASSES == ("pure_rbc", "reticulocyte", "clumped_rbc", "platelet", "other")
    assert CANONICAL_CHANNELS[0] == "LA.H"
    assert len(CANONICAL_CHANNELS) == 15


def test_records_cost_no_numpy():
    probe = "import sys, edge_daemon.records, edge_daemon.errors; print('numpy' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "False"
