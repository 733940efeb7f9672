"""Real Chromium on the real page of a clinic whose results were made by the whole pipeline."""

from __future__ import annotations

import dataclasses
import re
import shutil
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

FLAGS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ARTIFACTS = Path(__file__).resolve().parents[3] / "artifacts" / "web"
WIDE, NARROW = (1280, 900), (390, 844)
DRAWN = "[data-pictures], [data-trends], [data-chart], [data-pairs]"
"""What a script draws a plot into."""

SCRIPTS = (
    "Ζεύς",
    "Жучка",
    "كلب",
    "כלב",
    "ไข่มุก",
    "ポチ",
    "小白",
    "바둑이",
    "Ó Brádaigh’s Fiadh",
    "🐶 Rex",
)
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">"\'&amp;'
LONG = "Bartholomäus-von-und-zu-" * 8 + "Ende"
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
    """One Chromium for the tests of a module; Debian's own, nothing is downloaded."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        pytest.skip("system: no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


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


class Watched:
    """A page whose console and requests are watched."""

    def __init__(self, context, origin):
        self.page = context.new_page()
        self.origin = origin
        self.complaints = []
        self.elsewhere = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request):
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def go(self, path):
        answer = self.page.goto(self.origin.rstrip("/") + path)
        assert answer.ok, f"{path}: {answer.status}"
        self.drawn()
        return self.page

    def drawn(self):
        """Wait until nothing of the page is being worked out, and its plots are drawn."""
        self.page.wait_for_function("() => !document.querySelector('[data-working]')")
        if self.page.locator(DRAWN).count():
            self.page.wait_for_function(
                f"() => [...document.querySelectorAll('{DRAWN}')].every(s => s.dataset.drawn)"
            )

    def keep(self, name):
        """Keep a picture of the whole page for people to look at."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        file = ARTIFACTS / (re.sub(r"[^\w-]+", "-", name) + ".png")
        self.page.screenshot(path=file, full_page=True)
        return file

    def is_clean(self):
        assert not self.complaints
        assert not self.elsewhere


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
