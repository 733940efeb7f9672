"""Whatever the bytes, only Quarantine comes out, and memory stays within the limits."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.decode.codecs.fcs import STRICT, FcsOptions, read_fcs
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.table import RawTable
from edge_daemon.errors import Quarantine

SMALL = Limits(max_bytes=1 << 22, max_events=50_000, max_channels=64, max_expansion=1 << 22)
NUMBERS = (b"0", b"1", b"58", b"65", b"99999999", b"1000000000", b"-1", b"18446744073709551616")


def outcome(data: bytes, options: FcsOptions) -> RawTable | Quarantine:
    try:
        return read_fcs(data, limits=SMALL, options=options)
    except Quarantine as error:
        return error


def survives(data: bytes) -> bool:
    """Read with both settings; only Quarantine may come out. True if either could read."""
    results = [outcome(data, options) for options in (STRICT, FcsOptions.lenient())]
    for result in results:
        if isinstance(result, Quarantine):
            assert 0 < len(result.message) < 600
        else:
            assert result.values.ndim == 2
            assert result.values.nbytes <= SMALL.max_expansion
            assert len(result.columns) == result.values.shape[1]
    return any(isinstance(result, RawTable) for result in results)


def seeds(fcs):
    rows = [[i, i * 7 % 1024, i % 5] for i in range(20)]
    plain = fcs(rows, version="FCS2.0", ranges=[1024] * 3).build()
    return [
        plain,
        fcs(rows, bits=[8, 24, 32], big_endian=True, version="FCS3.1").build(),
        fcs(rows, bits=[10, 11, 12], packed=True).build(),
        fcs([[float(v) for v in row] for row in rows], datatype="F", delimiter="|").build(),
        fcs(rows, version="FCS2.0", keywords={"$NEXTDATA": f"{len(plain) + 6}"}).build() + plain,
        fcs(rows, keywords={"A": "", "$BEGINSTEXT": "100", "$ENDSTEXT": "200"}).build(),
    ]


def mutate(data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    raw = bytearray(data)
    if kind == 0:
        return bytes(raw[: rng.randrange(len(raw))])
    if kind == 1:
        for _ in range(rng.randint(1, 6)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    elif kind == 2:  # the part where every byte matters
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(min(600, len(raw)))] = rng.choice(b"/|0123456789 \0$LIFDPABX,.-")
    elif kind == 3:
        at = rng.randrange(len(raw))
        del raw[at : at + rng.randint(1, 40)]
    elif kind == 4:
        at = rng.randrange(len(raw))
        raw[at:at] = raw[rng.randrange(len(raw)) :][: rng.randint(1, 40)]
    else:
        at = raw.find(b"/", rng.randrange(58, min(500, len(raw))))
        raw[at + 1 : at + 3] = rng.choice(NUMBERS)
    return bytes(raw)


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=300), version=st.sampled_from([b"", b"FCS2.0", b"FCS3.1"]))
def test_random_bytes(data, version):
    assert not survives(version + data)


@settings(deadline=None, max_examples=150)
@given(
    text=st.text(st.sampled_from("/$PARTOMDEBYNL1234,I "), max_size=200),
    header=st.lists(st.integers(0, 400), min_size=4, max_size=4),
)
def test_random_text_behind_a_header(text, header):
    fields = b"".join(b"%8d" % n for n in (*header, 0, 0))
    survives(b"FCS3.0    " + fields + b"/" + text.encode() + bytes(100))


def test_every_truncation(fcs):
    for data in seeds(fcs):
        for length in range(len(data) - 1):
            survives(data[:length])
    whole = seeds(fcs)[0]
    assert not any(survives(whole[:length]) for length in range(len(whole)))


def test_every_single_byte_of_header_and_text(fcs):
    data = seeds(fcs)[1]
    for at in range(data.index(b"$TOT") + 8):
        for byte in b"\x00/ 9\xff":
            survives(data[:at] + bytes([byte]) + data[at + 1 :])


def test_mutations(fcs):
    rng = random.Random(20250919)
    files = seeds(fcs)
    read = sum(survives(mutate(rng.choice(files), rng)) for _ in range(3000))
    assert 0 < read < 3000  # the mutations reach both outcomes


@pytest.mark.campaign
def test_mutations_at_length(fcs):
    rng = random.Random(1)
    files = seeds(fcs)
    for _ in range(300_000):
        data = mutate(rng.choice(files), rng)
        for _ in range(rng.randrange(3)):
            data = mutate(data, rng) if len(data) > 58 else data
        survives(data)


@pytest.mark.campaign
def test_mutations_of_real_files(corpus):
    rng = random.Random(2)
    files = [p.read_bytes() for p in sorted((corpus / "fcs").iterdir())]
    files = [data for data in files if 100 < len(data) < 500_000]
    for _ in range(5_000):
        survives(mutate(rng.choice(files), rng))


def peak(data, limits):
    tracemalloc.start()
    try:
        with pytest.raises(Quarantine) as caught:
            read_fcs(data, limits=limits, options=FcsOptions.lenient())
        return tracemalloc.get_traced_memory()[1], caught.value.code
    finally:
        tracemalloc.stop()


def test_claims_allocate_nothing(fcs):
    rows = [[1, 2]]
    huge = fcs(rows, keywords={"$TOT": "1000000000"}).build()
    wide = fcs(rows, keywords={"$PAR": "1000000000"}).build()
    claimed = fcs(rows, keywords={"$TOT": "900000"}, header_data=(200, 99999999)).build()
    assert peak(huge, Limits()) == (pytest.approx(0, abs=200_000), "too_large")
    assert peak(wide, Limits()) == (pytest.approx(0, abs=200_000), "too_large")
    assert peak(claimed, Limits())[0] < 200_000


def test_a_text_of_tiny_keywords_is_refused_before_it_is_split():
    body = b"/" + b"a/b/" * (3 << 20)
    header = b"FCS3.0    " + b"".join(b"%8d" % n for n in (58, 57 + len(body), 0, 0, 0, 0))
    used, code = peak(header + body, Limits())
    assert code == "too_large"
    assert used < 200_000


def test_bits_are_unpacked_in_blocks(fcs):
    rows = [[i % 8] for i in range(60_000)]
    data = fcs(rows, bits=[3], packed=True).build()
    tracemalloc.start()
    try:
        table = read_fcs(data)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert table.values.nbytes == 60_000
    assert used < 16 << 20
