"""The guide describes every key, and its example is a good profile."""

from __future__ import annotations

from dataclasses import fields

import pytest

from edge_daemon.decode import ProfileError, load_profile
from edge_daemon.decode.codecs import CODECS
from edge_daemon.decode.codecs.fcs import FcsOptions
from edge_daemon.decode.profile import SECTIONS, Profile
from edge_daemon.decode.section import Section
from edge_daemon.resources import docs_dir


@pytest.fixture(scope="module")
def guide():
    return (docs_dir() / "profiles.md").read_text(encoding="utf-8")


def descendants(model):
    return {model}.union(*map(descendants, model.__subclasses__()))


def schema_keys():
    models = descendants(Section) - descendants(Profile)
    assert len(models) >= 10
    ours = {model for model in models if model.__module__.startswith("edge_daemon.")}
    keys = {name for model in ours for name in model.model_fields}
    return keys | {field.name for field in fields(FcsOptions)}


def test_every_key_is_described(guide):
    codecs = (docs_dir() / "codecs.md").read_text(encoding="utf-8")
    shown = guide[guide.index("## `schema`") :] + codecs
    assert sorted(key for key in schema_keys() if f"`{key}`" not in shown) == []


def test_every_codec_has_its_heading():
    codecs = (docs_dir() / "codecs.md").read_text(encoding="utf-8")
    assert [name for name in CODECS if f"## `{name}`" not in codecs] == []


def test_every_section_has_its_heading(guide):
    for section in SECTIONS:
        array = section in {"channel", "reported"}
        heading = f"## `[[{section}]]`" if array else f"## `[{section}]`"
        assert heading in guide


def test_the_example_is_a_good_profile(guide, tmp_path):
    example = guide.split("```toml\n")[1].split("```")[0]
    path = tmp_path / "example_cell9" / "1.0.toml"
    path.parent.mkdir()
    path.write_text(example, encoding="utf-8")
    profile = load_profile(path)
    assert profile.id == "example_cell9/1.0"
    assert profile.codec.leniencies == ("data_end_off_by_one",)
    # It shows every section but the one that needs a second file and those of messages.
    others = {"calibration", "framing", "report", "reported"}
    assert all(f"[{name}]" in example for name in set(SECTIONS) - others)


def test_the_calibration_example_is_good_but_for_its_table(guide, tmp_path):
    example = guide.split("```toml\n")[1].split("```")[0]
    example += guide.split("```toml\n")[2].split("```")[0]
    for detector in ("HA", "EXT"):
        example += f'[[channel]]\ncolumn = "{detector}"\ncanonical = "{detector}.H"\nunit = "1"\n'
    path = tmp_path / "example_cell9" / "1.0.toml"
    path.parent.mkdir()
    path.write_text(example, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    (problem,) = caught.value.problems
    assert "calibration.npz cannot be read: No such file" in problem
