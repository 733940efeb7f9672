"""The paged FHIR feed of the API: every bundle once, and of one's own clinics alone."""

from __future__ import annotations

import json
import re

import pytest
from fhir.resources.R4B.bundle import Bundle

from tests.central.feeds.conftest import Centre, run_body, said_body
from tests.central.fleet.visiting import Caller, served


@pytest.fixture
def caller(url, world):
    """Two clinics with results, and programs that read: of the first clinic, and of all."""
    from contextlib import closing

    from edge_daemon.central.reading import Reader

    with closing(Reader(url)) as reader, served(world.store, url) as address:
        centre = Centre(world.store, reader)
        one, two = centre.box("One"), centre.box("Two")
        for number in range(4):
            centre.send(one, ("run", run_body(number)))
            centre.send(two, ("run", run_body(number)))
        centre.send(one, ("note", said_body("note")), ("run", run_body(8, simulated=True)))
        world.roster.add("lis", "clinic", clinic_id=one.clinic_id)
        world.roster.add("lab", "operator")
        yield {
            name: Caller(address, token=world.roster.add_token(name, "feed"))
            for name in ("lis", "lab")
        }


def bundles(caller, **query):
    """Follow the pages to their end."""
    path, found = "/api/v1/fhir?limit=3" + "".join(f"&{k}={v}" for k, v in query.items()), []
    while True:
        answer = caller.ask("GET", path)
        assert answer.status == 200, answer.text
        assert answer.headers["Content-Type"] == "application/fhir+ndjson"
        lines = answer.text.splitlines()
        if not lines:
            return found
        assert len(lines) <= 3
        found += map(json.loads, lines)
        path = re.fullmatch(r'<(.*)>; rel="next"', answer.headers["Link"])[1]


def clinics(found):
    return {
        entry["resource"]["name"]
        for bundle in found
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "Organization"
    }


def test_pages_hold_every_bundle_once_and_only_of_ones_own_clinics(caller):
    mine = bundles(caller["lis"])
    for bundle in mine:
        Bundle.model_validate(bundle)
    assert len(mine) == 5
    assert len({bundle["identifier"]["value"] for bundle in mine}) == 5
    assert [b["entry"][0]["resource"]["status"] for b in mine] == ["final"] * 4 + ["appended"]
    assert clinics(mine) == {"One"}
    everything = bundles(caller["lab"])
    assert len(everything) == 9
    assert clinics(everything) == {"One", "Two"}
    assert clinics(bundles(caller["lab"], clinic=2)) == {"Two"}
    assert bundles(caller["lis"], clinic=2) == []


def test_what_is_wrong_is_said_and_nobody_reads_without_a_token(caller):
    wrong = caller["lis"].ask("GET", "/api/v1/fhir?after_id=soon")
    assert wrong.status == 422
    assert "after_id" in wrong.text
    caller["lis"].token = "edge_no"
    assert caller["lis"].ask("GET", "/api/v1/fhir").status == 401
