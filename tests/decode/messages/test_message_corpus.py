"""Real messages, and malformed ones that other people wrote by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_daemon.decode import Registry, decode_raw
from edge_daemon.decode.codecs.astm import AstmCodec
from edge_daemon.decode.codecs.astm_frames import deframe
from edge_daemon.decode.codecs.hl7 import Hl7Codec
from edge_daemon.decode.limits import DEFAULT_LIMITS
from edge_daemon.decode.message import Leniencies
from edge_daemon.decode.report import read_reports
from edge_daemon.errors import Quarantine
from edge_daemon.resources import profiles_dir
from edge_daemon.sources.framing.astm import AstmFramer, AstmOptions
from edge_daemon.sources.framing.base import Deliver

# Exactly what each file needs beyond the standard.
LENIENCIES = {
    "astm/yumizen_h500_blood_framed.astm": {"without_session"},
    "astm/sysmex_xn550.astm": {
        "without_session", "long_frames", "without_line_feed", "blank_padding",
    },
    "astm/openelis_micros60_synthetic.astm": {"line_feeds", "comment_lines"},
    "hl7/urit5160_canine.hl7": {"segment_order"},
    "hl7/openelis_sysmex_xn_synthetic.hl7": {"line_feeds"},
}  # fmt: skip


def codec(name, *allowed):
    kind = AstmCodec if name.startswith("astm") else Hl7Codec
    options = dict.fromkeys(allowed, True)
    return kind.model_validate({"name": name.split("/")[0], "options": options})


@pytest.fixture(scope="module")
def registry():
    return Registry.load([profiles_dir()])


@pytest.fixture
def reported(corpus, registry):
    """Match a real file and read its one report."""

    def read(name):
        data = (corpus / name).read_bytes()
        profile = registry.match(data, name)
        ((report, notes),) = read_reports(data, profile, name=name)
        return profile, report, notes

    return read


def values(report):
    return {value.code: value for value in report.values if value.code}


@pytest.mark.parametrize("name", LENIENCIES)
def test_exactly_the_known_leniencies_are_needed(corpus, name):
    data = (corpus / name).read_bytes()
    needed = LENIENCIES[name]
    (message,) = codec(name, *needed).messages(data, limits=DEFAULT_LIMITS)
    assert {note.split(":")[0] for note in message.notes} == needed
    for left_out in needed:
        with pytest.raises(Quarantine, match=f"leniency {left_out}") as caught:
            codec(name, *(needed - {left_out})).messages(data, limits=DEFAULT_LIMITS)
        assert caught.value.code == "malformed"


def test_yumizen_frames_and_list_mode(corpus, registry):
    data = (corpus / "astm/yumizen_h500_blood_framed.astm").read_bytes()
    assert deframe(data, Leniencies(None)).frames == 137
    profile = registry.match(data, "x.astm")
    table = decode_raw(data, profile)
    assert (table.format, table.datasets) == ("ASTM LIS2-A2", 1)
    assert table.values.shape == (4680, 4)
    assert [column.name for column in table.columns] == [
        "RESISTANCE", "ABSORBANCE", "COUNT", "CLASS",
    ]  # fmt: skip
    assert table.keywords["MATRIX"] == "LMNEResAbs"
    assert table.values[0].tolist() == [613.0, 416.0, 1.0, 0.0]
    assert set(table.values[:, 2]) == {1.0}
    assert table.values[:, :2].max() <= 2047
    with pytest.raises(Quarantine, match="data set 1 to 1"):
        decode_raw(data, profile, dataset=2)


def test_yumizen_report(reported):
    profile, report, _ = reported("astm/yumizen_h500_blood_framed.astm")
    assert profile.id == "horiba_yumizen_h500/2.2.2.2b"
    assert len(report.values) == 20
    assert values(report)["MCV"].value == 82.0
    rbc, plt = report.histograms
    assert (rbc.name, plt.name) == ("RbcAlongRes", "PltAlongRes")
    edges = np.linspace(rbc.low, rbc.high, len(rbc.counts) + 1)
    mean = np.average((edges[:-1] + edges[1:]) / 2, weights=rbc.counts)
    assert round(float(mean), 1) == 81.7  # beside the 82.0 reported
    assert (len(rbc.counts), len(plt.counts)) == (254, 255)
    mcv = values(report)["MCV"]
    assert (mcv.unit, mcv.written_unit, mcv.low, mcv.high) == ("fL", "um3", 76.0, 100.0)
    questionable = {v.name for v in report.values if v.flags[-1:] == ("questionable",)}
    assert {"WBC", "NEU#", "EOS%"} <= questionable
    assert not {"RBC", "PLT", "HGB"} & questionable
    assert report.messages[0] == "NON_COMPLIANT_DATA WBC NOISE"
    assert report.sample.acquired_at == "20230324134947"
    assert (report.kind, report.amends, report.sample.species) == ("sample", False, None)


def test_framed_and_deframed_decode_identically(corpus, registry):
    name = "astm/yumizen_h500_blood_framed.astm"
    data = (corpus / name).read_bytes()
    framer = AstmFramer(AstmOptions(without_session=True))
    actions = [a for at in range(0, len(data), 1000) for a in framer.feed(data[at : at + 1000], 0)]
    (delivered,) = [action.message for action in actions if isinstance(action, Deliver)]
    assert delivered == deframe(data, Leniencies(None)).body
    profile = registry.match(delivered, name)
    framed, plain = decode_raw(data, profile), decode_raw(delivered, profile)
    np.testing.assert_array_equal(framed.values, plain.values)
    assert (framed.columns, framed.keywords) == (plain.columns, plain.keywords)
    ((one, _),) = read_reports(data, profile)
    ((other, notes),) = read_reports(delivered, profile)
    assert one == other
    assert notes == ()


def test_sysmex_report(reported):
    profile, report, notes = reported("astm/sysmex_xn550.astm")
    assert profile.id == "sysmex_xn550/00-24"
    assert report.sample.sample_id == "27"
    assert (report.sample.instrument_model, report.sample.firmware) == ("XN-550", "00-24")
    assert report.sample.patient_name == "Jim Brown"
    assert {code: value.value for code, value in values(report).items()} == {
        "RBC": 2.6, "HGB": 8.0, "HCT": 22.7, "MCV": 87.3, "MCH": 30.8, "MCHC": 35.2,
        "PLT": 99.0, "RDW": 14.8, "MPV": 8.1,
    }  # fmt: skip
    assert "RBC_Agglutination? 70" in report.messages
    assert {"Anemia", "Eosinophilia", "Positive_Count"} <= set(report.messages)
    assert not any("Clumps" in message for message in report.messages)  # its score is 0
    assert sum("picture" in note for note in notes) == 4
    assert not any("PNG" in value.text for value in report.values)


def test_urit_canine_report(reported):
    profile, report, _ = reported("hl7/urit5160_canine.hl7")
    assert profile.id == "urit_5160/hl7-2.3.1"
    assert len(report.values) == 32
    assert report.sample.sample_id == "000000016856"
    assert report.sample.species is None  # only its reference intervals are a dog's
    found = values(report)
    assert (found["HGB"].value, found["HGB"].text, found["HGB"].written_unit) == (
        14.1, "141", "g/L",
    )  # fmt: skip
    assert (found["HGB"].low, found["HGB"].high) == (11.0, 19.0)
    assert (found["RBC"].value, found["RBC"].unit) == (5.32, "10*6/uL")
    assert found["MCHC"].flags == ("H",)
    assert (found["RDW"].name, found["RDW"].value) == ("RDW_CV", 14.9)


def test_a_file_without_a_profile_names_the_instrument(corpus, registry):
    for name, words in (
        ("astm/openelis_micros60_synthetic.astm", "ABX MICROS60"),
        ("hl7/openelis_sysmex_xn_synthetic.hl7", "SYSMEX XN-L"),
    ):
        with pytest.raises(Quarantine, match=words) as caught:
            registry.match((corpus / name).read_bytes(), name)
        assert caught.value.code == "no_profile"


# By the number of the scenario in the file: code of the refusal, and words of its reason.
MALFORMED = {
    1: ("malformed", "expected a header"),
    2: ("malformed", "expected a record type"),
    3: ("malformed", "four different delimiters"),
    4: ("malformed", "four different delimiters"),
    5: ("truncated", "expected an L record"),
    6: ("not_recognised", "GARBAGE_DATA"),
    7: ("truncated", "expected an L record"),
    9: ("not_recognised", "nothing"),
    10: ("malformed", "no results"),
}


def test_each_malformed_message_is_refused_with_its_reason(corpus):
    text = (corpus / "astm/openelis_malformed_synthetic.astm").read_text(encoding="utf-8")
    parts = re.split(r"# SCENARIO (\d+)", text)
    scenarios = {int(n): body for n, body in zip(parts[1::2], parts[2::2], strict=True)}
    assert len(scenarios) == 10
    lenient = codec("astm", "line_feeds", "comment_lines")
    for number, (code, words) in MALFORMED.items():
        with pytest.raises(Quarantine) as caught:
            lenient.messages(f"#{scenarios[number]}".encode(), limits=DEFAULT_LIMITS)
        assert caught.value.code == code, number
        assert words in caught.value.message, number
    # Legal: the analyzer says that it has no value.
    (message,) = lenient.messages(f"#{scenarios[8]}".encode(), limits=DEFAULT_LIMITS)
    assert [o.text for o in message.observations] == ["", "", "NULL"]
    with pytest.raises(Quarantine, match="message 1: expected a header"):
        lenient.messages(text.encode(), limits=DEFAULT_LIMITS)
