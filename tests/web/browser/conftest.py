"""Real Chromium on the real page of a clinic whose results were made by the whole pipeline."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.conditions import Board, Finding
from edge_daemon.config import Settings
from edge_daemon.health import StatusFile
from edge_daemon.log import EventLog
from edge_daemon.pipeline import process_files
from edge_daemon.records import Flag, Measurement
from edge_daemon.simulator.cohort import sample
from edge_daemon.web.server import WebServer
from tests.web.browser.watching import HOSTILE, LONG, SCRIPTS, WIDE, Watched, start_chromium

ALL_FLAGS = tuple(
    Flag(code, severity, f"{code.replace('_', ' ')}: a cause with its figure", "do the next thing")
    for code, severity in (
        ("no_volume", "info"),
        ("reticulocytes_not_reported", "info"),
        ("species_unknown", "review"),
        ("platelets_count_limited", "review"),
        ("feline_platelets_unconfirmed", "review"),
        ("rbc_agglutination_suspected", "review"),
        ("rbc_partly_estimated", "info"),
        ("other_events_high", "review"),
        ("signals_saturated", "review"),
        ("coincidence_high", "review"),
        ("optics_not_calibrated", "info"),
        ("extinction_disagrees", "review"),
        ("platelet_scatter_disagrees", "review"),
        ("species_suspected", "review"),
        ("no_rbc_peak", "invalid"),
    )
)
NOTHING = tuple(
    Measurement(code, None, unit, None, None, "counted", ("no_rbc_peak",))
    for code, unit in (("RBC", "10*6/uL"), ("PLT", "10*3/uL"), ("RETIC%", "%"))
)


@pytest.fixture(scope="module")
def chromium():
    """One Chromium for the tests of a module."""
    with start_chromium() as browser:
        yield browser


@dataclasses.dataclass
class Clinic:
    """A served data folder and its results by name."""

    box: object
    url: str
    runs: dict[str, int]


@pytest.fixture(scope="module")
def clinic(make_box, tmp_path_factory):
    """A clinic with analysed captures, hard cases and things set aside."""
    folder = tmp_path_factory.mktemp("clinic")
    captures = folder / "captures"
    captures.mkdir()
    for index, species in enumerate(("dog", "cat", "horse", "dog")):
        made = sample(index, events=6000, seed=3, species=(species,))
        (captures / made.name).write_bytes(made.data)
    results = list(process_files([captures], data_dir=folder / "data"))
    assert all(result["status"] == "classified" for result in results)
    box = make_box(folder / "data")
    with _served(box) as url:
        runs = {Path(r["file"]).stem.split("_")[-1]: r["run_id"] for r in reversed(results)}
        yield Clinic(box, url, runs | _fill(box))


def _fill(box):
    _tell_status(box)
    runs = {}
    for visit in range(4):
        runs["bello"] = box.add(patient_name="Bello", patient_id="P-7", flags=())
        if visit == 3:
            box.tell(sample_id=f"D-{box.count:04d}", patient_name="Bello", patient_id="P-7")
    runs["every flag"] = box.add(patient_name="Flagged", patient_id="P-8", flags=ALL_FLAGS)
    runs["nothing"] = box.add(
        patient_name="Nothing", patient_id="P-9", flags=ALL_FLAGS[-1:], measurements=NOTHING
    )
    runs["no events"] = box.add(
        patient_name="No events", patient_id="P-10", counts=(0,) * 5, measurements=NOTHING,
        flags=ALL_FLAGS[-1:],
    )  # fmt: skip
    runs["hostile"] = box.add(
        name=HOSTILE, patient_name=HOSTILE, patient_id=HOSTILE, breed=HOSTILE, sample_id=HOSTILE,
        instrument_model=HOSTILE, instrument_serial=HOSTILE, acquired_at=HOSTILE,
    )  # fmt: skip
    runs["long"] = box.add(patient_name=LONG, patient_id=LONG, breed=LONG, sample_id=LONG)
    runs["unbroken"] = box.add(patient_name="W" * 200, patient_id="W" * 200, sample_id="W" * 200)
    for number, name in enumerate(SCRIPTS):
        runs[name] = box.add(patient_name=name, patient_id=f"S-{number}", breed=name)
    box.set_aside("broken.fcs")
    box.set_aside(HOSTILE, message=HOSTILE)
    return runs


def _tell_status(box):
    """Say what a running service would: one source works, one is blind, the clock is free."""
    board, clock = Board(), SystemClock()
    found = (
        Finding("port_blind", "cell-counter", {"reason": "the port is not there"}),
        Finding("clock_unsynchronised"),
    )
    board.update(found, clock.stamp().wall, clock.monotonic())
    sources = [
        {"name": "analyzer", "kind": "folder", "state": "watching", "reason": ""},
        {"name": "cell-counter", "kind": "serial", "state": "degraded", "reason": "no port"},
    ]
    sources[0]["heard_at"] = clock.monotonic()
    StatusFile(box.path).write({"health": board.describe(), "sources": sources})


@pytest.fixture
def hard_names():
    """Name and run of each result whose name is hard to show."""
    names = (*SCRIPTS, HOSTILE, LONG, "W" * 200)
    keys = (*SCRIPTS, "hostile", "long", "unbroken")
    return lambda clinic: [(n, clinic.runs[k]) for n, k in zip(names, keys, strict=True)]


@contextmanager
def _served(box):
    settings = Settings.model_validate(
        {
            "box": {"name": "clinic", "data_dir": str(box.path)},
            "source": [{"name": "an1", "path": str(box.path)}],
            "web": {"listen": "127.0.0.1:0"},
        },
        context={"base": box.path},
    )
    server = WebServer(settings, box.store, SystemClock(), EventLog("error"))
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def visit(chromium, clinic):
    """Open pages of the clinic; after the test console and network must be clean."""
    contexts, pages = [], []

    def open_page(size=WIDE, scheme="light", origin=None, **options):
        width, height = size
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        context.set_default_timeout(60_000)
        watched = Watched(context, origin or clinic.url)
        contexts.append(context)
        pages.append(watched)
        return watched

    yield open_page
    for watched in pages:
        watched.is_clean()
    for context in contexts:
        context.close()
