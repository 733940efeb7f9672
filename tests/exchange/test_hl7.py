"""HL7 v2.5.1 messages, checked by hl7apy and read back by our own decoder's rules."""

from __future__ import annotations

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_daemon.exchange.coding import LOINC, SNOMED_SPECIES
from edge_daemon.exchange.hl7 import as_hl7
from edge_daemon.records import MEASUREMENT_CODES, SPECIES

UNESCAPED = {
    "\\F\\": "|", "\\S\\": "^", "\\T\\": "&", "\\R\\": "~", "\\X0D\\": "\r", "\\X0A\\": "\n",
    "\\E\\": "\\",
}  # fmt: skip


def parsed(body):
    message = parse_message(
        body.decode("utf-8"), validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True
    )
    assert message.validate()
    return message


def fields(body, name):
    return [
        segment.split("|")
        for segment in body.decode("utf-8").split("\r")
        if segment.startswith(f"{name}|")
    ]


def unescape(text):
    found, at = "", 0
    while at < len(text):
        escape = next((e for e in UNESCAPED if text.startswith(e, at)), None)
        found += UNESCAPED[escape] if escape else text[at]
        at += len(escape) if escape else 1
    return found


def values(body):
    """Code → OBX of the measurements."""
    return {f[3].split("^")[-3]: f for f in fields(body, "OBX") if "FLAG" not in f[3]}


def notes_after(body, start):
    lines = body.decode("utf-8").split("\r")
    at = next(i for i, line in enumerate(lines) if line.startswith(start))
    found = []
    for line in lines[at + 1 :]:
        if not line.startswith("NTE|"):
            break
        found.append(line.split("|")[3])
    return found


@pytest.mark.parametrize("status", ["ok", "review", "invalid"])
@pytest.mark.parametrize("simulated", [True, False])
def test_hl7apy_finds_every_segment_in_its_place(make_run, origin, status, simulated):
    message = parsed(as_hl7(make_run(status=status, simulated=simulated), origin))
    result = message.oru_r01_patient_result
    assert result.oru_r01_patient.pid.pid_35.value == "448771007^dog^SCT"
    order = result.oru_r01_order_observation
    assert len(order.oru_r01_observation) == 7
    assert order.oru_r01_specimen.spm.spm_2.value == "^D-0001"


def test_values_are_coded_rounded_and_say_how_they_were_found(make_run, origin):
    body = as_hl7(make_run(), origin)
    found = values(body)
    rbc = found["RBC"]
    assert rbc[2:6] == ["NM", "789-8^red cells^LN^RBC^red cells^99EDGE", "", "7.12"]
    assert rbc[6] == "10*6/uL^^UCUM"
    assert rbc[11] == "F"
    assert rbc[14] == "20260105060000+0000"
    assert rbc[17] == "counted^counted^99EDGE"
    assert rbc[18] == "SN1^SimOptical4"
    assert found["HGB"][17] == "calculated^calculated^99EDGE"
    assert found["PLT"][5] == "255"
    assert found["CLUMP%"][3] == "CLUMP%^clumps, share of red-cell events^99EDGE"
    assert notes_after(body, "OBX|1|") == ["95 % interval 6.98 to 7.27"]
    assert notes_after(body, "OBX|3|") == ["95 % interval 236 to 274", "red cell clumps 1.3 %"]


def test_what_was_not_reported_has_no_value_and_says_why(make_run, origin):
    body = as_hl7(make_run(), origin)
    retic = values(body)["RETIC%"]
    assert (retic[2], retic[5], retic[6], retic[11]) == ("", "", "", "X")
    assert notes_after(body, "OBX|2|") == ["not reported: no RNA dye channel"]


def test_a_failed_run_has_no_values(make_run, origin):
    broken = {"code": "no_peak", "severity": "invalid", "message": "no red cells", "action": ""}
    body = as_hl7(make_run(status="invalid", flags=[broken]), origin)
    assert all((f[2], f[5], f[11]) == ("", "", "X") for f in values(body).values())
    assert set(notes_after(body, "OBX|1|")) == {"not reported: no red cells"}
    assert fields(body, "OBR")[0][25] == "X"


def test_a_run_to_review_is_preliminary(make_run, origin):
    body = as_hl7(make_run(status="review"), origin)
    assert fields(body, "OBR")[0][25] == "P"
    assert values(body)["RBC"][11] == "P"


def test_simulated_is_of_another_processing_id_and_says_so(make_run, origin):
    real, simulated = (as_hl7(make_run(simulated=mark), origin) for mark in (False, True))
    assert fields(real, "MSH")[0][10] == "P"
    assert fields(simulated, "MSH")[0][10] == "T"
    assert notes_after(simulated, "OBR|")[0] == "SIMULATED: not a patient's result"
    assert b"SIMULATED" not in real


def test_flags_carry_cause_and_next_action(make_run, origin):
    body = as_hl7(make_run(), origin)
    flag = fields(body, "OBX")[-1]
    assert flag[2:6] == ["CE", "FLAG^flag^99EDGE", "", "clumps^red cell clumps 1.3 %^99EDGE"]
    assert notes_after(body, "OBX|7|") == ["Note. Next: look at a smear"]


def test_intervals_stand_beside_values_with_their_source(interpreted, origin):
    body = as_hl7(interpreted, origin)
    parsed(body)
    found = values(body)
    assert found["RBC"][7:9] == ["5.65-8.87", "N"]
    assert found["PLT"][7:9] == ["300-484", "L"]
    assert found["HGB"][7:9] == ["", ""]
    assert "reference interval of dog; a study; of another analyzer" in notes_after(body, "OBX|1|")
    own = "reference interval of greyhound; this site: Dr. W\\F\\est, own dogs"
    assert own in notes_after(body, "OBX|3|")


def test_a_remark_makes_a_run_preliminary_and_is_told(interpreted, origin):
    body = as_hl7(interpreted, origin)
    assert fields(body, "OBR")[0][25] == "P"
    assert notes_after(body, "OBR|") == [
        "Review: Few platelets",
        "Few platelets: they clump. Next: look at a smear",
        "No anaemia, so the band says little.",
    ]


def test_a_failed_run_has_no_intervals_and_no_remarks(interpreted, origin):
    body = as_hl7(interpreted | {"status": "invalid", "headline": "Failed"}, origin)
    assert all(len(f) < 8 or f[7] == "" for f in values(body).values())
    assert len(notes_after(body, "OBR|")) == 1


def test_an_unknown_animal_has_still_a_valid_patient(make_run, origin):
    nobody = dict.fromkeys(
        ("sample_id", "patient_id", "patient_name", "species", "breed", "acquired_at",
         "instrument_model", "instrument_serial", "firmware")
    )  # fmt: skip
    body = as_hl7(make_run(**nobody, created_clock="unsynchronised"), origin)
    parsed(body)
    assert fields(body, "PID")[0][3:6] == ["UNKNOWN^^^^U", "", "^^^^^^U"]
    # Nobody knows when: the box's clock was not set.
    assert fields(body, "OBR")[0][7] == ""
    assert fields(body, "OBX")[0][18] == "analyzer^analyzer"


@pytest.mark.parametrize("day", ["2026-01-04", "20260104"])
def test_a_day_without_a_time_is_no_midnight(make_run, origin, day):
    run = make_run(acquired_at=day, created_clock="synchronised")
    assert fields(as_hl7(run, origin), "OBR")[0][7] == fields(as_hl7(run, origin), "OBR")[0][22]


@pytest.mark.parametrize("species", SPECIES)
def test_every_species_travels(make_run, origin, species):
    body = as_hl7(make_run(species=species), origin)
    parsed(body)
    code = fields(body, "PID")[0][35].split("^")
    assert code[1] == species
    assert (code[2] == "SCT") == (species in SNOMED_SPECIES)


def test_every_measurand_but_the_clump_share_has_a_loinc_code():
    assert set(MEASUREMENT_CODES) - set(LOINC) == {"CLUMP%"}
    assert len(set(LOINC.values())) == len(LOINC)


def test_the_same_run_has_the_same_bytes_and_id(make_run, origin):
    one, two = (as_hl7(make_run(), origin) for _ in range(2))
    assert one == two
    assert fields(one, "MSH")[0][9] == "ab" * 10


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=60))
def test_no_text_changes_the_message(make_run, origin, text):
    quiet = dict.fromkeys(("patient_name", "breed", "sample_id"), text)
    flag = {"code": "clumps", "severity": "info", "message": text, "action": text}
    run = make_run(**quiet, flags=[flag])
    body = as_hl7(run, origin)
    lines = body.decode("utf-8", "surrogatepass").split("\r")
    names = [line[:3] for line in lines if line]
    assert set(names) <= {"MSH", "SFT", "PID", "OBR", "NTE", "OBX", "SPM"}
    assert names.count("OBX") == 6
    parsed(body)
    kept = "".join(c for c in text if c.isprintable() or c in "\r\n").strip()
    [flagged] = [f for f in fields(body, "OBX") if f[3].startswith("FLAG")]
    assert unescape(flagged[5].split("^")[1]) == kept


SAID = [
    {"concerns": "PLT", "text": "Smear by Ann refutes platelets: clumps"},
    {"concerns": None, "text": "Note by Ann: fasted"},
]


@pytest.mark.parametrize(
    ("standing", "obx", "obr"),
    [("final", "F", "F"), ("corrected", "C", "C"), ("amended", "C", "C"), ("appended", "F", "F")],
)
def test_a_later_version_says_so_and_what_people_said(make_run, origin, standing, obx, obr):
    body = as_hl7(make_run(standing=standing, said=SAID, clinic="Clinic | 1"), origin)
    parsed(body)
    assert fields(body, "OBR")[0][25] == obr
    assert values(body)["PLT"][11] == obx
    assert fields(body, "MSH")[0][3] == "Clinic \\F\\ 1"
    assert unescape(notes_after(body, "OBR")[-1]) == "Note by Ann: fasted"
    assert "Smear by Ann refutes platelets: clumps" in body.decode()


def test_a_withdrawn_result_has_no_values(make_run, origin):
    run = make_run(status="invalid", standing="entered-in-error", reason="it is a control")
    body = as_hl7(run, origin)
    parsed(body)
    assert {f[11] for f in values(body).values()} == {"X"}
    assert fields(body, "OBR")[0][25] == "X"
