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
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import count

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
from edge_daemon.store.writer import Store

DRIFT = 1.06
"""What the analyzer's own MCV is off in the end."""
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
    made = Practice(path)
    try:
        return _furnish(made)
    finally:
        made.close()


def _furnish(made):
    today = datetime.now().astimezone().replace(hour=8, minute=5, second=0, microsecond=0)
    if today > datetime.now().astimezone():
        today -= timedelta(hours=8)  # a test at night: what is of today must lie before now

    def at(days, minutes=0):
        return (today - timedelta(days=days) + timedelta(minutes=minutes)).astimezone(UTC)

    _history(made, at)
    runs = {}
    for days, condition in ((40, "nonregenerative_anaemia"), (33, "regenerative_anaemia"),
                            (26, "regenerative_anaemia"), (12, "healthy")):  # fmt: skip
        plan = made.plan("dog", condition)
        runs["bello"] = made.bring(
            plan, at(days, 70), told={"MCV": DRIFT}, patient_name="Bello", patient_id="P-207",
            breed="Labrador",
        )  # fmt: skip
    tuesday = (today.weekday() - 1 - 1) % 7 + 1
    for name, minutes in (("Sturmwind", 25), ("Aramis", 190)):
        runs[name.lower()] = made.bring(
            made.plan("horse"), at(tuesday, minutes), events=12_000, patient_name=name,
            patient_id=f"P-9{minutes}", breed="Hanoverian",
        )  # fmt: skip
    for name, condition in (
        ("Felix", "healthy"),
        ("Minka", "thrombocytopenia"),
        ("Tom", "healthy"),
    ):
        runs[name.lower()] = made.bring(
            made.plan("cat", condition), at(1, 10 * len(runs)), events=12_000, patient_name=name,
            patient_id=f"P-3{len(runs)}", breed="European Shorthair",
        )  # fmt: skip
    runs["frieda"] = made.bring(
        made.plan("dog"), at(0, -20), events=12_000, told={"MCV": DRIFT}, patient_name="Frieda",
        patient_id="P-118", breed="Beagle",
    )  # fmt: skip
    runs["rex"] = made.bring(
        made.plan("dog"), at(0, -8), events=12_000, told={"MCV": DRIFT}, entered_as="cat",
        patient_name="Rex", patient_id="P-412",
    )  # fmt: skip
    runs["greta"] = made.bring(
        made.plan("dog", "agglutination"), at(0, -3), events=12_000, told={"MCV": DRIFT},
        patient_name="Greta", patient_id="P-377", breed="Dachshund",
    )  # fmt: skip
    return runs


def _history(made, at):
    """Bring enough dogs that their averages can be followed; the last ones after the drift."""
    dogs = 150
    for number in range(dogs):
        drifted = number >= dogs - 45
        made.bring(
            made.plan("dog"), at(160 - number, 15 * (number % 20)), events=1200,
            told={"MCV": DRIFT if drifted else 1.0}, patient_name=NAMES[number % len(NAMES)],
            patient_id=f"P-1{number % 97:02d}",
        )  # fmt: skip


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
