"""Boxes by health: each in words, with since when and what to do next."""

import datetime as dt
import json

import pytest
from sqlalchemy import func, select

from edge_daemon.central import schema
from edge_daemon.central.fleet import boxes, history
from edge_daemon.central.fleet.words import Seen, kind_of, span, summarise, words
from tests.central.fleet.world import REVIEW, condition, now

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def listed(ask, **more):
    return {b.name: b for b in ask(boxes.boxes, now(), **more)}


def test_each_box_says_what_is_the_matter_since_when_and_what_to_do(world, ask):
    clinic = world.clinic("First")
    world.box(clinic, "fine").tell()
    world.box(clinic, "unheard", seen=None)
    world.box(clinic, "new", seen=None, enrolled_at=now())
    silent = world.box(clinic, "silent")
    silent.tell(ago=3 * DAY)
    full = [condition("disk_filling", message="about 300 MB free on the disk")]
    world.box(clinic, "full").tell({"state": "degraded", "conditions": full})
    worse = [
        condition("folder_blind", "error"),
        condition("disk_low", "error"),
        condition("x", "notice"),
    ]
    world.box(clinic, "worse").tell({"state": "failing", "conditions": worse})
    late = {"waiting": 2800, "oldest_waiting": (now() - 9 * DAY).isoformat(), "message": "no line"}
    world.box(clinic, "behind").tell(sync=late)
    fresh = {"waiting": 1, "oldest_waiting": (now() - HOUR).isoformat()}
    world.box(clinic, "sending").tell(sync=fresh)
    gone = world.box(clinic, "gone")
    world.store.revoke(gone.device.id)

    found = listed(ask)
    assert {name: box.kind for name, box in found.items()} == {
        "silent": "silent", "unheard": "silent", "full": "full", "worse": "full",
        "behind": "behind", "gone": "revoked", "fine": "fine", "new": "fine", "sending": "fine",
    }  # fmt: skip
    assert list(found)[:2] == ["silent", "unheard"]
    assert all(w.action and w.since for box in found.values() for w in box.words)
    assert found["silent"].words[0].message == "is silent, for 3 days"
    assert abs(found["silent"].words[0].since - (now() - 3 * DAY)) < HOUR
    assert (
        "never" in found["unheard"].words[0].message
        or "not been heard" in found["unheard"].words[0].message
    )
    assert found["full"].words[0].message == "about 300 MB free on the disk"
    assert [w.kind for w in found["worse"].words] == ["full", "failing"]
    behind = found["behind"].words[0]
    assert behind.message == "2,800 results had not been sent when it last said so: no line"
    assert behind.since.date() == (now() - 9 * DAY).date()


def test_a_box_that_uses_an_older_model_or_profile_than_another_is_old(world, ask):
    clinic = world.clinic("First")
    old, new, alone = (world.box(clinic, name) for name in ("old", "new", "alone"))
    early = now() - 9 * DAY
    old.run("A1", at=early)
    new.run("A2", model="sim_optical4@0.10.0", profile_sha256="d" * 64, at=now() - DAY)
    alone.run("A3", model="other@0.0.1", profile="other/1", at=early)
    for box in (old, new, alone):
        box.send()
    world.index()
    found = listed(ask)
    assert [found[n].kind for n in ("old", "new", "alone")] == ["old", "fine", "fine"]
    model, profile = sorted(found["old"].words, key=lambda w: w.message)
    assert "model sim_optical4 0.3.1; 0.10.0 is in use elsewhere" in model.message
    assert "profile sim_optical4/1.0; another edition" in profile.message
    assert model.since.date() == (now() - DAY).date()
    # Later it is updated, and an older document that comes late changes nothing.
    old.run("A4", model="sim_optical4@0.10.0", profile_sha256="d" * 64)
    old.run("A5", at=early)
    old.send()
    world.index()
    assert listed(ask)["old"].kind == "fine"


def test_the_history_is_of_spells_and_bounded(world, ask, monkeypatch):
    box = world.box(world.clinic("First"))
    box.tell()
    box.tell()
    box.tell({"state": "degraded", "conditions": [condition("disk_filling")]})
    box.tell({"state": "degraded", "conditions": [condition("disk_filling", message="more")]})
    box.tell()
    spells = ask(boxes.history, box.device.id)
    assert [s["state"] for s in spells] == ["ok", "degraded", "ok"]
    assert spells[1]["conditions"][0]["message"] == "more"
    box.age(2 * DAY)
    box.tell()
    assert len(ask(boxes.history, box.device.id)) == 4  # a silence lies between
    monkeypatch.setattr(history, "KEPT", 3)
    for state in ("failing", "ok", "degraded"):
        box.tell({"state": state})
    with world.store.engine.connect() as db:
        kept = db.execute(select(func.count()).select_from(schema.health_history)).scalar()
    assert kept == 3
    assert [s["state"] for s in ask(boxes.history, box.device.id)] == ["degraded", "ok", "failing"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "told",
    [
        {},
        {"health": None, "sync": [], "version": 7},
        {
            "health": {
                "state": "x",
                "conditions": [1, {}, {"code": "a" * 500, "since": "yesterday"}],
            }
        },
        {"health": {"conditions": [{"code": "\0\ud800", "severity": {}, "message": []}] * 99}},
        {"sync": {"waiting": True, "oldest_waiting": "9999-99-99", "dead": -5, "held": 1}},
        {"updates": {"items": [5, {"item": []}, {"item": "a/b", "version": 1}] * 50}},
        {"sync": {"waiting": 10**30, "oldest_waiting": "0001-01-01T00:00:00+14:00"}},
    ],
)
def test_what_a_box_says_is_not_trusted(world, ask, told):
    summary = summarise(told)
    assert len(summary["conditions"]) <= 30
    assert 0 <= summary["waiting"] <= 10**9
    box = world.box(world.clinic("First"), "odd")
    world.store.note_health(box.device, json.dumps(told))
    found = listed(ask)["odd"]
    assert found.summary["state"] is None
    seen = Seen(now(), now(), None, summary)
    assert kind_of(words(seen, now())) in ("fine", "attention", "behind")


def test_a_clinic_sees_its_boxes_alone(world, ask):
    first, second = world.clinic("First"), world.clinic("Second")
    own, other = world.box(first, "own"), world.box(second, "other")
    other.tell()
    other.run("X", flags=[REVIEW])
    other.send()
    world.index()
    assert set(listed(ask, clinics=[first])) == {"own"}
    assert ask(boxes.box, other.device.id, now(), clinics=[first]) is None
    assert ask(boxes.history, other.device.id, clinics=[first]) == []
    assert ask(boxes.box, own.device.id, now(), clinics=[first]).name == "own"


@pytest.mark.parametrize(
    ("long", "said"),
    [
        (dt.timedelta(seconds=5), "1 min"),
        (HOUR, "1 hour"),
        (47 * HOUR, "47 hours"),
        (9 * DAY, "9 days"),
    ],
)
def test_spans(long, said):
    assert span(long) == said
