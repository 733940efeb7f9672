"""One contract for all sources: the same capture gives the same arrays, however it comes."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_daemon.decode import kit
from edge_daemon.decode.registry import Registry
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator import wire
from edge_daemon.simulator.analyzer import speak
from edge_daemon.simulator.transports import TcpLine
from edge_daemon.sources.folder import FolderSource, FolderSpec, Handlers

REGISTRY = Registry.load([profiles_dir()])
SAMPLED = sorted(key for key, made in REGISTRY.profiles.items() if kit.needs_sample(made))


def profile_path(profile_id: str) -> Path:
    return profiles_dir() / f"{profile_id}.toml"


def units(framing: str, data: bytes) -> list[bytes]:
    """What an analyzer sends of a sample; one that is framed already is sent as it is."""
    if data.startswith(b"\x02"):
        return [wire.ENQ, *data.splitlines(keepends=True), wire.EOT]
    speech = speak(framing, data)
    return [*(unit.data for unit in speech.units), speech.closing]


def framing_of(profile):
    if profile.framing is None:
        return "packet", wire.PACKET_FRAMING
    return profile.framing.name, profile.framing.options


def through_folder(lines, profile, sample, wait_until) -> bytes:
    export = lines.folder / "export"
    export.mkdir()
    (export / sample.name).write_bytes(sample.data)
    spec = FolderSpec("an1", "hema", export, ("*",), False, 0.0, 900.0, 30.0, True, 1 << 26)
    refused = []
    handlers = Handlers(
        lines.store.accept,
        lambda *found: refused.append(found),
        REGISTRY.is_whole,
        lambda *state: None,
    )
    source = FolderSource(spec, handlers, lines.clock)
    source.step()
    lines.clock.now += 1.0
    source.step()
    assert refused == []
    (taken,) = lines.whole()
    return taken


def through_line(lines, line, framing: str, data: bytes, wait_until) -> bytes:
    for unit in units(framing, data):
        line.write(unit)
        with contextlib.suppress(OSError):
            line.read(0.05)  # not every unit is answered
    wait_until(lines.whole)
    (taken,) = lines.whole()
    assert lines.set_aside() == []
    return taken


def through_serial(lines, profile, sample, wait_until) -> bytes:
    framing, options = framing_of(profile)
    lines.serial(framing, options=options)
    return through_line(lines, lines.line(), framing, sample.data, wait_until)


def through_tcp(lines, profile, sample, wait_until) -> bytes:
    framing, options = framing_of(profile)
    source = lines.tcp(framing, options=options)
    wait_until(lambda: source.state == "listening")
    line = lines.line(TcpLine(source.bound))
    return through_line(lines, line, framing, sample.data, wait_until)


def cases():
    """Every sample over every source that can carry it.

    A run in several files is the folder's own (see the tests of parts), and what files say in
    their names alone does not come over a line.
    """
    for profile_id in SAMPLED:
        profile = REGISTRY.profiles[profile_id]
        if profile.source.parts:
            continue
        for carry in (through_folder, through_serial, through_tcp):
            if carry is through_folder or profile.file_name is None:
                yield pytest.param(profile_id, carry, id=f"{profile_id}-{carry.__name__}")


@pytest.mark.parametrize(("profile_id", "carry"), list(cases()))
def test_the_same_capture_gives_the_same_arrays(lines, profile_id, carry, wait_until):
    profile = REGISTRY.profiles[profile_id]
    sample = kit.read_sample(profile_path(profile_id))
    taken = carry(lines, profile, sample, wait_until)
    arrays = kit.decoded(profile, replace(sample, data=taken))
    with np.load(kit.expected_path(profile_path(profile_id)), allow_pickle=False) as expected:
        assert set(arrays) == set(expected.files)
        for name in expected.files:
            assert arrays[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)


def test_every_kind_of_framing_is_among_them():
    used = {framing_of(REGISTRY.profiles[case.values[0]])[0] for case in cases()}
    assert {"astm", "mllp", "packet"} <= used
