"""Put the reports of one run together, and beside our own values: pure, on rows.

An analyzer may send a sample's values in several transmissions (reticulocytes later, a corrected
count). All of them are kept; of each value the newest that says something stands for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SPECIES_DIFFERS: Final = "species_differs"

_ACTIONS: Final = {
    "patient_differs": "check whose sample it is before reporting either result",
    "species_differs": "check the species on the analyzer and the sample; correct it and replay",
    "analyzer_differs": "nothing, where two analyzers measured the sample",
    "control_material": "read this run as a control, not as a patient's result",
    "other_analyzer": "give the sources of one analyzer the same `instrument` if they are one",
}


def merge(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Take of each value the newest line that says something.

    Parameters
    ----------
    reports
        With ``id``, ``amends`` and ``values``, oldest first.

    Returns
    -------
    list of dict
        Lines as in ``values`` with ``report_id``, in the order they were first sent. A line
        without a number replaces one with a number only where its report amends; a name that
        stands for no measurand of ours is its own.
    """
    chosen: dict[str, dict[str, Any]] = {}
    for report in reports:
        fresh: dict[str, dict[str, Any]] = {}
        for line in report["values"]:
            key = line["code"] or f"name {line['name']}"
            known = fresh.get(key)
            if known is None or (known["value"] is None and line["value"] is not None):
                fresh[key] = {**line, "report_id": report["id"]}
        for key, line in fresh.items():
            before = chosen.get(key)
            if (
                before is None
                or line["value"] is not None
                or (before["value"] is None and line["text"])
                or (report["amends"] and line["text"])
            ):
                chosen[key] = line
    return list(chosen.values())


def compare(
    measurements: Iterable[Mapping[str, Any]], reported: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Lay the analyzer's values beside ours.

    Returns
    -------
    list of dict
        For each measurement of ours that the analyzer reports: ``code``, ``ours``,
        ``analyzer``, ``unit``, ``difference`` (ours − analyzer's) and ``percent`` of the
        analyzer's; the last two None where a number is missing or the units differ.
    """
    theirs = {line["code"]: line for line in reported if line["code"]}
    return [
        {"code": item["code"], **_difference(item, theirs[item["code"]])}
        for item in measurements
        if item["code"] in theirs
    ]


def _difference(ours: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    difference = percent = None
    if None not in (ours["value"], line["value"]) and ours["unit"] == line["unit"]:
        difference = ours["value"] - line["value"]
        percent = 100.0 * difference / line["value"] if line["value"] else None
    return {
        "ours": ours["value"],
        "analyzer": line["value"],
        "unit": ours["unit"],
        "difference": difference,
        "percent": percent,
        "flags": line["flags"],
    }


def remark(
    run: Mapping[str, Any],
    joined: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
    code: str,
) -> dict[str, Any]:
    """Say why a report of the same sample and time is not compared, as a flag would.

    It contradicts the run, or what is compared with the run (`joined`).
    """
    who = f"the analyzer's report {report['id']} of this sample"

    def known(of: Callable[[Mapping[str, Any]], str | None]) -> str:
        if (own := of(run)) is not None:
            return f"this run {own}"
        return next((f"its report {r['id']} {told}" for r in joined if (told := of(r))), "this run")

    message = {
        "patient_differs": f"{who} is for patient {_patient(report)}, {known(_for_patient)}",
        "species_differs": f"{who} says {report['species']}, {known(lambda r: r['species'])}",
        "analyzer_differs": f"{who} comes from serial number {report['instrument_serial']}, "
        f"{known(_from_serial)}",
        "control_material": f"{who} is of control material",
        "other_analyzer": f"{who} came through instrument {report['instrument']}, "
        f"this run through {run['instrument']}",
    }[code]
    return {
        "code": code,
        "severity": "review" if code in ("patient_differs", SPECIES_DIFFERS) else "info",
        "message": message,
        "action": _ACTIONS[code],
        "report_id": report["id"],
    }


def suspicion(run: Mapping[str, Any], reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Remark where our cells look like another species and the analyzer repeats the one entered."""
    suspected = next((f for f in run["flags"] if f["code"] == "species_suspected"), None)
    agreed = next((r for r in reports if r["species"]), None)
    if suspected is None or agreed is None:
        return []
    return [
        {
            "code": SPECIES_DIFFERS,
            "severity": "review",
            "message": f"the analyzer's report {agreed['id']} says {agreed['species']} too; "
            f"{suspected['message']}",
            "action": "the analyzer's own values used the settings of that species: "
            "correct it and run the sample again",
            "report_id": agreed["id"],
        }
    ]


def _patient(record: Mapping[str, Any]) -> str | None:
    patient: str | None = record["patient_id"] or record["patient_name"] or None
    return patient


def _for_patient(record: Mapping[str, Any]) -> str | None:
    return f"for {patient}" if (patient := _patient(record)) else None


def _from_serial(record: Mapping[str, Any]) -> str | None:
    return f"from {serial}" if (serial := record["instrument_serial"]) else None
