"""A box with its page: the real store, the real server, real sockets."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import re
import threading
import time
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlencode, urlsplit

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.config import Settings
from edge_daemon.errors import Quarantine
from edge_daemon.log import EventLog
from edge_daemon.records import (
    CELL_CLASSES,
    AnalyzerReport,
    Classified,
    Decoded,
    Flag,
    Measurement,
    RawCapture,
    Reported,
    ReportedValue,
    SampleInfo,
)
from edge_daemon.store.writer import Store
from edge_daemon.web.server import WebServer

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
COUNTS = (900, 10, 20, 50, 20)
MEASUREMENTS = (
    Measurement("RBC", 7.123456, "10*6/uL", 6.98, 7.27, "counted"),
    Measurement("PLT", 154.51, "10*3/uL", 136.2, 173.7, "counted", ("clumps",)),
    Measurement("RETIC", 35.6, "10*3/uL", 30.1, 41.2, "calculated"),
    Measurement("RETIC%", 0.5, "%", 0.4, 0.6, "counted"),
    Measurement("HCT", 49.9, "%", 47.7, 52.2, "calculated"),
    Measurement("HGB", 17.1, "g/dL", 16.4, 17.8, "calculated"),
    Measurement("MCV", 70.1, "fL", 67.6, 72.8, "calculated"),
    Measurement("CLUMP%", 1.25, "%", 1.1, 1.4, "counted"),
)
REVIEW = Flag("clumps", "review", "red cell clumps 1.3 %", "look at a smear; redraw if confirmed")
INVALID = Flag("no_rbc_peak", "invalid", "no red cell peak found", "repeat the run")
NOTE = Flag("no_fluorescence", "info", "no RNA dye channel", "")
REPORTED = (
    ReportedValue("RBC", "RBC", 7.0, "10*6/uL", "7.00", "10^12/L", 5.65, 8.87),
    ReportedValue("PLT", "PLT", 180.0, "10*3/uL", "180", "10^9/L", flags=("L", "*")),
    ReportedValue("WBC", None, 8.14, "10^9/L", "8.14", "10^9/L", flags=("H",)),
)


class Box:
    """A data folder with its one writer."""

    def __init__(self, path):
        self.path = path
        self.store = Store.open(path, SystemClock())
        self.count = 0

    def _capture(self, name, instrument="analyzer"):
        self.count += 1
        data = f"capture {self.count}".encode()
        digest = hashlib.sha256(data).hexdigest()
        return RawCapture(instrument, "export", name or f"{self.count:04d}.fcs", digest, data)

    def add(
        self,
        *,
        name=None,
        flags=(REVIEW, NOTE),
        measurements=MEASUREMENTS,
        counts=COUNTS,
        pictures=b"",
        **sample,
    ):
        """Store one run and return its id."""
        info = dataclasses.replace(SAMPLE, sample_id=f"D-{self.count + 1:04d}")
        info = dataclasses.replace(info, **sample)
        decoded = Decoded("sim_optical4/1.0", "ab" * 32, sum(counts), ("LA.H",), info, ("a note",))
        by_class = dict(zip(CELL_CLASSES, counts, strict=True))
        called = Classified(
            "sim@0.1.0", "cd" * 32, by_class, tuple(measurements), tuple(flags), pictures=pictures
        )
        accepted = self.store.accept(self._capture(name))
        self.store.record_decoded(accepted.capture_id, decoded)
        return self.store.record_run(accepted.capture_id, decoded, called)

    def tell(self, values=REPORTED, messages=("PLT Clumps?",), **sample):
        """Store one report of the analyzer, of sample D-0001 unless said, and return its id."""
        info = dataclasses.replace(SAMPLE, volume_ul=None, dilution=None)
        info = dataclasses.replace(info, **sample)
        report = AnalyzerReport(
            info, "sample", tuple(values), (), tuple(messages), f"M{self.count}"
        )
        accepted = self.store.accept(self._capture(f"{self.count:04d}.hl7"))
        told = Reported("acme_lis/1.0", "99" * 32, report)
        receipt = self.store.record_report(accepted.capture_id, told)
        self.store.finish_decoded(accepted.capture_id)
        return receipt.report_id

    def set_aside(self, name="broken.fcs", message="the file ends in the middle of its data"):
        reason = Quarantine("truncated", message, action="export it again")
        accepted = self.store.accept(self._capture(name))
        self.store.quarantine(accepted.capture_id, reason)
        self.store.refuse("export", "link.fcs", Quarantine("refused", "link.fcs: a symbolic link"))


@pytest.fixture(scope="session")
def make_box():
    """Open boxes that last longer than a test; closed in the end."""
    made = []

    def make(path):
        made.append(Box(path))
        return made[-1]

    yield make
    for box in made:
        box.store.close()


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path / "data")
    yield made
    made.store.close()


class Journal:
    """Collects what the log writes."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.fixture
def journal():
    return Journal()


@pytest.fixture
def serve(box, journal):
    """Serve the box's page; settings of ``[web]`` may be given."""
    servers = []

    def start(*, reference=(), **web):
        settings = Settings.model_validate(
            {
                "box": {"name": "clinic", "data_dir": str(box.path)},
                "source": [{"name": "an1", "path": str(box.path)}],
                "web": {"listen": "127.0.0.1:0", **web},
                "reference": {"extra_dirs": list(reference)},
            },
            context={"base": box.path},
        )
        server = WebServer(settings, box.store, SystemClock(), EventLog("debug", journal))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()
    left = [t.name for t in threading.enumerate() if t.name == "web"]
    assert not left, "a server did not end"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self):
        return self.body.decode("utf-8")

    @property
    def shown(self):
        """Text without markup, white space folded."""
        bare = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", self.text, flags=re.DOTALL)
        return " ".join(unescape(bare).split())


class Browser:
    """Keeps cookies and follows nothing by itself."""

    def __init__(self, url, *, context=None):
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.context = context
        self.cookies = {}

    def ask(self, method, path, body=None, **headers):
        kind = http.client.HTTPSConnection if self.context else http.client.HTTPConnection
        more = {"context": self.context} if self.context else {}
        connection = kind(self.host, self.port, timeout=30, **more)
        sent = {"Accept": "text/html", **{k.replace("_", "-"): v for k, v in headers.items()}}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            for header in response.headers.get_all("Set-Cookie") or ():
                key, _, value = header.split(";")[0].partition("=")
                self.cookies[key] = value
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path="/", **headers):
        return self.ask("GET", path, **headers)

    def token(self, path):
        return re.search(r'name="token" value="([^"]+)"', self.get(path).text)[1]

    def post(self, path, fields, *, form=None, **headers):
        """Send a form with the token of the page it stands on."""
        token = {"token": self.token(form)} if form else {}
        body = urlencode({**token, **fields})
        return self.ask(
            "POST",
            path,
            body,
            **{
                "Content_Type": "application/x-www-form-urlencoded",
                "Origin": self.origin,
                **headers,
            },
        )

    def sign_in(self, password, name="Ada"):
        fields = {"name": name, "password": password, "next": "/"}
        return self.post("/sign-in", fields, form="/sign-in")


@pytest.fixture
def open_browser():
    """Open a further browser on a page."""
    return Browser


@pytest.fixture
def browser(serve):
    """A browser on a page that is served as configured by default."""
    return Browser(serve().url)


@pytest.fixture
def wait_until():
    def wait(condition, seconds=60.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.01)

    return wait
