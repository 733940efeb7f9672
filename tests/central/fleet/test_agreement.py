"""Agreement and drift across boxes: robust, with n, and never a finding from too few."""

import datetime as dt
import json

import numpy as np
import pytest
from sqlalchemy import select

from edge_daemon.central.fleet import boxes
from edge_daemon.central.fleet.agreement import agreement
from edge_daemon.central.fleet.tables import pairs
from edge_daemon.errors import EdgeError
from edge_daemon.quality.robust import median_interval
from tests.central.fleet.world import now

DAY = dt.timedelta(days=1)
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""


def measure(box, n, species="dog", *, factor=None, first=0, **run):
    """Let animals be measured on both sides; the box sends its newest first."""
    for number in range(first, first + n):
        at = now() - DAY + dt.timedelta(minutes=number)
        box.run(f"{species}-{number}", species, at=at, factor=factor or {}, **run)
        box.report(f"{species}-{number}", species, at=at, simulated=run.get("simulated", False))
    box.waiting.reverse()
    box.send()
    box.world.index()


def asked(ask, **more):
    found = ask(agreement, now() - 90 * DAY, **more)
    return {
        (g.species, g.simulated): {line.code: line for line in lines} for g, lines in found.groups
    }


def test_one_box_is_judged_alone_and_is_no_fleet(world, ask):
    box = world.box(world.clinic("First"))
    measure(box, 12, factor={"MCV": 1.06})
    mcv = asked(ask)["dog", False]["MCV"]
    assert (mcv.n, mcv.counted, mcv.percent, mcv.word) == (12, 1, None, "too_few")
    (own,) = mcv.boxes
    assert own.word == "differs"
    assert own.percent.median == pytest.approx(5.8, abs=1.0)
    assert asked(ask)["dog", False]["RBC"].boxes[0].word in ("agrees", "small", "undecided")


@SQLITE
def test_fewer_than_ten_pairs_are_counted_and_not_judged(world, ask):
    box = world.box(world.clinic("First"))
    measure(box, 9, factor={"MCV": 1.5})
    (own,) = asked(ask)["dog", False]["MCV"].boxes
    assert (own.n, own.percent, own.word) == (9, None, "too_few")


@SQLITE
def test_boxes_are_counted_and_the_one_that_differs_stands_first(world, ask):
    clinic = world.clinic("First")
    for number in range(7):
        box = world.box(clinic, f"box {number}")
        measure(box, 12, factor={"MCV": 1.10 if number == 3 else 1.0})
    mcv = asked(ask)["dog", False]["MCV"]
    assert (mcv.n, mcv.counted, mcv.percent.n) == (84, 7, 7)
    assert mcv.word in ("agrees", "small", "undecided")
    assert abs(mcv.percent.median) < 1.5, "one box does not bend the fleet"
    assert (mcv.boxes[0].box, mcv.boxes[0].word) == ("box 3", "differs")


def test_species_and_simulated_samples_stand_apart_and_clinics_too(world, ask):
    first, second = world.clinic("First"), world.clinic("Second")
    box = world.box(first)
    measure(box, 10)
    measure(box, 10, "cat")
    measure(box, 10, "horse", simulated=True)
    assert set(asked(ask)) == {("dog", False), ("cat", False), ("horse", True)}
    assert set(asked(ask, species="cat")) == {("cat", False)}
    assert asked(ask, clinics=[second]) == {}


@SQLITE
def test_a_corrected_sample_is_compared_with_what_its_analyzer_said_of_it(world, ask):
    """Two tubes were mixed up: each result has the other's id now, the reports as they came."""
    box = world.box(world.clinic("First"))
    for sample, other, red in (("A", "B", 5.0), ("B", "A", 8.0)):
        values = {"RBC": red}
        capture = box.run(sample, values=values)
        box.report(sample, factor={"RBC": red / 7.0})
        box.run(other, values=values, capture=capture, number=2, corrected=["sample_id"])
        box.send()
        world.index()
    with world.store.engine.begin() as db:
        told = [
            json.loads(one)["values"]["RBC"] for one in db.execute(select(pairs.c.facts)).scalars()
        ]
    assert sorted(ours for ours, _ in told) == [5.0, 8.0]
    assert all(abs(ours - theirs) < 0.5 for ours, theirs in told)


def test_what_may_not_be_compared_is_no_pair(world, ask):
    box = world.box(world.clinic("First"))
    failed = {"code": "no_rbc_peak", "severity": "invalid", "message": "", "action": ""}
    box.run("failed", flags=[failed])
    box.report("failed")
    box.run("patient differs", who={"patient_id": "P-1"})
    box.report("patient differs", sample={"sample_id": "patient differs", "patient_id": "P-2"})
    control = box.run("control")
    box.report("control")
    box.say("mark", control, kind="control", lot="1", level="low")
    box.run("known control", kind="control")
    box.report("known control")
    box.run("other day", at=now() - 3 * DAY)
    box.report("other day")
    box.run("simulated", simulated=True)
    box.report("simulated")
    box.run("good")
    box.report("GOOD ")
    box.send()
    world.index()
    with world.store.engine.connect() as db:
        runs = db.execute(select(pairs.c.run_id)).scalars().all()
    assert len(runs) == 1


def test_a_later_version_takes_the_place_of_the_one_that_was_compared(world, ask):
    box = world.box(world.clinic("First"))
    box.report("A")
    capture = box.run("A", factor={"MCV": 1.5})
    box.send()
    world.index()
    box.run("A", capture=capture, number=2)
    box.send()
    world.index()
    (own,) = asked(ask)["dog", False]["MCV"].boxes
    assert own.n == 1
    with world.store.engine.connect() as db:
        facts = db.execute(select(pairs.c.facts)).scalar_one()
    ours, theirs = json.loads(facts)["values"]["MCV"]
    assert ours == pytest.approx(theirs, rel=0.1)


@SQLITE
def test_a_box_whose_values_move_drifts_until_they_are_back(world, ask):
    box = world.box(world.clinic("First"), "moved")
    measure(box, 120)
    assert {a["state"] for a in ask(boxes.averages, box.device.id)} == {"in_control"}
    measure(box, 40, first=120, factor={"MCV": 1.08})
    (drift,) = ask(boxes.averages)
    assert (drift["box"], drift["code"], drift["species"]) == ("moved", "MCV", "dog")
    assert drift["sides"]["ours"]["drifting"] >= 1
    assert "only ours moved" in drift["action"]
    since = drift["since"]
    (shown,) = ask(boxes.boxes, now())
    assert shown.kind == "drifting"
    assert (
        "MCV (dog, sim_optical4 (analyzer)) has left its limits: ours by +"
        in shown.words[0].message
    )
    measure(box, 40, first=160, factor={"MCV": 1.08})
    assert ask(boxes.averages)[0]["since"] == since
    measure(box, 100, first=200)
    assert ask(boxes.averages) == []


@SQLITE
def test_controls_that_are_marked_later_leave_the_averages_at_once(world, ask):
    """Nobody knew that they were none of patients: the mark alone has them worked out anew."""
    box = world.box(world.clinic("First"))
    measure(box, 120)
    vials = [box.run(f"V-{n}", factor={"MCV": 1.08}) for n in range(40)]
    box.send()
    world.index()
    assert [one["code"] for one in ask(boxes.averages)] == ["MCV"]
    for capture in vials:
        box.say("mark", capture, kind="control", lot="1", level="low")
    box.send()
    world.index()
    assert ask(boxes.averages) == []
    for capture in vials:
        box.say("mark", capture, kind="patient")
    box.send()
    world.index()
    assert [one["code"] for one in ask(boxes.averages)] == ["MCV"]


@SQLITE
def test_too_few_results_are_followed_and_are_no_drift(world, ask):
    box = world.box(world.clinic("First"))
    measure(box, 60)
    measure(box, 30, first=60, factor={"MCV": 1.3})
    assert {a["state"] for a in ask(boxes.averages, box.device.id)} == {"too_few"}
    assert ask(boxes.averages) == []


def test_the_interval_of_a_median_holds_it_in_95_of_100():
    rng = np.random.default_rng(7)
    for n in (6, 9, 25):
        draws = (median_interval(rng.exponential(size=n)) for _ in range(2000))
        inside = np.mean([one.low <= np.log(2) <= one.high for one in draws])
        assert inside >= 0.94
    with pytest.raises(EdgeError, match="too few"):
        median_interval(range(5))
    with pytest.raises(EdgeError, match="finite"):
        median_interval([1.0] * 6 + [float("nan")])
