"""Drafts of binary captures: what is regular is found, what is not is refused."""

from __future__ import annotations

import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.crc import CrcModel, crc
from edge_daemon.decode import decode_raw, load_profile
from edge_daemon.decode.draft import Identity, propose, render
from edge_daemon.decode.draft.binary import propose_binary
from edge_daemon.decode.draft.regularity import counts, header_size, record_size
from edge_daemon.errors import Quarantine

MODBUS = CrcModel(16, 0x8005, 0xFFFF, refin=True, refout=True)


def values(events, columns, seed=1):
    """Pulse heights of 14 bits, each column with its own size, as red cells make them."""
    rng = np.random.default_rng(seed)
    centre = np.geomspace(300.0, 6000.0, columns)
    drawn = centre * np.exp(0.3 * rng.standard_normal((events, columns)))
    return np.clip(np.rint(drawn), 0, 16_383).astype(np.uint16)


def capture(events=600, columns=6, *, order="<", header=64, count=True, check=b"", seed=1):
    head = b"CELLX2\0\0" + b"FW 2.1\0\0" + b"SN-00417"
    head += struct.pack(f"{order}I", events if count else 0xFFFFFFFF)
    body = values(events, columns, seed).astype(f"{order}u2").tobytes()
    return head.ljust(header, b"\0") + body + check


def drafted(data, tmp_path):
    path = tmp_path / "acme_cell9" / "1.0.toml"
    path.parent.mkdir(exist_ok=True)
    text = render(propose(data, "run.dat"), Identity("acme", "cell9", "1.0", "Cell 9"))
    path.write_text(text, encoding="utf-8")
    return load_profile(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("columns", [3, 6, 13])
def test_a_counted_capture_is_read_as_it_was_written(tmp_path, order, columns):
    data = capture(columns=columns, order=order)
    table = decode_raw(data, drafted(data, tmp_path))
    assert np.array_equal(table.values, values(600, columns))
    assert table.keywords == {
        "COUNT": "600", "TEXT 0": "CELLX2", "TEXT 8": "FW 2.1", "TEXT 16": "SN-00417",
    }  # fmt: skip


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(("model", "size"), [(None, 4), (MODBUS, 2)])
def test_the_check_at_the_end_is_found(tmp_path, model, size, order):
    data = capture()
    value = zlib.crc32(data) if model is None else crc(model, data)
    data += value.to_bytes(size, order)
    profile = drafted(data, tmp_path)
    assert profile.codec.trailer.size == size
    assert len(decode_raw(data, profile).values) == 600
    with pytest.raises(Quarantine, match="the CRC says"):
        decode_raw(data[:200] + bytes([data[200] ^ 1]) + data[201:], profile)


def test_texts_of_the_header_are_bounded_in_length_and_number(tmp_path):
    rows = values(3000, 6).astype("<u2").tobytes()
    for head, texts, longest in ((b"X" * 1500, 2, 1024), (b"word\0\1" * 100, 64, 6)):
        data = b"CELLX2\0\0" + struct.pack("<I", 3000) + b"\0\1" * 100 + head + rows
        table = decode_raw(data, drafted(data, tmp_path))
        assert len(table.values) == 3000
        assert len(table.keywords) == 1 + texts
        assert max(map(len, table.keywords.values())) == longest


def test_without_a_count_the_header_ends_where_the_records_begin(tmp_path):
    rng = np.random.default_rng(5)
    head = b"CELLX2\0\0" + rng.integers(128, 256, 92, dtype=np.uint8).tobytes()
    data = head + values(600, 6).astype("<u2").tobytes()
    profile = drafted(data, tmp_path)
    assert profile.codec.record.count_keyword is None
    table = decode_raw(data, profile)
    # A header is cut at whole records: fewer than one of its own may be taken for records.
    assert 600 <= len(table.values) <= 601
    assert np.array_equal(table.values[-600:], values(600, 6))


def test_odd_records_are_cut_into_bytes(tmp_path):
    rng = np.random.default_rng(2)
    rows = np.stack([rng.integers(0, 20 * (i + 1), 900) for i in range(5)], axis=1)
    data = b"ODD1".ljust(16, b"\0") + struct.pack("<I", 900) + rows.astype(np.uint8).tobytes()
    table = decode_raw(data, drafted(data, tmp_path))
    assert np.array_equal(table.values, rows)


def test_many_columns_raise_their_limit(tmp_path):
    data = capture(columns=100)
    table = decode_raw(data, drafted(data, tmp_path))
    assert table.values.shape == (600, 100)


def test_what_a_person_must_decide_is_asked():
    proposal = propose(capture(), "run.dat")
    asked = " ".join(proposal.questions)
    for part in ("records of 12 bytes", "at byte 24 (600 here)", "trailer", "firmware"):
        assert part in asked
    assert proposal.identifying["TEXT 8"] == "FW 2.1"
    assert all(channel.canonical is None for channel in proposal.channels)


@pytest.mark.parametrize(
    "data",
    [
        np.random.default_rng(3).bytes(20_000),
        zlib.compress(capture(3000)),
        b"\0" * 20_000,
        capture(5),
        b"\x89PNG" + np.random.default_rng(4).bytes(5000),
        b"word\0and more words of a letter to someone, " * 200,
        b"\1\2\3\xc8\5" * 200,
    ],
    ids=["noise", "compressed", "zeros", "short", "image", "text", "no header"],
)
def test_what_is_not_regular_is_refused(data):
    with pytest.raises(Quarantine) as caught:
        propose(data, "x.bin")
    assert caught.value.code == "not_recognised"


def test_regular_text_is_no_binary_capture():
    rng = np.random.default_rng(6)
    text = b"".join(b"K%04d %03d;" % tuple(pair) for pair in rng.integers(0, 999, (500, 2)))
    text = b"~" * 60 + text
    assert record_size(text) == 10
    assert propose_binary(text, "x.txt") is None


@pytest.mark.parametrize("size", [2, 5, 12, 44, 260])
def test_the_size_of_records_is_found(size):
    rng = np.random.default_rng(size)
    level = rng.integers(20, 200, size)
    rows = np.clip(level + 12 * rng.standard_normal((3000, size)), 0, 255).astype(np.uint8)
    assert record_size(b"h" * 100 + rows.tobytes()) == size


def test_counts_leave_a_header_that_holds_them():
    data = capture(600, 6)
    found = list(counts(data, 12))
    assert any(c.offset == 24 and c.value == 600 and c.order == "little" for c in found)
    for count in found:
        assert count.offset < len(data) - count.value * 12 <= 4096


def test_a_header_of_nothing_unlike_the_records_is_none():
    rows = values(400, 4).astype("<u2").tobytes()
    assert header_size(rows, 8, 0) < 3 * 8


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=256, max_size=600), st.integers(1, 8))
def test_any_bytes_are_drafted_so_that_they_load_or_are_refused(tmp_path_factory, data, repeats):
    folder = tmp_path_factory.mktemp("draft")
    with contextlib.suppress(Quarantine):
        decode_raw(data * repeats, drafted(data * repeats, folder))
