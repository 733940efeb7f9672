"""Batches: stored once, answered item by item, each clinic apart."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from edge_daemon.canonical import canonical, digest
from edge_daemon.central import schema
from edge_daemon.sync import protocol
from edge_daemon.sync.protocol import Item

EPOCH = "0b9c52d2-6d24-4b64-9a5a-6f6c1d5a8f10"
OTHER_EPOCH = "1b9c52d2-6d24-4b64-9a5a-6f6c1d5a8f10"


def item(seq, body=None, kind="run.clinical", **changes):
    body = {"run": seq, "simulated": kind.endswith("simulated")} if body is None else body
    made = Item(seq, digest(canonical(body)), kind, 1, "2026-11-28T04:00:00Z", "unknown", body)
    return replace(made, **changes)


@pytest.fixture
def box(running, tmp_path):
    return running.connect(running.enrol(tmp_path / "box"))


def send(server, items, epoch=EPOCH, encoding="zstd", **changes):
    lines = [(one.seq, one.line()) for one in items]
    headers, payload = protocol.pack(epoch, lines, clock="unknown", encoding=encoding)
    return server.call("POST", protocol.INGEST, headers=headers | changes, body=payload)


def told(answer):
    assert answer.status == 200, answer.body
    return {
        r["seq"]: (r["status"] if not r["code"] else f"{r['status']} {r['code']}")
        for r in json.loads(answer.body)["results"]
    }


def stored(running):
    with running.store._engine.connect() as db:
        return [tuple(r) for r in db.execute(text("SELECT seq, digest, body FROM documents ORDER BY id"))]  # fmt: skip  # noqa: E501


def test_each_item_is_stored_once_and_answered_by_itself(running, box):
    good, broken = item(1), item(2, digest="0" * 64)
    assert told(send(box, [good, broken, item(3, kind="gossip.clinical")])) == {
        1: "stored",
        2: "rejected digest",
        3: "rejected type",
    }
    assert told(send(box, [good, item(4)], encoding="gzip")) == {1: "duplicate", 4: "stored"}
    assert [(seq, d) for seq, d, _ in stored(running)] == [(1, good.digest), (4, item(4).digest)]
    assert stored(running)[0][2] == canonical(good.body)


def test_another_document_under_the_same_number_is_a_conflict(running, box):
    assert told(send(box, [item(1)])) == {1: "stored"}
    assert told(send(box, [item(1, {"run": "other"})])) == {1: "rejected conflict"}
    assert len(stored(running)) == 1


def test_a_restored_box_sends_again_under_a_new_epoch_without_doubling(running, box):
    assert told(send(box, [item(1), item(2)])) == {1: "stored", 2: "stored"}
    again = [replace(item(2), seq=1), replace(item(1), seq=2), item(3)]
    assert told(send(box, again, epoch=OTHER_EPOCH)) == {
        1: "duplicate",
        2: "duplicate",
        3: "stored",
    }
    assert len(stored(running)) == 3


def test_two_boxes_with_the_same_document_are_two(running, box, tmp_path):
    other = running.connect(running.enrol(tmp_path / "other"))
    assert told(send(box, [item(1)])) == told(send(other, [item(1)])) == {1: "stored"}
    assert len(stored(running)) == 2


def test_the_simulated_mark_cannot_be_lost_on_the_way(running, box):
    liar = item(1, {"run": 1, "simulated": True})
    assert told(send(box, [liar, item(2, kind="run.simulated")])) == {
        1: "rejected simulated",
        2: "stored",
    }


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Digest": "sha-256=:AAAA:"}, 400),
        ({"Edge-Epoch": OTHER_EPOCH}, 400),
        ({"Idempotency-Key": f"{EPOCH}:1-9"}, 400),
    ],
)
def test_a_batch_that_is_none_stores_nothing(running, box, changes, status):
    answer = send(box, [item(1)], **changes)
    assert answer.status == status
    assert set(json.loads(answer.body)) == {"code", "message"}
    assert stored(running) == []


@pytest.mark.parametrize("text", ["\0", "a\ud800", "2026\n"])
def test_words_that_no_database_can_hold_are_refused_before_it(running, box, text):
    """What only a forger sends: each of these would be an error of the database."""
    broken = json.dumps(json.loads(item(1).line()) | {"created_at": text}).encode() + b"\n"
    headers, payload = protocol.pack(EPOCH, [(1, broken)], clock="unknown")
    assert box.call("POST", protocol.INGEST, headers=headers, body=payload).status == 400
    assert stored(running) == []


@pytest.mark.parametrize("capture", ["\0", "a" * 65, "a" * 63 + "\0", 7, None, ["a"]])
def test_a_capture_that_is_no_digest_is_kept_in_the_document_alone(running, box, capture):
    assert told(send(box, [item(1, {"run": 1, "simulated": False, "capture": capture})])) == {
        1: "stored"
    }
    with running.store._engine.connect() as db:
        assert db.execute(text("SELECT capture FROM documents")).scalar() == ""


def test_one_document_under_two_numbers_of_one_batch_is_stored_once(running, box):
    twice = [item(1), replace(item(1), seq=2), item(3)]
    assert told(send(box, twice)) == {1: "stored", 2: "duplicate", 3: "stored"}
    assert len(stored(running)) == 2


def test_a_body_over_the_limit_is_not_read_to_its_end(box):
    answer = box.call("POST", protocol.INGEST, headers={}, body=b"x" * (protocol.MAX_BYTES + 1))
    assert answer.status == 413


def test_without_a_certificate_nothing_is_taken(running):
    assert send(running.connect(None), [item(1)]).status == 401
    assert stored(running) == []


def test_a_revoked_box_is_refused_from_then_on(running, tmp_path):
    who = running.enrol(tmp_path / "box")
    server = running.connect(who)
    assert told(send(server, [item(1)])) == {1: "stored"}
    assert running.store.revoke(who.device)
    assert send(server, [item(2)]).status == 403
    assert len(stored(running)) == 1


def test_in_postgresql_a_clinic_cannot_read_or_write_another(running, box, tmp_path, database):
    """The policy holds even for a query that forgets to ask for the clinic."""
    if database is None:
        pytest.skip("SQLite has no row-level security")
    other = running.connect(running.enrol(tmp_path / "other"))
    send(box, [item(1)])
    send(other, [item(2)])
    engine = create_engine(database)
    with engine.connect() as db:
        clinics = dict(tuple(r) for r in db.execute(text("SELECT seq, clinic_id FROM documents")))
        assert len(set(clinics.values())) == 2
        db.rollback()
        for seq, clinic in clinics.items():
            with db.begin():
                schema.isolate(db, clinic)
                for table in ("documents", "receipts"):
                    assert list(db.execute(text(f"SELECT seq FROM {table}"))) == [(seq,)]
                assert db.execute(text("UPDATE documents SET body = '{}'")).rowcount == 1
                assert db.execute(text("SELECT count(*) FROM devices")).scalar() == 1
        intrusion = text(
            "INSERT INTO raw_objects (clinic_id, sha256, size, stored_at) "
            "VALUES (:other, 'x', 1, now())"
        )
        schema.isolate(db, clinics[1])
        with pytest.raises(ProgrammingError, match="row-level security"):
            db.execute(intrusion, {"other": clinics[2]})
        db.rollback()
        with db.begin():
            db.execute(text(f"SET LOCAL ROLE {schema.APP_ROLE}"))
            assert list(db.execute(text("SELECT seq FROM documents"))) == []
    engine.dispose()
