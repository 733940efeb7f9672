"""Files of digitised pulses: read to the last byte, or refused."""

from __future__ import annotations

import binascii
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_daemon.decode import decode, load_profile
from edge_daemon.decode.codecs.pulses import PulsesCodec
from edge_daemon.decode.limits import Limits
from edge_daemon.errors import Quarantine
from edge_daemon.records import CELL_CLASSES
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.cohort import sample

LIMITS = Limits()
SECTION = {
    "name": "pulses",
    "header": {
        "size": 8, "magic": "5055",
        "field": [{"keyword": "EVENTS", "offset": 2, "type": "u16"}],
    },
    "event": {
        "count_keyword": "EVENTS", "detectors": ["A", "B"], "samples": 6, "offset": 4,
        "time_offset": 0, "bits": 12, "interval_us": 0.5, "baseline_samples": 2,
    },
    "trailer": {"size": 4},
    "crc": {"width": 32, "poly": 0x04C11DB7, "init": 0xFFFFFFFF, "refin": True, "refout": True,
            "xorout": 0xFFFFFFFF},
}  # fmt: skip


def codec(**changes):
    return PulsesCodec.model_validate_json(json.dumps(SECTION | changes))


def capture(pulses, *, order="little", events=None):
    head = b"PU" + (len(pulses) if events is None else events).to_bytes(2, order)
    body = head.ljust(8, b"\0")
    for number, event in enumerate(pulses):
        body += (1000 + number).to_bytes(4, order)
        body += b"".join(count.to_bytes(2, order) for pulse in event for count in pulse)
    return body + binascii.crc32(body).to_bytes(4, order)


FLAT = [100, 100, 100, 100, 100, 100]
PEAK = [100, 100, 100, 300, 100, 100]


def test_features_stand_beside_their_detector_and_time():
    table = codec().read(capture([[PEAK, FLAT]]), dataset=1, limits=LIMITS)
    row = dict(zip([column.name for column in table.columns], table.values[0], strict=True))
    assert row["A.H"] == 200
    assert row["A.A"] == 100  # counts × µs
    assert row["A.W"] == 0.5
    assert row["B.H"] == row["B.A"] == 0
    assert row["TIME"] == 1000
    assert table.pulses.shape == (1, 2, 6)
    assert table.pulses[0, 0].tolist() == [0, 0, 0, 200, 0, 0]


@pytest.mark.parametrize("order", ["little", "big"])
def test_both_byte_orders_and_bits_beyond_the_converter(order):
    marked = [count | 0xF000 for count in PEAK]
    data = capture([[FLAT, marked]], order=order)
    table = codec(byte_order=order).read(data, dataset=1, limits=LIMITS)
    assert table.values[0, [0, 5]].tolist() == [0, 200]


@pytest.mark.parametrize("limit", [0, 0xFFF])
def test_a_sample_at_either_limit_saturates_its_detector_alone(limit):
    data = capture([[FLAT, [100, 100, 100, limit, 100, 100]], [PEAK, FLAT]])
    table = codec().read(data, dataset=1, limits=LIMITS)
    named = [column.name for column in table.columns]
    marked = [name for name, on in zip(named, table.saturated[0], strict=True) if on]
    assert marked == ["B.H", "B.A", "B.W"]
    assert not table.saturated[1].any()


@pytest.mark.parametrize(
    ("data", "code", "match"),
    [
        (b"XX", "not_recognised", "5055"),
        (capture([[PEAK, FLAT]])[:-1], "truncated", "found"),
        (capture([[PEAK, FLAT]]) + b"x", "malformed", "found"),
        (capture([[PEAK, FLAT]], events=2), "truncated", "expected"),
    ],
)
def test_broken_captures_are_refused(data, code, match):
    with pytest.raises(Quarantine, match=match) as caught:
        codec().read(data, dataset=1, limits=LIMITS)
    assert caught.value.code == code


def test_every_damaged_byte_is_noticed_and_no_beginning_is_whole():
    data = capture([[PEAK, FLAT]])
    assert codec().is_whole(data)
    for at in range(len(data)):
        assert not codec().is_whole(data[:at])
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(Quarantine):
            codec().read(damaged, dataset=1, limits=LIMITS)


def test_memory_is_bounded_before_it_is_taken():
    with pytest.raises(Quarantine, match=r"decode to 147 bytes, .* is 64"):
        codec().read(capture([[PEAK, FLAT]]), dataset=1, limits=Limits(max_expansion=64))
    with pytest.raises(Quarantine, match="columns, the limit is 4"):
        codec().read(capture([[PEAK, FLAT]]), dataset=1, limits=Limits(max_channels=4))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"time_offset": 2}, "before offset"),
        ({"baseline_samples": 6}, "fewer than samples"),
        ({"detectors": ["A", "A"]}, "same name"),
        ({"count_keyword": "NO"}, "no such field"),
        ({"samples": 1024, "detectors": list("ABCDEFGHIJKL")}, "the limit is"),
    ],
)
def test_contradictions_in_the_profile_are_named(change, match):
    with pytest.raises(ValidationError, match=match):
        codec(event=SECTION["event"] | change)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for begin in (b"", b"PU"):
        one = codec()
        one.is_whole(begin + data)
        with pytest.raises(Quarantine):
            one.read(begin + data, dataset=1, limits=LIMITS)


@pytest.fixture(scope="module")
def run():
    acquired = sample(0, instrument="sim_pulse4", events=4000, seed=3, species=("dog",))
    profile = load_profile(profiles_dir() / "sim_pulse4" / "1.0.toml")
    return acquired, decode(acquired.data, profile)


def test_the_simulated_pulses_are_measured_as_they_were_made(run):
    """A lone cell: a Gaussian of known width; its area and height keep their ratio."""
    acquired, batch = run
    assert batch.sample.simulated
    lone = acquired.codes == CELL_CLASSES.index("pure_rbc")
    value = {name: batch.signals[lone, j] for j, name in enumerate(batch.channels)}
    # A Gaussian has the area √(π / ln 2) / 2 × height × width at half height.
    ratio = value["EXT.A"] / (value["EXT.H"] * value["EXT.W"])
    assert np.median(ratio) == pytest.approx(1.0645, abs=0.02)
    assert np.median(value["EXT.W"]) == pytest.approx(2.2, abs=0.1)
    small = np.median(batch.signals[acquired.codes == CELL_CLASSES.index("platelet")], axis=0)
    big = np.median(batch.signals[lone], axis=0)
    assert small[batch.channels.index("EXT.H")] < 0.25 * big[batch.channels.index("EXT.H")]


def test_pulses_stay_with_the_cells(run):
    _, batch = run
    assert batch.pulses.shape == (4000, 4, 32)
    assert batch.pulses.dtype == np.float32
