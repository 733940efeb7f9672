"""Rollouts in a real database, from the operator's command to the box that takes the update."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from edge_daemon.central import audit, schema
from edge_daemon.central.audit import Actor
from edge_daemon.central.rollouts import Rollouts, word_of
from edge_daemon.central.store import CentralStore
from edge_daemon.cli import cli
from edge_daemon.errors import EdgeError, Fatal
from edge_daemon.updates.describing import word
from edge_daemon.updates.desk import Desk
from edge_daemon.updates.errors import UpdateError
from edge_daemon.updates.online import place_of, repository_of
from edge_daemon.updates.places import own_plan
from tests.updates.conftest import Signed, TestClock

ITEM = "intervals/dog@1.0.0"
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
NOW = datetime.now(UTC)


@pytest.fixture
def store(database, tmp_path):
    made = CentralStore(database or f"sqlite:///{tmp_path / 'central.sqlite3'}")
    made.by = Actor("tester", "command")
    made.create()
    yield made
    made.close()


def add_boxes(store, ring: int, number: int) -> list[str]:
    """Let boxes in and pin them to a ring."""
    clinic = store.add_clinic(f"clinic of ring {ring}")
    names = [f"{ring}-{n}" for n in range(number)]
    with store.engine.begin() as db:
        for name in names:
            row = {"id": name, "clinic_id": clinic, "name": name, "certificate_sha256": name}
            db.execute(
                schema.devices.insert().values(
                    **row, not_after=NOW, enrolled_at=NOW, seen_at=datetime.now(UTC)
                )
            )
    for name in names:
        store.rollouts().pin(name, ring)
    return names


def say(store, names, **said):
    """Let boxes tell how they are."""
    told = {"item": "intervals/dog", "version": None, "candidate": None, "samples": 0} | said
    body = json.dumps({"updates": {"items": [{"blocked": [], **told}], "unneeded": []}})
    with store.engine.begin() as db:
        for name in names:
            clinic = db.execute(
                select(schema.devices.c.clinic_id).where(schema.devices.c.id == name)
            ).scalar_one()
            db.execute(schema.health.delete().where(schema.health.c.device_id == name))
            db.execute(
                schema.health.insert().values(
                    device_id=name, clinic_id=clinic, received_at=NOW, body=body
                )
            )


ON_POSTGRES = pytest.mark.parametrize("database", ["postgres"], indirect=True)


@ON_POSTGRES
def test_what_the_fleet_took_back_meanwhile_is_not_halted_only(store):
    """A halted rollout can be resumed; one that failed never."""
    store.rollouts().start(ITEM, hours=48.0, max_failed_percent=2.0)
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with ThreadPoolExecutor(1) as pool:
        with store.engine.begin() as db:
            db.execute(select(schema.rollouts).with_for_update())
            db.execute(schema.rollouts.update().values(state="rolled_back"))
            asked = pool.submit(store.rollouts().set_state, ITEM, "halted", "by hand")
            while not asked.done():
                with store.engine.begin() as other:
                    if other.execute(waiting).scalar_one():
                        break
        with pytest.raises(EdgeError, match="rolled back"):
            asked.result(30)
    assert store.rollouts().describe()[0]["state"] == "rolled_back"


def actions(store) -> list[str]:
    with store.engine.begin() as db:
        return [
            row.action
            for row in db.execute(select(schema.audit).order_by(schema.audit.c.id))
            if row.action.startswith("rollout")
        ]


def test_a_rollout_opens_ring_by_ring_and_ends(store):
    first, second = add_boxes(store, 0, 2), add_boxes(store, 1, 2)
    rollouts = store.rollouts()
    rollouts.start(ITEM, hours=12, max_failed_percent=2)
    assert rollouts.plan(first[0])["may_take"] == [ITEM]
    assert rollouts.plan(second[0])["may_take"] == []
    say(store, first, version="1.0.0")
    rollouts.move(NOW)
    rollouts.move(NOW + timedelta(hours=11))
    assert rollouts.describe()[0]["ring"] == 0
    rollouts.move(NOW + timedelta(hours=13))
    assert rollouts.describe()[0]["ring"] == 1
    assert rollouts.plan(second[0])["may_take"] == [ITEM]
    say(store, second, version="1.0.0")
    for hours in range(14, 120, 6):
        rollouts.move(NOW + timedelta(hours=hours))
    assert rollouts.describe()[0]["state"] == "done"
    assert actions(store) == ["rollout_started", *["rollout_advanced"] * 3, "rollout_done"]


def test_failures_halt_it_and_every_box_is_told_to_give_it_back(store):
    first = add_boxes(store, 0, 4)
    rollouts = Rollouts(store.engine)
    store.rollouts().start(ITEM, hours=48, max_failed_percent=2)
    say(store, first[:3], version="1.0.0")
    say(store, first[3:], blocked=["1.0.0"])
    assert "1 of 4 boxes" in rollouts.plan(first[0])["give_back"][ITEM]
    assert rollouts.plan(first[0])["may_take"] == []
    with store.engine.begin() as db:
        newest = db.execute(select(schema.audit).order_by(schema.audit.c.id.desc())).first()
    assert (newest.action, newest.actor) == ("rollout_rolled_back", "the central server")
    assert newest.action in audit.ACTIONS
    with pytest.raises(EdgeError, match="rolled back"):
        store.rollouts().set_state(ITEM, "running", "")


def test_the_operator_halts_resumes_and_takes_back(store):
    first = add_boxes(store, 0, 1)
    rollouts = store.rollouts()
    rollouts.start(ITEM, hours=0, max_failed_percent=2)
    rollouts.set_state(ITEM, "halted", "a doubt")
    rollouts.move(NOW + timedelta(days=9))
    assert rollouts.plan(first[0])["may_take"] == []
    assert rollouts.plan(first[0])["give_back"] == {}
    with pytest.raises(EdgeError, match="is halted"):
        rollouts.set_state(ITEM, "halted", "")
    rollouts.set_state(ITEM, "running", "")
    assert rollouts.plan(first[0])["may_take"] == [ITEM]
    rollouts.set_state(ITEM, "rolled_back", "wrong figures")
    assert rollouts.plan(first[0])["give_back"] == {ITEM: "wrong figures"}
    with pytest.raises(EdgeError, match="already"):
        rollouts.start(ITEM, hours=0, max_failed_percent=2)
    rollouts.start("intervals/dog@1.0.1", hours=0, max_failed_percent=2)
    with pytest.raises(EdgeError, match="on its way"):
        rollouts.start("intervals/dog@1.0.2", hours=0, max_failed_percent=2)
    for bad in ("intervals/dog", "dog@1.0.0", ""):
        with pytest.raises(EdgeError):
            rollouts.start(bad, hours=0, max_failed_percent=2)


def test_a_box_can_be_pinned_and_let_go(store):
    (box,) = add_boxes(store, 3, 1)
    rollouts = store.rollouts()
    assert rollouts.plan(box)["ring"] == 3
    rollouts.pin(box, 0)
    assert rollouts.plan(box)["ring"] == 0
    rollouts.pin(box, None)
    assert rollouts.plan(box)["ring"] in range(4)
    with pytest.raises(Fatal, match="no box"):
        rollouts.pin("nobody", 0)


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", "{", '{"updates": 5}', '{"updates": {"items": [{}], "unneeded": []}}',
     '{"updates": {"items": 7, "unneeded": 7}}'],
)  # fmt: skip
def test_what_a_box_says_wrongly_is_nothing(body):
    assert word_of(body, ITEM) == "unknown"


def test_words_of_a_box():
    def said(**more):
        told = {"item": "intervals/dog", "version": None, "candidate": None, "samples": 0}
        items = [{"blocked": [], **told, **more}]
        return word_of(json.dumps({"updates": {"items": items, "unneeded": []}}), ITEM)

    assert said(version="1.0.0") == "active"
    assert said(version="1.0.0", blocked=["1.0.0"]) == "failed"
    assert said(candidate="1.0.0", samples=3) == "trying"
    assert said(candidate="1.0.0") == "unused"
    assert said(version="0.9.0") == "unknown"
    unneeded = json.dumps({"updates": {"items": [], "unneeded": [ITEM]}})
    assert word_of(unneeded, ITEM) == "unused"


# With a box


@pytest.fixture
def box(running, tmp_path, monkeypatch):
    """An enrolled box that trusts what the centre serves."""
    data_dir = tmp_path / "box"
    data_dir.mkdir()
    running.enrol(data_dir)
    monkeypatch.setattr(
        "edge_daemon.updates.desk.prove",
        lambda plan: (
            __import__("edge_daemon.updates.proof", fromlist=["Proof"]).Proof(plan).rejected
        ),
    )
    return data_dir


@pytest.fixture
def signed(tmp_path, running, box):
    made = Signed(tmp_path / "repo")
    made.add_table("1.0.0")
    made.publish(running.folder / "updates")
    Desk(box, own_plan(None), TestClock()).trust.begin(made.root)
    return made


def look(box):
    """What `edge-daemon update check` does, with a clock that is right."""
    desk = Desk(box, own_plan(None), TestClock())
    with desk.noting(), repository_of(place_of(None, box), None, box) as offered:
        desk.give_back(offered.plan.give_back)
        return desk.look(offered.fetcher, may=offered.plan.objection)


def device_of(running) -> str:
    return running.store.boxes()[0]["id"]


def test_a_box_takes_what_its_ring_may_and_gives_back_what_the_fleet_took_back(
    running, box, signed
):
    running.store.rollouts().pin(device_of(running), 1)
    assert "ring 1" in look(box).waits[ITEM]
    rollouts = running.store.rollouts()
    rollouts.start(ITEM, hours=48, max_failed_percent=2, ring=1)
    assert look(box).taken == {ITEM: "proved and in use"}
    assert word(box)["items"][0]["version"] == "1.0.0"
    rollouts.set_state(ITEM, "rolled_back", "wrong figures")
    assert "wrong figures" in look(box).waits[ITEM]
    said = word(box)["items"][0]
    assert (said["version"], said["blocked"]) == (None, ["1.0.0"])


@ON_SQLITE
def test_what_is_halted_is_not_used_later(running, box, signed, monkeypatch):
    """A version that was still being compared when somebody had a doubt."""
    rollouts = running.store.rollouts()
    rollouts.start(ITEM, hours=48, max_failed_percent=2, ring=3)
    monkeypatch.setattr(Desk, "_shadow_from", lambda *_: 0)
    assert "held against" in look(box).taken[ITEM]
    rollouts.set_state(ITEM, "halted", "a doubt")
    assert look(box).waits
    assert word(box)["items"] == []
    rollouts.set_state(ITEM, "running", "")
    assert "held against" in look(box).taken[ITEM]


@ON_SQLITE
def test_it_is_given_back_although_nothing_new_can_be_had(running, box, signed):
    rollouts = running.store.rollouts()
    rollouts.start(ITEM, hours=48, max_failed_percent=2, ring=3)
    assert look(box).taken
    (running.folder / "updates" / "metadata" / "timestamp.json").unlink()
    rollouts.set_state(ITEM, "rolled_back", "wrong figures")
    with pytest.raises(UpdateError):
        look(box)
    assert word(box)["items"][0]["version"] is None


@ON_SQLITE
def test_only_a_box_of_the_fleet_may_fetch_and_only_from_the_repository(running, box, signed):
    from edge_daemon.sync import identity

    with closing(running.connect(None)) as nobody:
        assert nobody.call("GET", "/v1/updates/plan", headers={}).status == 401
        path = "/v1/updates/metadata/timestamp.json"
        assert nobody.call("GET", path, headers={}).status == 401
    who = running.connect(identity.load(box))
    assert who.call("GET", "/v1/updates/metadata/timestamp.json", headers={}).status == 200
    for path in (
        "/v1/updates/metadata/9.root.json",
        "/v1/updates/root.json",
        "/v1/updates/metadata/..%2f..%2ffleet.key",
        "/v1/updates/targets/%2e%2e/%2e%2e/fleet.key",
        "/v1/updates/../fleet.key",
        "/v1/updates/metadata//etc/passwd",
    ):
        assert who.call("GET", path, headers={}).status in {401, 404, 405}, path


@ON_SQLITE
def test_a_revoked_box_gets_nothing(running, box, signed):
    running.store.revoke(device_of(running))
    with pytest.raises(UpdateError, match="403"):
        look(box)


def test_the_operator_s_commands(running, box, database, signed, monkeypatch):
    monkeypatch.setenv("EDGE_CENTRAL_DIR", str(running.folder))
    if database:
        monkeypatch.setenv("EDGE_CENTRAL_DATABASE", database)

    def run(*words, code=0):
        done = CliRunner().invoke(cli, ["central", "rollout", *words])
        assert done.exit_code == code, done.output
        return done.output

    assert "No rollout" in run("status")
    run("pin", device_of(running), "0")
    told = run("start", "model/ours@1.0.0", code=4)
    assert "model/ours@1.0.0 is not published" in told
    assert ITEM in told
    assert "No rollout" in run("status")
    run("start", ITEM, "--hours", "24")
    assert "not well yet" in run("status")
    run("halt", ITEM, "--reason", "a doubt")
    assert "a doubt" in run("status", code=3)
    run("resume", ITEM)
    run("rollback", ITEM)
    (found,) = json.loads(run("status", "--json", code=3))
    assert found["state"] == "rolled_back"
    assert found["boxes"]["boxes"] == 1
    assert "no rollout of" in run("halt", "model/x@1.0.0", code=4)
    run("pin", device_of(running), "by-identity")
