"""What the wizard finds on a machine, and what it makes of it."""

from __future__ import annotations

import os

import pytest

from edge_daemon.config import load_config
from edge_daemon.decode.registry import Registry
from edge_daemon.errors import Retryable
from edge_daemon.resources import profiles_dir
from edge_daemon.simulator.cohort import sample
from edge_daemon.wizard import listening, places, trial, writing


@pytest.fixture(scope="module")
def registry():
    return Registry.load([profiles_dir()])


def drop(folder, *numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        taken = sample(number, events=400, seed=8, firmware="1.0")
        (folder / f"{number}.fcs").write_bytes(taken.data)
        os.utime(folder / f"{number}.fcs", (number, number))


def test_folders_with_captures_are_found_the_one_written_to_last_first(tmp_path):
    drop(tmp_path / "srv/old", 1, 2)
    drop(tmp_path / "srv/clinic/export", 3)
    drop(tmp_path / "srv/.hidden", 4)
    (tmp_path / "srv/empty").mkdir()
    (tmp_path / "srv/letters").mkdir()
    (tmp_path / "srv/letters/a.txt").touch()
    (tmp_path / "srv/away").symlink_to("/proc")
    found = places.folders(("*.fcs",), [tmp_path / "srv", tmp_path / "not-there"])
    assert [(f.path.name, f.files, f.newest) for f in found] == [
        ("export", 1, 3.0),
        ("old", 2, 2.0),
    ]


def test_ports_go_by_the_name_that_lasts_and_unfitted_ones_are_left_out(tmp_path):
    for name in ("ttyUSB0", "ttyS0", "ttyS1", "ttyAMA0"):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
    by_id = tmp_path / "dev/serial/by-id"
    by_id.mkdir(parents=True)
    (by_id / "usb-FTDI_1").symlink_to(tmp_path / "dev/ttyUSB0")
    for name, kind in (("ttyS0", "4"), ("ttyS1", "0")):
        (tmp_path / "sys/class/tty" / name).mkdir(parents=True)
        (tmp_path / "sys/class/tty" / name / "type").write_text(kind)
    assert [port.name for port in places.ports(tmp_path)] == ["usb-FTDI_1", "ttyAMA0", "ttyS0"]


def test_a_folder_of_good_files_gets_a_green_light(tmp_path, registry):
    drop(tmp_path, 1, 2, 3)
    found = trial.try_folder(tmp_path, registry)
    assert (found.seen, found.tried, found.decoded, found.classified) == (3, 3, 3, 3)
    assert (found.light, found.profiles) == ("green", (("sim_optical4/1.0", 3),))
    assert (found.simulated, found.patterns, found.recursive) == (3, (), False)


def test_what_does_not_fit_is_said_once_with_what_to_do(tmp_path, registry):
    drop(tmp_path / "day/1", 1)
    for number in (1, 2):
        (tmp_path / f"day/1/broken{number}.fcs").write_bytes(b"FCS3.0 and no more")
    (tmp_path / "day/readme.txt").touch()
    found = trial.try_folder(tmp_path, registry)
    assert (found.seen, found.decoded, found.light, found.recursive) == (3, 1, "yellow", True)
    (refused,) = found.refused
    assert refused.files == 2
    assert refused.message
    assert refused.action


def test_files_that_no_profile_takes_get_a_red_light_and_no_file_a_yellow_one(tmp_path, registry):
    assert trial.try_folder(tmp_path, registry).light == "yellow"
    (tmp_path / "result.pdf").write_bytes(b"%PDF")
    found = trial.try_folder(tmp_path, registry)
    assert (found.light, found.seen, found.others) == ("red", 0, ("result.pdf",))
    with pytest.raises(Retryable):
        trial.try_folder(tmp_path / "gone", registry)


def test_an_instrument_with_other_names_gets_its_patterns(tmp_path, registry):
    (file,) = (profiles_dir() / "sim_pulse4").glob("*.edp")
    (tmp_path / "a.edp").write_bytes(file.read_bytes())
    found = trial.try_folder(tmp_path, registry)
    assert found.light == "green"
    assert found.patterns == ("*.edp", "*.fcs", "*.lmd")


HL7 = next((profiles_dir() / "mindray_bc_vet").glob("*.hl7")).read_bytes()


@pytest.mark.parametrize(
    ("data", "framing", "profiles"),
    [
        (b"", "", ()),
        (b"\xfe\x8c\x00 \x99", "", ()),
        (HL7, "mllp", ("mindray_bc_vet/hl7-2.3.1",)),
        (b"\x0bMSH|^~\\&|X|Y|||1||ORU^R01|1|P|2.3.1\r\x1c\r", "mllp", None),
        (b"\x05", "astm", None),
        (b"\x00\x021H|\\^&\r", "astm", None),
    ],
)
def test_first_bytes_tell_what_speaks(registry, data, framing, profiles):
    heard = listening.hear(data, registry)
    assert (heard.size, heard.framing) == (len(data), framing)
    if profiles is None:
        assert "sysmex_xn550/00-24" in heard.profiles or framing == "mllp"
        assert len(heard.profiles) > 1 or framing == "astm"
    else:
        assert heard.profiles == profiles


def test_the_text_is_a_configuration_with_every_comment(tmp_path):
    sources = [
        {"kind": "folder", "name": "a", "path": '/srv/it\'s "here"', "recursive": True},
        {"kind": "serial", "name": "b", "port": "/dev/x", "profile": "sysmex_xn550/00-24"},
        {"kind": "tcp", "name": "c", "connect": "10.0.0.7:5100", "framing": "mllp"},
    ]
    text = writing.render(sources, {"name": "box-7"}, {"enabled": False})
    file = tmp_path / "config.toml"
    file.write_text(text)
    read = load_config(file)
    assert (read.box.name, read.web.enabled) == ("box-7", False)
    assert [source.name for source in read.source] == ["a", "b", "c"]
    assert (str(read.source[0].path), read.source[0].recursive) == ('/srv/it\'s "here"', True)
    assert (read.source[1].baud, read.source[2].listen) == (None, None)
    for comment in ("# read a file once it stood unchanged", "# pause intake while", "# baud = 96"):
        assert comment in text
    one = writing.render(sources[:1], {}, {})
    assert one.count("\n# [[source]]") == 2
    file.write_text(one)
    assert load_config(file).box.name == "edge-box"
