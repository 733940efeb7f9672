"""FHIR R4 bundles, checked by fhir.resources."""

from __future__ import annotations

import json

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_daemon.exchange.coding import SNOMED_SPECIES
from edge_daemon.exchange.fhir import ANIMAL, TEST_DATA, as_fhir
from edge_daemon.records import SPECIES


def checked(body):
    """Resources by kind; observations by the code's text."""
    document = json.loads(body)
    Bundle.model_validate(document)
    urls = [entry["fullUrl"] for entry in document["entry"]]
    assert len(set(urls)) == len(urls)
    referred = set(references(document))
    assert referred <= set(urls)
    found = {}
    for entry in document["entry"]:
        resource = entry["resource"]
        kind = resource["resourceType"]
        found[resource["code"]["text"] if kind == "Observation" else kind] = resource
    return found


def references(value):
    if isinstance(value, dict):
        if "reference" in value:
            yield value["reference"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def test_a_value_has_its_code_unit_interval_and_method(make_run, origin):
    found = checked(as_fhir(make_run(), origin))
    rbc = found["red cells"]
    assert rbc["code"]["coding"] == [{"system": "http://loinc.org", "code": "789-8"}]
    assert rbc["valueQuantity"] == {
        "value": 7.12, "unit": "10*6/uL", "system": "http://unitsofmeasure.org", "code": "10*6/uL",
    }  # fmt: skip
    interval = rbc["component"][0]["valueRange"]
    assert (interval["low"]["value"], interval["high"]["value"]) == (6.98, 7.27)
    assert rbc["method"]["text"] == "counted"
    assert rbc["status"] == "final"
    assert rbc["effectiveDateTime"] == "2026-01-05T06:00:00+00:00"
    assert found["platelets"]["valueQuantity"]["value"] == 255
    assert found["platelets"]["note"] == [{"text": "red cell clumps 1.3 %"}]
    haemoglobin = found["haemoglobin"]
    assert haemoglobin["method"]["text"] == "calculated"
    assert "component" not in haemoglobin
    assert "coding" not in found["clumps, share of red-cell events"]["code"]


def test_what_was_not_reported_is_absent_and_says_why(make_run, origin):
    retic = checked(as_fhir(make_run(), origin))["reticulocytes, share of red cells"]
    assert "valueQuantity" not in retic
    assert retic["dataAbsentReason"]["text"] == "not reported: no RNA dye channel"
    assert retic["dataAbsentReason"]["coding"][0]["code"] == "not-performed"


def test_a_failed_run_has_no_values(make_run, origin):
    broken = {"code": "no_peak", "severity": "invalid", "message": "no red cells", "action": "redo"}
    found = checked(as_fhir(make_run(status="invalid", flags=[broken]), origin))
    observations = [r for r in found.values() if r["resourceType"] == "Observation"]
    assert len(observations) == 5
    for one in observations:
        assert "valueQuantity" not in one
        assert one["status"] == "cancelled"
        assert one["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert "Failed: no red cells. Next: redo" in found["DiagnosticReport"]["conclusion"]


def test_a_run_to_review_is_preliminary(make_run, origin):
    found = checked(as_fhir(make_run(status="review"), origin))
    assert found["DiagnosticReport"]["status"] == "preliminary"
    assert found["red cells"]["status"] == "preliminary"


def test_intervals_stand_beside_values_with_their_source(interpreted, origin):
    found = checked(as_fhir(interpreted, origin))
    [interval] = found["red cells"]["referenceRange"]
    assert (interval["low"]["value"], interval["high"]["value"]) == (5.65, 8.87)
    assert interval["text"] == "dog; a study; of another analyzer"
    assert found["red cells"]["interpretation"][0]["coding"][0]["code"] == "N"
    assert found["platelets"]["interpretation"][0]["coding"][0]["code"] == "L"
    assert "referenceRange" not in found["haemoglobin"]
    assert found["DiagnosticReport"]["status"] == "preliminary"
    conclusion = found["DiagnosticReport"]["conclusion"].splitlines()
    assert conclusion[0] == "Review: Few platelets"
    assert "Few platelets: they clump. Next: look at a smear" in conclusion
    failed = checked(as_fhir(interpreted | {"status": "invalid", "headline": "Failed"}, origin))
    assert "referenceRange" not in failed["red cells"]


@pytest.mark.parametrize("species", [*SPECIES, None])
def test_the_patient_is_an_animal(make_run, origin, species):
    patient = checked(as_fhir(make_run(species=species), origin))["Patient"]
    [animal] = patient["extension"]
    assert animal["url"] == ANIMAL
    kind, breed = animal["extension"]
    assert kind["valueCodeableConcept"]["text"] == (species or "unknown")
    coded = kind["valueCodeableConcept"].get("coding", [{}])[0].get("code")
    assert coded == SNOMED_SPECIES.get(species)
    assert breed["valueCodeableConcept"]["text"] == "Labrador"
    assert patient["identifier"] == [{"value": "P-7"}]
    assert patient["name"] == [{"text": "Bello"}]


def test_every_resource_of_a_simulated_run_is_marked(make_run, origin):
    found = checked(as_fhir(make_run(simulated=True), origin))
    assert all(one["meta"]["security"] == [TEST_DATA] for one in found.values())
    assert found["DiagnosticReport"]["conclusion"].startswith("SIMULATED")
    real = as_fhir(make_run(), origin)
    assert b"HTEST" not in real
    assert b"SIMULATED" not in real


def test_nothing_is_made_up_about_an_unknown_animal(make_run, origin):
    nobody = dict.fromkeys(
        ("sample_id", "patient_id", "patient_name", "species", "breed", "acquired_at",
         "instrument_model", "instrument_serial", "firmware")
    )  # fmt: skip
    found = checked(as_fhir(make_run(**nobody, created_clock="unsynchronised"), origin))
    assert "name" not in found["Patient"]
    assert "identifier" not in found["Specimen"]
    assert "effectiveDateTime" not in found["red cells"]
    assert "issued" not in found["red cells"]
    assert found["Device"]["deviceName"] == [{"name": "analyzer", "type": "user-friendly-name"}]


def test_the_same_run_has_the_same_bytes_on_one_line(make_run, origin):
    one, two = (as_fhir(make_run(), origin) for _ in range(2))
    assert one == two
    assert one.count(b"\n") == 1


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=40))
def test_any_text_makes_a_valid_bundle(make_run, origin, text):
    quiet = dict.fromkeys(("patient_name", "patient_id", "breed", "sample_id"), text)
    flag = {"code": "clumps", "severity": "info", "message": text, "action": text}
    checked(as_fhir(make_run(**quiet, flags=[flag]), origin))


@pytest.mark.parametrize(
    ("standing", "observed"),
    [("corrected", "corrected"), ("amended", "amended"), ("appended", "final"),
     ("entered-in-error", "entered-in-error")],
)  # fmt: skip
def test_a_later_version_says_so_and_what_people_said(make_run, origin, standing, observed):
    said = [{"concerns": "PLT", "text": "Smear by Ann refutes platelets: clumps"}]
    run = make_run(standing=standing, said=said, version=3, clinic="Clinic by the river")
    body = as_fhir(run, origin)
    found = checked(body)
    report = found["DiagnosticReport"]
    assert report["status"] == standing
    assert found["red cells"]["status"] == observed
    assert report["meta"]["versionId"] == "3"
    assert found["Organization"]["name"] == "Clinic by the river"
    assert said[0]["text"] in report["conclusion"]
    assert {"text": said[0]["text"]} in found["platelets"]["note"]


def test_versions_of_a_result_are_the_same_resources_in_other_bundles(make_run, origin):
    one, two = (
        json.loads(as_fhir(make_run(version=n, digest=str(n) * 64), origin)) for n in (1, 2)
    )
    assert [e["fullUrl"] for e in one["entry"]] == [e["fullUrl"] for e in two["entry"]]
    assert one["identifier"] != two["identifier"]
