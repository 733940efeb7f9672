"""Whether a settled file is whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_daemon.decode import Registry
from edge_daemon.decode.codecs.fcs import FcsOptions, read_header
from edge_daemon.decode.kit import read_sample
from edge_daemon.resources import profiles_dir

MAGIC = (b"FCS", b"EDPULSE1", b"MSH", b"\x05", b"\x0b")
ASTM = re.compile(rb"(?:\s|#[^\r\n]*[\r\n]|[\x04\x05])*(?:H[^\w\s]|\x02)")
is_whole = Registry.load([profiles_dir()]).is_whole


def test_every_real_file_is_whole(corpus):
    files = [path for path in (corpus / "fcs").iterdir() if path.suffix in {".fcs", ".lmd"}]
    assert len(files) > 10
    assert [path.name for path in files if not is_whole(path.read_bytes())] == []


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.9, 0.99])
def test_no_beginning_of_a_real_file_is_whole(corpus, share):
    for path in (corpus / "fcs").glob("*.fcs"):
        data = path.read_bytes()
        if data.startswith(b"FCS"):
            header = read_header(data, options=FcsOptions.lenient())
            end = header.data[1] or int(header.keywords["$ENDDATA"])
            assert not is_whole(data[: int(end * share)]), path.name


def test_a_second_data_set_is_waited_for(corpus):
    data = (corpus / "fcs" / "gallios_ploidy_a.lmd").read_bytes()
    assert not is_whole(data[:-1000])
    assert is_whole(data)


def test_every_cut_of_a_capture_is_unfinished():
    data = read_sample(profiles_dir() / "sim_optical4" / "1.0.toml").data
    assert is_whole(data)
    end = read_header(data).data[1]
    assert [cut for cut in range(end) if is_whole(data[:cut])] == []


@settings(deadline=None, max_examples=300)
@example(data=b"H\0\0\0\0")
@given(data=st.binary(max_size=300) | st.binary(max_size=300).map(b"FCS3.1    ".__add__))
def test_any_bytes_get_an_answer(data):
    begins = ASTM.match(data) or any(magic.startswith(data[: len(magic)]) for magic in MAGIC)
    assert is_whole(data) or begins


@pytest.mark.parametrize("kind", ["astm", "hl7"])
def test_a_real_message_is_whole_at_its_end_only(corpus, kind):
    name = {"astm": "yumizen_h500_blood_framed.astm", "hl7": "urit5160_canine.hl7"}[kind]
    data = (corpus / kind / name).read_bytes()
    assert is_whole(data)
    assert not is_whole(data[: len(data) // 2])
