"""A result as a FHIR R4 bundle: patient, specimen, analyzer, observations and their report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from edge_daemon import wording
from edge_daemon.exchange import coding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_daemon.exchange.coding import Origin

    Resource = dict[str, Any]

ANIMAL: Final = "http://hl7.org/fhir/StructureDefinition/patient-animal"
TEST_DATA: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HTEST",
    "display": "test health data",
}
"""How FHIR marks data that is of no patient."""

_LOINC: Final = "http://loinc.org"
_SNOMED: Final = "http://snomed.info/sct"
_UCUM: Final = "http://unitsofmeasure.org"
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
_SECTION: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"
_INTERPRETATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_OBSERVED: Final = {"appended": "final"}
"""Status of an observation where that of its report is no status of observations."""


def as_fhir(run: Mapping[str, Any], origin: Origin) -> bytes:
    """Write one run as one line of JSON, UTF-8.

    Absolute counts are there only where they were reported, an absent value says why
    (``dataAbsentReason``), a failed run has no values. Every resource of a simulated run carries
    the security label for test data. The same run has the same bytes.

    Parameters
    ----------
    run
        As `store.queries.results` gives it. The centre adds ``standing``, ``said`` and
        ``elsewhere`` (`coding`), the number of the ``version``, and the name of the ``clinic``;
        resources of all versions of a result have the same ids.
    origin
        Which box speaks.
    """
    bundle = _Bundle(run, origin).bundle()
    return (json.dumps(bundle, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8")


class _Bundle:
    """Resources of one run, which refer to each other by ids made from the run's."""

    def __init__(self, run: Mapping[str, Any], origin: Origin) -> None:
        self._run = run
        self._origin = origin
        self._space = uuid5(UUID(origin.epoch), f"run {run['id']}")
        self._about: Resource = {
            "subject": self._refer("Patient"),
            "status": coding.standing(run),
        }
        observed = coding.observed_at(run)
        if observed is not None:
            # FHIR knows no time without a zone: then the day.
            told = observed.isoformat(timespec="seconds") if observed.tzinfo else observed.date()
            self._about["effectiveDateTime"] = str(told)
        issued = coding.issued_at(run)
        if issued is not None:
            self._about["issued"] = issued.isoformat(timespec="milliseconds")

    def bundle(self) -> Resource:
        values = self._run["measurements"]
        resources = [
            ("DiagnosticReport", self._report(m["code"] for m in values)),
            ("Patient", self._patient()),
            ("Specimen", self._specimen()),
            ("Device", self._device()),
            *([("Organization", self._clinic())] if self._run.get("clinic") else ()),
            *(
                (f"Observation {m['code']}", self._observation(m))
                for m in self._run["measurements"]
            ),
        ]
        version = self._run.get("version")
        of = self._space if version is None else uuid5(self._space, self._run["digest"])
        return {
            "resourceType": "Bundle",
            "identifier": {"system": "urn:ietf:rfc:3986", "value": of.urn},
            "type": "collection",
            **({"timestamp": self._about["issued"]} if "issued" in self._about else {}),
            "entry": [{"fullUrl": self._urn(name), "resource": one} for name, one in resources],
        }

    def _urn(self, name: str) -> str:
        return uuid5(self._space, name).urn

    def _refer(self, name: str) -> Resource:
        return {"reference": self._urn(name)}

    def _resource(self, kind: str, **content: Any) -> Resource:
        """Make a resource; what is None or empty is left out, as FHIR demands."""
        version = self._run.get("version")
        meta: Resource = {} if version is None else {"versionId": str(version)}
        if self._run["simulated"]:
            meta["security"] = [TEST_DATA]
        marks = {"meta": meta} if meta else {}
        kept = {key: value for key, value in content.items() if value not in (None, "", [], {})}
        return {"resourceType": kind, **marks, **kept}

    def _patient(self) -> Resource:
        run = self._run
        species = run["species"] or "unknown"
        known = coding.SNOMED_SPECIES.get(species)
        animal: list[Resource] = [
            {"url": "species", "valueCodeableConcept": _concept(species, _SNOMED, known)}
        ]
        if coding.plain(run["breed"]):
            animal.append(
                {"url": "breed", "valueCodeableConcept": {"text": coding.plain(run["breed"])}}
            )
        key, name = coding.plain(run["patient_id"]), coding.plain(run["patient_name"])
        return self._resource(
            "Patient",
            extension=[{"url": ANIMAL, "extension": animal}],
            identifier=[{"value": key}] if key else None,
            name=[{"text": name}] if name else None,
        )

    def _specimen(self) -> Resource:
        sample = coding.plain(self._run["sample_id"])
        return self._resource(
            "Specimen",
            identifier=[{"value": sample}] if sample else None,
            type=_concept("blood", _SNOMED, coding.BLOOD_SPECIMEN),
            subject=self._about["subject"],
        )

    def _device(self) -> Resource:
        run = self._run
        model = coding.plain(run["instrument_model"])
        name = model or coding.plain(run["instrument"]) or "analyzer"
        return self._resource(
            "Device",
            deviceName=[{"name": name, "type": "model-name" if model else "user-friendly-name"}],
            serialNumber=coding.plain(run["instrument_serial"]),
            version=[{"type": {"text": "firmware"}, "value": coding.plain(run["firmware"])}]
            if coding.plain(run["firmware"])
            else None,
        )

    def _clinic(self) -> Resource:
        return self._resource("Organization", name=coding.plain(self._run["clinic"]))

    def _observation(self, measurement: Mapping[str, Any]) -> Resource:
        code, run = measurement["code"], self._run
        value = coding.number(code, measurement["value"]) if coding.reportable(run) else None
        content: Resource = {
            "category": [_concept("laboratory", _CATEGORY, "laboratory")],
            "code": _concept(
                wording.MEASUREMENT_NAMES.get(code, code), _LOINC, coding.LOINC.get(code)
            ),
            **self._about,
            "status": _OBSERVED.get(self._about["status"], self._about["status"]),
            "method": {"text": measurement["method"]},
            "specimen": self._refer("Specimen"),
            "device": self._refer("Device"),
        }
        if value is None:
            reason = coding.why_not(run, measurement)
            absent = "error" if not coding.reportable(run) else "not-performed"
            content["dataAbsentReason"] = _concept(coding.plain(reason), _ABSENT, absent)
            return self._resource("Observation", **content)
        unit = measurement["unit"]
        content["valueQuantity"] = _quantity(value, unit)
        content["note"] = [
            {"text": coding.plain(text)}
            for text in (*coding.remarks(run, measurement), *coding.said(run, code))
        ]
        if (beside := coding.beside(run, code)) is not None:
            ends = {end: coding.number(code, beside["reference"][end]) for end in ("low", "high")}
            content["referenceRange"] = [
                {
                    **{end: _quantity(bound, unit) for end, bound in ends.items() if bound},
                    "text": coding.plain(coding.interval_source(beside)),
                }
            ]
            content["interpretation"] = [
                {"coding": [{"system": _INTERPRETATION, "code": beside["mark"] or "N"}]}
            ]
        low, high = (coding.number(code, measurement[end]) for end in ("low", "high"))
        if low is not None and high is not None:
            content["component"] = [
                {
                    "code": {"text": "95 % confidence interval"},
                    "valueRange": {"low": _quantity(low, unit), "high": _quantity(high, unit)},
                }
            ]
        return self._resource("Observation", **content)

    def _report(self, codes: Iterable[str]) -> Resource:
        run = self._run
        return self._resource(
            "DiagnosticReport",
            identifier=[{"system": f"urn:uuid:{self._origin.epoch}", "value": str(run["id"])}],
            category=[_concept("haematology", _SECTION, "HM")],
            code=_concept("complete blood count", _LOINC, coding.CBC_PANEL),
            **self._about,
            performer=[self._refer("Organization")] if run.get("clinic") else None,
            specimen=[self._refer("Specimen")],
            result=[self._refer(f"Observation {code}") for code in codes],
            conclusion=coding.plain(_conclusion(run)),
        )


def _conclusion(run: Mapping[str, Any]) -> str:
    """Headline, flags with their next actions, and what made the calls."""
    said = [": ".join(filter(None, (coding.headline(run), coding.reason(run))))]
    if run["simulated"]:
        said.insert(0, f"{wording.SIMULATED}: not a patient's result")
    for flag in run["flags"]:
        action = f" Next: {flag['action']}" if flag["action"] else ""
        said.append(f"{wording.SEVERITIES[flag['severity']]}: {flag['message']}.{action}")
    said += coding.comments(run)
    said += coding.said(run)
    said.append(f"Called by {run['model']} through profile {run['profile']}.")
    return "\n".join(said)


def _concept(text: str, system: str, code: str | None) -> Resource:
    coded = {"coding": [{"system": system, "code": code}]} if code else {}
    return {**coded, "text": text}


def _quantity(value: str, unit: str) -> Resource:
    number = float(value) if "." in value else int(value)
    return {"value": number, "unit": unit, "system": _UCUM, "code": unit}
