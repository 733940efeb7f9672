"""Runs of wasted bytes."""

from __future__ import annotations

from edge_daemon.sources.framing import Discard
from edge_daemon.sources.framing.waste import Waste


def test_noise_beside_a_known_trouble_is_part_of_it():
    waste, told = Waste(), []
    waste.add(3, 0.0, told)
    waste.add(1, 0.0, told, "checksum")
    waste.add(4, 0.0, told)
    assert told == []
    waste.flush(told)
    assert told == [Discard("checksum", 8)]
    waste.add(1, 0.0, told)
    waste.flush(told)
    assert told[1:] == [Discard("noise", 1)]


def test_another_trouble_is_another_run():
    waste, told = Waste(), []
    waste.add(3, 0.0, told, "checksum")
    waste.add(2, 0.0, told, "silence")
    assert told == [Discard("checksum", 3)]
    waste.flush(told)
    assert told[1:] == [Discard("silence", 2)]


def test_a_long_run_is_told_in_parts_of_one_size():
    waste, told = Waste(), []
    waste.add(200_000, 0.0, told)
    assert told == [Discard("noise", 65_536)] * 3
    waste.flush(told)
    assert told[3:] == [Discard("noise", 200_000 - 3 * 65_536)]


def test_a_run_ends_with_a_quiet_second():
    waste, told = Waste(), []
    assert waste.deadline is None
    waste.add(0, 5.0, told)
    assert waste.deadline is None
    waste.add(1, 5.0, told)
    assert waste.deadline == 6.0
    waste.tick(5.9, told)
    assert told == []
    waste.tick(6.0, told)
    assert told == [Discard("noise", 1)]
    assert waste.deadline is None
