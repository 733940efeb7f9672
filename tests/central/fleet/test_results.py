"""Results of many clinics: found by index, paged, and never another clinic's."""

import datetime as dt
import json

import pytest
from sqlalchemy import select

from edge_daemon.central import schema
from edge_daemon.central.fleet import boxes, deeds, results
from edge_daemon.central.fleet.results import Place, Wanted
from edge_daemon.central.fleet.tables import indexed, said
from tests.central.fleet.world import REVIEW, now

DAY = dt.timedelta(days=1)


def found(ask, limit=50, clinics=None, **wanted):
    listed, _ = ask(results.find, Wanted(**wanted), limit=limit, clinics=clinics)
    return [one["sample_id"] for one in listed]


@pytest.fixture
def fleet(world):
    first, second, third = (world.clinic(name) for name in ("First", "Second", "Third"))
    boxes = [world.box(clinic) for clinic in (first, second, third)]
    start = now() - 10 * DAY
    for day in range(9):
        box = boxes[day % 3]
        species = ("dog", "cat", "horse")[day // 3]
        flags = [REVIEW] if day in (2, 4) else []
        box.run(f"S-{day}", species, at=start + day * DAY, flags=flags, simulated=day == 8)
    for box in reversed(boxes):
        box.send()
    world.index()
    return world, boxes, start


def test_they_stand_in_the_order_in_which_they_were_made(fleet, ask):
    assert found(ask) == [f"S-{day}" for day in reversed(range(9))]


def test_pages_follow_each_other_without_gap_or_repeat(fleet, ask):
    for clinics in (None, [1, 3]):
        seen, before = [], None
        while True:
            page, before = ask(
                results.find, Wanted(), limit=2, clinics=clinics,
                before=None if before is None else Place.read(str(before)),
            )  # fmt: skip
            seen += [one["sample_id"] for one in page]
            if before is None:
                break
        expected = [d for d in reversed(range(9)) if clinics is None or d % 3 + 1 in clinics]
        assert seen == [f"S-{day}" for day in expected]


SEARCHES = (
    ({"text": "s-3"}, [3]),
    ({"text": "p-S-4"}, [4]),
    ({"text": "S%"}, []),
    ({"species": "cat"}, [5, 4, 3]),
    ({"status": "review"}, [4, 2]),
    ({"flag": "platelets_count_limited"}, [4, 2]),
    ({"flag": "platelets_count_limited", "species": "dog"}, [2]),
    ({"instrument": "sim_optical4"}, list(reversed(range(9)))),
    ({"instrument": "other"}, []),
    ({"clinic": 2}, [7, 4, 1]),
    ({"simulated": True}, [8]),
    ({"simulated": False, "species": "horse"}, [7, 6]),
)


def test_searches(fleet, ask):
    for wanted, days in SEARCHES:
        assert found(ask, **wanted) == [f"S-{day}" for day in days], wanted


def test_a_range_of_days(fleet, ask):
    _, _, start = fleet
    shown = found(ask, since=start + 2 * DAY, until=start + 4 * DAY)
    assert shown == ["S-3", "S-2"]


def test_a_clinic_finds_nothing_of_others_however_it_asks(fleet, ask):
    _, boxes, _ = fleet
    assert found(ask, clinics=[2]) == ["S-7", "S-4", "S-1"]
    for wanted in ({"text": "S-3"}, {"clinic": 1}, {"device": boxes[0].device.id}):
        assert found(ask, clinics=[2], **wanted) == []
    flag = {"flag": "platelets_count_limited"}
    assert found(ask, clinics=[2], **flag) == ["S-4"]
    everything, _ = ask(results.find, Wanted(), limit=50)
    for one in everything:
        mine = one["clinic_id"] == 2
        assert (ask(results.result, one["id"], clinics=[2]) is not None) == mine
    assert ask(results.choices, clinics=[3])["clinics"] == [{"id": 3, "name": "Third"}]
    assert ask(results.choices, clinics=[1])["flags"] == []


def test_everything_is_read_in_parts(fleet, ask, monkeypatch):
    from edge_daemon.central.reading import EVERYTHING

    monkeypatch.setattr(results, "_CHUNK", 4)
    ids = [one["sample_id"] for one in results.every(ask.reader, EVERYTHING, Wanted())]
    assert ids == [f"S-{day}" for day in reversed(range(9))]


def test_the_newest_version_counts_and_earlier_ones_are_kept(world, ask):
    box = world.box(world.clinic("First"))
    capture = box.run("A", "cat")
    # A box sends its newest first.
    box.run("A", "dog", capture=capture, number=3, corrected=["species"])
    box.run("A", "dog", capture=capture, number=2)
    box.send()
    world.index()
    listed, _ = ask(results.find, Wanted(), limit=5)
    assert [(one["species"], one["version"]) for one in listed] == [("dog", 3)]
    shown = ask(results.result, listed[0]["id"])
    assert [v["number"] for v in shown["versions"]] == [3, 2, 1]
    assert shown["document"]["corrected"] == ["species"]
    first = ask(results.result, shown["versions"][-1]["id"])
    assert (first["species"], first["newest"]) == ("cat", False)


def test_a_clock_that_cannot_be_trusted_does_not_order_results(world, ask):
    box = world.box(world.clinic("First"))
    box.run("wrong", at=dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
    box.run("ahead", at=now() + 400 * DAY)
    box.run("free", at=now() - 30 * DAY, clock="unsynchronised")
    box.run("right", at=now() - DAY)
    box.send()
    world.index()
    listed, _ = ask(results.find, Wanted(), limit=9)
    trusted = {one["sample_id"]: one["at_trusted"] for one in listed}
    assert trusted == {"wrong": False, "ahead": False, "free": False, "right": True}
    assert listed[-1]["sample_id"] == "right"


def test_the_mark_that_was_made_last_counts_whatever_came_last(world, ask):
    """A box whose clock nobody set comes back with a backlog, the newest first."""
    box = world.box(world.clinic("First"))
    capture = box.run("A", clock="unknown")
    box.say("mark", capture, kind="control", lot="4711", level="low", clock="unknown")
    box.say("mark", capture, kind="patient", clock="unknown")
    run, control, patient = box.waiting
    for item in (patient, control, run):
        box.waiting = [item]
        box.send()
    world.index()
    assert [one["mark"] for one in ask(results.find, Wanted(), limit=9)[0]] == [None]


def test_a_backlog_of_a_box_whose_clock_nobody_set_does_not_make_it_old(world, ask):
    box = world.box(world.clinic("First"))
    for version in ("0.3.1", "0.3.1", "0.3.2"):
        box.run(f"S {version}", model=f"sim_optical4@{version}", clock="unknown")
    for item in reversed(box.waiting):
        box.waiting = [item]
        box.send()
        world.index()
    assert ask(boxes.box, box.device.id, now()).models == ["sim_optical4 0.3.2"]


def test_what_people_said_stands_with_the_result_and_in_the_trail(world, ask):
    clinic = world.clinic("First")
    box = world.box(clinic, "Room 9")
    capture = box.run("A")
    box.say("mark", capture, kind="control", lot="4711", level="low")
    box.say("note", capture, kind="smear", verdict="confirms", concerns="platelet", text="clumps")
    box.say("correction", capture, number=2, reason="typo", changes={"species": ["cat", "dog"]})
    box.say("mark", box.run("B"), kind="patient")
    box.send()
    world.index()
    listed, _ = ask(results.find, Wanted(), limit=5)
    assert {one["sample_id"]: one["mark"] for one in listed} == {"A": "control", "B": None}
    shown = ask(results.result, next(o["id"] for o in listed if o["sample_id"] == "A"))
    assert [one["what"] for one in shown["said"]] == ["mark", "note", "correction"]
    assert shown["said"][2]["changes"] == {"species": ["cat", "dog"]}
    trail, _ = ask(deeds.deeds, limit=9, clinics=[clinic])
    corrected = next(one for one in trail if one["action"] == "corrected")
    assert (corrected["actor"], corrected["origin"]) == ("Ada (Room 9)", "box")
    assert corrected["details"]["changes"] == {"species": ["cat", "dog"]}
    other = world.clinic("Other")
    trail, _ = ask(deeds.deeds, limit=9, clinics=[other])
    assert [one["action"] for one in trail] == ["clinic_added"]


HOSTILE = (
    {"sample": {"sample_id": "\0\ud800" * 9, "species": ["cat"], "patient_id": 7}},
    {"measurements": "none", "flags": {"code": 1}, "counts": [1]},
    {"measurements": [{"code": "RBC", "unit": "10*6/uL", "value": 10**400}, {"code": []}, 5]},
    {"flags": [{"code": "x" * 9999, "severity": "worst"}] * 100, "status": "splendid"},
    {"number": True},
    {"number": 1 << 40},
    {"capture": None},
    {"profile": {"a": 1}},
)


def test_documents_that_are_none_hold_nothing_up(world, ask):
    """What is in a body was never checked; one that cannot be read is counted and passed over."""
    box = world.box(world.clinic("First"))
    with world.store.engine.begin() as db:
        base = {"schema": 1, "instrument": "a", "capture": "c", "number": 1, "profile": "p/1"}
        bodies = [json.dumps(base | changes) for changes in HOSTILE]
        for seq, body in enumerate([*bodies, "[1]", "{", "null", '"x"'], 1000):
            db.execute(
                schema.documents.insert().values(
                    clinic_id=1, device_id=box.device.id, epoch="e", seq=seq, digest="x",
                    type="run.clinical", schema=1, created_at="x", clock_state="synchronised",
                    received_at=now(), body=body,
                )
            )  # fmt: skip
    box.run("after")
    box.send()
    assert world.index() == len(HOSTILE) + 5
    assert found(ask)[0] == "after"
    with world.store.engine.connect() as db:
        assert db.execute(select(indexed.c.unreadable)).scalar() == 8
        assert db.execute(select(said)).all() == []


def test_a_place_that_is_none_is_refused():
    for text in ("", "x", "5", "5-", "5-x", "-5-5", "5-5-5", "20260101T000000.000000-5"):
        with pytest.raises(ValueError):
            Place.read(text)
