"""The page on the real server, over TLS, beside a box that enrols and sends."""

import json
import ssl
import time

from edge_daemon.canonical import canonical, digest
from edge_daemon.central.audit import Actor
from edge_daemon.central.roster import Roster
from edge_daemon.sync import protocol
from edge_daemon.sync.protocol import Item
from tests.central.fleet.visiting import PASSWORD, Caller
from tests.central.fleet.world import EPOCH

AT = "2026-11-28T04:00:00Z"


def test_what_a_box_sends_is_on_the_page_within_seconds(running, tmp_path):
    clinic = running.store.add_clinic("First")
    Roster(running.store.engine, Actor("root", "command")).add(
        "ada", "clinic", clinic_id=clinic, password=PASSWORD
    )
    box = running.connect(running.enrol(tmp_path / "box", clinic, "Room 1"))
    body = {
        "schema": 1, "instrument": "an", "capture": "a" * 64, "simulated": True, "number": 1,
        "profile": "acme/1.0", "model": "m@1", "status": "ok", "flags": [], "measurements": [],
        "sample": {"sample_id": "S-1", "species": "dog"}, "counts": {},
    }  # fmt: skip
    item = Item(1, digest(canonical(body)), "run.simulated", 1, AT, "unknown", body)
    headers, payload = protocol.pack(EPOCH, [(1, item.line())], clock="unknown", encoding="gzip")
    answer = box.call("POST", protocol.INGEST, headers=headers, body=payload)
    assert json.loads(answer.body)["results"][0]["status"] == "stored"
    told = {"version": "9.9.9", "health": {"state": "ok", "conditions": []}}
    kind = {"Content-Type": "application/json"}
    assert (
        box.call("POST", "/v1/health", headers=kind, body=json.dumps(told).encode()).status == 204
    )

    context = ssl.create_default_context(cafile=str(running.fleet))
    browser = Caller(running.url, context=context)
    answer = browser.sign_in("ada")
    assert answer.status == 303
    assert "; Secure" in answer.headers["Set-Cookie"]
    assert "version 9.9.9" in browser.get("/").shown
    deadline = time.monotonic() + 60
    while not (found := browser.get("/api/v1/results").json["results"]):
        assert time.monotonic() < deadline, "the result never came"
        time.sleep(0.05)
    assert [(r["sample_id"], r["simulated"]) for r in found] == [("S-1", True)]
    assert "SIMULATED" in browser.get("/results").shown
    # A person's sign-in is no box's, and a box's certificate no person's.
    assert browser.ask("POST", "/v1/health", "{}", Content_Type="application/json").status == 401
    assert box.call("GET", "/api/v1/results", headers={}).status == 401
