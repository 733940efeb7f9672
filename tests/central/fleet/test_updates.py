"""Updates on their way: how far each is, and that nobody sees another clinic's boxes in them."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import select

from edge_daemon.central import schema
from edge_daemon.central.audit import Actor
from edge_daemon.central.fleet.updates import updates
from edge_daemon.central.rollouts import Rollouts
from tests.central.fleet.visiting import PASSWORD, served, signed_in
from tests.central.fleet.world import now

ITEM = "model/sim_optical4@0.5.0"
OPERATOR = Actor("root", "command")


def saying(version="0.4.0", candidate=None, *, samples=0, blocked=()):
    """What a box says of the signed updates it has."""
    one = {"item": "model/sim_optical4", "version": version, "candidate": candidate,
           "samples": samples, "blocked": list(blocked)}  # fmt: skip
    return {"items": [one], "unneeded": []}


@pytest.fixture
def fleet(world):
    """Two clinics whose boxes are in every state of an update."""
    rollouts = Rollouts(world.store.engine, OPERATOR)
    words = {
        "uses": (0, saying("0.5.0")),
        "shadows": (0, saying("0.4.0", "0.5.0", samples=7)),
        "failed": (1, saying("0.4.0", blocked=["0.5.0"])),
        "late": (1, {"items": [], "unneeded": []}),
        "cannot": (2, {"items": [], "unneeded": [ITEM]}),
        "silent": (3, saying("0.5.0")),
    }
    for name in ("First", "Second"):
        clinic = world.clinic(name)
        world.roster.add(name, "clinic", clinic_id=clinic, password=PASSWORD)
        for box_name, (ring, said) in words.items():
            box = world.box(clinic, f"{name} {box_name}")
            box.tell(updates=said)
            rollouts.pin(box.device.id, ring)
            if box_name == "silent":
                box.age(dt.timedelta(days=8))
    rollouts.start(ITEM, hours=48, max_failed_percent=90, ring=1)
    world.roster.add("ops", "operator", password=PASSWORD)
    return world


def counts(ring):
    return {word: n for word, n in ring["boxes"].items() if n}


def test_each_ring_says_what_its_boxes_do(fleet, url):
    with served(fleet.store, url) as address:
        (one,) = signed_in(fleet.store, address, "ops").get("/api/v1/rollouts").json["rollouts"]
        text = signed_in(fleet.store, address, "ops").get("/updates").shown
    assert (one["item"], one["state"], one["ring"]) == (ITEM, "running", 1)
    assert [ring["share"] for ring in one["rings"]] == [5, 25, 50, 100]
    assert [ring["open"] for ring in one["rings"]] == [True, True, False, False]
    assert [counts(ring) for ring in one["rings"]] == [
        {"boxes": 4, "active": 2, "trying": 2},
        {"boxes": 4, "failed": 2, "waiting": 2},
        {"boxes": 2, "unused": 2},
        {"boxes": 2, "silent": 2},
    ]
    assert {word: n for word, n in one["reached"].items() if n} == {
        "boxes": 8, "active": 2, "trying": 2, "failed": 2, "waiting": 2,
    }  # fmt: skip
    assert sorted(box["name"] for box in one["failed"]) == ["First failed", "Second failed"]
    assert "Model sim_optical4 0.5.0" in text
    assert "25 % of the boxes may take it" in text
    assert f"central rollout halt {ITEM}" in text


def test_a_clinic_sees_its_own_boxes_in_it_and_gives_no_commands(fleet, url):
    with served(fleet.store, url) as address:
        caller = signed_in(fleet.store, address, "first")
        (one,) = caller.get("/api/v1/rollouts").json["rollouts"]
        text = caller.get("/updates").shown
    assert [ring["boxes"]["boxes"] for ring in one["rings"]] == [2, 2, 1, 1]
    assert [box["name"] for box in one["failed"]] == ["First failed"]
    assert "Second" not in text
    assert "central rollout" not in text


@pytest.mark.parametrize(
    ("state", "words"),
    [("halted", "Halted in ring 1 of 3: Cats look wrong."),
     ("rolled_back", "Taken back from ring 1 of 3: Cats look wrong.")],
)  # fmt: skip
def test_what_was_stopped_says_why(fleet, url, state, words):
    Rollouts(fleet.store.engine, OPERATOR).set_state(ITEM, state, "cats look wrong")
    with served(fleet.store, url) as address:
        text = signed_in(fleet.store, address, "second").get("/updates").shown
    assert words in text
    assert ("0 to 5 %, open" in text) == (state == "halted")


def test_the_ring_of_another_clinics_box_is_not_read(fleet, ask):
    def rings(db, _scope):
        return len(db.execute(select(schema.ring_pins)).all())

    assert ask(rings) == 12
    assert ask(rings, clinics=[1]) == 6
    assert ask(rings, clinics=[]) == 0


def test_no_rollout_is_said(world, ask, url):
    world.roster.add("ops", "operator", password=PASSWORD)
    assert ask(updates, now()) == []
    with served(world.store, url) as address:
        assert (
            "No update was let through"
            in signed_in(world.store, address, "ops").get("/updates").shown
        )
