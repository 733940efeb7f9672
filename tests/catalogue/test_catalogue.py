"""Rules that every shipped profile keeps, of whatever codec and source."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from edge_daemon.decode import Registry, decode, decode_raw, load_profile
from edge_daemon.decode.codecs.fcs import read_header
from edge_daemon.decode.kit import differences, needs_sample, read_sample
from edge_daemon.errors import Quarantine
from edge_daemon.resources import profiles_dir
from edge_daemon.sources.framing.registry import make_framer

PATHS = sorted(profiles_dir().glob("*/*.toml"))
MATCHING = [path for path in PATHS if needs_sample(load_profile(path))]

LAST_BYTE = {"fcs": lambda data: read_header(data).data[1]}
"""Offset of the last byte that a codec cannot do without, where that is not the file's last.

Of FCS: behind the data may stand the file's checksum field.
"""

REMARKS = {"keep"}
"""Notes that are no leniencies: which rows of a table are events, the profile always says."""


def name(path):
    return f"{path.parent.name}/{path.stem}"


def read(profile, sample, data=None):
    """Decode as the pipeline does."""
    how = decode if profile.classify else decode_raw
    return how(sample.data if data is None else data, profile, name=sample.name)


@pytest.fixture(scope="module")
def registry():
    return Registry.load([profiles_dir()])


def test_all_load_together(registry):
    assert [problem.message for problem in registry.problems] == []
    assert len(registry.profiles) == len(PATHS) >= 1


FRAMED = [path for path in PATHS if load_profile(path).framing]


@pytest.mark.parametrize("path", FRAMED, ids=name)
def test_every_framing_can_be_made(path):
    framing = load_profile(path).framing
    assert make_framer(framing.name, framing.options).feed(b"", 0.0) == []


def test_nothing_else_lies_about():
    """Every file belongs to a profile."""
    tables = {
        path.with_name(load_profile(path).calibration.table)
        for path in PATHS
        if load_profile(path).calibration
    }
    for path in profiles_dir().glob("*/*"):
        if path.name == "README.md" or path in tables:
            continue
        stem = path.name.split(".sample.")[0].split(".expected.")[0].removesuffix(".toml")
        assert path.with_name(f"{stem}.toml") in PATHS, path


@pytest.mark.parametrize("folder", sorted({p.parent for p in MATCHING}), ids=lambda p: p.name)
def test_every_instrument_has_its_page(folder):
    page = (folder / "README.md").read_text(encoding="utf-8")
    for path in folder.glob("*.toml"):
        assert path.stem in page
        if load_profile(path).provenance == "documented":
            assert "generated" in page.lower(), "the page says that the sample is not a capture"


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_only_our_own_profiles_are_simulated(path):
    profile = load_profile(path)
    ours = profile.model.startswith("sim_")
    assert profile.simulated is ours
    assert (profile.provenance == "generated") is ours


@pytest.mark.parametrize("path", MATCHING, ids=name)
def test_the_sample_decodes_to_what_is_expected(path):
    assert differences(path) == []


@pytest.mark.parametrize("path", MATCHING, ids=name)
def test_the_sample_fits_this_profile_and_no_other(path, registry):
    sample = read_sample(path)
    own = load_profile(path).id
    assert registry.match(sample.data, sample.name).id == own
    assert registry.is_whole(sample.data)
    found = registry.detect(sample.data, sample.name)
    assert [d.profile for d in found if d.matched] == [own]


@pytest.mark.parametrize("path", MATCHING, ids=name)
def test_the_sample_needs_no_more_than_the_named_leniencies(path):
    profile = load_profile(path)
    used = {note.split(":")[0] for note in read(profile, read_sample(path)).notes}
    assert used - REMARKS == set(profile.codec.leniencies)


@pytest.mark.parametrize("path", MATCHING, ids=name)
def test_another_firmware_is_never_decoded_with_this_layout(path):
    """As if the sample came from a later firmware: seen from the profile, that is the same."""
    registry = Registry.load([profiles_dir()])
    profile = load_profile(path)
    sample = read_sample(path)
    for key in profile.firmware_keywords:
        condition = profile.match.keywords[key]
        assert not condition.accepts("?" * 8), f"{key} accepts anything"
        other = type(condition)(exact="another firmware")
        keywords = {**profile.match.keywords, key: other}
        match = profile.match.model_copy(update={"keywords": keywords})
        registry.profiles[profile.id] = profile.model_copy(update={"match": match})
        with pytest.raises(Quarantine) as caught:
            registry.match(sample.data, sample.name)
        assert caught.value.code == "no_profile"
        assert profile.id in caught.value.candidates


@pytest.mark.parametrize("path", MATCHING, ids=name)
def test_a_torn_sample_is_refused(path):
    profile = load_profile(path)
    sample = read_sample(path)
    last = LAST_BYTE.get(profile.codec.name, lambda data: len(data) - 1)(sample.data)
    assert read(profile, sample, sample.data[: last + 1])
    for length in (0, 3, 57, last // 2, last):
        with pytest.raises(Quarantine):
            read(profile, sample, sample.data[:length])


@pytest.mark.parametrize("path", MATCHING, ids=name)
def test_damage_is_refused_or_read_and_never_crashes(path):
    """One byte after another of the sample is exchanged; nothing but our own errors comes out."""
    profile = load_profile(path)
    sample = read_sample(path)
    step = max(len(sample.data) // 40, 1)
    for at, byte in itertools.product(range(0, len(sample.data), step), (0x00, 0x2C, 0xFF)):
        damaged = bytearray(sample.data)
        damaged[at] = byte
        with contextlib.suppress(Quarantine):
            read(profile, sample, bytes(damaged))
