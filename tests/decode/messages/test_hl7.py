"""HL7 v2 messages: blocks, encodings, escapes, order of segments, and what a sample says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.decode.codecs.hl7 import Hl7Codec, Hl7Options
from edge_daemon.decode.codecs.hl7_segments import Encoding
from edge_daemon.decode.limits import DEFAULT_LIMITS, Limits
from edge_daemon.errors import Quarantine
from edge_daemon.resources import docs_dir
from edge_daemon.simulator.wire import mllp_block

HEADER = "MSH|^~\\&|Cell9|Acme|||20260102030405||{kind}|7|{mode}|{version}||||||{charset}"
RBC = "OBX|1|NM|789-8^RBC^LN||6.84|10*12/L|5.50-8.50|H~A|||F"


def header(kind="ORU^R01", mode="P", version="2.3.1", charset="UNICODE"):
    return HEADER.format(kind=kind, mode=mode, version=version, charset=charset)


def codec(**section):
    return Hl7Codec.model_validate({"name": "hl7", **section})


def read(data, **section):
    return codec(**section).messages(data, limits=DEFAULT_LIMITS)


def refusal(data, **section):
    with pytest.raises(Quarantine) as caught:
        read(data, **section)
    return caught.value


def test_fields_become_keywords(make):
    data = make.hl7("PID|1||EX-7^^^^MR||Rex^Miller||2021", "PV1|1|Dog", "OBR|1||S-1|CBC", RBC)
    (message,) = read(data)
    assert message.format == "HL7 v2.3.1"
    assert message.message_id == "7"
    wanted = {
        "MSH.3": "Cell9", "MSH.9": "ORU R01", "MSH.9.2": "R01", "MSH.12": "2.3.1",
        "PID.3.1": "EX-7", "PID.5": "Rex Miller", "PID.5.1": "Rex", "PV1.2": "Dog",
        "OBR.3": "S-1", "VALUE.789-8": "6.84", "VALUE.RBC": "6.84",
    }  # fmt: skip
    assert {key: message.keywords.get(key) for key in wanted} == wanted
    assert not {"MSH.1", "MSH.2", "PID.2", "VALUE.LN"} & message.keywords.keys()


def test_an_observation(make):
    (message,) = read(make.hl7("OBR|1||S-1", RBC, "NTE|1||look~again", "OBX|2|ST|COLOUR||red"))
    seen, colour = message.observations
    assert (seen.name, seen.identifiers) == ("RBC", ("789-8", "RBC"))
    assert (seen.text, seen.unit, seen.reference) == ("6.84", "10*12/L", "5.50-8.50")
    assert (seen.flags, seen.status) == (("H", "A"), "final")
    assert seen.comments == ("look", "again")
    assert (colour.name, colour.text, colour.comments) == ("COLOUR", "red", ())


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("10*9/L", "10*9/L"),
        ("10^9/L", "10^9/L"),  # the component separator, not escaped
        ("10\\S\\9/L", "10^9/L"),
        ("x10^9/L", "x10^9/L"),
        ("g/dL^gram per decilitre^UCUM", "g/dL"),
        ("", ""),
    ],
)
def test_units(make, written, unit):
    (message,) = read(make.hl7("OBR|1||S", f"OBX|1|NM|PLT||262|{written}"))
    assert message.observations[0].unit == unit


def test_other_encoding_characters():
    data = (
        b"MSH#!~@&#Cell9#Acme###2026##ORU!R01#7#P#2.3.1\rOBR#1##S@F@1\r"
        b"OBX#1#NM#789-8!RBC!LN##6.84#M/uL##H~A###F\r"
    )
    (message,) = read(data)
    assert message.keywords["OBR.3"] == "S#1"
    assert message.observations[0].identifiers == ("789-8", "RBC")


@pytest.mark.parametrize("declared", ["|^~\\", "|^~\\&#", "|^^\\&", "||~\\&", "|ab\\&", "", "|"])
def test_bad_encoding_characters(declared):
    rest = "|Cell9|Acme|||2026||ORU^R01|7|P|2.3.1\r"
    error = refusal(f"MSH{declared}{rest if declared else ''}\r".encode())
    assert "four encoding characters" in error.message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a\\F\\b", "a|b"),
        ("\\S\\\\T\\\\R\\\\E\\", "^&~\\"),
        ("\\X41\\", "A"),
        ("\\H\\bold\\N\\", "bold"),
        ("one\\.br\\two", "one\ntwo"),
        ("C:\\data", "C:\\data"),
        ("\\Zlocal\\", "\\Zlocal\\"),
        ("\\", "\\"),
    ],
)
def test_escapes(written, meant):
    assert Encoding("|", "^", "~", "\\", "&").unescape(written) == meant


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40))
def test_any_text_survives_escaping(text):
    escaped = text.replace("\\", "\\E\\")
    for plain, code in (("|", "F"), ("^", "S"), ("~", "R"), ("&", "T")):
        escaped = escaped.replace(plain, f"\\{code}\\")
    assert Encoding("|", "^", "~", "\\", "&").unescape(escaped) == text


@pytest.mark.parametrize(
    ("charset", "python"),
    [
        ("UNICODE", "utf-8"),
        ("UNICODE UTF-8", "utf-8"),
        ("8859/1", "latin-1"),
        ("GB 18030-2000", "gb18030"),
        ("", "utf-8"),
    ],
)
def test_character_sets(make, charset, python):
    data = make.hl7("PID|1||||Fürst", "OBR|1||S", RBC, header=header(charset=charset))
    (message,) = read(data.decode().encode(python))
    assert message.keywords["PID.5"] == "Fürst"
    if charset == "":
        (message,) = read(data.decode().encode("latin-1"), encoding="latin-1")
        assert message.keywords["PID.5"] == "Fürst"


def test_wrong_character_sets(make):
    data = make.hl7("PID|1||||Fürst", "OBR|1||S", RBC).decode().encode("latin-1")
    error = refusal(data)
    assert (error.code, "expected utf-8" in error.message) == ("malformed", True)
    error = refusal(make.hl7("OBR|1||S", RBC, header=header(charset="KLINGON")))
    assert (error.code, "KLINGON" in error.message) == ("unsupported", True)


def test_mllp_blocks(make):
    message = make.hl7("OBR|1||S-1", RBC)
    other = make.hl7("OBR|1||S-2", RBC)
    assert read(mllp_block(message)) == read(message)
    found = read(mllp_block(message) + mllp_block(other))
    assert [m.keywords["OBR.3"] for m in found] == ["S-1", "S-2"]
    assert [m.keywords["OBR.3"] for m in read(message + other)] == ["S-1", "S-2"]
    assert refusal(mllp_block(message)[:-2]).code == "truncated"
    assert refusal(mllp_block(message) + b"x").code == "malformed"
    lenient = {"options": {"without_block_end": True}}
    for data in (mllp_block(message)[:-1], mllp_block(message) + b"\n"):
        assert "leniency without_block_end" in refusal(data).message
        assert read(data, **lenient)[0].observations == read(message)[0].observations


def test_several_patients_and_orders(make):
    data = make.hl7(
        "PID|1||A", "OBR|1||S-1", RBC, "OBR|2||S-2", RBC, "PID|2||B", "ORC|RE", "OBR|1||S-2", RBC,
    )  # fmt: skip
    found = read(data)
    assert [m.keywords["OBR.3"] for m in found] == ["S-1", "S-2", "S-2"]
    assert [m.keywords["PID.3"] for m in found] == ["A", "A", "B"]
    assert found[2].keywords["ORC.1"] == "RE"
    retic = "OBX|1|NM|17849-1^RET%^LN||1.2|%"
    (message,) = read(make.hl7("PID|1||A", "OBR|1||S-1", RBC, "OBR|2||S-1", retic))
    assert [o.name for o in message.observations] == ["RBC", "RET%"]


def test_pid_after_pv1_needs_its_leniency(make):
    data = make.hl7("PV1|1|Dog", "PID|1||A", "OBR|1||S", RBC)
    assert "leniency segment_order" in refusal(data).message
    (message,) = read(data, options={"segment_order": True})
    assert (message.keywords["PV1.2"], message.keywords["PID.3"]) == ("Dog", "A")


def test_pv1_after_results_begins_the_next_patient(make):
    first = ("PID|1||A", "PV1|1|Dog", "OBR|1||S-1", RBC)
    data = make.hl7(*first, "PV1|2|Cat", "PID|2||B", "OBR|1||S-2", RBC)
    found = read(data, options={"segment_order": True})
    assert [(m.keywords["PID.3"], m.keywords["PV1.2"]) for m in found] == [
        ("A", "Dog"),
        ("B", "Cat"),
    ]
    (message,) = read(make.hl7("PID|1||A", "PV1|1|Dog", "PID|2||B", "OBR|1||S", RBC))
    assert (message.keywords["PID.3"], message.keywords.get("PV1.2")) == ("B", None)


def test_a_lost_result_is_noticed(make):
    data = make.hl7("OBR|1||S", RBC, "OBX|3|NM|PLT||262|G/L")
    assert "expected OBX|2, found OBX|3" in refusal(data).message
    (message,) = read(data, options={"sequence_numbers": True})
    assert len(message.observations) == 2
    assert len(read(make.hl7("OBR|1||S", "OBX||NM|PLT||262|G/L"))[0].observations) == 1


def test_line_feeds_and_loose_ends(make):
    message = make.hl7("OBR|1||S", RBC)
    for name, data in (
        ("line_feeds", message.replace(b"\r", b"\n")),
        ("line_feeds", message.replace(b"\r", b"\r\n")),
        ("without_segment_end", message[:-1]),
        ("empty_segments", message.replace(b"\rOBX", b"\r\rOBX")),
    ):
        assert f"leniency {name}" in refusal(data).message
        (found,) = read(data, options={name: True})
        assert found.observations == read(message)[0].observations
        assert [note.split(":")[0] for note in found.notes] == [name]


def test_attachments_stay_encoded(make):
    histogram = "OBX|1|ED|15050^RBC Histogram^99MRC||^Application^Octet-stream^Base64^AAEC"
    bare = "OBX|2|ED|Main^||aW1hZ2U="
    (message,) = read(make.hl7("OBR|1||S", histogram, bare))
    one, other = (o.attachment for o in message.observations)
    assert (one.kind, one.base64) == ("Application/Octet-stream", "AAEC")
    assert (other.kind, other.base64) == ("", "aW1hZ2U=")
    assert [o.text for o in message.observations] == ["", ""]


def test_status_and_kind(make):
    def one(mode="P", status="F", order=""):
        result = f"OBX|1|NM|RBC||6.84|M/uL|||||{status}"
        return read(make.hl7(f"OBR|1||S{order}", result, header=header(mode=mode)))[0]

    assert (one().control, one().amends) == (False, False)
    assert one(mode="Q").control
    assert one(status="C").amends
    assert one(order="|" * 22 + "C").amends
    for status in "DWX":
        assert one(status=status).observations[0].status == "withdrawn"
    assert one(status="P").observations[0].status == "preliminary"


@pytest.mark.parametrize(
    ("changes", "segments", "code", "words"),
    [
        ({"kind": "ZHB^H00"}, (), "unsupported", "ZHB^H00"),
        ({"kind": "ORM^O01"}, ("OBR|1||S",), "unsupported", "only takes"),
        ({"version": "3.0"}, ("OBR|1||S", RBC), "unsupported", "version 2"),
        ({"mode": "T"}, ("OBR|1||S", RBC), "unsupported", "training"),
        ({"mode": "D"}, ("OBR|1||S", RBC), "unsupported", "debugging"),
        ({}, (RBC,), "malformed", "before any OBR"),
        ({}, ("OBR|1||S",), "malformed", "no results"),
        ({}, ("obr|1||S", RBC), "malformed", "expected a segment"),
        ({}, ("OBR|1||S", "OBX|1|NM|RBC||" + "1" * 5000), "too_large", "OBX-5 has 5000"),
        ({}, ("OBR|1||S", "OBX|1|NM|RBC||1\t\x01"), "malformed", "control character"),
    ],
)
def test_refusals(make, changes, segments, code, words):
    error = refusal(make.hl7(*segments, header=header(**changes)))
    assert error.code == code
    assert words in f"{error.message} {error.action}"
    assert error.action


def test_what_is_no_message():
    assert refusal(b"").code == "not_recognised"
    assert refusal(b"hello").code == "not_recognised"
    assert refusal(b"\x0bhello\x1c\r").code == "not_recognised"
    assert refusal(b"MSH").code == "malformed"


def test_identify(make):
    found = codec().identify(make.hl7("PV1|1", "PID|1||A", "OBR|1||S", "OBX|7|NM|RBC||1"))
    assert (found.format, found.keywords["MSH.3"]) == ("HL7 v2.3.1", "Cell9")
    assert "1 observations" in found.description
    assert codec().identify(b"H|\\^&") is None


def test_is_whole(make):
    message = make.hl7("OBR|1||S", RBC)
    assert codec().is_whole(message)
    assert not codec().is_whole(message[:-1])
    assert codec().is_whole(mllp_block(message))
    assert not codec().is_whole(mllp_block(message) + mllp_block(message)[:-5])
    assert codec().is_whole(b"FCS3.1")


def test_results_have_no_events(make):
    data = make.hl7("OBR|1||S-1", RBC)
    table = codec().read(data, dataset=1, limits=Limits())
    assert (table.values.shape, table.columns, table.datasets) == ((0, 0), (), 1)
    assert table.keywords["OBR.3"] == "S-1"
    with pytest.raises(Quarantine, match="data set 1 to 1"):
        codec().read(data, dataset=2, limits=Limits())


def test_the_guide_describes_every_leniency():
    guide = (docs_dir() / "codecs.md").read_text(encoding="utf-8")
    section = guide.split("## `hl7`")[1].split("\n## ")[0]
    assert [name for name in Hl7Options.model_fields if f"| `{name}` |" not in section] == []
