"""Fixed binary records: against a slow reader, and against every way to be broken."""

from __future__ import annotations

import binascii
import json
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_daemon.decode.codecs.records import RecordsCodec
from edge_daemon.decode.limits import Limits
from edge_daemon.errors import Quarantine
from edge_daemon.resources import docs_dir

LIMITS = Limits()


def codec(**changes):
    """The example of the guide, with other values in place of some."""
    guide = (docs_dir() / "codecs.md").read_text(encoding="utf-8")
    text = next(t for t in guide.split("```toml\n")[1:] if 'name = "records"' in t)
    section = tomllib.loads(text.split("```")[0])["codec"]
    return RecordsCodec.model_validate_json(json.dumps(section | changes))


def capture(rows, *, events=None, firmware=b"2.1", crc=None):
    header = b"CELL9".ljust(8, b"\0") + firmware.ljust(8, b"\0")
    header += (len(rows) if events is None else events).to_bytes(4, "big")
    body = header.ljust(32, b"\0") + b"".join(
        (a & 0xFFFF).to_bytes(2, "big") + b.to_bytes(2, "big", signed=True) for a, b in rows
    )
    return body + (binascii.crc32(body) if crc is None else crc).to_bytes(4, "big")


def refused(data, code, match):
    with pytest.raises(Quarantine, match=match) as caught:
        codec().read(data, dataset=1, limits=LIMITS)
    assert caught.value.code == code
    assert caught.value.action


def test_columns_keywords_and_limits_of_the_converter():
    table = codec().read(capture([(5, -7), (0xFFFF, 32767)]), dataset=1, limits=LIMITS)
    assert table.values.tolist() == [[5, -7], [0x3FFF, 32767]]  # two bits are not the value's
    assert [column.name for column in table.columns] == ["FSC-H", "FL1-H"]
    assert [column.maximum for column in table.columns] == [0x3FFF, 32767]
    assert table.keywords == {"FIRMWARE": "2.1", "EVENTS": "2"}
    assert not table.values.flags.writeable


def test_it_knows_its_own_captures():
    known = codec().identify(capture([(1, 2)]))
    assert known.keywords["FIRMWARE"] == "2.1"
    assert known.description == "binary records beginning 'CELL9', 1 events"
    assert codec().identify(b"FCS3.0") is None


@pytest.mark.parametrize(
    ("data", "code", "match"),
    [
        (b"OTHER", "not_recognised", "43454c4c39"),
        (b"CELL9", "truncated", "the header has 32 bytes, the file 5"),
        (capture([(1, 2)])[:-1], "truncated", "expected 40 bytes .*, found 39"),
        (capture([(1, 2)]) + b"x", "malformed", "expected 40 bytes .*, found 41"),
        (capture([(1, 2)], events=10**6 + 1), "too_large", "EVENTS: 1000001"),
        (capture([(1, 2)], events=3), "truncated", "expected 48"),
        (capture([(1, 2)], crc=0), "malformed", "byte 36: the CRC says 0x0"),
        (capture([(1, 2)], firmware=b"\xff"), "malformed", "byte 8, FIRMWARE: expected ascii"),
    ],
)
def test_broken_captures_are_refused(data, code, match):
    refused(data, code, match)


def test_every_damaged_byte_is_noticed():
    data = capture([(1, 2), (3, 4)])
    for at in range(len(data)):
        with pytest.raises(Quarantine):
            codec().read(
                data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], dataset=1, limits=LIMITS
            )


def test_the_check_may_have_a_byte_order_of_its_own():
    data = capture([(1, 2)])
    turned = data[:-4] + data[:-5:-1]
    check = codec().crc.model_dump(exclude_none=True)
    own = codec(crc=check | {"order": "little"})
    assert own.read(turned, dataset=1, limits=LIMITS).values.tolist() == [[1, 2]]
    with pytest.raises(Quarantine, match="the CRC says"):
        own.read(data, dataset=1, limits=LIMITS)


def test_it_is_whole_only_at_its_end():
    data = capture([(1, 2), (3, 4)])
    assert codec().is_whole(data)
    assert [at for at in range(len(data)) if codec().is_whole(data[:at])] == []
    assert codec().is_whole(b"something else")


def test_without_a_count_the_length_says_how_many():
    record = {"size": 4, "field": [{"name": "A", "offset": 0, "type": "u32"}]}
    free = codec(record=record, crc=None, trailer=None)
    data = capture([(1, 2), (3, 4)])[:-4]
    assert len(free.read(data, dataset=1, limits=LIMITS).values) == 2
    with pytest.raises(Quarantine, match="whole records of 4 bytes"):
        free.read(data[:-1], dataset=1, limits=LIMITS)


def test_memory_is_bounded_before_it_is_taken():
    uncounted = {"size": 4, "field": [{"name": "A", "offset": 0, "type": "u32"}]}
    same = [{"name": f"A{n}", "offset": 0, "type": "u32"} for n in range(64)]
    for one, limits, match in (
        (codec(), Limits(max_expansion=64), "decode to 72 bytes, .* is 64"),
        (codec(), Limits(max_channels=1), "2 columns, the limit is 1"),
        (codec(), Limits(max_bytes=40), "72 bytes, the limit is 40"),
        (codec(record=uncounted), Limits(max_events=8), "9 events, the limit is 8"),
        (codec(record={"size": 4, "field": same}), Limits(max_ratio=10), "2304 bytes, .* is 720"),
    ):
        with pytest.raises(Quarantine, match=match) as caught:
            one.read(capture([(1, 2)] * 9), dataset=1, limits=limits)
        assert caught.value.code == "too_large"
        assert caught.value.action


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"byte_order": "middle"}, "little"),
        ({"trailer": None}, "does not fit into"),
        ({"crc": {"width": 32, "poly": 4}}, "odd number"),
        ({"header": {"size": 4, "magic": "43454c4c39"}}, "longer than size"),
        ({"header": {"size": 8, "magic": "xx"}}, "hexadecimal"),
        (
            {"record": {"size": 2, "field": [{"name": "A", "offset": 1, "type": "u16"}]}},
            "ends behind",
        ),
        (
            {"record": {"size": 4, "count_keyword": "NO",
                        "field": [{"name": "A", "offset": 0, "type": "u16"}]}},
            "no field of the header is NO",
        ),
        (
            {"record": {"size": 4, "field": [{"name": "A", "offset": 0, "type": "u8", "shift": 4,
                                              "width": 5}]}},
            "beyond the 8 bits",
        ),
        (
            {"record": {"size": 4, "field": [{"name": "A", "offset": 0, "type": "f32",
                                              "width": 5}]}},
            "whole numbers only",
        ),
    ],
)  # fmt: skip
def test_contradictions_in_the_profile_are_named(changes, match):
    with pytest.raises(ValidationError, match=match):
        codec(**changes)


TYPES = ["u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32"]


@st.composite
def layouts(draw):
    kind = draw(st.sampled_from(TYPES))
    bits = int(kind[1:])
    shift = draw(st.integers(0, bits - 1))
    width = draw(st.none() | st.integers(1, bits - shift))
    size = draw(st.integers(bits // 8, 9))
    offset = draw(st.integers(0, size - bits // 8))
    return size, {
        "name": "A", "offset": offset, "type": kind, "shift": shift, "width": width,
    }, draw(st.sampled_from(["little", "big"]))  # fmt: skip


@settings(max_examples=200)
@given(layout=layouts(), seed=st.integers(0, 2**32 - 1))
def test_any_bits_of_any_number_are_those_a_slow_reader_finds(layout, seed):
    size, field, order = layout
    rows = np.random.default_rng(seed).bytes(5 * size)
    data = capture([])[:-4] + rows
    header = {"size": 32, "magic": "43454c4c39"}
    one = codec(
        byte_order=order, header=header, record={"size": size, "field": [field]}, crc=None,
        trailer=None,
    )  # fmt: skip
    found = one.read(data, dataset=1, limits=LIMITS).values[:, 0].tolist()
    bits = int(field["type"][1:])
    width = field["width"] or bits - field["shift"]
    expected = []
    for at in range(field["offset"], 5 * size, size):
        word = int.from_bytes(rows[at : at + bits // 8], order)
        value = (word >> field["shift"]) % (1 << width)
        if field["type"].startswith("i") and value >= 1 << (width - 1):
            value -= 1 << width
        expected.append(value)
    assert found == expected


@pytest.mark.parametrize(("kind", "order"), [("f32", "little"), ("f64", "big")])
def test_floating_point(kind, order):
    dtype = np.dtype(f"{'<' if order == 'little' else '>'}f{int(kind[1:]) // 8}")
    rows = np.array([1.5, -2.25, 1e30], dtype)
    one = codec(
        byte_order=order, header={"size": 5, "magic": "43454c4c39"}, crc=None, trailer=None,
        record={"size": dtype.itemsize, "field": [{"name": "A", "offset": 0, "type": kind}]},
    )  # fmt: skip
    table = one.read(b"CELL9" + rows.tobytes(), dataset=1, limits=LIMITS)
    assert table.values[:, 0].tolist() == rows.tolist()
    assert table.columns[0].maximum is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for begin in (b"", b"CELL9"):
        one = codec()
        one.is_whole(begin + data)
        with pytest.raises(Quarantine):
            one.read(begin + data, dataset=1, limits=LIMITS)
