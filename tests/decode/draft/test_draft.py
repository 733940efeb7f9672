"""A draft loads, decodes its own capture, and puts nothing into force that is a guess."""

from __future__ import annotations

import contextlib
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.decode import Registry, decode_raw, load_profile
from edge_daemon.decode.draft import Identity, propose, render
from edge_daemon.decode.draft.channels import suggest, unambiguous
from edge_daemon.decode.draft.render import quote
from edge_daemon.decode.kit import read_sample
from edge_daemon.decode.report import read_reports
from edge_daemon.errors import Quarantine
from edge_daemon.resources import profiles_dir

IDENTITY = Identity("acme", "cell9", "1.0", "Acme Cell 9")


def drafted(data, name, tmp_path):
    path = tmp_path / "acme_cell9" / "1.0.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(render(propose(data, name), IDENTITY), encoding="utf-8")
    return load_profile(path)


def test_every_real_fcs_file_gets_a_draft_that_decodes_it(corpus, tmp_path):
    drafts = 0
    for capture in sorted((corpus / "fcs").iterdir()):
        data = capture.read_bytes()
        if not data.startswith(b"FCS"):
            continue
        profile = drafted(data, capture.name, tmp_path)
        assert not profile.classify
        assert len(decode_raw(data, profile).values) > 0
        drafts += 1
    assert drafts > 15


def test_the_commented_part_becomes_a_classifying_profile(tmp_path):
    from edge_daemon.simulator.cohort import sample

    run = sample(0, firmware="2.0", events=50, seed=1, species=("dog",))
    text = render(propose(run.data, run.name), IDENTITY)
    at = text.index("# [match]")
    proposed = text[at:].replace("\n# ", "\n").replace("\n#\n", "\n\n").removeprefix("# ")
    document = tomllib.loads(proposed)
    assert document["match"]["keywords"]["FIRMWARE"] == "2.0"
    named = {c["column"]: c["canonical"] for c in document["channel"]}
    assert named["LALS-P"] == "LA.H"
    assert named["MALS-I"] == "HA.A"
    assert named["AXL-TOF"] == "EXT.W"
    assert named["RNA-P"] == "FL.H"
    assert named["TIME"] == "?"


def in_force(text, *changes):
    """What a person makes of a draft: the proposed sections without their comment signs."""
    head, proposed = text.split("# What follows is proposed, not in force.\n")
    for old, new in changes:
        assert old in head
        head = head.replace(old, new)
    return head + "\n".join(line.removeprefix("#").strip() for line in proposed.splitlines())


@pytest.mark.parametrize("shipped", ["urit_5160/hl7-2.3.1", "sysmex_xn550/00-24"])
def test_a_message_becomes_a_reporting_profile(shipped, tmp_path):
    sample = read_sample(profiles_dir() / f"{shipped}.toml")
    data = sample.data
    firmware = shipped.split("/")[1].removeprefix("hl7-")
    identity = Identity("acme", "cell9", firmware, "Acme Cell 9")
    path = tmp_path / "acme_cell9" / f"{firmware}.toml"
    path.parent.mkdir()
    draft = render(propose(data, sample.name), identity)
    path.write_text(in_force(draft, ("classify = false", "classify = false\nreports = true")))
    profile = load_profile(path)
    ((report, _),) = read_reports(data, profile)
    assert {"RBC", "HGB", "PLT", "MCV"} <= {value.code for value in report.values}
    assert report.sample.sample_id
    assert Registry({profile.id: profile}).match(data, "x").id == profile.id


def test_every_real_message_gets_a_draft(corpus, tmp_path):
    names = ["astm/sysmex_xn550.astm", "astm/yumizen_h500_blood_framed.astm"]
    for name in [*names, "hl7/urit5160_canine.hl7", "hl7/openelis_sysmex_xn_synthetic.hl7"]:
        data = (corpus / name).read_bytes()
        assert not drafted(data, name, tmp_path).classify
        assert len(propose(data, name).reported) > 5


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("FSC-H,SSC-H\n1.5,2\n3,4\n", {"delimiter": ","}),
        ("FSC-H;SSC-H\n1,5;2\n3;4,25\n", {"delimiter": ";", "decimal": ","}),
        ("Device;X1\nFSC-H;SSC-H;Gate\n1;2;A\n3;4;B\n",
         {"delimiter": ";", "decimal": ",", "names_row": 2, "skip_columns": ("Gate",)}),
        ("FSC-H\tSSC-H\r\n1\t2\r\n3\t4\r\n", {"delimiter": "\t", "decimal": ","}),
        ("FSC-H  SSC-H\n 1.5  2\n 3  4\n", {"delimiter": "whitespace"}),
        ("FSC-H,SSC-H\n1,2\n3,\n", {"delimiter": ","}),
    ],
)  # fmt: skip
def test_the_form_of_a_table_is_found(text, settings, tmp_path):
    profile = drafted(text.encode(), "a.csv", tmp_path)
    for key, value in settings.items():
        assert getattr(profile.codec, key) == value, key
    rows = decode_raw(text.encode(), profile).values
    assert rows[0].tolist() == [1.5 if "1.5" in text or "1,5" in text else 1, 2]


def test_a_table_in_another_encoding_is_found(tmp_path):
    for encoding in ("utf-16", "cp1252", "utf-8-sig"):
        data = "Größe,SSC-H\n1,2\n3,4\n".encode(encoding)
        table = decode_raw(data, drafted(data, "a.csv", tmp_path))
        assert [column.name for column in table.columns] == ["Größe", "SSC-H"]


@pytest.mark.parametrize("text", ["", "only words here\n", "1,2\n3,4\n", "a,b\n", "a\n1\n2\n"])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(Quarantine):
        propose(text.encode(), "a.csv")


@given(st.binary(max_size=300))
def test_any_bytes_are_proposed_or_refused(data):
    with contextlib.suppress(Quarantine):
        assert propose(data, "x.bin").questions


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("FSC-A", "LA.A"),
        ("FS PEAK LIN", "LA.H"),
        ("SSC-W", "SS.W"),
        ("SS TOF LIN", "SS.W"),
        ("FL1-H", "FL.H"),
        ("Side Fluorescence Signal", "FL.H"),
        ("Forward Scatter Pulse Width Signal", "LA.W"),
        ("Time", None),
        ("Event Count", None),
    ],
)
def test_what_names_suggest(name, canonical):
    assert suggest(name) == canonical


def test_a_suggestion_that_two_columns_share_is_none():
    assert unambiguous(["FL.H", "LA.H", "FL.H", None]) == [None, "LA.H", None, None]


def test_noise_is_refused_with_its_first_bytes():
    with pytest.raises(Quarantine, match="begins") as caught:
        propose(b"\x00\x01\x02", "noise.bin")
    assert caught.value.code == "not_recognised"


@given(st.text())
def test_any_text_is_quoted(text):
    clean = text.encode("utf-8", "ignore").decode()
    assert tomllib.loads(f"a = {quote(clean)}") == {"a": clean}
