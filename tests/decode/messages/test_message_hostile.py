"""Whatever the bytes, only Quarantine comes out, in bounded time and memory."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.decode import decode_raw, load_profile
from edge_daemon.decode.codecs.astm import AstmCodec, AstmOptions
from edge_daemon.decode.codecs.astm_frames import deframe
from edge_daemon.decode.codecs.hl7 import Hl7Codec, Hl7Options
from edge_daemon.decode.kit import read_sample
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.message import Leniencies
from edge_daemon.decode.report import read_reports
from edge_daemon.errors import Quarantine
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.wire import astm_frames, mllp_block

FOLDERS = ("horiba_yumizen_h500", "sysmex_xn550", "mindray_bc_vet", "urit_5160")
SMALL = Limits(max_bytes=1 << 22, max_events=50_000, max_expansion=1 << 22)
CODECS = [
    kind.model_validate({"name": name, "options": dict.fromkeys(options.model_fields, allowed)})
    for kind, name, options in ((AstmCodec, "astm", AstmOptions), (Hl7Codec, "hl7", Hl7Options))
    for allowed in (False, True)
]
LENIENT = CODECS[1::2]


def outcome(how, *args, **kwargs):
    try:
        return how(*args, **kwargs)
    except Quarantine as error:
        return error


def is_reading(result) -> bool:
    if isinstance(result, Quarantine):
        assert 0 < len(result.message) < 600
        return False
    return result is not None


def survives(data: bytes, codecs=CODECS) -> bool:
    """Read with every codec, strict and lenient; True if any could."""
    results = []
    for codec in codecs:
        results.append(outcome(codec.identify, data))
        results.append(outcome(codec.messages, data, limits=SMALL))
        results.append(outcome(codec.read, data, dataset=1, limits=SMALL))
        assert codec.is_whole(data) in {True, False}
    return sum(map(is_reading, results)) > 0


@pytest.fixture(scope="module")
def samples():
    """Profile and capture of each shipped profile; without frames, whose sums refuse any change."""
    profiles = {}
    for folder in FOLDERS:
        (path,) = (profiles_dir() / folder).glob("*.toml")
        data = deframe(read_sample(path).data, Leniencies(None)).body
        profiles[folder] = (load_profile(path), data)
    return profiles


def mutate(data: bytes, rng: random.Random) -> bytes:
    raw = bytearray(data)
    at, other = rng.randrange(len(raw)), rng.randrange(len(raw))
    kind = rng.randrange(6)
    if kind == 0:
        return bytes(raw[:at])
    if kind == 1:
        raw[at] = rng.randrange(256)
    elif kind == 2:
        del raw[min(at, other) : max(at, other)]
    elif kind == 3:
        raw[at:at] = raw[other : other + rng.randrange(200)]
    elif kind == 4:
        raw[at:at] = rng.choice([b"|", b"^", b"\\", b"&", b"\r", b"\x02", b"\x03", b"~", b"1" * 99])
    else:
        raw[at : at + 3] = rng.randbytes(3)
    return bytes(raw)


@pytest.mark.parametrize("folder", FOLDERS)
def test_mutated_samples(samples, folder):
    rng = random.Random(folder)
    profile, data = samples[folder]
    read = 0
    for _ in range(60):
        damaged = mutate(data, rng)
        read += is_reading(outcome(read_reports, damaged, profile, limits=SMALL))
        read += is_reading(outcome(decode_raw, damaged, profile, limits=SMALL))
        survives(damaged)
    assert read > 0  # some damage does not matter, so the rest of the reader is reached too


@pytest.mark.parametrize("folder", FOLDERS[:2])
def test_a_checksum_refuses_any_changed_byte(folder):
    (path,) = (profiles_dir() / folder).glob("*.toml")
    profile, data = load_profile(path), read_sample(path).data
    rng = random.Random(folder)
    for _ in range(60):
        damaged = bytearray(data)
        at = rng.randrange(len(data))
        damaged[at] ^= rng.randrange(1, 256)
        result = outcome(read_reports, bytes(damaged), profile)
        # A checksum has two cases of its letters, which is no change.
        assert not is_reading(result) or data[at : at + 1].swapcase() == damaged[at : at + 1]


def damage_everywhere(samples, rounds):
    rng = random.Random(20)
    for _ in range(rounds):
        folder = rng.choice(FOLDERS)
        data = samples[folder][1]
        for _ in range(rng.randint(1, 4)):
            data = mutate(data, rng) or b"H"
        survives(data)


@pytest.mark.campaign
def test_many_mutations(samples):
    damage_everywhere(samples, 30_000)


@given(st.binary(max_size=300))
def test_random_bytes(data):
    survives(data)


LETTERS = st.sampled_from(["H|\\^&", "H|\\^&|||X^1|||||||P", *"POCRMLQSZ", "R|1", "O|1", "P|1"])
PIECES = st.sampled_from(
    ["|", "^", "\\", "&", "&F&", "1", "2", "", " ", "RBC", "6.84", "?", "M/uL", "é", "\n", "#", "N"]
)


@st.composite
def records(draw):
    lines = draw(st.lists(st.tuples(LETTERS, st.lists(PIECES, max_size=14)), max_size=8))
    return "\r".join(head + "".join(pieces) for head, pieces in lines)


@settings(max_examples=150)
@given(text=records(), whole=st.booleans(), framed=st.booleans())
def test_random_records(text, whole, framed):
    if whole:
        text = f"H|\\^&\rP|1\rO|1|S\r{text}\rL|1|N\r"
    data = text.encode()
    if framed and data.endswith(b"\r") and b"\n" not in data:
        data = b"\x05" + b"".join(astm_frames(data)) + b"\x04"
    survives(data)


SEGMENTS = st.sampled_from(
    ["MSH|^~\\&", "PID|1", "PV1|1", "ORC", "OBR|1", "OBX|1|NM", "NTE", "ZZZ"]
)
PARTS = st.sampled_from(
    ["|", "^", "~", "\\", "&", "\\F\\", "1", "", "RBC", "ED", "6.84", "é", "\n"]
)


@settings(max_examples=150)
@given(
    lines=st.lists(st.tuples(SEGMENTS, st.lists(PARTS, max_size=14)), max_size=8),
    whole=st.booleans(),
    block=st.booleans(),
)
def test_random_segments(lines, whole, block):
    text = "".join(head + "".join(parts) + "\r" for head, parts in lines)
    if whole:
        text = f"MSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.3.1\rOBR|1||S\r{text}"
    data = text.encode()
    survives(mllp_block(data) if block else data)


HEAD = b"H|\\^&\rP|1\rO|1|S\r"
HL7 = b"MSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.3.1\rOBR|1||S\r"
SIZE = 1 << 20


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"|" * SIZE,
        HEAD + b"R|1|" + b"^" * SIZE,
        HEAD + b"R|1|^^^A|" + b"&" * SIZE + b"\rL|1|N\r",
        HEAD + b"R|1|^^^A|" + b"1" * SIZE + b"\rL|1|N\r",
        HEAD + b"\r" * SIZE,
        HEAD + b"C|1\r" * (SIZE // 4),
        b"H|\\^&\r" * (SIZE // 6),
        b" " * SIZE,
        b"#\n" * (SIZE // 2),
        b"\x02" * SIZE,
        b"\x05" * SIZE,
        b"\x021" + b"A" * SIZE,
        HL7 + b"OBX|1|NM|RBC||" + b"~" * SIZE,
        HL7 + b"OBX|1|ED|RBC||^^^Base64^" + b"A" * SIZE + b"\r",
        HL7 + b"\r" * SIZE,
        HL7 + b"OBX\r" * (SIZE // 4),
        HL7 * (SIZE // len(HL7)),
        b"\x0b\x1c" * (SIZE // 2),
        b"\x0b" + b"\x0bMSH" * (SIZE // 4),
    ],
    ids=lambda data: repr(data[-8:]),
)
def test_what_would_cost_too_much(data):
    started = time.process_time()
    tracemalloc.start()
    try:
        survives(data, LENIENT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60 << 20
    assert time.process_time() - started < 10.0
