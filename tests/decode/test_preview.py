"""The layout of a capture: every byte once, every value as the codec reads it, no exception."""

from __future__ import annotations

import binascii
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.decode.codec import Codec
from edge_daemon.decode.codecs.fcs_codec import FcsCodec
from edge_daemon.decode.codecs.preview import RECORDS, Row, preview
from edge_daemon.decode.codecs.records import RecordsCodec
from edge_daemon.decode.limits import Limits

CRC32 = {
    "width": 32, "poly": 0x04C11DB7, "init": 0xFFFFFFFF, "refin": True, "refout": True,
    "xorout": 0xFFFFFFFF, "offset": 2,
}  # fmt: skip
SECTION = {
    "name": "records",
    "byte_order": "big",
    "header": {
        "size": 24,
        "magic": "43 45 4c 4c",
        "field": [
            {"keyword": "EVENTS", "offset": 16, "type": "u32"},
            {"keyword": "Firmware", "offset": 8, "type": "text", "length": 6},
        ],
    },
    "record": {
        "size": 5,
        "count_keyword": "EVENTS",
        "field": [
            {"name": "FLAGS", "offset": 4, "type": "u8", "shift": 2, "width": 3},
            {"name": "FSC", "offset": 0, "type": "i16"},
        ],
    },
    "trailer": {"size": 6, "magic": "454e"},
    "crc": CRC32,
}


def codec(**changes):
    return RecordsCodec.model_validate({**SECTION, **changes}, strict=False)


def capture(events=3, *, firmware=b"2.1", stated=None):
    head = b"CELL\1\2\3\4" + firmware.ljust(8, b"\0")
    head += struct.pack(">I4x", events if stated is None else stated)
    body = head + b"".join(struct.pack(">hHB", -n, 0xAAAA, n << 2) for n in range(events)) + b"EN"
    return body + struct.pack(">I", binascii.crc32(body))


def rows(data, **changes):
    return {row.name: row for row in preview(codec(**changes), data)}


def test_each_field_stands_at_its_offset_with_its_value():
    found = rows(capture())
    assert found["magic"] == Row(0, 4, "magic", "every capture begins so", "43 45 4c 4c", True)
    assert found["FIRMWARE"] == Row(8, 6, "FIRMWARE", "ascii text", "2.1")
    assert found["EVENTS"] == Row(16, 4, "EVENTS", "u32", "3")
    assert found["1: FSC"] == Row(24, 2, "1: FSC", "i16", "0")
    assert found["2: FSC"] == Row(29, 2, "2: FSC", "i16", "-1")
    assert found["2: FLAGS"] == Row(33, 1, "2: FLAGS", "u8, bits 2 to 4", "1")
    assert found["2: not described"].value == "aa aa"
    assert found["3"] == Row(34, 5, "3", "records of 5 bytes", "")
    assert found["trailer"].fits
    assert found["crc"].meaning == "CRC of bytes 0 to 40"
    assert found["crc"].offset == 41
    assert found["crc"].fits


def test_every_byte_of_a_good_capture_is_shown_once_and_in_order():
    for events in range(5):
        data = capture(events)
        laid = preview(codec(), data)
        assert sum(row.size for row in laid) == len(data)
        reached = 0
        for row in laid:
            assert row.offset == reached
            reached += row.size
        assert all(row.fits is not False for row in laid)


def test_no_row_goes_beyond_a_capture_that_was_cut_off():
    data = capture(9)[:-12]
    laid = preview(codec(), data)
    assert laid[-1].name == "end"
    assert sum(row.size for row in laid) == len(data)


@pytest.mark.parametrize(("size", "shown"), [(20, "00"), (21, "00 …")])
def test_long_stretches_are_shown_by_their_beginning(size, shown):
    header = {"size": size, "magic": "43454c4c"}
    record = {"size": 2, "field": [{"name": "A", "offset": 0, "type": "u16"}]}
    data = b"CELL" + bytes(size - 4)
    found = rows(data, header=header, record=record, crc=None, trailer=None)
    assert found["not described"].value == "00 " * 15 + shown


def test_the_first_records_are_those_that_decode():
    data = capture(9)
    table = codec().read(data, dataset=1, limits=Limits())
    found = rows(data)
    for n in range(RECORDS):
        shown = [found[f"{n + 1}: {column.name}"].value for column in table.columns]
        assert shown == [str(value) for value in table.values[n].tolist()]


@pytest.mark.parametrize(
    ("data", "name", "value"),
    [
        (b"CELX" + capture()[4:], "magic", "43 45 4c 58, expected 43 45 4c 4c"),
        (capture()[:-1] + b"x", "crc", "expected 0x"),
        (capture()[:-1], "end", "behind 44"),
        (capture() + b"x", "end", "behind 46"),
        (capture(stated=9), "end", "behind 45"),
        (capture()[:18], "EVENTS", "behind the end"),
        (capture(firmware=b"\xff"), "FIRMWARE", "expected ascii text"),
        (capture().replace(b"EN", b"XX"), "trailer", "58 58"),
    ],
)
def test_what_does_not_fit_is_said_where_it_stands(data, name, value):
    row = rows(data)[name]
    assert row.fits is False
    assert value in row.value


def test_a_count_that_is_none_is_said_and_the_records_are_shown_all_the_same():
    header = SECTION["header"] | {
        "field": [{"keyword": "EVENTS", "offset": 8, "type": "text", "length": 4}]
    }
    found = rows(capture(), header=header)
    assert found["capture"].fits is False
    assert "expected a count, found '2.1'" in found["capture"].value
    assert found["2: FSC"].value == "-1"


def test_overlapping_fields_are_both_shown():
    record = {
        "size": 4,
        "field": [
            {"name": "WORD", "offset": 0, "type": "u32"},
            {"name": "MIDDLE", "offset": 1, "type": "u8", "width": 4},
        ],
    }
    found = rows(capture(), record=record, crc=None, trailer=None)
    assert found["1: WORD"].size == 4
    assert found["1: MIDDLE"].offset == 25
    assert not any(name.startswith("1: not") for name in found)


class Framed(Codec):
    """A codec with a binary frame and a payload of which the preview knows nothing."""

    def identify(self, data):
        raise NotImplementedError

    def read(self, data, *, dataset, limits):
        raise NotImplementedError

    @property
    def frame(self):
        return codec().frame


@pytest.mark.parametrize("cut", [None, 24, 27])
def test_any_binary_frame_is_laid_out_around_its_payload(cut):
    data = capture()[:cut]
    laid = preview(Framed(name="framed"), data)
    found = {row.name: row for row in laid}
    assert found["FIRMWARE"].value == "2.1"
    assert ("crc" in found) == (cut is None)
    if cut is None:
        assert (found["payload"].offset, found["payload"].size) == (24, 15)
        assert found["crc"].fits


def test_other_formats_show_their_first_bytes():
    laid = preview(FcsCodec(name="fcs"), b"FCS3.1    \0\xff" + b"x" * 400)
    assert laid[0].offset == 0
    assert laid[0].meaning == "FCS3.1    ··xxxx"
    assert laid[0].value.startswith("46 43 53 33 2e 31")
    assert laid[-1].offset + laid[-1].size == 256
    assert preview(FcsCodec(name="fcs"), b"") == ()


@given(st.binary(max_size=80), st.integers(0, 4), st.booleans())
def test_no_capture_is_refused(noise, cut, begins):
    data = (capture()[: 12 * cut] if begins else b"") + noise
    for one in (codec(), codec(crc=None, trailer=None, record=SECTION["record"] | {"size": 9})):
        laid = preview(one, data)
        assert all(row.offset >= 0 and row.size >= 0 for row in laid)
        assert laid
