"""profile new: a draft that works at once and overwrites nothing."""

from __future__ import annotations

import numpy as np
import pytest

from edge_daemon import errors

NAMES = ("--vendor", "acme", "--model", "cell9", "--firmware", "1.0")


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    from edge_daemon.simulator.cohort import sample

    run = sample(0, firmware="1.0", events=100, seed=1, species=("dog",))
    path = tmp_path_factory.mktemp("capture") / run.name
    path.write_bytes(run.data)
    return path


def test_the_draft_decodes_its_capture(invoke, capture, tmp_path):
    made = invoke("profile", "new", capture, *NAMES, "--out", tmp_path, "--json").json
    assert made["id"] == "acme_cell9"
    assert any("firmware" in question for question in made["questions"])
    sample = tmp_path / "acme_cell9" / f"1.0.sample.{capture.name}"
    assert sample.read_bytes() == capture.read_bytes()
    shown = invoke(
        "profile", "decode", capture, "--profiles", tmp_path, "--profile", made["id"], "--json"
    ).json
    assert shown["events"] == 100


def test_people_are_told_what_is_left_to_decide(invoke, capture, tmp_path):
    done = invoke("profile", "new", capture, *NAMES, "--out", tmp_path)
    assert done.code == errors.EXIT_OK
    assert "To be decided by a person" in done.out
    assert f"--profiles {tmp_path} --profile acme_cell9" in done.out


def test_nothing_is_overwritten(invoke, capture, tmp_path):
    invoke("profile", "new", capture, *NAMES, "--out", tmp_path)
    profile = tmp_path / "acme_cell9" / "1.0.toml"
    profile.write_text("mine", encoding="utf-8")
    done = invoke("profile", "new", capture, *NAMES, "--out", tmp_path)
    assert done.code == errors.EXIT_FAILED
    assert "exists" in done.err
    assert profile.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("bad", ["../up", "a/b", "", ".hidden"])
def test_a_name_that_cannot_be_a_path_is_a_usage_error(invoke, capture, tmp_path, bad):
    done = invoke("profile", "new", capture, "--vendor", bad, *NAMES[2:], "--out", tmp_path / "out")
    assert done.code == errors.EXIT_USAGE
    assert not (tmp_path / "out").exists()


def test_noise_is_refused_and_leaves_nothing(invoke, tmp_path):
    noise = tmp_path / "noise.bin"
    noise.write_bytes(b"\x00\x01\x02\x03" * 9)
    done = invoke("profile", "new", noise, *NAMES, "--out", tmp_path / "out")
    assert done.code == errors.EXIT_FAILED
    assert "noise.bin" in done.err
    assert not (tmp_path / "out").exists()


def test_a_binary_capture_is_drafted_and_its_bytes_are_shown(invoke, tmp_path):
    rng = np.random.default_rng(1)
    rows = rng.normal([300, 900, 4000], [60, 200, 500], (400, 3)).astype("<u2")
    file = tmp_path / "run.raw"
    file.write_bytes(b"CELLX2".ljust(24, b"\0") + (400).to_bytes(4, "little") + rows.tobytes())
    made = invoke("profile", "new", file, *NAMES, "--out", tmp_path, "--json").json
    assert made["format"] == "binary records"
    drafted = ("--profiles", tmp_path)
    shown = invoke("profile", "decode", file, *drafted, "--profile", made["id"], "--json").json
    assert shown["events"] == 400
    assert shown["first_event"] == rows[0].tolist()
    done = invoke("profile", "show", made["id"], *drafted, "--file", file)
    assert done.code == errors.EXIT_OK
    assert "1: BYTE 0" in done.out
