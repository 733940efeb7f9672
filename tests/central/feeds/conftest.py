"""A centre's database with documents in it, as real boxes' stores would have written them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select

from edge_daemon.canonical import canonical, digest
from edge_daemon.central.reading import EVERYTHING, Reader
from edge_daemon.central.schema import documents
from edge_daemon.central.store import CentralStore, Device
from edge_daemon.sync.protocol import Batch, Item

EPOCH = "3d6f1835-1272-4eab-8fe4-fa7efefec6fc"
DEVICES = itertools.count(1)


def capture_of(number: int) -> str:
    return hashlib.sha256(b"capture %d" % number).hexdigest()


def run_body(capture: int = 1, number: int = 1, **changes: Any) -> dict[str, Any]:
    """Body of a version of a result; of the changes, those of the sample go there."""
    sample = {
        "sample_id": f"S-{capture}", "patient_id": "P-7", "species": "dog", "breed": None,
        "instrument_model": "SimOptical4", "instrument_serial": "SN1", "firmware": "1.0",
        "volume_ul": 20.5, "dilution": 1000.0, "duration_s": 14.2,
        "acquired_at": "2026-01-05T08:00:00+00:00",
    }  # fmt: skip
    sample |= {key: changes.pop(key) for key in list(changes) if key in sample}
    return {
        "schema": 1, "instrument": "an1", "capture": capture_of(capture), "simulated": False,
        "number": number, "profile": "sim_optical4/1.0", "profile_sha256": "a" * 64,
        "model": "sim@1.0.0", "model_sha256": "b" * 64, "events": 1000, "status": "ok",
        "sample": sample, "channels": ["LA.H"], "notes": [],
        "counts": {
            "pure_rbc": 800, "reticulocyte": 20, "clumped_rbc": 5, "platelet": 150, "other": 25,
        },
        "measurements": [
            {"code": "RBC", "value": 6.6251, "unit": "10*6/uL", "low": 6.4, "high": 6.85,
             "method": "counted", "flags": []},
            {"code": "RETIC%", "value": None, "unit": "%", "low": None, "high": None,
             "method": "counted", "flags": ["no_dye"]},
            {"code": "PLT", "value": 254.5, "unit": "10*3/uL", "low": 236.0, "high": 273.0,
             "method": "counted", "flags": []},
        ],
        "flags": [
            {"code": "no_dye", "severity": "info", "message": "no RNA dye", "action": ""},
        ],
    } | changes  # fmt: skip


def said_body(what: str, capture: int = 1, **changes: Any) -> dict[str, Any]:
    """Body of a note, correction or mark."""
    common = {
        "schema": 1, "instrument": "an1", "capture": capture_of(capture), "simulated": False,
        "by": "Ann", "made_at": "2026-01-06T09:00:00.000000Z", "made_clock": "synchronised",
    }  # fmt: skip
    own: dict[str, dict[str, Any]] = {
        "note": {"number": 1, "kind": "note", "concerns": None, "verdict": None, "text": "fasted"},
        "correction": {
            "number": 2, "changes": {"species": ["dog", "cat"]}, "reason": "typed wrongly",
        },
        "mark": {"kind": "control", "lot": "L1", "level": "normal"},
    }  # fmt: skip
    return common | own[what] | changes


def report_body(capture: int = 9, **changes: Any) -> dict[str, Any]:
    """Body of an analyzer's report; `values` maps codes to numbers."""
    values = changes.pop("values", {"RBC": 6.5, "PLT": 240.0, "RETIC%": 1.2})
    units = {"RBC": "10*6/uL", "PLT": "10*3/uL", "RETIC%": "%"}
    sample = run_body()["sample"] | {"volume_ul": None, "dilution": None, "duration_s": None}
    sample |= {key: changes.pop(key) for key in list(changes) if key in sample}
    lines = [
        {"name": code, "code": code, "value": value, "unit": units[code], "text": str(value),
         "written_unit": units[code], "low": None, "high": None, "flags": []}
        for code, value in values.items()
    ]  # fmt: skip
    other = {"name": "WBC", "code": None, "value": 8.1, "unit": "10*9/L", "text": "8.1",
             "written_unit": "10*9/L", "low": None, "high": None, "flags": ["H"]}  # fmt: skip
    return {
        "schema": 1, "instrument": "lis", "capture": capture_of(capture), "simulated": False,
        "number": 1, "position": 0, "kind": "sample", "message_id": "M-1", "amends": False,
        "profile": "acme_lis/1.0", "profile_sha256": "c" * 64, "sample": sample,
        "messages": ["PLT Clumps?"], "notes": [], "values": [*lines, other], "histograms": [],
    } | changes  # fmt: skip


@dataclass
class Centre:
    """A database, its reader, and boxes that send."""

    store: CentralStore
    reader: Reader
    seqs: dict[str, itertools.count] = field(default_factory=dict)

    def box(self, clinic: str = "Clinic by the river", chain: int | None = None) -> Device:
        """Enrol a box of a new clinic."""
        from sqlalchemy import insert, update

        from edge_daemon.central.schema import clinics, devices
        from edge_daemon.central.store import _now

        number = self.store.add_clinic(clinic)
        device = Device(f"00000000-0000-4000-8000-{next(DEVICES):012d}", number, "Room 2")
        with self.store.engine.begin() as db:
            db.execute(
                insert(devices).values(
                    id=device.id, clinic_id=number, name=device.name, not_after=_now(),
                    certificate_sha256=device.id, enrolled_at=_now(),
                )
            )  # fmt: skip
            if chain is not None:
                db.execute(update(clinics).where(clinics.c.id == number).values(chain_id=chain))
        return device

    def send(
        self,
        device: Device,
        *items: tuple[str, dict[str, Any]],
        clock: str = "synchronised",
        created_at: str = "2026-01-05T08:01:02.000000Z",
    ) -> None:
        """Let a box send items in one batch, in this order of their seq."""  # fmt: skip
        seq = self.seqs.setdefault(device.id, itertools.count(1))
        made = [
            Item(
                next(seq), digest(canonical(body)),
                f"{what}.{'simulated' if body['simulated'] else 'clinical'}", 1, created_at,
                clock, body,
            )
            for what, body in items
        ]  # fmt: skip
        answers, _ = self.store.ingest(device, Batch(EPOCH, tuple(made)))
        assert {a.status for a in answers} == {"stored"}, answers

    def highest(self) -> int:
        from sqlalchemy import func

        with self.reader.reading(EVERYTHING) as db:
            return int(db.execute(select(func.max(documents.c.id))).scalar_one() or 0)


@pytest.fixture
def centre(database, tmp_path) -> Iterator[Centre]:
    url = database or f"sqlite:///{tmp_path / 'central.sqlite3'}"
    store = CentralStore(url)
    store.create()
    reader = Reader(url)
    yield Centre(store, reader)
    reader.close()
    store.close()
