"""E1394 records: delimiters, escapes, hierarchy, sequence, and what a sample says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.decode.codecs.astm import AstmCodec, AstmOptions
from edge_daemon.decode.codecs.astm_records import Delimiters
from edge_daemon.decode.limits import DEFAULT_LIMITS, Limits
from edge_daemon.errors import Quarantine
from edge_daemon.resources import docs_dir


def codec(**section):
    return AstmCodec.model_validate({"name": "astm", **section})


def read(data, **section):
    return codec(**section).messages(data, limits=DEFAULT_LIMITS)


def refusal(data, **section):
    with pytest.raises(Quarantine) as caught:
        read(data, **section)
    return caught.value


def lenient(*names):
    return {"options": dict.fromkeys(names, True)}


def test_fields_become_keywords(make):
    (message,) = read(make.astm("P|1|PA|LA||Rex^Miller", "O|1|S-1", "R|1|^^^RBC^789-8|6.84|M/uL"))
    keywords = message.keywords
    assert keywords["H.5"] == "Cell9 4711 1.0"
    assert (keywords["H.5.1"], keywords["H.5.3"], keywords["H.14"]) == (
        "Cell9", "1.0", "20260102030405",
    )  # fmt: skip
    assert (keywords["P.3"], keywords["P.4"], keywords["P.6"]) == ("PA", "LA", "Rex Miller")
    assert (keywords["O.3"], keywords["R.3.4"]) == ("S-1", "RBC")
    assert keywords["VALUE.RBC"] == keywords["VALUE.789-8"] == "6.84"
    assert "P.5" not in keywords
    assert "H.2" not in keywords


def test_an_observation(make):
    result = "R|1|^^^RBC^789-8|6.84|10*6/uL|5.5 - 8.5^NORMAL|H\\A||W||TECH|20260102"
    (message,) = read(make.astm("P|1", "O|1|S-1", result, "C|1|I|smear^please\\warm|G"))
    (seen,) = message.observations
    assert (seen.name, seen.identifiers) == ("RBC", ("RBC", "789-8"))
    assert (seen.text, seen.unit, seen.reference) == ("6.84", "10*6/uL", "5.5 - 8.5")
    assert (seen.flags, seen.status) == (("H", "A"), "questionable")
    assert seen.comments == ("smear please", "warm")
    assert message.comments == ()


def test_comments_belong_to_what_they_follow(make):
    (message,) = read(
        make.astm(
            "C|1|I|of the header",
            "P|1",
            "C|1|I|of the patient",
            "O|1|S",
            "C|1|I|of the order",
            "R|1|^^^RBC|1",
            "C|1|I|of the result",
            "M|1|REAGENT|LYSE",
            "C|1|I|after it",
            "R|2|^^^PLT|2",
        )
    )
    assert message.comments == ("of the header", "of the patient", "of the order", "after it")
    assert [o.comments for o in message.observations] == [("of the result",), ()]


def test_declared_delimiters_are_used():
    data = b"H;~!@;;;Cell9!1.0\rP;1\rO;1;S@F@1\rR;1;!!!RBC;6.84;M/uL;;H~A\rL;1;N\r"
    (message,) = read(data)
    assert message.keywords["H.5.2"] == "1.0"
    assert message.keywords["O.3"] == "S;1"
    assert message.observations[0].flags == ("H", "A")


@pytest.mark.parametrize(
    "header", ["H", "H|", "H|\\^", "H||^&|", "H|\\\\&|", "H|\\^&~|", "H|ab&|", "H| ^&|"]
)
def test_bad_delimiters(header):
    assert "four different delimiters" in refusal(f"{header}\rL|1|N\r".encode()).message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a&F&b", "a|b"),
        ("&S&&R&&E&", "^\\&"),
        ("&X41&", "A"),
        ("&H&bold&N&", "bold"),
        ("Rex & Co", "Rex & Co"),
        ("&Q&x", "&Q&x"),
        ("a&", "a&"),
        ("&", "&"),
        ("", ""),
    ],
)
def test_escapes(written, meant):
    assert Delimiters("|", "\\", "^", "&").unescape(written) == meant


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40))
def test_any_text_survives_escaping(text):
    delimiters = Delimiters("|", "\\", "^", "&")
    escaped = text.replace("&", "&E&")
    for plain, code in (("|", "&F&"), ("^", "&S&"), ("\\", "&R&")):
        escaped = escaped.replace(plain, code)
    assert delimiters.unescape(escaped) == text


def test_several_samples_and_messages(make):
    one = make.astm(
        "P|1||A", "O|1|S-1", "R|1|^^^RBC|1", "O|2|S-2", "R|1|^^^RBC|2",
        "P|2||B", "O|1|S-1", "R|1|^^^RBC|3",
    )  # fmt: skip
    found = read(one + make.astm("P|1", "O|1|S-9", "R|1|^^^RBC|4"))
    assert [m.keywords["O.3"] for m in found] == ["S-1", "S-2", "S-1", "S-9"]
    assert [m.keywords.get("P.4") for m in found] == ["A", "A", "B", None]
    assert [m.observations[0].text for m in found] == ["1", "2", "3", "4"]


def test_orders_of_one_specimen_are_one_sample(make):
    data = make.astm("P|1", "O|1|S-1", "R|1|^^^RBC|1", "O|2|S-1", "R|1|^^^RET%|2")
    (message,) = read(data)
    assert [o.name for o in message.observations] == ["RBC", "RET%"]
    unnamed = make.astm("P|1", "O|1|", "R|1|^^^RBC|1", "O|2|", "R|1|^^^RET%|2")
    assert len(read(unnamed)) == 2


def test_status_and_kind(make):
    def one(order="O|1|S", status="F", header=None):
        records = ["P|1", order, f"R|1|^^^RBC|1|||||{status}"]
        return read(make.astm(*([header] if header else []), *records))[0]

    assert (one().control, one().amends, one().observations[0].status) == (False, False, "final")
    assert one("O|1|S|||||||||Q").control
    assert one(header="H|\\^&|77||Cell9|||||||Q|LIS2-A2").control
    assert one(header="H|\\^&|77||Cell9").message_id == "77"
    assert one(status="C").amends
    assert one("O|1|S" + "|" * 23 + "C").amends
    assert one(status="X").observations[0].status == "withdrawn"
    assert one(status="P").observations[0].status == "preliminary"


@pytest.mark.parametrize(
    ("records", "code", "words"),
    [
        (["P|1", "R|1|^^^RBC|1"], "malformed", "before any order"),
        (["O|1|S"], "malformed", "before any patient"),
        (["P|1", "O|1|S", "Z|1"], "malformed", "expected a record type"),
        (["P|1", "O|1|S", "RX|1"], "malformed", "expected a record type"),
        (["P|1", "O|1|S", "R|one|^^^RBC|1"], "malformed", "sequence number in field R.2"),
        (["P|1", "O|1|S", "R"], "malformed", "sequence number in field R.2"),
        (["P|1", "O|1|S", "R|1|^^^RBC|" + "1" * 5000], "too_large", "R.4 has 5000 characters"),
        (["P|1", "O|1|S", "R|1|^^^RBC|1\t"], "malformed", "control character"),
        (["P|1", "O|1|S", "R|1|^^^RBC|1", "L|1|T"], "truncated", "sender aborted"),
        (["P|1", "O|1|S"], "malformed", "no results"),
        (["Q|1|^S-1||ALL"], "unsupported", "asks for orders"),
        (["H|\\^&||||||||||T", "P|1", "O|1|S", "R|1|^^^RBC|1"], "unsupported", "training"),
        (["H|\\^&||||||||||D", "P|1", "O|1|S", "R|1|^^^RBC|1"], "unsupported", "debugging"),
    ],
)
def test_refusals(make, records, code, words):
    error = refusal(make.astm(*records))
    assert error.code == code
    assert words in error.message
    assert error.action


def test_what_stands_outside_a_message(make):
    whole = make.astm("P|1", "O|1|S", "R|1|^^^RBC|1")
    assert refusal(b"").code == "not_recognised"
    assert refusal(b"hello\r").code == "not_recognised"
    assert refusal(whole + b"R|1|^^^RBC|1\r").code == "malformed"
    assert refusal(whole[: whole.index(b"L|")]).code == "truncated"
    assert refusal(whole[: whole.index(b"L|")] + whole).code == "truncated"
    assert "does not end with CR" in refusal(whole[:-1]).message


def test_a_lost_record_is_noticed(make):
    rows = ["R|1|^^^RBC|1", "R|2|^^^HGB|2", "R|4|^^^PLT|4"]
    data = make.astm("P|1", "O|1|S", *rows)
    error = refusal(data)
    assert "expected R|3, found R|4" in error.message
    (message,) = read(data, **lenient("sequence_numbers"))
    assert len(message.observations) == 3
    assert message.notes[0].startswith("sequence_numbers: ")


def test_numbers_may_run_on_over_orders(make):
    records = ["P|1", "O|1|A", "R|1|^^^RBC|1", "R|2|^^^PLT|1", "O|2|B", "R|3|^^^RBC|1"]
    assert len(read(make.astm(*records))) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_feeds(make, end):
    data = make.astm("P|1", "O|1|S", "R|1|^^^RBC|1", end=end)
    assert "leniency line_feeds" in refusal(data).message
    (message,) = read(data, **lenient("line_feeds"))
    assert message.observations[0].text == "1"


def test_padding_is_removed(make):
    data = make.astm("P|1", "O|1|   S-1", "R|1|^^^RBC |6.84")
    assert "leniency blank_padding" in refusal(data).message
    (message,) = read(data, **lenient("blank_padding"))
    assert message.keywords["O.3"] == "S-1"
    assert message.keywords["VALUE.RBC"] == "6.84"


def test_encodings(make):
    data = make.astm("P|1||||Müller", "O|1|S", "R|1|^^^RBC|1").decode().encode("latin-1")
    error = refusal(data)
    assert "expected utf-8" in error.message
    (message,) = read(data, encoding="latin-1")
    assert message.keywords["P.6"] == "Müller"


def test_identify_needs_no_leniency_and_reads_no_matrix(make):
    data = b"# a comment\n\n" + make.astm(
        "P|1", "O|1|  S", "M|1|MATRIX|G|N|x|broken", "R|9|^^^RBC|1", end="\n"
    )
    found = codec().identify(data)
    assert found.format == "ASTM LIS2-A2"
    assert found.keywords["H.5.3"] == "1.0"
    assert "Cell9" in found.description
    for other in (b"MSH|^~\\&|", b"", b"H,A,B\n1,2,3\n", b"\x02\x00\x01", b"\x05"):
        assert codec().identify(other) is None
    with pytest.raises(Quarantine, match="delimiters"):
        codec().identify(b"H|||||||||||\rL|1\r")


def test_is_whole(make):
    data = make.astm("P|1", "O|1|S", "R|1|^^^RBC|1")
    assert codec().is_whole(data)
    assert codec().is_whole(b"FCS3.1")
    assert not codec().is_whole(data[: data.index(b"L|")])
    assert not codec().is_whole(data + data[:-8])


def test_results_without_matrix_have_no_events(make):
    table = codec().read(make.astm("P|1", "O|1|S", "R|1|^^^RBC|1"), dataset=1, limits=Limits())
    assert (table.values.shape, table.columns, table.datasets) == ((0, 0), (), 1)
    assert table.keywords["VALUE.RBC"] == "1"


def test_the_guide_describes_every_leniency():
    guide = (docs_dir() / "codecs.md").read_text(encoding="utf-8")
    section = guide.split("## `astm`")[1].split("\n## ")[0]
    assert [name for name in AstmOptions.model_fields if f"| `{name}` |" not in section] == []
