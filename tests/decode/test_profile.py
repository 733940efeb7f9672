"""A profile file is right in every key, or every one of its problems is named."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_daemon.decode import ProfileError, load_profile
from edge_daemon.errors import EdgeError


def problems(path):
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert isinstance(caught.value, EdgeError)
    assert str(path) in caught.value.message
    assert "profiles.md" in caught.value.action
    for problem in caught.value.problems:
        assert problem in caught.value.message
    return caught.value.problems


def test_a_good_profile(write_profile):
    profile = load_profile(write_profile())
    assert profile.id == "acme_cell9/1.0"
    assert len(profile.sha256) == 64
    assert (profile.vendor, profile.model, profile.firmware) == ("acme", "cell9", "1.0")
    assert (profile.classify, profile.simulated) == (True, False)
    assert profile.channels == ("LA.H", "FL.H")
    assert profile.firmware_keywords == ("FIRMWARE",)
    assert profile.codec.leniencies == ()
    assert pickle.loads(pickle.dumps(profile)) == profile
    with pytest.raises(ValidationError):
        profile.title = "other"


def test_the_firmware_keyword_is_the_one_of_the_metadata(write_profile):
    path = write_profile(
        replace=[
            ('"FIRMWARE" = "1.0"', '"Firmware" = { regex = "v1[.].*" }'),
            ("[metadata]", '[metadata]\nfirmware = { keyword = "FirmWare" }'),
        ]
    )
    assert load_profile(path).firmware_keywords == ("Firmware",)


def test_leniencies_are_named(write_profile):
    path = write_profile(
        replace=[('name = "fcs"', 'name = "fcs"\n[codec.options]\nempty_values = true')]
    )
    assert load_profile(path).codec.leniencies == ("empty_values",)


def test_every_problem_is_listed_with_its_line(write_profile):
    path = write_profile(
        replace=[
            ("revision = 1", 'revision = "one"\ncolour = "red"'),
            ('kind = "folder"', 'kind = "carrier pigeon"'),
            ('canonical = "LA.H"', 'canonical = "LA.X"'),
            ("gain = 0.5", "gain = 0"),
            ('scale = "log"', 'scale = "cubic"'),
            ("CANINE = ", "DRAGON = "),
            ('"dog"', '"dragon"'),
            ('name = "fcs"', 'name = "fcs"\noptions = { be_nice = true }'),
        ]
    )
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "[extra]\n", encoding="utf-8")
    found = problems(path)
    lines = text.splitlines()

    def expect(key, *words):
        matching = [p for p in found if key in p]
        assert len(matching) == 1, (key, found)
        for word in words:
            assert word in matching[0], matching[0]
        return int(matching[0].split(":")[0].removeprefix("line "))

    assert lines[expect("profile.revision", "integer", "'one'") - 1].startswith("revision")
    assert lines[expect("profile.colour", "unknown key", "title") - 1].startswith("colour")
    assert lines[expect("source.kind", "'folder'", "carrier") - 1].startswith("kind")
    assert lines[expect("channel[0].canonical", "LA.H", "EXT.W") - 1].startswith("canonical")
    assert lines[expect("channel[0].gain", "other than 0") - 1] == "gain = 0"
    assert lines[expect("channel[1].scale", "'linear' or 'log'", "cubic") - 1].startswith("scale")
    assert lines[expect("metadata.species", "dragon", "alpaca") - 1].startswith("species")
    assert lines[expect("codec.options", "be_nice", "empty_values") - 1].startswith("options")
    assert expect("extra", "unknown key", "plausibility") == len(lines) + 1
    assert len(found) == 9


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schema = 1", "schema = 2", "schema: expected 1, found 2"),
        ("schema = 1", "schema = true", "schema: expected 1"),
        ('title = "Test analyzer"', "", "profile.title: is missing"),
        ('firmware = "1.0"\n', "firmware = 1.0\n", "valid string"),
        ("[source]", "[sauce]", "source: section is missing"),
        ('patterns = ["*.fcs"]', "patterns = []", "source: a folder source needs patterns"),
        (
            'format = "fcs"\n',
            'format = "tiff"\n',
            "match.format: expected the codec's name, 'fcs', found 'tiff'",
        ),
        ('"$CYT" = "Cell9", ', "", "match.keywords"),
        ('"FIRMWARE" = "1.0"', '"FIRMWARE" = "2.0"', "no keyword tells the firmware"),
        ('"$CYT" = "Cell9"', '"$CYT" = "1.0"', "no keyword tells the instrument"),
        ('"Cell9"', '{ regex = "(" }', "regular expression"),
        ('"Cell9"', '{ exact = "a", regex = "b" }', "expected a text"),
        ('"Cell9"', '{ like = "b" }', "unknown key; expected any of exact, regex"),
        ('canonical = "FL.H"', 'canonical = "LA.H"', "channel[1].canonical: LA.H is mapped twice"),
        ("gain = 0.5", "gain = nan", "finite"),
        ('keyword = "$TIMESTEP"', "", "either seconds_per_unit or keyword"),
        ('"$SMNO" }', '"$SMNO", scale = 2.0 }', "scale is for volume_ul"),
        ('"$SMNO" }', '"$SMNO", maps = {} }', "unknown key; expected any of keyword, map"),
        ("scale = 1e-3", "scale = 0", "other than 0"),
        ('name = "fcs"', 'name = "fcs"\nmax_channels = 100', "codec.max_channels"),
        ('provenance = "generated"', 'provenance = "generated"\nclassify = false', "match"),
    ],
)
def test_one_problem(write_profile, old, new, words):
    found = problems(write_profile(replace=[(old, new)]))
    assert any(words in problem for problem in found), found


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("channels = { 'HA.H' = { median_min = 1, median_max = 2 } }", "no [[channel]] maps"),
        ("channels = { 'LA.H' = { median_min = 3, median_max = 2 } }", "below median_max"),
        ("channels = { 'LA.Q' = { median_min = 1, median_max = 2 } }", "LA.Q"),
        ("min_events = 0", "plausibility.min_events"),
        ("max_saturated_fraction = 1.5", "max_saturated_fraction"),
    ],
)
def test_plausibility(write_profile, section, words):
    path = write_profile()
    path.write_text(path.read_text(encoding="utf-8") + "[plausibility]\n" + section + "\n")
    assert any(words in problem for problem in problems(path))


def test_the_file_must_lie_where_it_says(write_profile, tmp_path):
    found = problems(write_profile(folder="other", name="9.9"))
    assert any("acme_cell9" in p and "'other'" in p for p in found)
    assert any("1.0.toml" in p and "9.9.toml" in p for p in found)
    own = [('model = "cell9"', 'model = "sim_cell9"')]
    assert load_profile(write_profile(folder="sim_cell9", replace=own)).id == "sim_cell9/1.0"


def test_missing_sections(write_profile):
    path = write_profile()
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("[match]")] + '[codec]\nname = "fcs"\n', encoding="utf-8")
    assert problems(path) == ("match: section is missing", "channel: section is missing")


def test_not_toml(tmp_path):
    path = tmp_path / "1.0.toml"
    path.write_bytes(b"schema = = 1\n")
    assert "line 1" in problems(path)[0]
    path.write_bytes(b"\xff\xfe")
    assert "is not TOML" in problems(path)[0]
    assert "cannot be read" in problems(tmp_path / "absent.toml")[0]
    path.write_bytes(b"")
    assert any("profile: section is missing" in p for p in problems(path))


VALUES = (
    "1", "-1", "0.5", "nan", "true", '""', '"x"', "[]", "[1]", "{}", "{ a = 1 }", "1979-05-27",
    "0x" + "f" * 5000, "9" * 5000, "[" * 3000, '"\\u0000"', "[[]]", "{ keyword = [] }",
)  # fmt: skip


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    line=st.integers(0, 60),
    value=st.sampled_from(VALUES),
    key=st.sampled_from(["", "extra", "[profile]", "[[profile]]", "[channel]", "channel"]),
)
def test_any_nonsense_is_a_profile_error_or_a_profile(write_profile, line, value, key):
    path = write_profile()
    lines = path.read_text(encoding="utf-8").splitlines()
    at = line % len(lines)
    old = lines[at].split(" = ")[0]
    lines[at] = f"{key or old} = {value}" if not key.startswith("[") else key
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        profile = load_profile(path)
    except ProfileError as error:
        named = error.problems
    else:
        named = (profile.id,)
    assert named


def test_errors_cross_a_process_border(tmp_path):
    path = tmp_path / "1.0.toml"
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    again = pickle.loads(pickle.dumps(copy.copy(caught.value)))
    assert (again.message, again.problems) == (caught.value.message, caught.value.problems)
