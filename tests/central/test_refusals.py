"""Who must not come in does not: refused, told to the operator, and nothing leaks."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from edge_daemon.central import authority
from edge_daemon.central.alarms import AGAIN_S
from edge_daemon.central.authority import Authority
from edge_daemon.log import EventLog
from edge_daemon.sync import protocol
from edge_daemon.sync.http import Server
from edge_daemon.sync.policy import TroubleError
from tests.central.test_ingest import EPOCH, item, send, told


def ask(server, path="/v1/raw/" + "0" * 64, method="HEAD"):
    return server.call(method, path, headers={})


def rows(running, query):
    with running.store.engine.connect() as db:
        return [tuple(row) for row in db.execute(text(query))]


def audited(running):
    """Who was refused, and why, as the audit trail has it."""
    found = rows(running, "SELECT actor, clinic_id, details, action FROM audit ORDER BY id")
    return [
        (who, clinic, json.loads(details)["reason"])
        for who, clinic, details, action in found
        if action == "box_refused"
    ]


def until_audited(running, expected, seconds=30.0):
    """A refused handshake is told by a thread of its own."""
    deadline = time.monotonic() + seconds
    while audited(running) != expected:
        assert time.monotonic() < deadline, audited(running)
        time.sleep(0.02)


@pytest.fixture
def events(running):
    """Reads the events of the server so far."""
    stream = io.StringIO()
    running.server.config.loaded_app.state.alarms._log = EventLog(stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def database():
    """SQLite: what is tried here lies before the database."""


@pytest.fixture
def boxes(running, tmp_path):
    """Two boxes of two clinics, and their connections."""
    who = [running.enrol(tmp_path / name, name=name) for name in ("ours", "other")]
    return [(one, running.connect(one)) for one in who]


def certificate_of(running, tmp_path, signer, device="stranger"):
    """A box's key with a certificate that somebody else has signed for it."""
    from tests.central.centre import _key_and_request

    key, request = _key_and_request()
    made = tmp_path / f"{device}.pem"
    made.write_text(key + signer.sign(request, device).pem)
    return made


def test_a_box_of_another_fleet_gets_no_request_through(running, tmp_path, events):
    stranger = Authority.create(tmp_path / "stranger", "another fleet")
    certificate = certificate_of(running, tmp_path, stranger)
    server = Server(running.url, fleet=running.fleet, certificate=certificate)
    with pytest.raises(TroubleError):
        ask(server)
    server.close()
    until_audited(running, [("an unknown caller", None, "tls")])
    assert [one["error_type"] for one in events()] == ["tls"]


def test_a_certificate_that_has_ended_gets_no_request_through(running, tmp_path, monkeypatch):
    fleet = Authority.load(running.folder)
    monkeypatch.setattr(authority, "_now", lambda: datetime.now(UTC) - timedelta(days=91))
    certificate = certificate_of(running, tmp_path, fleet, "late")
    server = Server(running.url, fleet=running.fleet, certificate=certificate)
    with pytest.raises(TroubleError):
        ask(server)
    server.close()
    until_audited(running, [("an unknown caller", None, "tls")])


def test_a_certificate_of_the_fleet_that_is_no_boxs_is_refused(running, tmp_path):
    """As after the loss of fleet.key: who has it can sign, but nobody has enrolled such a box."""
    certificate = certificate_of(running, tmp_path, Authority.load(running.folder), "nobody")
    server = Server(running.url, fleet=running.fleet, certificate=certificate)
    assert send(server, [item(1)]).status == 401
    server.close()
    assert audited(running) == [("127.0.0.1", None, "certificate")]


def test_a_revoked_box_is_told_of_once_an_hour(running, boxes, events):
    (who, server), _ = boxes
    running.store.revoke(who.device)
    for _ in range(3):
        answer = send(server, [item(1)])
        assert answer.status == 403
        assert json.loads(answer.body) == {"code": "revoked", "message": "this box is revoked"}
    (one,) = audited(running)
    assert one[0] == "ours"
    assert one[1] is not None
    assert one[2] == "revoked"
    (event,) = events()
    assert (event["error_type"], event["device"]) == ("revoked", who.device)
    alarms = running.server.config.loaded_app.state.alarms
    alarms._told = type(alarms._told)((key, at - AGAIN_S - 1) for key, at in alarms._told.items())
    send(server, [item(1)])
    assert len(audited(running)) == 2


def test_claim_codes_cannot_be_tried_out(running, tmp_path):
    from tests.central.centre import _key_and_request

    _, request = _key_and_request()
    body = json.dumps({"code": "guess", "request": request}).encode()
    for connection in range(12):  # from one address, however many connections that takes
        server = running.connect(None)
        answer = server.call("POST", "/v1/enrol", headers={}, body=body)
        assert answer.status == (403 if connection < 10 else 429)
        assert b"clinic" not in answer.body
    assert audited(running) == [("127.0.0.1", None, "claim")]


def test_without_a_certificate_there_is_no_answer_about_anything(running):
    server = running.connect(None)
    assert ask(server).status == 401
    assert send(server, [item(1)]).status == 401
    assert audited(running) == [("127.0.0.1", None, "nobody")]


def test_a_replayed_batch_changes_nothing_and_is_its_senders_alone(running, boxes):
    (_, ours), (_, other) = boxes
    batch = [item(1), item(2)]
    assert told(send(ours, batch)) == {1: "stored", 2: "stored"}
    assert told(send(ours, batch)) == {1: "duplicate", 2: "duplicate"}
    # The same bytes from another box are that box's own documents, of its own clinic.
    answer = send(other, batch)
    assert told(answer) == {1: "stored", 2: "stored"}
    kept = rows(running, "SELECT device_id, clinic_id, seq FROM documents")
    assert len(kept) == len({(device, seq) for device, _, seq in kept}) == 4
    assert len({(device, clinic) for device, clinic, _ in kept}) == 2
    assert audited(running) == []


def test_forged_documents_are_refused_and_told_of(running, boxes):
    (_, ours), _ = boxes
    assert told(send(ours, [item(1)])) == {1: "stored"}
    forged = [
        item(1, {"run": "other"}),
        item(2, digest="0" * 64),
        item(3, {"run": 3, "simulated": True}),
        item(4, kind="gossip.clinical"),
    ]
    assert set(told(send(ours, forged)).values()) == {
        "rejected conflict",
        "rejected digest",
        "rejected simulated",
        "rejected type",
    }
    assert [reason for _, _, reason in audited(running)] == [
        "conflict",
        "digest",
        "simulated",
        "type",
    ]
    ((body,),) = rows(running, "SELECT body FROM documents")
    assert json.loads(body)["run"] == 1


def test_a_batch_that_was_changed_on_the_way_is_refused_and_told_of(running, boxes):
    (_, ours), _ = boxes
    lines = [(1, item(1).line())]
    headers, payload = protocol.pack(EPOCH, lines, clock="unknown")
    changed = payload[:-1] + bytes([payload[-1] ^ 1])
    answer = ours.call("POST", protocol.INGEST, headers=headers, body=changed)
    assert answer.status == 400
    assert [reason for _, _, reason in audited(running)] == ["request"]


def test_with_another_boxs_identifiers_nothing_of_it_is_seen_or_changed(running, boxes):
    (_, ours), (_, other) = boxes
    assert told(send(ours, [item(n) for n in range(1, 8)])) == dict.fromkeys(range(1, 8), "stored")
    # Its epoch and numbers, with other documents: no conflict says that they are there.
    answer = send(other, [item(1, {"run": "other"}), item(2, {"run": "other 2"})])
    assert told(answer) == {1: "stored", 2: "stored"}
    assert json.loads(answer.body)["acked_through"] == 2
    # A raw capture of the other clinic is as unknown as any, and its upload cannot be gone on with.
    data = b"raw" * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    part = {"Content-Range": f"bytes 0-{len(data) - 2}/{len(data)}"}
    assert ours.call("PUT", f"/v1/raw/{sha256}", headers=part, body=data[:-1]).status == 200
    assert ask(ours, f"/v1/raw/{sha256}").headers["upload-offset"] == str(len(data) - 1)
    assert ask(other, f"/v1/raw/{sha256}").headers["upload-offset"] == "0"
    last = {"Content-Range": f"bytes {len(data) - 1}-{len(data) - 1}/{len(data)}"}
    assert other.call("PUT", f"/v1/raw/{sha256}", headers=last, body=data[-1:]).status == 409
    assert ours.call("PUT", f"/v1/raw/{sha256}", headers=last, body=data[-1:]).status == 201
    assert (ask(ours, f"/v1/raw/{sha256}").status, ask(other, f"/v1/raw/{sha256}").status) == (
        200,
        404,
    )


def test_errors_name_nothing_of_what_is_inside(running, boxes):
    (_, ours), _ = boxes
    answers = [
        ours.call("GET", "/v1/ingest", headers={}),
        ours.call("GET", "/v1/boxes", headers={}),
        ours.call("POST", protocol.INGEST, headers={"Content-Type": protocol.NDJSON}, body=b"\xff"),
        send(ours, [replace(item(1), seq=0)]),
    ]
    # What is no path of a box is the people's site: without a session it says only that.
    assert [answer.status for answer in answers] == [401, 401, 400, 400]
    for answer in answers:
        assert b"Traceback" not in answer.body
        assert b"/" not in answer.body.replace(b"application/x-ndjson", b"")


def test_alarms_of_many_callers_are_kept_within_bounds(running):
    alarms = running.server.config.loaded_app.state.alarms
    threads = [
        threading.Thread(target=alarms.refused, args=("nobody",), kwargs={"peer": "192.0.2.1"})
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(audited(running)) == 1


def test_the_server_speaks_no_older_tls(running):
    context = running.server.config.ssl
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
