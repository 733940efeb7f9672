"""A fleet as it stands after some months: every state of a box, results of all kinds, hard names.

``python -m tests.central.fleet.furnished`` serves it, to look at.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import update

from edge_daemon.central import schema
from edge_daemon.central.audit import Actor
from edge_daemon.central.fleet import results
from edge_daemon.central.reading import EVERYTHING, Reader
from edge_daemon.central.rollouts import Rollouts
from edge_daemon.central.store import CentralStore
from tests.central.fleet.visiting import PASSWORD, served
from tests.central.fleet.world import REVIEW, World, condition, now
from tests.web.browser.watching import HOSTILE, LONG, SCRIPTS

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
FAILED = {
    "code": "no_rbc_peak", "severity": "invalid", "message": "no red cell peak found",
    "action": "repeat the run",
}  # fmt: skip
NOTE = {
    "code": "no_fluorescence",
    "severity": "info",
    "message": "no RNA dye channel",
    "action": "",
}
CLUMPS = {
    "code": "clumps", "severity": "review", "message": "red cell clumps 4.1 %",
    "action": "look at a smear; redraw if confirmed",
}  # fmt: skip
TOWNS = ("Riverside", "Old Town", "Harbour", "Hill Road", "Meadow", "Station", "Lakeside")


def furnish(store):
    """Fill a new centre's database; return the ids of boxes by name."""
    world = World(store, seed=4)
    sea = world.roster.add_chain("Vets by the sea")
    boxes = {}
    for number, town in enumerate(TOWNS):
        clinic = world.clinic(f"{town} Veterinary Clinic", sea)
        boxes[town] = box = world.box(clinic, "Laboratory")
        _measure(box, 130 if town == "Harbour" else 16, number)
    _states(world, boxes)
    _updates(world, boxes)
    hard = _hard_names(world, world.roster.add_chain(HOSTILE[:60]))
    world.roster.add("ops", "operator", password=PASSWORD)
    world.roster.add("chief", "chain", chain_id=sea, password=PASSWORD)
    world.roster.add("harbour", "clinic", clinic_id=3, password=PASSWORD)
    world.index()
    _measure(boxes["Harbour"], 60, 2, first=130, factor={"MCV": 1.06})
    world.index()
    return {town: box.device.id for town, box in boxes.items()} | {"hard": hard.device.id}


def _measure(box, count, seed, *, first=0, factor=None):
    start = now() - 20 * DAY
    for number in range(first, first + count):
        species = "cat" if number % 4 == 3 and count < 100 else "dog"
        at = start + number * 2 * HOUR + seed * dt.timedelta(minutes=7)
        sample = f"{box.device.id[-2:]}-{number:04d}"
        flags = {3: [REVIEW, NOTE], 7: [CLUMPS], 11: [FAILED]}.get(number, [])
        box.run(sample, species, at=at, flags=flags, factor=factor or {})
        box.report(sample, species, at=at, factor={"PLT": 0.97})
    box.waiting.reverse()
    box.send()


def _states(world, boxes):
    for box in boxes.values():
        box.tell()
    filling = condition(
        "disk_filling", message="about 280 MB free on the disk; at 200 MB nothing more is taken in",
        action="Free disk space, or fit a larger disk.", ago_h=30,
    )  # fmt: skip
    clock = condition("clock_unsynchronised", "notice")
    boxes["Old Town"].tell()
    boxes["Old Town"].age(2 * HOUR)
    boxes["Old Town"].tell({"state": "degraded", "conditions": [filling, clock]})
    blind = condition(
        "port_blind", "error", "source cell-counter is blind: the port is not there",
        "Check the cable, the analyzer and `port`; it is opened again by itself.", ago_h=1,
    )  # fmt: skip
    boxes["Hill Road"].tell(
        {"state": "failing", "conditions": [blind]}, updates=_on_model(blocked=["0.5.0"])
    )
    boxes["Meadow"].tell()
    boxes["Meadow"].age(6 * DAY)
    late = {"waiting": 312, "oldest_waiting": (now() - 4 * DAY).isoformat(), "dead": 0,
            "message": "no whole answer: ConnectTimeoutError"}  # fmt: skip
    boxes["Station"].tell(sync=late)
    for town, box in boxes.items():
        if town != "Riverside":
            box.run("N-1", model="sim_optical4@0.4.0", at=now() - HOUR)
            box.send()
    extra = world.box(boxes["Lakeside"].device.clinic_id, "Second room")
    world.store.revoke(extra.device.id)
    capture = boxes["Lakeside"].run("L-7", "cat", flags=[REVIEW])
    boxes["Lakeside"].run("L-7", "dog", capture=capture, number=2, corrected=["species"])
    boxes["Lakeside"].say("correction", capture, number=2, reason="wrong species at the analyzer",
                          changes={"species": ["cat", "dog"]})  # fmt: skip
    boxes["Lakeside"].say("note", capture, kind="smear", verdict="confirms", concerns="platelet",
                          text="clumps at the feathered edge")  # fmt: skip
    boxes["Lakeside"].say("mark", boxes["Lakeside"].run("QC-1"), kind="control", lot="4711",
                          level="normal")  # fmt: skip
    boxes["Lakeside"].run("SIM-1", "horse", simulated=True)
    boxes["Lakeside"].run("empty", values={"RBC": 0.0}, measurements=[], flags=[FAILED])
    boxes["Lakeside"].send()


def _on_model(version="0.4.0", candidate=None, *, samples=0, blocked=()):
    """What a box says of the model it has from a signed update."""
    one = {"item": "model/sim_optical4", "version": version, "candidate": candidate,
           "samples": samples, "blocked": list(blocked)}  # fmt: skip
    return {"items": [one], "unneeded": []}


def _updates(world, boxes):
    """Let four updates be in the four states they can be in."""
    rollouts = Rollouts(world.store.engine, Actor("root", "command"))
    for town, ring, said in (
        ("Riverside", 0, _on_model("0.5.0")),
        ("Lakeside", 0, _on_model("0.4.0", "0.5.0", samples=12)),
        ("Harbour", 1, _on_model("0.5.0")),
    ):
        boxes[town].tell(updates=said)
        rollouts.pin(boxes[town].device.id, ring)
    rollouts.pin(boxes["Hill Road"].device.id, 1)
    for item, ring in (
        ("intervals/dog@2.1.0", 3),
        (f"profile/{HOSTILE[:40]}@1.0.0", 0),
        ("rules/site@1.2.0", 1),
        ("model/sim_optical4@0.5.0", 1),
    ):
        rollouts.start(item, hours=48, max_failed_percent=90, ring=ring)
    rollouts.set_state("rules/site@1.2.0", "halted", "cats are flagged that should not be")
    rollouts.set_state(f"profile/{HOSTILE[:40]}@1.0.0", "rolled_back", HOSTILE)
    with world.store.engine.begin() as db:
        over = update(schema.rollouts).where(schema.rollouts.c.item == "intervals/dog@2.1.0")
        db.execute(over.values(state="done"))


def _hard_names(world, chain):
    clinic = world.clinic(LONG[:200], chain)
    box = world.box(clinic, "W" * 200)
    other = world.box(world.clinic(HOSTILE, chain), HOSTILE)
    told = condition(HOSTILE, "error", HOSTILE * 3, "W" * 300)
    other.tell({"state": "failing", "conditions": [told], "version": HOSTILE})
    for name in (*SCRIPTS, HOSTILE, LONG, "W" * 200):
        flag = {"code": name, "severity": "review", "message": name, "action": name}
        who = {"patient_id": name, "breed": name, "instrument_model": name}
        box.run(name, who=who, flags=[flag], instrument=name)
    capture = box.run("said")
    box.say("note", capture, kind="note", text=HOSTILE, by=HOSTILE)
    box.say("correction", capture, reason="W" * 300, by="W" * 200, number=2,
            changes={HOSTILE: [LONG, HOSTILE]})  # fmt: skip
    box.send()
    return box


def numbers(url):
    """Number of the newest result of each sample."""
    with closing(Reader(url)) as reader:
        listed = results.every(reader, EVERYTHING, results.Wanted())
        return {one["sample_id"]: one["id"] for one in reversed(list(listed))}


def main():
    """Serve it until it is interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'central.sqlite3'}"
        with closing(CentralStore(url)) as store:
            store.create()
            furnish(store)
            with served(store, url) as address:
                print(f"{address}  ops, chief or harbour: {PASSWORD}", flush=True)  # noqa: T201
                while True:
                    time.sleep(60)


if __name__ == "__main__":
    main()
