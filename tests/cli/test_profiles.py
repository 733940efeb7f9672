"""profile list, show, detect, decode, test; simulate."""

import shutil

import numpy as np
import pytest

from edge_daemon import errors
from edge_daemon.resources import profiles_dir


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    from edge_daemon.simulator.cohort import sample

    run = sample(0, firmware="1.0", events=500, seed=1, species=("dog",))
    path = tmp_path_factory.mktemp("capture") / run.name
    path.write_bytes(run.data)
    return path


@pytest.fixture
def own(tmp_path):
    """A folder of profiles of one's own: a copy of a shipped one, under another firmware."""
    folder = tmp_path / "profiles" / "sim_own"
    shutil.copytree(profiles_dir() / "sim_optical4", folder)
    return folder


def test_list_marks_simulated_and_decode_only(invoke):
    lines = invoke("profile", "list").out.splitlines()
    assert any("sim_optical4/1.0" in line and "SIMULATED" in line for line in lines)
    assert any("generic_fcs" in line and "decode only" in line for line in lines)
    ids = [p["id"] for p in invoke("profile", "list", "--json").json]
    assert ids == sorted(ids)
    assert {"generic_fcs", "sim_optical4/1.0", "sim_optical4/2.0"} <= set(ids)


def test_broken_profile_is_named_and_hides_no_other(invoke, tmp_path):
    bad = tmp_path / "acme_one" / "1.0.toml"
    bad.parent.mkdir()
    bad.write_text("schema = 1\n[profile]\n", encoding="utf-8")
    done = invoke("profile", "list", "--profiles", tmp_path)
    assert done.code == errors.EXIT_WARNINGS
    assert str(bad) in done.err
    assert "sim_optical4/1.0" in done.out


def test_show(invoke):
    done = invoke("profile", "show", "sim_optical4/1.0")
    assert "LA.H" in done.out
    assert "firmware: 1.0" in done.out
    assert invoke("profile", "show", "sim_optical4/1.0", "--json").json["id"] == "sim_optical4/1.0"


def test_show_of_no_profile_names_the_near_ones(invoke):
    done = invoke("profile", "show", "sim_optical4/1.1")
    assert done.code == errors.EXIT_FAILED
    assert "sim_optical4/1.0" in done.err


def test_detect_says_why(invoke, capture):
    done = invoke("profile", "detect", capture)
    assert done.code == 0
    assert "sim_optical4/1.0: fits" in done.out
    assert "sim_optical4/2.0: does not fit" in done.out
    found = invoke("profile", "detect", capture, "--json").json
    assert [d["profile"] for d in found if d["matched"]] == ["sim_optical4/1.0"]


def test_detect_of_a_foreign_file_is_a_warning(invoke, corpus):
    done = invoke("profile", "detect", corpus / "fcs" / "accuri_c6_plus.fcs")
    assert done.code == errors.EXIT_WARNINGS
    assert "0 profiles fit" in done.err


def test_decode_prints_the_columns_as_recorded(invoke, capture):
    found = invoke("profile", "decode", capture, "--json").json
    assert list(found) == [
        "profile", "format", "events", "channels", "first_event", "mean", "datasets", "notes",
    ]  # fmt: skip
    assert found["profile"] == "sim_optical4/1.0"
    assert found["events"] == 500
    assert len(found["channels"]) == len(found["first_event"]) == len(found["mean"]) == 13
    assert all(isinstance(v, int) for v in found["first_event"])
    shown = invoke("profile", "decode", capture).out
    assert "500 events" in shown
    assert "FSC-L-H" in shown


def test_decode_agrees_with_flowio(invoke, capture):
    flowio = pytest.importorskip("flowio")
    data = flowio.FlowData(str(capture))
    events = np.reshape(data.events, (-1, data.channel_count))
    found = invoke("profile", "decode", capture, "--profile", "generic_fcs", "--json").json
    assert found["first_event"] == events[0].tolist()
    assert np.allclose(found["mean"], events.mean(axis=0))


def test_decode_chooses_the_data_set(invoke, corpus):
    file = corpus / "fcs" / "fc500_multiset_off_by_one.lmd"
    args = ("profile", "decode", file, "--profile", "generic_fcs", "--json")
    first, second = (invoke(*args, "--dataset", n).json for n in (1, 2))
    assert first["format"] != second["format"]
    assert first["datasets"] == second["datasets"] == 2
    done = invoke(*args, "--dataset", 3)
    assert done.code == errors.EXIT_FAILED
    assert file.name in done.err


@pytest.mark.parametrize("command", ["detect", "decode"])
def test_missing_file_is_not_found(invoke, tmp_path, command):
    done = invoke("profile", command, tmp_path / "no.fcs")
    assert done.code == errors.EXIT_NOT_FOUND


@pytest.mark.parametrize(
    "command", [["detect"], ["decode"], ["decode", "--profile", "generic_fcs"]]
)
def test_noise_is_refused_with_the_file_named(invoke, tmp_path, command):
    file = tmp_path / "noise.fcs"
    file.write_bytes(b"\x00\xff" * 100)
    done = invoke("profile", *command, file)
    assert done.code == errors.EXIT_FAILED
    assert done.err.startswith("edge-daemon: noise.fcs: ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("target", ["sim_optical4/1.0", "sim_optical4", "generic_fcs"])
def test_shipped_profiles_keep_their_contract(invoke, target):
    done = invoke("profile", "test", target, "--json")
    assert done.code == 0, done.out
    assert all(check["ok"] for check in done.json)


def test_profile_that_decodes_to_other_values_fails(invoke, tmp_path):
    folder = tmp_path / "profiles" / "sim_optical4"
    shutil.copytree(profiles_dir() / "sim_optical4", folder)
    file = folder / "1.0.toml"
    expected = folder / "1.0.expected.npz"
    with np.load(expected) as stored:
        arrays = dict(stored)
    arrays["signals"] = arrays["signals"] * 2
    np.savez(expected, **arrays)
    done = invoke("profile", "test", file)
    assert done.code == errors.EXIT_FAILED
    assert "signals" in done.err
    assert invoke("profile", "test", file, "--write-expected").code == 0
    assert invoke("profile", "test", folder).code == 0


def test_profile_whose_sample_another_profile_takes_fails(invoke, own):
    """A copy under another name is a second profile for the same instrument."""
    done = invoke("profile", "test", own / "1.0.toml")
    assert done.code == errors.EXIT_FAILED


def test_profile_test_of_nothing(invoke):
    assert invoke("profile", "test", "acme/1").code == errors.EXIT_NOT_FOUND


def test_profile_without_sample_fails_and_says_what_to_add(invoke, tmp_path):
    folder = tmp_path / "sim_optical4"
    shutil.copytree(profiles_dir() / "sim_optical4", folder)
    (folder / "1.0.sample.fcs").unlink()
    done = invoke("profile", "test", folder / "1.0.toml")
    assert done.code == errors.EXIT_FAILED
    assert "1.0.sample." in done.err


def test_simulate_is_the_same_for_the_same_seed(invoke, tmp_path):
    for name in ("a", "b"):
        done = invoke(
            "simulate", tmp_path / name, "--samples", 2, "--events", 300, "--seed", 9,
            "--species", "cat", "--firmware", "2.0",
        )  # fmt: skip
        assert done.code == 0, done.err
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert [p.name for p in first] == [p.name for p in second]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert {"references.csv", "truth.csv", "truth.npz"} <= {p.name for p in first}


@pytest.mark.parametrize(
    ("option", "value"),
    [("--instrument", "acme"), ("--species", "unicorn"), ("--condition", "love")],
)
def test_simulate_names_what_is_known(invoke, tmp_path, option, value):
    done = invoke("simulate", tmp_path / "out", option, value, "--samples", 1)
    assert done.code == errors.EXIT_FAILED
    assert repr(value) in done.err
    assert "→" in done.err


def test_a_table_without_a_profile_is_shown_by_the_generic_one(invoke, tmp_path):
    file = tmp_path / "export.csv"
    file.write_text("SFL,FSC\n1,2\n3,4\n", encoding="utf-8")
    done = invoke("profile", "decode", file, "--json")
    assert done.json["profile"] == "generic_csv"
    assert done.json["mean"] == [2, 3]
    assert "Its columns, read with generic_csv" in done.err


def test_a_run_in_several_files_is_shown_as_one(invoke, tmp_path):
    prefix = "00-15.sample."
    for path in (profiles_dir() / "sysmex_xn_ret").glob(f"{prefix}RET*"):
        shutil.copy(path, tmp_path / path.name.removeprefix(prefix))
    first, second = sorted(tmp_path.iterdir())
    for part in (first, second):
        done = invoke("profile", "decode", part, "--json").json
        assert (done["profile"], done["events"]) == ("sysmex_xn_ret/00-15", 450)
        assert invoke("profile", "detect", part).code == 0
    min(first, second, key=lambda path: "(1)" in path.name).unlink()
    done = invoke("profile", "detect", max(first, second, key=lambda path: "(1)" in path.name))
    assert done.code == errors.EXIT_FAILED
    assert "part 0 of this run is not there" in done.err


BINARY = """
schema = 1
[profile]
title = "Test analyzer"
vendor = "acme"
model = "cell9"
firmware = "1.0"
revision = 1
classify = false
provenance = "generated"
[source]
kind = "folder"
patterns = ["*.bin"]
[codec]
name = "records"
[codec.header]
size = 8
magic = "43454c4c"
field = [{ keyword = "VERSION", offset = 4, type = "u16" }]
[codec.record]
size = 2
field = [{ name = "FSC", offset = 0, type = "u16" }]
"""


@pytest.fixture
def binary(tmp_path):
    profile = tmp_path / "acme_cell9" / "1.0.toml"
    profile.parent.mkdir()
    profile.write_text(BINARY, encoding="utf-8")
    capture = tmp_path / "run.bin"
    capture.write_bytes(b"CELL\x07\0\0\0\x05\0\x06\0")
    return ("profile", "show", "acme_cell9", "--profiles", tmp_path, "--file", capture)


def test_show_of_a_file_says_what_its_bytes_are(invoke, binary):
    done = invoke(*binary)
    assert done.code == errors.EXIT_OK
    assert "run.bin, 12 bytes, as acme_cell9 reads it: binary records beginning 'CELL'" in done.out
    line = next(line for line in done.out.splitlines() if "VERSION" in line)
    assert line.split() == ["4", "2", "VERSION", "u16", "7"]
    shown = invoke(*binary, "--json").json
    assert list(shown) == ["profile", "file", "bytes", "said", "rows"]
    assert shown["rows"][-1] == {
        "offset": 10, "size": 2, "name": "2: FSC", "meaning": "u16", "value": "6", "fits": None,
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"CELL\x07\0\0\0\x05\0\x06", b"CELL", b"other"])
def test_show_of_a_file_that_does_not_fit_is_a_warning(invoke, binary, content):
    binary[-1].write_bytes(content)
    done = invoke(*binary)
    assert done.code == errors.EXIT_WARNINGS
    assert "DOES NOT FIT" in done.out


def test_show_of_a_foreign_file_dumps_its_beginning(invoke, capture):
    done = invoke("profile", "show", "generic_fcs", "--file", capture)
    assert done.code == errors.EXIT_OK
    assert "46 43 53 33 2e 31" in done.out
    foreign = invoke("profile", "show", "generic_csv", "--file", capture)
    assert foreign.code == errors.EXIT_WARNINGS
    assert "not of the format table" in foreign.out
