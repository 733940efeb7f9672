"""What people and programs ask of a large fleet (`crowd`), each question with who asks it."""

from __future__ import annotations

from typing import Final

from tests.central.fleet.crowd import RARE_FLAG, RARE_KIND, RARE_SPECIES, Size

BOX: Final = "10000000-0000-4000-8000-000000000002"


def asked(size: Size) -> list[tuple[str, str]]:
    """List users and addresses: every page, every call of the API, and the hard ones of each."""
    middle = size.documents // 2
    run = 1000 + middle - middle // size.boxes % 10 * size.boxes  # a box's first of ten documents
    everybody = [
        "/",
        "/results",
        f"/results?text=s{0:06d}",
        "/results?text=s",
        "/results?text=nothing-of-this-name",
        "/results?species=horse&status=invalid",
        "/results?flag=platelets_count_limited",
        "/results?flag=no_rbc_peak&species=cat",
        "/results?simulated=true",
        "/api/v1/boxes?limit=200",
        "/api/v1/results?limit=200",
        "/api/v1/drift",
        "/api/v1/clinics",
        "/api/v1/fhir?limit=50",
        "/agreement?days=90",
        "/updates",
        "/audit",
        "/audit?action=noted",
        "/audit?action=box_refused",
        "/audit?action=rollout_halted",
    ]
    found = [(user, path) for user in ("ops", "chief", "vet") for path in everybody]
    found += [
        ("ops", path)
        for path in (
            f"/results?species={RARE_SPECIES}",
            f"/results?instrument={RARE_KIND}",
            f"/results?flag={RARE_FLAG}",
            "/results?flag=nothing_of_this_name",
            "/results?instrument=nothing-of-this-name",
            "/results?clinic=1003&status=invalid",
            f"/results?box={BOX}",
            "/results?since=2020-01-01&until=2020-01-02",
            "/agreement?days=90&species=horse",
            f"/agreement?days=90&instrument={RARE_KIND}",
            f"/boxes/{BOX}",
            f"/results/{run}",
            f"/api/v1/boxes/{BOX}",
            f"/api/v1/boxes/{BOX}/history",
            f"/api/v1/results/{run}",
            f"/api/v1/fhir?limit=50&after_id={middle}",
            f"/audit?before_id={size.documents // 50}",
        )
    ]
    found += [
        ("vet", path)
        for path in (
            f"/boxes/{BOX.replace('2', '1')}",
            "/results?since=2020-01-01&until=2020-01-02",
        )
    ]
    return found


EXPORTS: Final = (
    ("ops", "/api/v1/exports/results.csv?flag=no_rbc_peak"),
    ("vet", "/api/v1/exports/results.csv"),
    ("vet", "/api/v1/exports/results.jsonl?species=cat"),
)
