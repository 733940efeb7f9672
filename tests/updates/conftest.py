"""A real repository of updates with keys of its own, boxes that trust it, and a site on TLS."""

from __future__ import annotations

import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edge_daemon.central.authority import Authority
from edge_daemon.clock import SystemClock
from edge_daemon.resources import models_dir
from edge_daemon.updates import archive, collecting
from edge_daemon.updates.desk import Desk
from edge_daemon.updates.fetching import FolderFetcher
from edge_daemon.updates.kinds import Item
from edge_daemon.updates.places import own_plan
from edge_daemon.updates.proof import Proof
from edge_daemon.updates.release import ROLES, Repository
from edge_daemon.updates.trust import Trust

BUNDLE = "sim_optical4"
TABLE = """
kind = "intervals"
species = "dog"
version = "{version}"
[site]
by = "Dr A. Reviewer"
reason = "measured on 60 healthy dogs of this chain"
[sources.own]
text = "own study"
[intervals]
RBC = {{ low = {low}, high = 8.5, unit = "10*6/uL", source = "own" }}
"""


class Signed:
    """A repository and the signers of every role, kept in memory."""

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        self.folder = folder
        self.repository = Repository(folder, now)
        self.signers = {
            role: [CryptoSigner.generate_ed25519() for _ in range(2 if role in ROLES[:2] else 1)]
            for role in ROLES
        }
        keys = {role: [s.public_key for s in made] for role, made in self.signers.items()}
        self.repository.init(keys, {"root": 2, "targets": 2})

    @property
    def all(self) -> list[CryptoSigner]:
        return [signer for made in self.signers.values() for signer in made]

    @property
    def root(self) -> bytes:
        return (self.folder / "metadata" / "1.root.json").read_bytes()

    def at(self, now: datetime) -> None:
        """Sign as if it were another time."""
        self.repository = Repository(self.folder, now)

    def add_model(self, bundle: Path) -> Item:
        item, files = collecting.collect("model", bundle, None, {})
        self.repository.add(item, archive.pack(files))
        return item

    def add_table(self, version: str, low: float = 5.5, *, text: str | None = None) -> Item:
        item = Item("intervals", "dog", version)
        content = TABLE.format(version=version, low=low) if text is None else text
        self.repository.add(item, archive.pack({"dog.toml": content.encode()}))
        return item

    def publish(self, to: Path | None = None) -> Path:
        if any((self.folder / "draft").iterdir()):
            self.repository.sign(self.all)
        self.repository.publish(self.all)
        place = to or self.folder.parent / "stick"
        self.repository.copy_to(place)
        return place


class TestClock(SystemClock):
    """The system's clock, as if a time server set it."""

    __test__ = False

    def stamp(self):
        from dataclasses import replace

        return replace(super().stamp(), state="synchronised")


def make_bundle(folder: Path, version: str) -> Path:
    """Copy the shipped bundle under another version."""
    place = folder / f"{BUNDLE}-{version}"
    shutil.copytree(next(models_dir().glob(f"{BUNDLE}-*")), place)
    manifest = place / "manifest.toml"
    lines = manifest.read_text().splitlines()
    changed = [f'version = "{version}"' if x.startswith("version = ") else x for x in lines]
    manifest.write_text("\n".join(changed))
    return place


@pytest.fixture
def proved_here(monkeypatch):
    """Prove in this process: a worker for each takes a second."""

    def prove(plan):
        return Proof(plan).rejected

    monkeypatch.setattr("edge_daemon.updates.desk.prove", prove)


@pytest.fixture
def signed(tmp_path) -> Signed:
    return Signed(tmp_path / "repo")


@pytest.fixture
def old_signed(tmp_path) -> Signed:
    """A repository that was last renewed long ago."""
    return Signed(tmp_path / "repo", datetime(2020, 1, 1, tzinfo=UTC))


@pytest.fixture
def box(tmp_path) -> Path:
    """Data folder of a box."""
    data_dir = tmp_path / "box"
    data_dir.mkdir()
    return data_dir


@pytest.fixture
def desk(box) -> Desk:
    return Desk(box, own_plan(None), TestClock())


@pytest.fixture
def trusting(box, desk, signed) -> Desk:
    """A box that trusts the repository; something is published already."""
    signed.add_table("1.0.0")
    signed.publish()
    Trust(desk.folder.trust).begin(signed.root)
    return desk


@pytest.fixture
def look(trusting, tmp_path) -> Callable[..., object]:
    """Look at a folder as the box does."""

    def looked(place: Path | None = None):
        return trusting.look(FolderFetcher(place or tmp_path / "stick"))

    return looked


class Site:
    """A static web server on TLS whose answers a test can change.

    Attributes
    ----------
    bent
        Path → what sends the body of it instead.
    sent
        Bytes of bodies that were written.
    ranges
        Range headers that came.
    """

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.bent: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.sent = 0
        self.ranges: list[str] = []
        Authority.create(certificates, "test").certify_server(certificates, ["127.0.0.1"])
        self.fleet = certificates / "fleet.pem"
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.headers.get("Range"):
                    site.ranges.append(self.headers["Range"])
                if self.path in site.bent:
                    site.bent[self.path](self)
                    return
                path = folder / self.path.lstrip("/")
                if not path.is_file():
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                data = path.read_bytes()
                begin = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
                self.send_response(206 if begin else 200)
                if begin:
                    spread = f"bytes {begin}-{len(data) - 1}/{len(data)}"
                    self.send_header("Content-Range", spread)
                self.send_header("Content-Length", str(len(data) - begin))
                self.end_headers()
                self.wfile.write(data[begin:])

            def log_message(self, *_args) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    place = tmp_path / "stick"
    place.mkdir(exist_ok=True)
    made = Site(place, tmp_path / "certificates")
    yield made
    made.close()


os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
