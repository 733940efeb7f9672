"""What a profile makes of a message: our measurements, in our units, or the reason why not."""

from __future__ import annotations

import base64
import struct

import pytest

from edge_daemon.decode import ProfileError, load_profile
from edge_daemon.decode.report import read_reports
from edge_daemon.errors import EdgeError, Quarantine
from edge_daemon.resources import profiles_dir

REPORTED = """
[metadata]
sample_id = { keyword = "O.3" }
[[reported]]
code = "RBC"
name = "RBC"
[[reported]]
code = "HGB"
name = "HGB"
unit = "g/dL"
[[reported]]
code = "HCT"
name = { regex = "HCT|4544-3" }
unit = "L/L"
[[reported]]
code = "RDW"
name = "RDW"
[[reported]]
code = "PLT"
name = "PLT"
units = { "10^3" = "10*3/uL" }
[report]
control = { "O.3" = { regex = "QC-.*" } }
suspects = ".*[?]"
pictures = "SCAT_.*"
"""


@pytest.fixture
def report(make, reporting):
    """Read the report of one sample from result records."""

    def read(*rows, more=REPORTED, sample="S-1"):
        results = [f"R|{i}|^^^{row}" for i, row in enumerate(rows, start=1)]
        data = make.astm("P|1", f"O|1|{sample}", *results)
        ((found, notes),) = read_reports(data, reporting("astm", more))
        return found, notes

    return read


def test_the_written_unit_decides(report):
    found, notes = report("RBC^1|6.84|10*12/L|5.5 - 8.5", "HGB|141|g/L|110-190|H", "PLT|262|10^3")
    rbc, hgb, plt = found.values
    assert (rbc.code, rbc.value, rbc.unit, rbc.low, rbc.high) == ("RBC", 6.84, "10*6/uL", 5.5, 8.5)
    assert (hgb.value, hgb.unit, hgb.text, hgb.written_unit) == (14.1, "g/dL", "141", "g/L")
    assert (hgb.low, hgb.high, hgb.flags) == (11.0, 19.0, ("H",))
    assert (plt.code, plt.value) == ("PLT", 262.0)
    assert notes == ()


def test_the_declared_unit_stands_in_where_none_is_written(report):
    found, notes = report("HCT|0.431||0.36-0.56", "HGB|14.1")
    hct, hgb = found.values
    assert (hct.code, hct.value, hct.unit, hct.written_unit) == ("HCT", 43.1, "%", "")
    assert (hct.low, hct.high) == (36.0, 56.0)
    assert (hgb.code, hgb.value) == ("HGB", 14.1)
    assert notes == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("HCT|43.1", "43.1 L/L is 4310 %, no possible HCT"),
        ("HCT|0.431|%", "0.431 % is 0.431 %, no possible HCT"),
        ("HGB|141", "141 g/dL is 141 g/dL, no possible HGB"),
        ("RBC|6.84", "no unit is written, and the profile declares none"),
        ("RBC|6.84|g/L", "unit 'g/L' is none of RBC"),
        ("RDW|36.0|fL", "unit 'fL' is none of RDW, expected one such as %"),
    ],
)
def test_what_is_doubtful_is_kept_as_written(report, row, reason):
    found, notes = report(row)
    (value,) = found.values
    name, text, *unit = row.split("|")
    assert (value.name, value.code) == (name, None)
    assert (value.value, value.text) == (float(text), text)
    assert value.unit == value.written_unit == "".join(unit)
    (note,) = notes
    assert reason in note


@pytest.mark.parametrize("text", ["++++", "****", "----", "<10", "12,3", "1_0", "nan", "POSITIVE"])
def test_text_is_no_number(report, text):
    found, _ = report(f"PLT|{text}|10*3/uL|200-500|H")
    (value,) = found.values
    assert (value.code, value.value, value.text) == ("PLT", None, text)
    assert (value.low, value.high, value.flags) == (200.0, 500.0, ("H",))


def test_what_gives_no_number_needs_no_unit(report):
    found, notes = report("RBC|----||5.5-8.5", "PLT|++++|g/L|200-500")
    assert [(v.code, v.value, v.text, v.low) for v in found.values] == [
        ("RBC", None, "----", None),
        ("PLT", None, "++++", None),
    ]
    assert notes == ()


@pytest.mark.parametrize(
    ("text", "number", "flags"),
    [("262*", 262.0, ("*",)), ("262 ?", 262.0, ("?",)), ("262R", 262.0, ("R",)), ("*", None, ())],
)
def test_marks_behind_a_number_are_flags(report, text, number, flags):
    found, _ = report(f"PLT|{text}|10*3/uL")
    assert (found.values[0].value, found.values[0].flags) == (number, flags)


@pytest.mark.parametrize(
    ("reference", "limits"),
    [
        ("200 - 500", (200.0, 500.0)),
        ("200–500^NORMAL", (200.0, 500.0)),
        ("<500", (None, 500.0)),
        (">= 200", (200.0, None)),
        ("500-200", (None, None)),
        ("see report", (None, None)),
        ("1.2.3-4", (None, None)),
        ("2" * 100, (None, None)),
    ],
)
def test_reference_intervals(report, reference, limits):
    found, _ = report(f"PLT|262|10*3/uL|{reference}")
    assert (found.values[0].low, found.values[0].high) == limits


def test_status_becomes_a_flag(report):
    found, _ = report("PLT|262|10*3/uL||N||W")
    assert (found.values[0].value, found.values[0].flags) == (262.0, ("questionable",))
    found, _ = report("PLT|262|10*3/uL||N||X")
    assert (found.values[0].value, found.values[0].flags) == (None, ("withdrawn",))


def test_the_first_of_two_values_of_one_measurement_counts(report):
    found, notes = report("RBC|6.84|M/uL", "RBC|6.90|M/uL")
    first, second = found.values
    assert (first.code, first.value) == ("RBC", 6.84)
    assert (second.code, second.value, second.unit) == (None, 6.9, "M/uL")
    assert "stands in the report already" in notes[0]


def test_messages_of_the_analyzer(report):
    found, _ = report(
        "Anemia||||A",
        "Left_Shift?|0",
        "PLT_Clumps?|110||A",
        "Fragments?|T",
        "Blasts?||||",
        "Iron?|F",
    )
    assert found.messages == ("Anemia", "PLT_Clumps? 110", "Fragments?")
    assert [v.name for v in found.values] == ["Left_Shift?", "PLT_Clumps?", "Fragments?", "Iron?"]


def test_pictures_are_left_where_they_are(report):
    found, notes = report("SCAT_RET|PNG&R&ret.png", "RBC|6.84|M/uL")
    assert [v.name for v in found.values] == ["RBC"]
    assert notes == ("SCAT_RET: a picture or attachment, left in the capture",)


def test_control_material(report):
    assert report("RBC|1|M/uL")[0].kind == "sample"
    assert report("RBC|1|M/uL", sample="QC-12")[0].kind == "control"


def test_other_values_are_kept_as_written(report):
    found, notes = report("WBC|9.1|10*3/uL|6-17|H")
    (value,) = found.values
    assert (value.code, value.value, value.unit) == (None, 9.1, "10*3/uL")
    assert (value.low, value.high, value.flags, notes) == (6.0, 17.0, ("H",), ())


def test_every_sample_has_its_report(make, reporting):
    data = make.astm("P|1", "O|1|A", "R|1|^^^RBC|6|M/uL", "O|2|B", "R|1|^^^RBC|7|M/uL")
    found = read_reports(data, reporting("astm", REPORTED))
    assert [(r.sample.sample_id, r.values[0].value) for r, _ in found] == [("A", 6.0), ("B", 7.0)]


def test_the_file_name_may_tell_the_sample(make, reporting):
    named = REPORTED.replace('"O.3" }', '"NAME.SAMPLE" }', 1)
    named += '[file_name]\npattern = "(?P<SAMPLE>[^_]+)_.*"\n'
    data = make.astm("P|1", "O|1|A", "R|1|^^^RBC|6|M/uL")
    ((found, _),) = read_reports(data, reporting("astm", named), name="S-7_export.astm")
    assert found.sample.sample_id == "S-7"


def test_a_simulated_analyzer_leaves_its_mark(report):
    assert report("RBC|1|M/uL")[0].sample.simulated is False
    assert report("RBC|1|M/uL", "EDGE_SIMULATED|1")[0].sample.simulated is True


VET = """
[metadata]
patient_name = { keyword = "PID.9" }
species = { keyword = "PID.10", map = { DOG = "dog", CAT = "cat" } }
[[report.histogram]]
observation = "15050"
name = "RBC"
bytes = 2
unit = "{channel}"
low = 0
[[report.histogram]]
observation = "15100"
name = "PLT"
bytes = 1
unit = "fL"
low = 0
high = 40
"""


def test_species_behind_a_free_text_name(make, reporting):
    """The name says cat and the field says dog: both are reported, and compared later."""
    data = make.hl7(
        "PID|1||||||20240414|F|minka europ. kurzhaar 2a Familie Maier|DOG",
        "OBR|1||S-1",
        "OBX|1|ST|RBC^||6.84|10*12/L",
    )
    ((found, notes),) = read_reports(data, reporting("hl7", VET))
    assert found.sample.patient_name == "minka europ. kurzhaar 2a Familie Maier"
    assert found.sample.species == "dog"
    assert notes == ()
    ((found, notes),) = read_reports(data.replace(b"DOG", b"YAK"), reporting("hl7", VET))
    assert found.sample.species is None
    assert "'YAK', which is not mapped" in notes[0]


def encoded(layout, *numbers):
    return base64.b64encode(struct.pack(layout, *numbers)).decode()


def histograms(make, reporting, *contents):
    rows = [
        f"OBX|{i}|ED|{code}^H^99MRC||^Application^Octet-stream^Base64^{content}"
        for i, (code, content) in enumerate(contents, start=1)
    ]
    ((found, notes),) = read_reports(make.hl7("OBR|1||S-1", *rows), reporting("hl7", VET))
    return found.histograms, notes


def test_histograms_inside_results(make, reporting):
    found, notes = histograms(
        make, reporting, ("15050", encoded(">3H", 1, 2, 258)), ("15100", encoded("2B", 7, 200))
    )
    rbc, plt = found
    assert (rbc.name, rbc.unit, rbc.low, rbc.high) == ("RBC", "{channel}", 0.0, 3.0)
    assert rbc.counts == (1.0, 2.0, 258.0)
    assert (plt.low, plt.high, plt.counts) == (0.0, 40.0, (7.0, 200.0))
    assert notes == ()


def test_base64_may_be_broken_into_lines(make, reporting):
    content = encoded(">3H", 1, 2, 258)
    broken = f"{content[:4]}\\X0D0A\\{content[4:]}\\.br\\"
    found, _ = histograms(make, reporting, ("15050", broken))
    assert found[0].counts == (1.0, 2.0, 258.0)


@pytest.mark.parametrize(
    "content", ["", "***", encoded("3B", 1, 2, 3), encoded("9000B", *[0] * 9000)]
)
def test_a_histogram_that_cannot_be_read_is_noted(make, reporting, content):
    found, notes = histograms(make, reporting, ("15050", content))
    assert found == ()
    assert notes[0].startswith("histogram H: ")


def test_profiles_that_report_nothing(reporting):
    profile = load_profile(profiles_dir() / "generic_fcs" / "any.toml")
    with pytest.raises(EdgeError, match="reads no reports"):
        read_reports(b"", profile)
    with pytest.raises(Quarantine):
        read_reports(b"", reporting("astm"))


def test_a_codec_of_events_reads_no_reports(write_profile):
    path = write_profile(replace=[("revision = 1", "revision = 1\nreports = true")])
    with pytest.raises(ProfileError, match="codec fcs reads no reports"):
        load_profile(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("reports = true", "reports = false", "report: is for profiles with reports = true only"),
        ('code = "RBC"', 'code = "WBC"', "expected one of RBC"),
        ('unit = "L/L"', 'unit = "fL"', "fL is no unit of HCT"),
        ('"10*3/uL"', '"g/L"', "g/L is no unit of PLT"),
        ('".*[?]"', '"("', "regular expression"),
        ("control = ", "controls = ", "unknown key; expected any of control"),
        ('name = "RBC"', 'names = "RBC"', "unknown key; expected any of code"),
    ],
)
def test_problems_of_a_profile(reporting, old, new, words):
    with pytest.raises(ProfileError) as caught:
        reporting("astm", REPORTED, replace=(old, new))
    assert any(words in problem for problem in caught.value.problems), caught.value.problems
