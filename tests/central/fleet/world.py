"""A fleet whose boxes have sent results: documents as boxes write them, through the real store."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random

from sqlalchemy import insert, update

from edge_daemon.canonical import canonical, digest
from edge_daemon.central import schema
from edge_daemon.central.audit import Actor
from edge_daemon.central.fleet.indexing import Indexer
from edge_daemon.central.roster import Roster
from edge_daemon.central.store import Device
from edge_daemon.sync.protocol import Batch, Item

EPOCH = "0b9c52d2-6d24-4b64-9a5a-6f6c1d5a8f10"
UNITS = {"RBC": "10*6/uL", "PLT": "10*3/uL", "HGB": "g/dL", "HCT": "%", "MCV": "fL"}
NORMAL = {
    "dog": {"RBC": 7.0, "PLT": 280.0, "HGB": 16.0, "HCT": 48.0, "MCV": 69.0},
    "cat": {"RBC": 8.6, "PLT": 310.0, "HGB": 12.5, "HCT": 38.0, "MCV": 44.0},
    "horse": {"RBC": 8.9, "PLT": 160.0, "HGB": 14.0, "HCT": 40.0, "MCV": 45.0},
}
REVIEW = {
    "code": "platelets_count_limited",
    "severity": "review",
    "message": "few platelets were seen",
    "action": "look at a smear",
}


def worst(flags):
    """Say what the flags make of a result."""
    ranks = [("info", "review", "invalid").index(flag["severity"]) for flag in flags]
    return ("ok", "review", "invalid")[max(ranks, default=0)]


def now():
    return dt.datetime.now(dt.UTC)


class World:
    """Chains, clinics, users and boxes."""

    def __init__(self, store, seed=1):
        self.store = store
        self.roster = Roster(store.engine, Actor("root", "command"))
        self.indexer = Indexer(store.engine)
        self.random = random.Random(seed)
        self.count = itertools.count(1)

    def clinic(self, name, chain=None):
        number = self.store.add_clinic(name)
        if chain is not None:
            self.roster.move_clinic(number, chain)
        return number

    def box(self, clinic, name="Room 1", *, seen=dt.timedelta(minutes=5), **columns):
        number = next(self.count)
        moment = now()
        row = {
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "clinic_id": clinic,
            "name": name,
            "certificate_sha256": f"{number:064x}",
            "not_after": moment + dt.timedelta(days=80),
            "enrolled_at": moment - dt.timedelta(days=200),
            "seen_at": None if seen is None else moment - seen,
            "clock_state": "synchronised",
            **columns,
        }
        with self.store.engine.begin() as db:
            db.execute(insert(schema.devices).values(**row))
        return Sender(self, Device(row["id"], clinic, name))

    def index(self):
        return self.indexer.catch_up()


class Sender:
    """A box, as far as the centre can tell."""

    def __init__(self, world, device):
        self.world = world
        self.device = device
        self.waiting = []
        self.seq = 0

    def put(self, kind, body, *, at=None, clock="synchronised"):
        """Put a document into the outbox."""
        self.seq += 1
        text = canonical(body)
        moment = (at or now()).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        what = f"{kind}.{'simulated' if body['simulated'] else 'clinical'}"
        self.waiting.append(Item(self.seq, digest(text), what, 1, moment, clock, body))

    def send(self, epoch=EPOCH):
        """Send what waits and return the answers."""
        items, self.waiting = self.waiting, []
        answers = []
        for first in range(0, len(items), 100):
            batch = Batch(epoch, tuple(items[first : first + 100]))
            answers += self.world.store.ingest(self.device, batch)[0]
        return answers

    def run(self, sample, species="dog", *, at=None, clock="synchronised", flags=(), **given):
        """Put a result and return its capture."""
        capture = given.pop("capture", None) or digest(f"{self.device.id} {self.seq} {sample}")
        factor = given.pop("factor", {})
        normal = NORMAL.get(species, NORMAL["dog"])
        values = given.pop("values", None) or {
            code: round(value * self.world.random.gauss(1.0, 0.01) * factor.get(code, 1.0), 4)
            for code, value in normal.items()
        }
        who = {
            "sample_id": sample, "patient_id": f"P-{sample}", "species": species, "breed": None,
            "instrument_model": "SimOptical4", "instrument_serial": None, "firmware": "1.0",
            "volume_ul": 2.0, "dilution": 200.0, "duration_s": 10.0,
            "acquired_at": (at or now()).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        }  # fmt: skip
        body = {
            "schema": 1, "instrument": "analyzer", "capture": capture, "simulated": False,
            "number": 1, "profile": "sim_optical4/1.0", "profile_sha256": "a" * 64,
            "model": "sim_optical4@0.3.1", "model_sha256": "b" * 64, "events": 50000,
            "status": worst(flags),
            "sample": who, "channels": ["LA.H"], "notes": [],
            "counts": {"pure_rbc": 48000, "reticulocyte": 500, "clumped_rbc": 0, "platelet": 1400,
                       "other": 100},
            "measurements": [
                {"code": code, "value": value, "unit": UNITS[code], "low": value * 0.97,
                 "high": value * 1.03, "method": "counted", "flags": []}
                for code, value in values.items()
            ],
            "flags": list(flags),
        }  # fmt: skip
        body["sample"] |= given.pop("who", {})
        body |= given
        self.put("run", body, at=at, clock=clock)
        return capture

    def report(self, sample_id, species="dog", *, at=None, factor=None, **given):
        """Put what the analyzer itself reported."""
        factor = factor or {}
        values = [
            {"name": code, "code": code, "unit": UNITS[code], "text": "", "written_unit": "",
             "value": round(value * self.world.random.gauss(1.0, 0.01) * factor.get(code, 1.0), 4),
             "low": None, "high": None, "flags": []}
            for code, value in NORMAL[species].items()
        ]  # fmt: skip
        body = {
            "schema": 1, "instrument": "analyzer", "simulated": False, "number": 1, "position": 1,
            "capture": digest(f"report {self.device.id} {self.seq} {sample_id}"), "kind": "sample",
            "message_id": "", "profile": "acme_lis/1.0", "profile_sha256": "c" * 64,
            "amends": False, "messages": [], "notes": [], "values": values, "histograms": [],
            "sample": {
                "sample_id": sample_id, "patient_id": None, "species": species,
                "acquired_at": (at or now()).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
            },
        }  # fmt: skip
        self.put("report", body | given, at=at)

    def say(self, what, capture, *, at=None, clock="synchronised", **facts):
        """Put a note, correction or mark."""
        body = {"schema": 1, "instrument": "analyzer", "capture": capture, "simulated": False,
                "by": "Ada", "made_at": "", "made_clock": "", **facts}  # fmt: skip
        self.put(what, body, at=at, clock=clock)

    def tell(self, health=None, *, ago=None, **more):
        """Say how the box is."""
        told = {"version": "0.1.0", "health": {"state": "ok", "conditions": []} | (health or {}),
                "sync": {"waiting": 0, "oldest_waiting": None, "dead": 0}} | more  # fmt: skip
        self.world.store.note_health(self.device, json.dumps(told))
        if ago is not None:
            self.age(ago)

    def age(self, long):
        """Let the last word, and the box's last call, be so long ago."""
        moment = now() - long
        with self.world.store.engine.begin() as db:
            for table in (schema.health, schema.health_history):
                columns = {
                    c: moment for c in ("received_at", "first_at", "last_at") if c in table.c
                }
                db.execute(
                    update(table).where(table.c.device_id == self.device.id).values(**columns)
                )
            this = schema.devices.c.id == self.device.id
            db.execute(update(schema.devices).where(this).values(seen_at=moment))


def condition(code, severity="warning", message=None, action="do the next thing", ago_h=3):
    since = now() - dt.timedelta(hours=ago_h)
    return {
        "code": code, "subject": "", "severity": severity, "since": since.isoformat(),
        "message": message or code.replace("_", " "), "action": action,
    }  # fmt: skip
