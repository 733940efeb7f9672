"""A veterinary practice of simulated animals, as it stands after some months with the box.

Every capture is acquired by the simulator and analysed by the real stages; only the days are set.
What the analyzer itself reports drifts in the last weeks, as an analyzer does that needs a
calibration.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np

from edge_daemon.analysis import Analyst
from edge_daemon.clock import SystemClock, format_wall
from edge_daemon.health import STATUS_NAME
from edge_daemon.pipeline import default_plan
from edge_daemon.records import (
    AnalyzerReport,
    RawCapture,
    Reported,
    ReportedValue,
)
from edge_daemon.simulator.acquisition import acquire
from edge_daemon.simulator.biology import plan_sample
from edge_daemon.store import queries
from edge_daemon.store.lots import Lot, LotTarget
from edge_daemon.store.writer import Store

DRIFT = 1.06
"""What the analyzer's own MCV is off in the end."""
LEVELS = (("normal", "healthy"), ("low", "nonregenerative_anaemia"))
"""Of the control material, and the blood that it is made of."""
TOLD = {"RBC": "10*6/uL", "HGB": "g/dL", "HCT": "%", "MCV": "fL", "PLT": "10*3/uL"}


class SetClock(SystemClock):
    """The machine's clock, on another day."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def stamp(self):
        return dataclasses.replace(super().stamp(), wall=format_wall(self.now))


class Practice:
    """Animals are brought in, one after the other."""

    def __init__(self, path, seed=11):
        self.clock = SetClock(datetime.now(UTC))
        self.store = Store.open(path, self.clock)
        self.rng = np.random.default_rng(seed)
        self.numbers = count(1)
        self.analyst = Analyst(default_plan())

    def close(self):
        self.store.close()

    def plan(self, species, condition="healthy", sample_id=None):
        number = next(self.numbers)
        return plan_sample(
            self.rng,
            species,
            condition,
            sample_id=sample_id or f"{species[0].upper()}-{number:04d}",
        )

    def add_lots(self, controls):
        """Add a lot whose sheet says what is true of the material."""
        self.clock.now = datetime.now(UTC) - timedelta(days=170)
        for level, plan in controls.items():
            hct = plan.rbc * plan.mcv / 10
            targets = {
                "RBC": LotTarget(plan.rbc, 0.025 * plan.rbc),
                "HGB": LotTarget(hct * plan.hc / 100, 0.03 * hct * plan.hc / 100),
                "MCV": LotTarget(plan.mcv, 0.02 * plan.mcv),
                "PLT": LotTarget(plan.plt, 0.08 * plan.plt),
            }
            lot = Lot("4711", level, "Vet control", targets, pattern=f"QC-{level}*")
            self.store.add_lot(lot, by="Ada")

    def bring(self, plan, when, *, events=4000, told=None, entered_as=None, **sample):
        """Measure one animal; `told` are factors on what the analyzer itself reports."""
        self.clock.now = when
        number = next(self.numbers)
        written = dataclasses.replace(plan, species=entered_as or plan.species)
        made = acquire(written, events=events, seed=(7, number), name=f"{number:05d}.fcs")
        digest = hashlib.sha256(made.data).hexdigest()
        capture = RawCapture("analyzer", "analyzer", made.name, digest, made.data)
        accepted = self.store.accept(capture)
        acquired = when.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        sample = {"acquired_at": acquired, **sample}
        decoded, classified = self.analyst.analyse(capture)
        decoded = dataclasses.replace(decoded, sample=dataclasses.replace(decoded.sample, **sample))
        self.store.record_decoded(accepted.capture_id, decoded)
        run = self.store.record_run(accepted.capture_id, decoded, classified)
        if told is not None:
            self._tell(decoded.sample, plan, told)
        return run

    def _tell(self, sample, plan, factors):
        """Report the sample as the analyzer would: the truth, its noise, and what it is off."""
        mcv = plan.mcv * factors.get("MCV", 1.0)
        hct = plan.rbc * mcv / 10
        true = {
            "RBC": plan.rbc,
            "HGB": hct * plan.hc / 100,
            "HCT": hct,
            "MCV": mcv,
            "PLT": plan.plt,
        }
        values = []
        for code, value in true.items():
            noisy = value * self.rng.normal(1.0, 0.06 if code == "PLT" else 0.01)
            values.append(ReportedValue(code, code, noisy, TOLD[code], f"{noisy:.2f}", TOLD[code]))
        text = f"{sample.sample_id} {values}".encode()
        digest = hashlib.sha256(text).hexdigest()
        capture = RawCapture("analyzer", "lan", f"{sample.sample_id}.hl7", digest, text)
        accepted = self.store.accept(capture)
        info = dataclasses.replace(sample, volume_ul=None, dilution=None)
        report = AnalyzerReport(info, "sample", tuple(values))
        self.store.record_report(accepted.capture_id, Reported("acme_lis/1.0", "99" * 32, report))
        self.store.finish_decoded(accepted.capture_id)


NAMES = (
    "Balu", "Luna", "Rocky", "Emma", "Max", "Nala", "Sammy", "Kira", "Oskar", "Lotte", "Bruno",
    "Frieda", "Paul", "Maja", "Henry", "Bella", "Anton", "Lilly", "Charly", "Ronja",
)  # fmt: skip


def furnish(path):
    """Make the practice and return the run ids of the animals that tasks are about."""
    memory = Path("/dev/shm")  # hundreds of commits that no power cut can hit
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        runs = _furnish(Path(scratch) / "data")
        shutil.copytree(Path(scratch) / "data", path)
    return runs


def runs_of(path):
    """Newest run of each animal by its name."""
    with contextlib.closing(queries.connect(path)) as db:
        found = db.execute("SELECT patient_name, max(id) FROM runs GROUP BY 1").fetchall()
    return {name.lower(): run for name, run in found if name}


def _furnish(path):
    made = Practice(path)
    runs = {}
    try:
        controls = {
            level: made.plan("dog", condition, f"QC-{level}") for level, condition in LEVELS
        }
        made.add_lots(controls)
        for when, species, condition, options in sorted(_visits(), key=lambda visit: visit[0]):
            plan = controls.get(species) or made.plan(species, condition)
            run = made.bring(plan, when.astimezone(UTC), **options)
            runs[options.get("patient_name", "control").lower()] = run
    finally:
        made.close()
    return runs


def _visits():
    """Yield when which animal comes."""
    today = datetime.now().astimezone().replace(hour=9, minute=40, second=0, microsecond=0)
    # At night, what is of today must lie before now.
    today -= timedelta(hours=9 if today > datetime.now().astimezone() else 0)
    yield from _history(today)

    def visit(days, minutes, species, name, number, condition="healthy", **options):
        when = today - timedelta(days=days) + timedelta(minutes=minutes)
        known = {"patient_name": name, "patient_id": f"P-{number}", "events": 30_000}
        return when, species, condition, known | options

    drifted = {"MCV": DRIFT}
    bello = {"breed": "Labrador", "told": drifted}
    visits = ((40, "nonregenerative_anaemia"), (33, "regenerative_anaemia"),
              (26, "regenerative_anaemia"), (12, "healthy"))  # fmt: skip
    for days, condition in visits:
        yield visit(days, 70, "dog", "Bello", 207, condition=condition, **bello)
    tuesday = (today.weekday() - 1 - 1) % 7 + 1
    yield visit(tuesday, 25, "horse", "Sturmwind", 925, breed="Hanoverian")
    yield visit(tuesday, 190, "dog", "Aramis", 926, told=drifted)
    yield visit(1, 5, "cat", "Felix", 301)
    yield visit(1, 25, "cat", "Minka", 302, condition="thrombocytopenia", breed="Persian")
    yield visit(1, 50, "dog", "Nero", 303, condition="thrombocytopenia", told=drifted)
    for days in range(56, -1, -4):
        for minutes, (level, _) in enumerate(LEVELS):
            told = {"MCV": 1.0 + (DRIFT - 1.0) * max(0.0, 1 - days / 45)}
            when = today - timedelta(days=days, minutes=60 - 5 * minutes)
            yield when, level, "", {"events": 20_000, "told": told}
    yield visit(0, -30, "dog", "Frieda", 118, breed="Beagle", told=drifted)
    yield visit(0, -20, "dog", "Rex", 412, entered_as="cat", told=drifted)
    yield visit(0, -10, "dog", "Greta", 377, condition="agglutination", told=drifted)
    yield visit(0, -5, "cat", "Mimi", 378)


def _history(today):
    """Yield enough dogs that their averages can be followed; the last ones after the drift."""
    dogs = 150
    for number in range(dogs):
        when = today - timedelta(days=160 - number, minutes=-13 * (number % 20))
        options = {
            "patient_name": NAMES[number % len(NAMES)],
            "patient_id": f"P-1{number % 97:02d}",
            "events": 6000,
            "told": {"MCV": DRIFT if number >= dogs - 45 else 1.0},
        }
        yield when, "dog", "healthy", options


_CONFIG = """\
[box]
name = "practice"
data_dir = "{data}"

[[source]]
name = "analyzer"
kind = "folder"
path = "{export}"

[web]
listen = "127.0.0.1:0"

[log]
level = "warning"
"""


@contextlib.contextmanager
def serve(folder):
    """Run the real service on ``folder/data``, and yield the address of its page."""
    (folder / "export").mkdir(exist_ok=True)
    config = folder / "practice.toml"
    config.write_text(_CONFIG.format(data=folder / "data", export=folder / "export"))
    status = folder / "data" / STATUS_NAME
    status.unlink(missing_ok=True)
    with (folder / "service.log").open("w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "edge_daemon.cli", "run", "--config", str(config)],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield _address(service, status, folder / "service.log")
    finally:
        service.terminate()
        service.wait(60)


def _address(service, status, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert service.poll() is None, log.read_text()
        with contextlib.suppress(OSError, ValueError):
            url = (json.loads(status.read_text()).get("web") or {}).get("url")
            if url:
                return url
        time.sleep(0.05)
    raise AssertionError(log.read_text())
