"""What the fuzzer found, each as a case of its own."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
import zlib

import numpy as np
import pytest

from edge_daemon.classify.bundle import BundleError, load_bundle
from edge_daemon.classify.session import ModelError, StageSession
from edge_daemon.config import ConfigError, load_config
from edge_daemon.decode.calibration import _load
from edge_daemon.decode.draft import Identity, propose, render
from edge_daemon.decode.draft.regularity import low_bytes_first
from edge_daemon.decode.profile import ProfileError, load_profile
from edge_daemon.errors import EdgeError, Fatal, Quarantine
from edge_daemon.parts import split
from edge_daemon.resources import models_dir, profiles_dir
from edge_daemon.sources.framing import make_framer
from edge_daemon.store import pictures


def test_the_draft_of_a_capture_that_ends_where_its_records_begin():
    assert low_bytes_first(b"ab", 1)


def test_the_draft_of_a_table_whose_column_of_words_has_no_name():
    data = b",FSC,SSC\n" + b"cell,1,2\n" * 20
    with pytest.raises(EdgeError):
        propose(data, "a.csv")
    named = propose(b"kind" + data, "a.csv")
    assert "kind" in render(named, Identity("acme", "one", "1.0", "Title"))


@pytest.mark.parametrize("pattern", ["a{99999999999}", "(" * 5000 + ")" * 5000, "[[a]"])
def test_a_pattern_that_the_compiler_gives_up_on_is_no_pattern(tmp_path, pattern):
    text = (profiles_dir() / "sim_optical4" / "1.0.toml").read_text()
    file = tmp_path / "sim_optical4" / "1.0.toml"
    file.parent.mkdir()
    file.write_text(text + f'\n[file_name]\npattern = "{pattern}"\n')
    with pytest.raises(ProfileError, match="expected a regular expression"):
        load_profile(file)


def test_a_file_of_hundreds_of_mistakes_is_answered_in_a_page(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('[[source]]\nname = "a"\npath = "/a"\n' * 600)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert len(caught.value.problems) == 1198
    assert caught.value.message.endswith("and 1158 more")
    file.write_text(f"{'x' * 5000} = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert len(caught.value.message) < 2000
    profile = tmp_path / "acme_one" / "1.0.toml"
    profile.parent.mkdir()
    profile.write_text("".join(f"[x{n}]\n" for n in range(300)))
    with pytest.raises(ProfileError, match=r"and \d+ more") as caught:
        load_profile(profile)
    assert len(caught.value.message) < 10_000
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.toml").write_text("".join(f"x{n} = 1\n" for n in range(300)))
    with pytest.raises(BundleError, match=r"and \d+ more") as caught:
        load_bundle(bundle)
    assert len(caught.value.message) < 4000


@pytest.mark.parametrize("names", [("x/", "y/"), ("a\0b", "a\0c"), ("same", "same")])
def test_parts_whose_names_are_the_same_once_they_are_cut(names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("1", b"A,B\n1,2\n")
        archive.writestr("2", b"A,B\n3,4\n")
    data = stream.getvalue()
    at = 0
    for name in names:
        told, length = name.encode(), len(name).to_bytes(2, "little")
        local = data.index(b"PK\x03\x04", at)
        data = (
            data[: local + 26] + length + data[local + 28 : local + 30] + told + data[local + 31 :]
        )
        at = local + 4
    with pytest.raises(Quarantine, match="another making"):
        split(data)


def test_an_endless_key_or_value_of_a_framing_is_shown_in_part():
    for options in ({"x" * 5000: 1}, {"acknowledge": "x" * 5000}):
        with pytest.raises(Fatal) as caught:
            make_framer("block", options)
        assert len(caught.value.message) < 500


def test_a_graph_that_cannot_be_loaded_is_told_as_an_error_and_not_on_the_output(capfd):
    model = (max(models_dir().glob("sim_optical4-*")) / "stage1.onnx").read_bytes()
    for at in range(0, len(model), 97):
        broken = model[:at] + b"\x80" + model[at + 1 :]
        with contextlib.suppress(ModelError):
            StageSession(broken, "stage1.onnx")
    assert capfd.readouterr() == ("", "")


def _pictures(header, numbers=b""):
    text = json.dumps({"format": 1, "scattergrams": [], "histograms": []} | header).encode()
    return zlib.compress(len(text).to_bytes(4, "little") + text + numbers)


ONE = {"x": {"bins": 2}, "classes": ["a"]}


@pytest.mark.parametrize(
    "body",
    [
        _pictures({"histograms": [ONE | {"x": {"bins": 0}}]}, b"\x01\x00\x00"),
        _pictures({"histograms": [ONE | {"x": {"bins": float("nan")}}]}, b"\x01\x00\x00"),
        _pictures({"histograms": [ONE | {"classes": [{}]}]}, b"\x01\x00\x00"),
        _pictures({"histograms": [ONE]}, b"\xff" * 4_000_000),
        _pictures({"histograms": [ONE]}, b"\xff\xff\xff\x7f" + bytes(4_000_000)),
        _pictures({"histograms": [[]]}, b"\x01\x00\x00"),
        zlib.compress((200_000).to_bytes(4, "little") + b"[" * 200_000),
    ],
    ids=["no bins", "nan", "class", "long number", "many bins", "no picture", "nesting"],
)
def test_pictures_that_were_not_drawn_here_are_damaged(body):
    with pytest.raises(EdgeError, match="damaged"):
        pictures.decode(body)


def test_a_signalling_nan_in_a_calibration_is_no_warning():
    stream = io.BytesIO()
    np.savez(stream, volume_fl=np.array([0x7FA00000], np.uint32).view(np.float32))
    assert np.isnan(_load(stream.getvalue())["volume_fl"]).all()
