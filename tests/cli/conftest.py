"""Fixtures of the command line tests."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_daemon.cli import cli
from edge_daemon.clock import SystemClock
from edge_daemon.errors import Quarantine
from edge_daemon.records import (
    CELL_CLASSES,
    AnalyzerReport,
    Classified,
    Decoded,
    Flag,
    Measurement,
    RawCapture,
    Reported,
    ReportedHistogram,
    ReportedValue,
    SampleInfo,
)
from edge_daemon.store.writer import Store

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Outcome:
    """What one invocation left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def invoke(monkeypatch):
    """Run a command in this process; streams are pipes."""
    for variable in ("EDGE_DAEMON_DATA", "EDGE_DAEMON_CONFIG", "EDGE_DAEMON_DEBUG"):
        monkeypatch.delenv(variable, raising=False)

    def run(*args, env=None):
        result = CliRunner().invoke(cli, [str(a) for a in args], env=env, prog_name="edge-daemon")
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def spawn(tmp_path):
    """Run a command in a process of its own, as a shell would."""

    def run(*args, env=None, cwd=None, timeout=120):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_DAEMON_")}
        done = subprocess.run(
            [sys.executable, "-m", "edge_daemon.cli", *map(str, args)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
            cwd=cwd or tmp_path,
            env={**clean, "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), **(env or {})},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


SAMPLE = SampleInfo(
    sample_id="D-0001",
    patient_id="P-7",
    patient_name="Bello",
    species="dog",
    breed="Labrador",
    instrument_model="SimOptical4",
    instrument_serial="SN1",
    firmware="1.0",
    volume_ul=2.0,
    dilution=200.0,
    acquired_at="2026-01-05T08:00:00Z",
    simulated=True,
)
MEASUREMENTS = (
    Measurement("RBC", 7.123456, "10*6/uL", 6.98, 7.27, "counted"),
    Measurement("RETIC%", None, "%", None, None, "counted", ("no_fluorescence",)),
    Measurement("PLT", 254.51, "10*3/uL", 236.2, 273.7, "counted", ("clumps",)),
    Measurement("CLUMP%", 1.25, "%", 1.1, 1.4, "counted"),
)
REVIEW = Flag("clumps", "review", "Red cell clumps 1.3 %", "Look at a smear; redraw if confirmed.")
INVALID = Flag("no_rbc_peak", "invalid", "No red cell peak found", "Repeat the run.")
NOTE = Flag("no_fluorescence", "info", "No RNA dye channel", "")


REPORTED = (
    ReportedValue("RBC", "RBC", 7.0, "10*6/uL", "7.00", "10^12/L", 5.65, 8.87),
    ReportedValue("PLT", "PLT", 180.0, "10*3/uL", "180", "10^9/L", flags=("L", "*")),
    ReportedValue("RET%", "RETIC%", None, "%", "----"),
    ReportedValue("WBC", None, 8.14, "10^9/L", "8.14", "10^9/L", flags=("H",)),
)


class Clinic:
    """A data folder written by the real store."""

    def __init__(self, path):
        self.path = path
        self.count = 0

    def add(
        self,
        *,
        name=None,
        flags=(REVIEW, NOTE),
        instrument="analyzer",
        measurements=MEASUREMENTS,
        pictures=b"",
        **sample,
    ):
        """Store one run and return its id."""
        self.count += 1
        info = dataclasses.replace(SAMPLE, **{"sample_id": f"D-{self.count:04d}"} | sample)
        data = f"capture {self.count}".encode()
        capture = RawCapture(
            instrument=instrument,
            source="export",
            name=name or f"{self.count:04d}.fcs",
            sha256=hashlib.sha256(data).hexdigest(),
            data=data,
        )
        decoded = Decoded("sim_optical4/1.0", "ab" * 32, 1000, ("LA.H",), info, ("a note",))
        counts = dict(zip(CELL_CLASSES, (900, 10, 20, 50, 20), strict=True))
        called = Classified(
            "sim@0.1.0", "cd" * 32, counts, measurements, tuple(flags), pictures=pictures
        )
        with Store.open(self.path, SystemClock()) as store:
            accepted = store.accept(capture)
            store.record_decoded(accepted.capture_id, decoded)
            return store.record_run(accepted.capture_id, decoded, called)

    def tell(
        self, values=REPORTED, *, instrument="analyzer", kind="sample", amends=False, **sample
    ):
        """Store one report of the analyzer, of sample D-0001 unless said, and return its id."""
        self.count += 1
        info = dataclasses.replace(SAMPLE, **{"volume_ul": None, "dilution": None} | sample)
        report = AnalyzerReport(
            info,
            kind,
            tuple(values),
            (ReportedHistogram("RBC", "fL", 0.0, 250.0, (0.0, 2.0)),),
            ("PLT Clumps?",),
            f"M-{self.count}",
            amends,
        )
        data = f"message {self.count}".encode()
        digest = hashlib.sha256(data).hexdigest()
        with Store.open(self.path, SystemClock()) as store:
            name = f"{self.count:04d}.hl7"
            accepted = store.accept(RawCapture(instrument, "lis", name, digest, data))
            told = Reported("acme_lis/1.0", "99" * 32, report)
            receipt = store.record_report(accepted.capture_id, told)
            store.finish_decoded(accepted.capture_id)
            return receipt.report_id

    def see_again(self, capture_id, name):
        with Store.open(self.path, SystemClock()) as store:
            store.sighting(capture_id, "export", name)

    def replay(self, capture_id):
        info = dataclasses.replace(SAMPLE)
        decoded = Decoded("sim_optical4/1.0", "ab" * 32, 1000, ("LA.H",), info, ())
        counts = dict.fromkeys(CELL_CLASSES, 200)
        called = Classified("sim@0.2.0", "ef" * 32, counts, MEASUREMENTS, ())
        with Store.open(self.path, SystemClock()) as store:
            store.requeue(capture_id)
            store.record_decoded(capture_id, decoded)
            return store.record_run(capture_id, decoded, called)

    def set_aside(self, name="broken.fcs"):
        data = name.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(data).hexdigest()
        reason = Quarantine(
            "no_profile",
            f"{name}: instrument X is known with firmware 1.0; this file says 3.0",
            action="Add a profile for this firmware.",
            candidates=("x/1.0",),
        )
        with Store.open(self.path, SystemClock()) as store:
            accepted = store.accept(RawCapture("analyzer", "export", name, digest, data))
            store.quarantine(accepted.capture_id, reason)
            store.refuse("export", "link.fcs", Quarantine("refused", "link.fcs: a symbolic link"))


@pytest.fixture
def clinic(tmp_path):
    return Clinic(tmp_path / "data")


@pytest.fixture
def empty(tmp_path):
    """A data folder whose database holds nothing yet."""
    Store.open(tmp_path / "empty", SystemClock()).close()
    return tmp_path / "empty"
